"""Calibration of many classes: every class is an event, and so is being right."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn import metrics as oracle

from polylogit.diagnostics.calibration import decomposed, log_complements, measure
from polylogit.diagnostics.reliability import (
    binned_error,
    debiased_error,
    reliability_curve,
    smooth_error,
)
from polylogit.errors import InputError, TargetError


def rows(seed=0, n_rows=300, n_classes=4):
    rng = np.random.default_rng(seed)
    log_p = log_softmax(rng.normal(size=(n_rows, n_classes)) * 2, axis=1)
    draw = rng.uniform(size=(n_rows, 1))
    codes = (np.exp(log_p).cumsum(1)[:, :-1] < draw).sum(1)
    return log_p, codes


def test_every_class_and_the_top_label_are_events():
    log_p, codes = rows()
    result, p = measure(log_p, codes, bins=10), np.exp(log_p)
    for k, event in enumerate(result.classes):
        assert event.smooth_error == smooth_error(p[:, k], codes == k)
        assert event.binned_error == binned_error(p[:, k], codes == k, 10)
        assert event.debiased_error == debiased_error(p[:, k], codes == k, 10)
        assert event.curve.to_json() == reliability_curve(p[:, k], codes == k, 10).to_json()
        assert event.log_loss.loss == pytest.approx(oracle.log_loss(codes == k, p[:, k]), rel=1e-12)
    right = codes == p.argmax(1)
    assert result.top.seen == right.mean()
    assert result.top.said == pytest.approx(p.max(1).mean(), rel=1e-14)
    assert result.top.brier.loss == pytest.approx(oracle.brier_score_loss(right, p.max(1)))
    said = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert said["bins"] == 10
    for name in ("said", "seen", "smooth_error", "debiased_error", "binned_error"):
        assert said["top"][name] == getattr(result.top, name)


def test_confidence_that_is_too_high_shows():
    log_p, codes = rows()
    calm, loud = measure(log_p, codes), measure(log_softmax(3 * log_p, axis=1), codes)
    assert loud.top.said > loud.top.seen + 0.1
    for name in ("smooth_error", "binned_error", "debiased_error"):
        assert getattr(loud.top, name) > 2 * max(getattr(calm.top, name), 0)
    assert loud.top.log_loss.calibration > 5 * calm.top.log_loss.calibration


def test_the_decomposition_of_all_classes_is_scikit_learns_losses():
    log_p, codes = rows()
    log_loss, brier = decomposed(log_softmax(2 * log_p, axis=1), log_p, codes)
    base = np.bincount(codes) / len(codes)
    assert log_loss.refinement == pytest.approx(oracle.log_loss(codes, np.exp(log_p)), rel=1e-12)
    assert log_loss.uncertainty == pytest.approx(-(base * np.log(base)).sum(), rel=1e-12)
    assert brier.uncertainty == pytest.approx(1 - np.square(base).sum(), rel=1e-12)
    assert brier.refinement == pytest.approx(
        np.square(np.exp(log_p) - np.eye(4)[codes]).sum(1).mean(), rel=1e-12
    )
    assert log_loss.calibration > 0
    assert brier.calibration > 0


def test_a_class_that_never_occurs_costs_nothing_in_the_base_rates():
    log_p = np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    log_loss, _ = decomposed(log_p, log_p, np.array([0, 1]))
    assert log_loss.uncertainty == pytest.approx(np.log(2))


def test_complements_are_exact_at_both_ends():
    log_p = np.array([[np.log(0.75), np.log(0.25)], [-1e-30, -70.0], [-np.inf, 0.0]])
    np.testing.assert_allclose(
        log_complements(log_p),
        [[np.log(0.25), np.log(0.75)], [-70.0, -np.exp(-70.0)], [0.0, -np.inf]],
        rtol=1e-12,
    )


def test_a_logarithm_may_be_rounded_to_above_0():
    plain, rounded = (
        measure(np.array([[top, -40.0], [-0.5, np.log(-np.expm1(-0.5))]]), np.array([0, 1])).top
        for top in (0.0, 1e-15)
    )
    assert rounded.log_loss.loss == pytest.approx(plain.log_loss.loss, abs=1e-14)
    assert rounded.smooth_error == pytest.approx(plain.smooth_error)


def test_an_infinite_loss_is_null_in_json():
    log_p = np.array([[0.0, -np.inf], [0.0, -np.inf]])
    found = measure(log_p, np.array([1, 0])).to_json()
    assert json.loads(json.dumps(found, allow_nan=False))["top"]["log_loss"]["loss"] is None


@pytest.mark.parametrize(
    ("log_p", "codes", "error", "message"),
    [
        (np.zeros((2, 2)), np.array([0, 1]), InputError, "sums to 2"),
        (np.log(np.full((2, 2), 0.5)), np.array([0, 2]), TargetError, "target 2 at position"),
        (np.log(np.full((2, 2), 0.5)), np.array([0]), InputError, "must share N"),
        (np.full((2, 2), np.nan), np.array([0, 1]), InputError, "sums to nan"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), InputError, "N of at least 1"),
    ],
)
def test_what_is_no_prediction_is_refused(log_p, codes, error, message):
    with pytest.raises(error, match=message):
        measure(log_p, codes)


def test_what_is_no_recalibration_is_refused():
    log_p, codes = rows()
    with pytest.raises(InputError, match="sums to"):
        decomposed(log_p, log_p + 1, codes)
