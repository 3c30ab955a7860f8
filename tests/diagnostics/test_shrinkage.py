"""The strength of a calibrator's ridge: what is left out is what brute force leaves out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from polylogit.diagnostics import shrinkage
from polylogit.diagnostics.shrinkage import MatrixForm, Shrunk, VectorForm, gain, shrunk

every_form = pytest.mark.parametrize("form", [MatrixForm, VectorForm])


def rows(form, n_rows=40, k=3, seed=0, weights=None):
    """Rows whose classes are mixed up, and offsets that only know how loud they are."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, k))
    z = 2 * x @ (np.eye(k) + 0.3 * rng.normal(size=(k, k))) + rng.normal(size=k)
    codes = (z + rng.gumbel(size=z.shape)).argmax(1)
    codes[:k] = range(k)
    w = np.ones(n_rows) if weights is None else weights
    return form(*(torch.from_numpy(a) for a in (x, x.copy(), codes, w.astype(float))))


def brute_force(form, alpha):
    """Logits (N, K) by as many fits as there are rows."""
    nothing = torch.zeros(3, 3).double(), torch.zeros(3).double()
    logits = torch.empty_like(form.offsets)
    for row in range(len(logits)):
        weights = form.weights.clone()
        weights[row] -= min(1.0, float(weights[row]))
        # the sum of the losses is kept, not their mean: alpha belongs to all rows
        scaled = alpha * float(form.weights.sum() / weights.sum())
        logits[row] = form.logits(form.of_weights(weights).fit(scaled, nothing, 1e-12))[row]
    return logits


@every_form
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.03, 0.001])
def test_leaving_out_is_what_brute_force_finds(form, weighed, alpha):
    weights = np.random.default_rng(5).integers(1, 6, size=40) / 2 if weighed else None
    made = rows(form, weights=weights)
    nothing = torch.zeros(3, 3).double(), torch.zeros(3).double()
    shift = made.fit(alpha, nothing, 1e-9)
    logits, n_flagged = made.left_out(alpha, shift, exact=True)
    truth = brute_force(made, alpha)
    loss, true = (shrinkage.losses(z, made.codes) for z in (logits, truth))
    assert float(loss.mean()) == pytest.approx(float(true.mean()), rel=5e-3)
    assert gain(made, logits) == pytest.approx(gain(made, truth), abs=2e-3)
    torch.testing.assert_close(logits, truth, rtol=0, atol=0.25)
    if alpha == 0.001:
        plain, again = made.left_out(alpha, shift, exact=False)
        moved = (plain != logits).any(1)
        assert 0 < int(moved.sum()) <= n_flagged == again
        torch.testing.assert_close(logits[moved], truth[moved], rtol=0, atol=2e-3)


@every_form
def test_what_is_left_out_does_not_depend_on_where_it_sets_out_from(form):
    made, nothing = rows(form), (torch.zeros(3, 3).double(), torch.zeros(3).double())
    near = made.fit(0.1, nothing, 1e-12)
    (one, _), (other, _) = (made.left_out(0.1, shift, exact=False) for shift in (nothing, near))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-2)


@every_form
def test_the_strength_is_that_of_brute_force(form):
    made = rows(form, n_rows=60)
    gains = {alpha: gain(made, brute_force(made, alpha)) for alpha in shrinkage.STRENGTHS[::2]}
    best = max(gains, key=gains.get)
    found = shrunk(made)
    assert found.judge == "leave-one-out"
    assert found.exact
    assert found.gain >= gains[best] - 1e-3
    assert abs(math.log10(found.alpha / best)) <= 0.5 + 1e-9
    assert found.gain == pytest.approx(gain(made, brute_force(made, found.alpha)), abs=2e-3)


@every_form
def test_where_it_would_take_too_long_five_folds_do(form, monkeypatch):
    made = rows(form, n_rows=200)
    monkeypatch.setattr(form, "feasible", False)
    found = shrunk(made)
    assert found.judge == "5 folds"
    assert found.gain > 0.02
    folds = shrinkage.folds_of(made.codes)
    nothing = torch.zeros(3, 3).double(), torch.zeros(3).double()
    logits = torch.empty_like(made.offsets)
    for fold in range(5):
        part = made.of_weights((folds != fold).double())
        logits[folds == fold] = made.logits(part.fit(found.alpha, nothing, 1e-9))[folds == fold]
    assert found.gain == pytest.approx(gain(made, logits), abs=1e-3)


def test_folds_are_five_and_even_in_every_class():
    codes = torch.arange(53) % 5
    folds = shrinkage.folds_of(codes)
    counts = np.histogram2d(folds, codes, (range(6), range(6)))[0]
    assert np.ptp(counts, 0).max() == 1
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}


@every_form
def test_a_gain_is_by_the_unit_of_weight(form):
    weights = np.random.default_rng(0).integers(1, 5, size=40)
    made, logits = rows(form, weights=weights), torch.randn(40, 3).double()
    copies = torch.from_numpy(weights)
    parts = (part.repeat_interleave(copies, 0) for part in (made.x, made.offsets, made.codes))
    several = form(*parts, torch.ones(int(weights.sum())).double())
    truth = gain(several, logits.repeat_interleave(copies, 0))
    assert gain(made, logits) == pytest.approx(truth)


