"""`polylogit.path`: the table says what the fits are, and the validation what they are worth."""

import math
from dataclasses import replace

import numpy as np
import pytest
from oracle import nearly_collinear, stored
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from polylogit import path as module
from polylogit.data.arrays import from_arrays
from polylogit.errors import ModelFileError, OptionError, TargetError
from polylogit.optim.problem import Status
from polylogit.path import SWEEP, checked_strengths, fit_path, judge, search_path, spaced
from polylogit.training import fit

X, Y = load_digits(return_X_y=True)
X = X[:, ::2]
TRAIN, OTHER = from_arrays(X[:300], Y[:300]), from_arrays(X[300:500], Y[300:500])
CS = (1e-4, 1e-2, 1.0, 100.0)


@pytest.fixture(scope="module")
def path():
    return fit_path(TRAIN, CS, validation=OTHER)


def test_the_fits_are_those_of_single_fits(path):
    assert path.Cs == CS
    for C, found in zip(CS, path.fits, strict=True):
        alone = fit(TRAIN, C=C, tol=1e-10)
        assert (found.C, found.alpha) == (C, alone.alpha)
        assert found.solution.certified
        excess = found.solution.objective - alone.solution.objective
        assert -1e-10 <= excess <= found.solution.certificate.gap
        assert found.model.record["C"] == C


def test_the_table_is_true(path):
    for point, found in zip(path.table, path.fits, strict=True):
        W, b = found.model.weight.numpy(), found.model.bias.numpy()
        logits = X[:300] @ W.T + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        assert point.train_loss == pytest.approx(log_loss(Y[:300], p), rel=1e-9)
        assert point.objective == pytest.approx(
            point.train_loss + found.alpha / 2 * np.square(W).sum(), rel=1e-12
        )
        assert point.n_nonzero == np.count_nonzero(W) < W.size  # a pixel that is always 0
        solution = found.solution
        assert (point.gap, point.passes) == (solution.certificate.gap, solution.statistics.passes)
        assert point.validation == judge(found.model, OTHER)


def test_penalty_factors_and_two_classes_count_in_the_train_loss():
    rows = Y[:300] < 2
    data = from_arrays(X[:300][rows], Y[:300][rows])
    factors = np.linspace(0.5, 2, 32)
    found = fit_path(data, (0.1,), penalty_factors=factors)
    W = found.fits[0].model.weight.numpy()
    logits = data.features @ W.T + found.fits[0].model.bias.numpy()
    losses = np.logaddexp(logits[:, 0], logits[:, 1]) - logits[np.arange(len(logits)), data.targets]
    assert found.table[0].train_loss == pytest.approx(losses.mean(), rel=1e-9)


def test_validation_is_what_others_compute(path):
    p = path.fits[2].model.probabilities(OTHER.features).numpy()
    found = path.table[2].validation
    assert found.loss == pytest.approx(log_loss(OTHER.targets, p), rel=1e-12)
    assert found.top1 == pytest.approx(top_k_accuracy_score(OTHER.targets, p, k=1))
    assert found.top5 == pytest.approx(top_k_accuracy_score(OTHER.targets, p, k=5))
    balanced = balanced_accuracy_score(OTHER.targets, p.argmax(1))
    assert found.mean_per_class == pytest.approx(balanced)


def test_weights_are_repeated_rows_and_probabilities_are_labels_drawn(path):
    model = path.fits[1].model
    weights = np.random.default_rng(0).integers(0, 3, size=200)
    rows = np.repeat(np.arange(200), weights)
    repeated = from_arrays(X[300:500][rows], Y[300:500][rows], schema=model.schema)
    weighed = from_arrays(X[300:500], Y[300:500], sample_weight=weights)
    one_hot = from_arrays(X[300:500], np.eye(10)[Y[300:500]], sample_weight=weights)
    truth = judge(model, repeated)
    for data in (weighed, one_hot):
        found = judge(model, data)
        for name in ("loss", "top1", "top5", "mean_per_class"):
            assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-12)


def test_a_class_without_rows_does_not_count_in_the_mean(path):
    model = path.fits[2].model
    some = Y[300:500] > 6
    data = from_arrays(X[300:500][some], Y[300:500][some], schema=model.schema)
    codes = model.predict_codes(data.features)
    recalls = [(codes[data.targets == k] == k).mean() for k in (7, 8, 9)]
    assert judge(model, data).mean_per_class == pytest.approx(np.mean(recalls))


