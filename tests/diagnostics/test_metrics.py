"""Scores equal scikit-learn's, whatever is missing, tied or weighted."""

import json

import numpy as np
import pytest
from sklearn import metrics as oracle

from polylogit.diagnostics.metrics import score, score_parts
from polylogit.errors import DataError


def predictions(seed, n_rows=60, n_classes=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_rows, n_classes)) * 2
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return log_p, rng.integers(n_classes, size=n_rows), rng.uniform(0, 3, size=n_rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_equal_scikit_learn(seed, weighted):
    log_p, codes, weights = predictions(seed)
    weights = weights if weighted else None
    ours, predicted, classes = score(log_p, codes, weights), log_p.argmax(1), np.arange(4)
    onehot = np.eye(4)[codes]
    brier = np.average(np.square(np.exp(log_p) - onehot).sum(1), weights=weights)
    assert ours.accuracy == pytest.approx(
        oracle.accuracy_score(codes, predicted, sample_weight=weights), rel=1e-14
    )
    assert ours.log_loss == pytest.approx(
        oracle.log_loss(codes, np.exp(log_p), labels=classes, sample_weight=weights), rel=1e-12
    )
    assert ours.brier == pytest.approx(brier, rel=1e-12)
    assert ours.macro_f1 == pytest.approx(
        oracle.f1_score(codes, predicted, average="macro", sample_weight=weights), rel=1e-14
    )
    assert (ours.confusion == oracle.confusion_matrix(codes, predicted, labels=classes)).all()
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        codes, predicted, labels=classes, zero_division=0, sample_weight=weights
    )
    np.testing.assert_allclose(ours.precision, precision, rtol=1e-14)
    np.testing.assert_allclose(ours.recall, recall, rtol=1e-14)
    np.testing.assert_allclose(ours.f1, f1, rtol=1e-14)
    assert (ours.support == np.bincount(codes, minlength=4)).all()


def test_a_class_that_never_occurs_does_not_count_in_the_mean():
    log_p = np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]])
    codes = np.array([0, 1, 1])
    ours = score(log_p, codes)
    assert ours.macro_f1 == pytest.approx(oracle.f1_score(codes, [0, 1, 0], average="macro"))
    assert ours.f1[2] == 0


def test_a_class_predicted_but_never_true_counts_as_zero():
    log_p = np.log([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    codes = np.array([0, 0])
    expected = oracle.f1_score(codes, [0, 2], average="macro")
    assert score(log_p, codes).macro_f1 == pytest.approx(expected)


def test_ties_go_to_the_first_class():
    assert score(np.log([[0.5, 0.5]]), np.array([0])).accuracy == 1.0
    assert score(np.log([[0.5, 0.5]]), np.array([1])).accuracy == 0.0


def test_the_log_loss_is_not_clipped():
    log_p = np.array([[-800.0, 0.0]])
    assert score(log_p, np.array([0])).log_loss == 800.0
    assert score(log_p, np.array([0])).brier == pytest.approx(2.0)


def test_no_row_and_no_weight_are_refused():
    with pytest.raises(DataError, match="nothing to score: 0 rows"):
        score(np.empty((0, 2)), np.empty(0, dtype=int))
    with pytest.raises(DataError, match="total weight of 0"):
        score(np.log([[0.5, 0.5]]), np.array([0]), np.array([0.0]))


def test_json_is_plain_and_has_no_infinity():
    with np.errstate(divide="ignore"):
        ours = score(np.log([[0.0, 1.0]]), np.array([0]))
    text = json.dumps(ours.to_json(), allow_nan=False)
    assert json.loads(text)["log_loss"] is None
    assert json.loads(text)["confusion"] == [[0, 1], [0, 0]]


@pytest.mark.parametrize("step", [1, 7, 60])
def test_scores_of_parts_are_the_scores_of_all(step):
    log_p, codes, weights = predictions(3)
    parts = [slice(start, start + step) for start in range(0, 60, step)]
    ours = score_parts(((part, log_p[part]) for part in parts), codes, 4, weights).to_json()
    for name, value in score(log_p, codes, weights).to_json().items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-13, err_msg=name)


def test_all_rows_right_is_exactly_one_in_parts_too():
    rng = np.random.default_rng(0)
    codes, weights = rng.integers(3, size=1000), rng.uniform(size=1000)
    logs = np.log(0.1 + 0.7 * np.eye(3)[codes])
    parts = [(slice(i, i + 7), logs[i : i + 7]) for i in range(0, 1000, 7)]
    assert score_parts(parts, codes, 3, weights).accuracy == 1.0
    assert score_parts(parts, codes, 3).accuracy == 1.0