@every_form
def test_where_nothing_is_to_win_the_offsets_stay_as_they_are(form):
    made = rows(form, n_rows=60)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    found = shrunk(replace(made, offsets=torch.zeros(60, 3).double(), codes=made.codes[shuffled]))
    assert (found.alpha, found.gain) == (math.inf, 0.0)
    assert not bool(found.D.any() or found.c.any())


@every_form
def test_the_shift_that_is_found_is_next_to_the_best_however_rough_the_search(form, monkeypatch):
    monkeypatch.setattr(shrinkage, "CHOOSING", 1e-3)
    made = rows(form, n_rows=60)
    found = shrunk(made)
    D, c = made.fit(found.alpha, (torch.zeros(3, 3).double(), torch.zeros(3).double()), 1e-14)
    away = math.sqrt(float((found.D - D).square().sum() + (found.c - c).square().sum()))
    assert away < 1.1 * math.sqrt(2 * 1e-10 / found.alpha)  # F is so strongly convex


def test_rows_that_are_each_the_last_of_their_class_are_judged_by_folds():
    x = torch.eye(3).double()
    assert not MatrixForm(x, x, torch.arange(3), torch.ones(3).double()).feasible


def test_a_class_without_rows_does_not_hinder_leaving_out():
    made = rows(MatrixForm)
    without = replace(made, codes=torch.where(made.codes == 2, 0, made.codes))
    assert without.feasible
    assert shrunk(without).judge == "leave-one-out"


def test_a_row_that_is_the_last_of_its_class_does_not_count():
    made = rows(MatrixForm)
    codes = torch.where(made.codes == 2, 0, made.codes)
    codes[7] = 2
    made = replace(made, codes=codes)
    nothing = torch.zeros(3, 3).double(), torch.zeros(3).double()
    logits, _ = made.left_out(0.1, made.fit(0.1, nothing, 1e-9), exact=False)
    assert torch.nonzero(logits.isnan().any(1)).flatten().tolist() == [7]
    assert math.isfinite(gain(made, logits))
    assert shrunk(made).gain >= 0


@pytest.mark.parametrize(("form", "least"), [(MatrixForm, 1e3), (VectorForm, 1e3)])
def test_large_problems_are_known_before(form, least):
    x = torch.zeros(10, 1200, dtype=torch.float64)
    made = form(x, x, torch.zeros(10, dtype=torch.int64), torch.ones(10, dtype=torch.float64))
    assert not made.feasible
    assert rows(form).feasible
    assert rows(form).refit > least


class Told:
    """A form whose gains are told: alpha -> (by the formula, exactly)."""

    offsets = torch.zeros(1, 2, dtype=torch.float64)
    codes = torch.zeros(1, dtype=torch.int64)
    weights = torch.ones(1, dtype=torch.float64)
    feasible = True

    def __init__(self, told, refit=1.0, flagged=1):
        self.told, self.refit, self.flagged, self.asked = told, refit, flagged, []

    def fit(self, alpha, start, _tol):
        self.alpha = alpha
        return start

    def left_out(self, alpha, _shift, *, exact):
        self.asked.append((alpha, exact))
        won = self.told.get(alpha, (-1.0, -1.0))[exact]
        loss = math.log(2) - won  # -log p of the row
        logits = torch.tensor([[0.0, math.log(math.expm1(loss))]], dtype=torch.float64)
        return logits, self.flagged


A = shrinkage.STRENGTHS


@pytest.mark.parametrize(
    ("told", "refit", "expected", "refitted"),
    [
        ({A[0]: (0.3, 0.2), A[1]: (0.4, 0.1)}, 1.0, A[0], [A[1], A[0]]),  # the next is asked then
        ({A[0]: (0.3, 0.2), A[1]: (0.4, 0.35)}, 1.0, A[1], [A[1]]),  # sure before the next
        ({A[0]: (0.3, -0.2)}, 1.0, math.inf, [A[0]]),  # nothing is left but the temperature
        ({A[0]: (0.3, -0.2)}, 1e12, A[0], []),  # too many to refit
        ({A[8]: (0.3, 0.3)}, 1.0, A[8], [A[8]]),  # no end before something is better
        ({A[0]: (0.2, 0.2), A[3]: (0.3, 0.3)}, 1.0, A[3], [A[3]]),
        ({A[0]: (0.2, 0.2), A[4]: (0.3, 0.3)}, 1.0, A[0], [A[0]]),  # the path ended before
        ({A[1]: (0.2, 0.2), A[2]: (0.2, 0.2)}, 1.0, A[1], [A[1]]),  # of two alike the stronger
    ],
)
def test_the_best_is_made_sure_before_it_is_taken(told, refit, expected, refitted):
    form = Told(told, refit)
    found = shrunk(form)
    assert isinstance(found, Shrunk)
    assert found.alpha == expected
    assert [alpha for alpha, exact in form.asked if exact] == refitted
    assert found.exact


def test_where_the_formula_reaches_nothing_is_refitted():
    form = Told({A[0]: (0.3, 0.3)}, flagged=0)
    assert shrunk(form).alpha == A[0]
    assert not any(exact for _, exact in form.asked)