def test_the_best_is_the_one_that_the_validation_says(path):
    losses = [point.validation.loss for point in path.table]
    assert path.best() == int(np.argmin(losses)) == 1
    hits = [point.validation.top1 for point in path.table]
    assert path.best("top1") == int(np.argmax(hits))
    with pytest.raises(OptionError, match=r"^a path is judged by loss, top1, .* not 'accuracy'$"):
        path.best("accuracy")
    with pytest.raises(OptionError, match="without validation rows cannot say which"):
        fit_path(TRAIN, (1.0,)).best()


def test_strengths_are_sorted_and_taken_once():
    assert checked_strengths([10, 1, 0.1, 1.0, math.inf]) == (0.1, 1.0, 10.0, math.inf)
    assert checked_strengths(np.array([2.0, 1.0])) == (1.0, 2.0)
    assert fit_path(TRAIN, (1.0, 0.1)).Cs == (0.1, 1.0)


def test_the_default_is_the_sweep_of_dinov2():
    np.testing.assert_allclose(spaced(*SWEEP), 10.0 ** np.linspace(-6, 5, 45))


@pytest.mark.parametrize(
    ("Cs", "message"),
    [
        ((), "Cs must be a list of one or more positive numbers, not ()"),
        (1.0, "Cs must be a list of one or more positive numbers, not 1.0"),
        ("auto", "Cs must be a list of one or more positive numbers, not 'auto'"),
        (("auto",), "Cs must be a list of positive numbers, not ['auto']"),
        ((1.0, -1.0), "C must be positive, between 1e-100 and 1e+100, or inf for no penalty, not "
                      "-1.0; C is the inverse strength of the penalty, try 1.0"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_strengths_is_refused(Cs, message):
    with pytest.raises(OptionError) as caught:
        fit_path(TRAIN, Cs)
    assert str(caught.value) == message


def test_validation_rows_need_labels(path):
    with pytest.raises(TargetError, match="array holds no targets"):
        judge(path.fits[0].model, from_arrays(X))


def test_by_hand_the_path_ends_with_what_there_is():
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 8:
            raise KeyboardInterrupt

    cut = fit_path(TRAIN, CS, validation=OTHER, progress=stop)
    assert 1 <= len(cut.fits) == len(cut.table) == len(cut.Cs) < len(CS)
    assert cut.fits[-1].solution.status is Status.INTERRUPTED


def test_points_are_plain_data(path):
    line = path.table[0].to_json()
    assert line["C"] == 1e-4
    assert line["loss"] == path.table[0].validation.loss
    assert "validation" not in line
    unproven = fit_path(nearly_collinear(), (math.inf,)).table[0].to_json()
    assert (unproven["C"], unproven["gap"], unproven["alpha"]) == (None, None, 0.0)


# --------------------------------------------------------------------------------- CLIP's search


def score_with_peak(monkeypatch, peak):
    """Judge every fit by how near its C is to a peak, in decades."""
    seen = []

    def judged(model, dataset):
        C = model.record["C"]
        seen.append(round(8 * math.log10(C)))
        near = -abs(math.log10(C) - peak)
        return module.Validation(loss=-near, top1=near, top5=near, mean_per_class=near)

    monkeypatch.setattr(module, "judge", judged)
    return seen


@pytest.mark.parametrize("by", ["top1", "loss"])
@pytest.mark.parametrize("peak", [-6.0, -5.125, -0.5, 0.0, 1.62, 3.99, 6.0])
def test_the_search_finds_the_best_of_the_whole_grid_where_there_is_one_peak(peak, by, monkeypatch):
    seen = score_with_peak(monkeypatch, peak)
    small = from_arrays(X[:40], Y[:40])
    path = search_path(small, validation=small, by=by)
    grid = np.arange(-48, 49)
    nearest = grid[np.argmin(np.abs(grid / 8 - peak))]
    assert path.Cs[path.best(by)] == pytest.approx(10.0 ** (nearest / 8))
    assert seen[:7] == [-48, -32, -16, 0, 16, 32, 48]
    assert len(seen) == len(set(seen)) == len(path.fits) <= 15
    assert list(path.Cs) == sorted(path.Cs)
    assert all(found.solution.certified for found in path.fits)


def test_the_search_halves_the_interval_around_the_peak(monkeypatch):
    seen = score_with_peak(monkeypatch, 0.0)
    small = from_arrays(X[:40], Y[:40])
    search_path(small, validation=small)
    assert seen[7:] == [-8, 8, -4, 4, -2, 2, -1, 1]


def test_by_hand_the_search_ends():
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 8:
            raise KeyboardInterrupt

    path = search_path(TRAIN, validation=OTHER, progress=stop)
    assert path.fits[-1].solution.status is Status.INTERRUPTED
    assert len(path.fits) < 7


def test_stored_rows_have_the_path_of_rows_in_memory(path, monkeypatch):
    monkeypatch.setattr("polylogit.stored.BLOCK_BYTES", 5000)  # some twenty rows
    train, other = (replace(data, features=stored(data.features)) for data in (TRAIN, OTHER))
    streamed = fit_path(train, CS, validation=other)
    for one, two in zip(streamed.table, path.table, strict=True):
        assert one.certified
        assert abs(one.objective - two.objective) <= one.gap + two.gap + 1e-14
        assert one.validation.loss == pytest.approx(two.validation.loss, rel=1e-2)
    model = path.fits[1].model
    again, truth = judge(model, other), judge(model, OTHER)
    for name in module.Validation.__dataclass_fields__:
        assert getattr(again, name) == pytest.approx(getattr(truth, name), rel=1e-13)


# -------------------------------------------------------------------- L1, offsets, checkpoints


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_a_path_with_l1_is_a_fit_at_each_strength(l1_ratio):
    found = fit_path(TRAIN, (1e-3, 0.01, 0.1), l1_ratio=l1_ratio)
    zeros = [point.n_nonzero for point in found.table]
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[-1]
    for C, fitted, point in zip(found.Cs, found.fits, found.table, strict=True):
        alone = fit(TRAIN, C=C, l1_ratio=l1_ratio)
        assert fitted.solution.certified
        assert fitted.solution.objective == pytest.approx(alone.solution.objective, abs=1e-6)
        assert fitted.model.record["l1_ratio"] == l1_ratio
        p = fitted.model.probabilities(TRAIN.features).numpy()
        assert point.train_loss == pytest.approx(log_loss(TRAIN.targets, p), abs=1e-12)


def test_a_path_takes_an_offset():
    offset = np.random.default_rng(3).normal(size=(TRAIN.n_rows, 10))
    found = fit_path(TRAIN, (0.01, 1.0), offset=offset)
    for C, fitted in zip(found.Cs, found.fits, strict=True):
        alone = fit(TRAIN, C=C, offset=offset)
        assert fitted.solution.objective == pytest.approx(alone.solution.objective, abs=1e-6)


class Killed(BaseException):
    """Nobody catches this."""


@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}], ids=["ridge", "net"])
def test_a_killed_path_goes_on_where_it_was(tmp_path, options):
    strengths, file = (1e-3, 0.01, 0.1, 1.0), tmp_path / "path.ckpt"
    whole = fit_path(TRAIN, strengths, **options)
    starts = []

    def die_in_the_third(now):
        starts.append(now.iteration == 0)
        if sum(starts) == 3:
            raise Killed

    with pytest.raises(Killed):
        fit_path(TRAIN, strengths, checkpoint=file, progress=die_in_the_third, **options)
    seen = []
    again = fit_path(TRAIN, strengths, checkpoint=file, progress=seen.append, **options)
    assert not file.exists()
    for one, other in zip(whole.fits, again.fits, strict=True):
        assert other.solution.certified
        assert other.solution.objective == pytest.approx(one.solution.objective, abs=1e-6)
    # what was done costs its proof alone
    assert [fit.solution.statistics.iterations for fit in again.fits[:2]] == [0, 0]


def test_a_checkpoint_of_another_path_is_refused(tmp_path):
    file = tmp_path / "path.ckpt"
    starts = []

    def die_in_the_second(now):
        starts.append(now.iteration == 0)
        if sum(starts) == 2:
            raise Killed

    with pytest.raises(Killed):
        fit_path(TRAIN, (0.01, 0.1), checkpoint=file, progress=die_in_the_second)
    for other in ({"Cs": (0.01, 0.2)}, {"Cs": (0.01, 0.1), "l1_ratio": 0.5}):
        with pytest.raises(ModelFileError, match="checkpoint of another fit"):
            fit_path(TRAIN, **other, checkpoint=file)
    assert file.exists()
