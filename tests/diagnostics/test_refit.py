"""Refits come to rest where the rows that stay want them, however they get there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from left_out import data, logits_of, prepared

from polylogit.diagnostics import optimum, refit
from polylogit.diagnostics.optimum import tighten
from polylogit.diagnostics.refit import Removal, refitted, resolvent, stepped


def removal(units, C=100.0, seed=0):
    X, codes = data(seed)
    ready = prepared(X, codes)
    rows = torch.tensor(units)
    return (
        Removal.of(
            tighten(ready, ready.fit(C)), rows, torch.full(rows.shape, 1 / 30, dtype=torch.float64)
        ),
        X,
        codes,
        C,
    )


def expected(X, codes, C, rows):
    return logits_of(X, codes, C, (~np.isin(np.arange(30), rows)).astype(float), rows)


UNITS = [[[0], [7], [29]], [[0, 1], [11, 17]], [list(range(3, 15))]]


@pytest.mark.parametrize("units", UNITS)
def test_the_hessian_without_a_unit_is_that_of_the_rows_that_stay(units):
    one, *_ = removal(units)
    factor, identity = one.optimum.factor, torch.eye(len(one.optimum.factor)).double()
    columns = [one.solve(row.repeat(len(units), 1)) for row in identity]
    full = factor @ factor.T
    for unit, rows in enumerate(units):
        left = without(one.optimum, rows)
        there = left.curvature(left.evaluate(one.optimum.point)).matrix()
        inverse = torch.stack(columns, 2)[unit]
        np.testing.assert_allclose(inverse @ there, identity, atol=1e-6)  # H is of a point close by
        share = torch.linalg.eigvals(torch.linalg.solve(full, full - there)).real.max()
        assert float(one.influence[unit]) == pytest.approx(float(share), rel=1e-6)


def without(optimum, rows):
    weights = optimum.objective.weights.clone()
    weights[rows] = 0
    return replace(optimum.objective, weights=weights)


@pytest.mark.parametrize(("fast", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("units", UNITS)
def test_the_gradient_is_that_of_the_rows_that_stay(units, fast, within, monkeypatch):
    monkeypatch.setattr(optimum, "FAST", fast)
    monkeypatch.setattr(optimum, "CELLS", 100)  # several parts
    one, *_ = removal(units)
    moves = torch.linspace(-2, 2, len(units) * len(one.optimum.factor)).double()
    moves = moves.view(len(units), -1)
    start = one.optimum.point
    zero = one.optimum.objective.evaluate(start).gradient  # to rounding, and taken for zero
    for unit, rows in enumerate(units):
        there = without(one.optimum, rows).evaluate(start + moves[unit].view_as(start)).gradient
        expected = (there - zero).flatten()
        np.testing.assert_allclose(one.gradient(moves)[unit], expected, atol=within)


@pytest.mark.parametrize("units", UNITS)
def test_where_all_begin_no_product_with_the_rows_is_needed(units, monkeypatch):
    monkeypatch.setattr(optimum, "FAST", torch.float64)  # in float32 a product may leave rounding
    one, *_ = removal(units)
    nowhere = torch.zeros(len(units), len(one.optimum.factor)).double()
    np.testing.assert_allclose(-one.own(nowhere), one.gradient(nowhere), rtol=1e-12, atol=0)


@pytest.mark.parametrize("C", [0.1, 100.0, 1e5])
@pytest.mark.parametrize("units", UNITS)
def test_refits_are_scikit_learns(units, C):
    one, X, codes, _ = removal(units, C)
    ours = refitted(one)
    for unit, rows in enumerate(units):
        z = ours[unit] - ours[unit].mean(1, keepdim=True)
        np.testing.assert_allclose(z, expected(X, codes, C, rows), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("limit", ["STEPS", "TRIALS"])
def test_a_unit_that_does_not_come_to_rest_is_finished_by_newton(limit, monkeypatch):
    one, *_ = removal([[0], [7], [29]], C=1e5)
    there = refitted(one)
    monkeypatch.setattr(refit, limit, 0)
    np.testing.assert_allclose(refitted(one), there, atol=1e-3)


def test_one_step_is_on_the_way():
    one, *_ = removal([[0], [7], [29]], C=1.0)
    start, end = one.optimum.logits[one.rows], refitted(one)
    assert float((stepped(one) - end).abs().max()) < 0.2 * float((start - end).abs().max())


def test_large_problems_go_in_batches(monkeypatch):
    of = removal([[0]])[0].optimum

    def sizes(*units):
        return [part.stop - part.start for part in refit.batches(*units, of)]

    assert sizes(130, 1) == [64, 64, 2]
    assert sizes(0, 1) == []
    monkeypatch.setattr(refit, "CELLS", 40)  # of 3 classes times 6 entries a row
    assert sizes(3, 1) == [2, 1]
    assert sizes(3, 10) == [1, 1, 1]


def test_the_share_of_one_row_is_taken_out_and_a_large_one_is_cut():
    turn = torch.linalg.qr(torch.arange(4.0).sin().view(2, 2).double())[0]
    values = torch.tensor([[0.1, 0.15], [0.2, 0.4], [0.6, 0.99]]).double()
    shares = turn @ torch.diag_embed(values) @ turn.T
    solved, influence = resolvent(shares, torch.ones(3, 2).double(), 0.8)
    for one, value in zip(solved, values.clamp_max(0.8), strict=True):
        left = turn @ torch.diag(1 - value) @ turn.T
        np.testing.assert_allclose(left @ one, [1, 1], atol=1e-12)
    np.testing.assert_allclose(influence, [0.25, 0.4, 0.99])
