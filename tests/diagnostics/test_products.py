"""Products with the Hessian are worth the Hessian: draws and refits."""

import numpy as np
import pytest
import torch
from left_out import data, logits_of, prepared

from polylogit.diagnostics import products
from polylogit.diagnostics.optimum import tighten
from polylogit.diagnostics.products import (
    _advanced,
    conjugate,
    leverage_roots,
    refitted_parcels,
    settle,
)


def operator(C=10.0, seed=0, **options):
    X, codes = data(seed)
    ready = prepared(X, codes, **options)
    fit = ready.fit(C)
    return settle(ready, fit), tighten(ready, fit), X, codes


@pytest.mark.parametrize("intercept", [True, False])
def test_products_are_those_of_the_hessian_written_out(intercept):
    one, optimum, *_ = operator(fit_intercept=intercept)
    E, size = optimum.basis, 2 + intercept
    coordinates = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2, size)))
    hessian = optimum.factor @ optimum.factor.T
    expected = E @ (coordinates.flatten(1) @ hessian).view_as(coordinates)
    shares = one.objective.weights.float()[:, None]
    found = one.product((E @ coordinates).float(), one.probabilities[:, None], shares)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert one.shape == (3, size)


@pytest.mark.parametrize("tol", [0.1, 1e-9])
def test_a_fit_is_brought_to_its_optimum(tol):
    loose, optimum, *_ = operator(tol=tol, solver="lbfgs")
    np.testing.assert_allclose(loose.logits, optimum.logits, atol=5e-3)
    np.testing.assert_allclose(loose.aims, optimum.aims)


def test_each_solve_ends_where_its_residual_is_small():
    rng = np.random.default_rng(0)
    roots = torch.from_numpy(rng.normal(size=(4, 6, 6)))
    matrices = roots @ roots.mT + torch.eye(6).double()
    x = torch.from_numpy(rng.normal(size=(4, 2, 3)))

    def product(directions):
        return (matrices @ directions.view(4, 6, 1)).view(4, 2, 3)

    for enough, within in ((1e-9, 1e-7), (0.3, 1.0)):
        found = conjugate(product, lambda residual: residual, product(x), enough)
        np.testing.assert_allclose(found, x, atol=within * float(x.abs().max()))
    np.testing.assert_array_equal(conjugate(product, lambda r: r, 0 * x, 1e-3), 0 * x)


@pytest.mark.parametrize("at_once", [700, 10_000])
def test_draws_have_the_inverse_hessian_for_their_covariance(at_once, monkeypatch):
    one, optimum, *_ = operator()
    count = 4000
    monkeypatch.setattr(products, "CELLS", at_once * one.logits.numel())
    roots = leverage_roots(one, count, seed=0).double()
    inverse = optimum.inverse.view(2, 3, 2, 3)
    exact = torch.einsum("nd,kdle,ne->nkl", optimum.rows, inverse, optimum.rows)
    exact = optimum.basis @ exact @ optimum.basis.T
    sizes = exact.diagonal(dim1=1, dim2=2).sqrt()
    error = (2 / count) ** 0.5 * sizes[:, :, None] * sizes[:, None, :]
    np.testing.assert_array_less((roots @ roots.mT - exact).abs(), 5 * error)


def test_the_seed_says_what_is_drawn():
    one, *_ = operator()
    first, other = leverage_roots(one, 6, seed=0), leverage_roots(one, 6, seed=1)
    assert float((first - other).abs().max()) > 0.1
    np.testing.assert_array_equal(leverage_roots(one, 6, seed=0), first)


PARCELS = [[0], [7], [29], [1, 2, 3, 4], list(range(8, 14))]


def parcels_of(units, weights):
    rows = torch.tensor([row for rows in units for row in rows])
    parcel = torch.tensor([k for k, rows in enumerate(units) for _ in rows])
    return rows, parcel, torch.full(rows.shape, 1 / weights.sum()).double()


@pytest.mark.parametrize("at_once", [1, 100])
@pytest.mark.parametrize("C", [0.1, 10.0, 100.0])
def test_refits_are_scikit_learns_fits_without_the_parcel(C, at_once, monkeypatch):
    X, codes = data()
    weights = np.ones(30)
    weights[7] = 2.0  # of which one leaves
    ready = prepared(X, codes, weights)
    one = settle(ready, ready.fit(C))
    monkeypatch.setattr(products, "CELLS", at_once * one.logits.numel())
    rows, parcel, removed = parcels_of(PARCELS, weights)
    found = refitted_parcels(one, rows, parcel, removed)
    for k, left in enumerate(PARCELS):
        rest = weights.copy()
        rest[left] -= 1
        z = found[parcel == k] - found[parcel == k].mean(1, keepdim=True)
        theirs, whole = logits_of(X, codes, C, rest, left), one.logits[left]
        moved = np.abs(theirs - (whole - whole.mean(1, keepdim=True)).numpy()).max()
        np.testing.assert_allclose(z, theirs, atol=0.03 * moved)


def test_a_step_that_leads_too_far_is_shortened():
    class Slope:
        def gradient(self, moves):
            return torch.tanh(moves), moves + 1

    start = torch.tensor([3.0, 0.1]).view(2, 1, 1)
    direction = torch.tensor([-12.0, -0.1]).view(2, 1, 1)
    moves, gradient, there = _advanced(Slope(), start, torch.tanh(start), direction)
    np.testing.assert_allclose(moves.flatten(), [0, 0], atol=1e-2)
    np.testing.assert_allclose(gradient, torch.tanh(moves))
    np.testing.assert_allclose(there, moves + 1)
