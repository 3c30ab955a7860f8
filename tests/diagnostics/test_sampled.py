"""Sampled leave-one-out agrees with exact leave-one-out as closely as it says."""

import numpy as np
import pytest
import scipy.sparse
import torch
from left_out import data, prepared

from polylogit.choice import choose_C
from polylogit.data.arrays import from_arrays
from polylogit.diagnostics import leave_one_out as exact_module
from polylogit.diagnostics import sampled as sampled_module
from polylogit.diagnostics.leave_one_out import leave_one_out
from polylogit.diagnostics.optimum import tighten
from polylogit.diagnostics.products import settle
from polylogit.diagnostics.sampled import CUT, _effective_dof, _guessed, _parcels
from polylogit.diagnostics.units import units_of


def both(X, codes, C=1.0, groups=None, seed=0, refits="flagged", weights=None, **options):
    """Leave-one-out by draws, and exactly."""
    ready = prepared(X, codes, weights, **options)
    fit = ready.fit(C)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_module, "WORK", 0.0)
        ours = leave_one_out(ready, fit, groups=groups, refits=refits, seed=seed)
    return ours, leave_one_out(ready, fit, groups=groups, refits="all")


def centred(logits):
    return (logits - logits.mean(1, keepdim=True)).numpy()


OPTIONS = [
    {},
    {"fit_intercept": False},
    {"groups": np.arange(30) % 11},
    {"weights": np.random.default_rng(0).uniform(0.5, 3, 30)},
    {"offset": np.random.default_rng(0).normal(size=(30, 3))},
    {"penalty_factors": [1.0, 4.0]},
    {"label_smoothing": 0.1},
    {"class_weight": "balanced"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options), "plain"))
def test_refits_of_all_are_exact(options):
    ours, exact = both(*data(), refits="all", **options)
    np.testing.assert_allclose(centred(ours.logits), centred(exact.logits), atol=0.02)
    assert ours.loss == pytest.approx(exact.loss, rel=3e-3)
    assert ours.loss == pytest.approx(float((ours.losses * ours.share).sum()))
    assert (ours.sampling_error, ours.n_refitted) == (0.0, exact.n_refitted)
    assert ours.standard_error == pytest.approx(exact.standard_error, rel=1e-2)
    assert ours.train_loss == pytest.approx(exact.train_loss, rel=1e-3)


def test_sparse_rows_are_dense_rows():
    X, codes = data()
    X = np.where(np.abs(X) > 1, X, 0)
    (dense, _), (sparse, _) = both(X, codes), both(scipy.sparse.csr_array(X), codes)
    np.testing.assert_allclose(sparse.logits, dense.logits, atol=1e-3)


@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("groups", [None, np.arange(60) % 29])
def test_with_all_of_the_leverages_the_formula_is_the_exact_one(groups, C):
    X, codes = data(n=60)
    ready = prepared(X, codes)
    fit = ready.fit(C)
    exact = leave_one_out(ready, fit, groups=groups, refits="none")
    optimum, operator, units = tighten(ready, fit), settle(ready, fit), units_of(ready, groups)
    half = torch.linalg.inv(optimum.factor).T.reshape(2, 3, 6)
    roots = torch.einsum("nd,mdp,km->nkp", optimum.rows, half, optimum.basis).float()
    logits, influence = _guessed(operator, roots, units)
    np.testing.assert_array_less(influence, CUT)
    assert float((logits - operator.logits).abs().max()) > 0.05
    np.testing.assert_allclose(centred(logits), centred(exact.logits), atol=2e-3)
    assert _effective_dof(operator, roots) == pytest.approx(exact.effective_dof, rel=1e-4)


@pytest.mark.parametrize("C", [0.1, 1.0])
def test_the_mean_is_right_on_average_and_as_sure_as_it_says(C, monkeypatch):
    monkeypatch.setattr(sampled_module, "PARCELS", 20)  # of one row each
    X, codes = data(n=90, d=4)
    ready = prepared(X, codes)
    fit = ready.fit(C)
    exact = leave_one_out(ready, fit, refits="all")
    monkeypatch.setattr(exact_module, "WORK", 0.0)
    found = [leave_one_out(ready, fit, seed=seed) for seed in range(30)]
    errors = np.array([ours.loss - exact.loss for ours in found])
    scores = errors / [ours.sampling_error for ours in found]
    assert abs(errors.mean()) < 3 * errors.std() / 30**0.5
    assert (np.abs(scores) < 3).mean() > 0.95
    assert 0.7 < scores.std() < 1.4
    assert np.abs(errors).max() < 0.1 * exact.loss
    ours = found[0]
    assert ours.n_refitted == 20
    assert ours.standard_error > ours.sampling_error > 0


def test_a_row_that_is_refitted_is_exact_and_the_seed_says_which():
    X, codes = data(n=90)
    (first, exact), (again, _), (other, _) = both(X, codes), both(X, codes), both(X, codes, seed=1)
    np.testing.assert_array_equal(first.logits, again.logits)
    assert (first.loss, first.sampling_error) == (again.loss, again.sampling_error)
    assert other.loss != first.loss
    near = np.abs(centred(first.logits) - centred(exact.logits)).max(1) < 1e-3
    assert near.sum() >= first.n_refitted == 4


def test_a_class_of_one_row_is_never_left_out():
    X, codes = data()
    codes[5] = 3
    ours, exact = both(X, codes)
    assert ours.excluded == exact.excluded == (5,)
    assert bool(ours.logits[5].isnan().all())
    assert ours.loss == pytest.approx(exact.loss, abs=5 * ours.standard_error)


def test_no_parcel_takes_more_than_half_of_a_class():
    X, codes = data(n=60)
    codes[:4], codes[4:] = 3, np.arange(56) % 3
    ready = prepared(X, codes)
    chosen = torch.tensor([0, 1, 2, 3, *range(10, 50)])
    rows, parcel = _parcels(ready, units_of(ready, None), chosen, apart=False)
    assert rows.tolist() == chosen.tolist()
    assert parcel.unique().tolist() == [0, 1, 2, 3]
    assert parcel[:4].unique().tolist() == [0, 1, 2, 3]
    groups = np.r_[np.zeros(2), np.ones(2), 2 + np.arange(56)]
    units = units_of(ready, groups)
    rows, parcel = _parcels(ready, units, torch.arange(units.count), apart=False)
    assert len(rows) == 60
    for k in parcel.unique():
        own = rows[parcel == k]
        assert (codes[own] == 3).sum() <= 2
    apart = _parcels(ready, units_of(ready, None), chosen, apart=True)[1]
    assert len(apart.unique()) == len(chosen)


def test_a_path_is_chosen_from_by_draws_too(monkeypatch):
    X, codes = data(n=90, d=4)
    rows, Cs = from_arrays(X, codes), (0.001, 0.1, 10.0)
    exact = choose_C(rows, Cs)
    monkeypatch.setattr(exact_module, "WORK", 0.0)
    ours = choose_C(rows, Cs)
    for line, true in zip(ours.table, exact.table, strict=True):
        assert abs(line.loss - true.loss) < 3 * line.standard_error
        assert line.rise_error >= 0
    assert ours.left_out.n_draws == sampled_module.DRAWS
    lowest = min(ours.table, key=lambda line: line.loss)
    assert (lowest.rise, lowest.rise_error) == (0.0, 0.0)
