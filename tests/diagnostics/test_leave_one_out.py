"""Leave-one-out equals fits without each row, whoever makes them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from left_out import data, left_out_logits, log_losses, logits_of, prepared
from sklearn.datasets import load_iris

from polylogit.data.arrays import from_arrays
from polylogit.diagnostics import leave_one_out as module
from polylogit.diagnostics import optimum
from polylogit.diagnostics.leave_one_out import leave_one_out, obstacle
from polylogit.diagnostics.outcome import standard_error
from polylogit.errors import OptionError
from polylogit.optim.row_span import RowSpan
from polylogit.stored import Spill
from polylogit.training import Prepared, prepare


def left(X, codes, C=1.0, weights=None, groups=None, refits="flagged", **options):
    ready = prepared(X, codes, weights, **options)
    return leave_one_out(ready, ready.fit(C), groups=groups, refits=refits)


def centred(logits):
    return (logits - logits.mean(1, keepdim=True)).numpy()


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 3])
def test_exact_refits_are_scikit_learns_fits_without_the_row(k, C):
    X, codes = data(k=k)
    ours, theirs = left(X, codes, C, refits="all"), left_out_logits(X, codes, C)
    np.testing.assert_allclose(centred(ours.logits), theirs, atol=2e-4)
    expected = log_losses(theirs, codes)
    np.testing.assert_allclose(ours.losses.numpy(), expected, atol=2e-4)
    assert ours.loss == pytest.approx(expected.mean(), rel=1e-4)
    assert ours.accuracy == pytest.approx((theirs.argmax(1) == codes).mean())
    assert ours.standard_error == pytest.approx(expected.std(ddof=1) / math.sqrt(30), rel=1e-3)
    assert ours.n_refitted == 30


@pytest.mark.parametrize("C", [0.1, 10.0, 1000.0, 1e5])
@pytest.mark.parametrize("seed", range(3))
def test_the_hybrid_is_within_half_a_percent_of_exact(seed, C):
    X, codes = data(seed, n=40, d=3)
    hybrid, exact = left(X, codes, C), left(X, codes, C, refits="all")
    assert hybrid.loss == pytest.approx(exact.loss, rel=5e-3)
    assert hybrid.n_refitted == hybrid.n_flagged < 40


@pytest.mark.parametrize(
    ("penalty", "formula", "exact"), [(1.0, 0.14204, 0.14205), (0.001, 0.08911, 0.11691)]
)
def test_iris_has_the_published_figures_near_separation_too(penalty, formula, exact):
    X, codes = load_iris(return_X_y=True)
    ready = prepared((X - X.mean(0)) / X.std(0), codes)
    fit = ready.fit(1 / penalty)
    assert leave_one_out(ready, fit, refits="none").loss == pytest.approx(formula, abs=2e-5)
    assert leave_one_out(ready, fit).loss == pytest.approx(exact, rel=5e-3)
    assert leave_one_out(ready, fit, refits="all").loss == pytest.approx(exact, abs=1e-5)


def test_the_formula_is_one_newton_step_of_the_fit_without_the_row():
    X, codes = data(spread=1.0)
    X = np.c_[X, np.ones(len(X))]
    ready = prepared(X[:, :2], codes)
    fit, ours = ready.fit(1.0), left(X[:, :2], codes, refits="none")
    theta = np.c_[fit.model.weight.numpy(), fit.model.bias.numpy()]
    for row in (0, 7, 29):
        keep = np.arange(len(X)) != row
        z = X[keep] @ theta.T
        p = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
        gradient = (p - np.eye(3)[codes[keep]]).T @ X[keep] + theta * [1, 1, 0]
        S = np.eye(3) * p[:, :, None] - p[:, :, None] * p[:, None, :]
        hessian = np.einsum("nkl,nd,ne->kdle", S, X[keep], X[keep]).reshape(9, 9)
        hessian += np.diag(np.tile([1.0, 1, 0], 3))
        step = np.linalg.pinv(hessian, rcond=1e-12) @ gradient.ravel()
        expected = (theta - step.reshape(3, 3)) @ X[row]
        np.testing.assert_allclose(centred(ours.logits)[row], expected - expected.mean(), atol=2e-5)


def test_no_fit_is_too_loose_for_the_formula():
    X, codes = data()
    loose, tight = left(X, codes, tol=0.05, solver="lbfgs"), left(X, codes, tol=1e-12)
    assert loose.loss == pytest.approx(tight.loss, rel=1e-6)


def test_without_intercept():
    X, codes = data()
    ours = left(X, codes, refits="all", fit_intercept=False)
    theirs = left_out_logits(X, codes, 1.0, intercept=False)
    np.testing.assert_allclose(centred(ours.logits), theirs, atol=2e-4)


@pytest.mark.parametrize("refits", ["flagged", "all"])
def test_a_weight_is_as_good_as_copies(refits):
    X, codes = data()
    weights = np.random.default_rng(3).integers(1, 4, size=len(X))
    weighted = left(X, codes, weights=weights, refits=refits)
    copies = left(np.repeat(X, weights, 0), np.repeat(codes, weights), refits=refits)
    np.testing.assert_allclose(
        np.repeat(weighted.losses.numpy(), weights), copies.losses.numpy(), atol=2e-4
    )
    assert weighted.loss == pytest.approx(copies.loss, rel=1e-4)
    assert weighted.accuracy == pytest.approx(copies.accuracy)
    assert weighted.effective_dof == pytest.approx(copies.effective_dof, rel=1e-6)


def test_weights_below_one_leave_whole():
    X, codes = data()
    weights = np.random.default_rng(3).uniform(0.1, 2.0, size=len(X))
    ours = left(X, codes, weights=weights, refits="all")
    theirs = log_losses(left_out_logits(X, codes, 1.0, weights), codes)
    np.testing.assert_allclose(ours.losses.numpy(), theirs, atol=2e-4)
    assert ours.loss == pytest.approx(np.average(theirs, weights=weights), rel=1e-4)


def test_class_weights_are_no_copies():
    X, codes = data()
    ours = left(X, codes, class_weight={0: 4.0}, refits="all")
    weights = np.where(codes == 0, 4.0, 1.0)
    without = np.where(np.arange(30) == 1, 0.0, weights)
    np.testing.assert_allclose(
        centred(ours.logits)[1], logits_of(X, codes, 1.0, without, [1])[0], atol=2e-4
    )
    assert ours.loss == pytest.approx(ours.losses.mean().item())


@pytest.mark.parametrize(("refits", "within"), [("flagged", 0.1), ("all", 5e-4)])
def test_groups_leave_together(refits, within):
    X, codes = data(n=36)
    groups = np.array(list("abcdefgha"))[np.arange(36) % 9]
    ours = left(X, codes, groups=groups, refits=refits)
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)
        without = np.where(groups == label, 0.0, 1.0)
        expected = logits_of(X, codes, 1.0, without, rows)
        np.testing.assert_allclose(centred(ours.logits)[rows], expected, atol=within)
    assert ours.standard_error > 0


def test_groups_of_one_row_are_rows(monkeypatch):
    monkeypatch.setattr(optimum, "FAST", torch.float64)  # groups have no float32
    X, codes = data()
    grouped, single = (
        left(X, codes, groups=np.arange(30), refits="none"),
        left(X, codes, refits="none"),
    )
    np.testing.assert_allclose(grouped.logits, single.logits, atol=1e-9)
    assert grouped.n_flagged == single.n_flagged > 0
    assert grouped.standard_error == pytest.approx(single.standard_error)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_class_of_one_row_is_reported_and_left_out_of_the_means(grouped):
    X, codes = data()
    codes[5] = 3
    ours = left(X, codes, groups=np.arange(30) if grouped else None)
    assert ours.excluded == (5,)
    assert bool(ours.logits[5].isnan().all())
    assert math.isnan(ours.losses[5])
    others = np.delete(ours.losses.numpy(), 5)
    assert ours.loss == pytest.approx(others.mean())
    assert ours.standard_error == pytest.approx(others.std(ddof=1) / math.sqrt(29))


def test_where_nothing_can_be_left_out_is_said_before_any_fit():
    X, codes = data()
    with pytest.raises(OptionError, match="a group that is not the last of its class"):
        left(X, codes, groups=codes)
    alone = prepared(X[:2], [0, 1])
    assert "a row that is not the last of its class, and there is none" in obstacle(alone)
    assert obstacle(prepared(X[:2], [0, 1], weights=np.array([1.0, 2.0]))) is None
    assert obstacle(prepared(X[:2], [0, 1], label_smoothing=0.1)) is None


def test_sparse_rows_offsets_and_penalty_factors(monkeypatch):
    monkeypatch.setattr(optimum, "FAST", torch.float64)  # refits differ by what float32 rounds
    X, codes = data()
    X = np.where(np.abs(X) > 1, X, 0)
    dense, sparse = left(X, codes), left(scipy.sparse.csr_array(X), codes)
    np.testing.assert_allclose(dense.logits, sparse.logits, atol=1e-7)
    scaled = left(X * [1, 0.5], codes, penalty_factors=[1.0, 0.25])
    np.testing.assert_allclose(dense.logits, scaled.logits, atol=1e-7)
    moved = np.random.default_rng(0).normal(size=(30, 3))
    ours = left(X, codes, offset=moved, refits="all")
    row = 4
    ready = prepared(np.delete(X, row, 0), np.delete(codes, row), offset=np.delete(moved, row, 0))
    without = ready.fit(1.0).model.logits(X[[row]]) + torch.from_numpy(moved[[row]])
    np.testing.assert_allclose(centred(ours.logits)[[row]], centred(without), atol=2e-4)


def test_smoothing_is_for_the_fit_and_not_for_the_judge():
    X, codes = data()
    ours = left(X, codes, label_smoothing=0.2, refits="all")
    np.testing.assert_allclose(ours.losses, log_losses(ours.logits.numpy(), codes), atol=1e-12)
    soft = 0.8 * np.eye(3)[codes] + 0.2 / 3
    as_rows = left(X, soft, refits="all")
    np.testing.assert_allclose(ours.logits, as_rows.logits, atol=1e-6)
    expected = -(soft * torch.log_softmax(as_rows.logits, 1).numpy()).sum(1)
    np.testing.assert_allclose(as_rows.losses, expected, atol=1e-12)


def test_the_effective_degrees_of_freedom_run_from_the_bias_to_all():
    X, codes = data(spread=0.1, n=60)
    assert left(X, codes, 1e-9, refits="none").effective_dof == pytest.approx(2, abs=1e-5)
    assert left(X, codes, 1e9, refits="none").effective_dof == pytest.approx(6, abs=1e-5)
    assert 2.5 < left(X, codes, 1e-2, refits="none").effective_dof < 5.5


@pytest.mark.parametrize(("groups", "most"), [(None, 12), (np.arange(90) % 37, 8)])
def test_of_many_flagged_rows_a_sample_is_refitted(groups, most, monkeypatch):
    X, codes = data(n=90, d=4, spread=1.0)
    ready = prepared(X, codes)
    fit = ready.fit(1.0)
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.SAMPLES", (90,))
    whole = leave_one_out(ready, fit, groups=groups)
    formula = leave_one_out(ready, fit, groups=groups, refits="none")
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.SAMPLES", (most,))
    found = [leave_one_out(ready, fit, groups=groups, seed=seed) for seed in range(20)]
    errors = np.array([ours.loss - whole.loss for ours in found])
    scores = errors / [ours.sampling_error for ours in found]
    assert np.abs(scores).max() < 3
    assert 0.5 < scores.std() < 1.5
    assert errors.std() < 0.5 * abs(formula.loss - whole.loss)
    ours = found[0]
    assert (ours.n_refitted, ours.n_flagged) == (most, whole.n_flagged)
    spread = standard_error(ours.losses, ours.share, ours.units)
    assert ours.standard_error == pytest.approx(math.hypot(spread, ours.sampling_error))
    assert whole.sampling_error == 0 < whole.standard_error
    assert leave_one_out(ready, fit, groups=groups).loss == ours.loss  # the seed is 0
    everyone = leave_one_out(ready, fit, groups=groups, refits="all")
    assert everyone.n_refitted == (90 if groups is None else 37)


@pytest.mark.parametrize(("sure", "refitted"), [(1e9, 8), (0.0, 12)])
def test_more_are_refitted_where_a_few_leave_it_unsure(sure, refitted, monkeypatch):
    X, codes = data(n=90, d=4, spread=1.0)
    ready = prepared(X, codes)
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.SAMPLES", (8, 12))
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.SURE", sure)
    found = leave_one_out(ready, ready.fit(1.0))
    assert found.n_refitted == refitted < found.n_flagged


@pytest.mark.parametrize(("compared", "refitted"), [(1e9, 8), (0.0, 12)])
def test_to_compare_fits_a_sample_is_enough(compared, refitted, monkeypatch):
    X, codes = data(n=90, d=4, spread=1.0)
    ready = prepared(X, codes)
    fit = ready.fit(1.0)
    exact = leave_one_out(ready, fit)
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.SAMPLES", (8, 12))
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.COMPARED", compared)
    found = [leave_one_out(ready, fit, rough=True, seed=seed) for seed in range(20)]
    assert {ours.n_refitted for ours in found} == {refitted}
    assert refitted < exact.n_refitted == found[0].n_flagged
    scores = [(ours.loss - exact.loss) / ours.sampling_error for ours in found]
    assert np.abs(scores).max() < 3
    assert np.std(scores) > 0.5
    assert leave_one_out(ready, fit, refits="all", rough=True).n_refitted == 90


def test_the_error_of_a_difference_holds_that_of_its_samples():
    X, codes = data()
    first, other = left(X, codes, 1.0), left(X, codes, 0.1)
    paired = (first.losses - other.losses).numpy().std(ddof=1) / math.sqrt(30)
    assert first.rise_over(other) == (
        pytest.approx(first.loss - other.loss),
        pytest.approx(paired),
    )
    unsure = replace(other, sampling_error=0.3), replace(first, sampling_error=0.4)
    assert unsure[1].rise_over(unsure[0])[1] == pytest.approx(math.hypot(paired, 0.3, 0.4))
    assert unsure[0].rise_over(unsure[0]) == (0.0, 0.0)


def test_what_cannot_work_is_said(monkeypatch):
    X, codes = data()
    with pytest.raises(OptionError, match="needs a penalty, so C below inf"):
        left(np.zeros((30, 1)), codes, C=math.inf)
    with pytest.raises(OptionError, match="smooth penalty"):
        left(X, codes, l1_ratio=0.5)
    with pytest.raises(OptionError, match="penalty on every column"):
        left(X, codes, penalty_factors=[1, 0])
    spill = Spill("test")
    spill.append(X)
    streamed = from_arrays(X, codes)
    object.__setattr__(streamed, "features", spill.rows(2, X.dtype))
    assert "streamed" in obstacle(prepare(streamed))
    assert obstacle(prepared(X, codes)) is None
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.LOGITS_BYTES", 700)
    assert "all logits, and 30 rows of 3 are too many" in obstacle(prepared(X, codes))


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"penalty_factors": True}])
def test_fewer_rows_than_columns_are_left_out_in_their_span(kind, options, monkeypatch):
    """With the figures of all columns; there the Hessian is small enough to be written out."""
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(30, 90)) * 10.0 ** rng.uniform(-1, 1, 90), np.arange(30) % 3
    X[:, :3] += 3 * np.eye(3)[codes]
    if "penalty_factors" in options:
        options = {"penalty_factors": rng.uniform(0.1, 3.0, 90)}
    ready = prepared(kind(X), codes, np.ones(30), **options)
    assert isinstance(ready.in_the_span.design, RowSpan)
    fit = ready.fit(0.01)
    monkeypatch.setattr(module, "WORK", module.work(ready.in_the_span))
    short = leave_one_out(ready, fit, refits="all")
    assert short.n_draws == 0
    monkeypatch.undo()
    monkeypatch.setattr(Prepared, "in_the_span", property(lambda here: here))
    long = leave_one_out(ready, fit, refits="all")
    torch.testing.assert_close(short.losses, long.losses, rtol=1e-6, atol=1e-9)
    assert short.effective_dof == pytest.approx(long.effective_dof, rel=1e-8)
    assert short.effective_dof > 1


def test_where_the_span_costs_too_much_or_says_no_less_the_columns_serve():
    X, codes = data()
    ready = prepared(X, codes)
    assert ready.in_the_span is ready
    mostly_zeros = scipy.sparse.random_array((300, 20_000), density=1e-4, format="csr", rng=0)
    sparse = prepared(mostly_zeros, np.arange(300) % 3)
    assert sparse.in_the_span is not sparse
    wide = scipy.sparse.random_array((1200, 90_000), density=1e-5, format="csr", rng=0)
    assert prepared(wide, np.arange(1200) % 3).in_the_span.design.n_features == 90_000
