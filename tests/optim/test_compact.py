"""`polylogit.optim.compact`: a second way to the same numbers."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from oracle import small_blocks

from polylogit.design import design_of
from polylogit.optim import compact as module
from polylogit.optim import cost as costs
from polylogit.optim.compact import COMPACT_WORK, CompactObjective, is_compact
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import ElasticNet, Ridge
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Distributions, Labels

SAME = {"rtol": 1e-12, "atol": 1e-14}


def objective(k=3, *, intercept=True, soft=False, offset=False, n=40, d=5, seed=0):
    draw = np.random.default_rng(seed)
    design = design_of(draw.normal(size=(n, d)) * [1e-3, 1, 10, 1e4, 2][:d], centred=intercept)
    rows = torch.from_numpy(draw.dirichlet(np.ones(k), n))
    codes = torch.from_numpy(np.arange(n) % k)
    weights = torch.from_numpy(draw.uniform(0.5, 2, n))
    return SoftmaxObjective(
        design,
        Distributions(rows) if soft else Labels(codes, k, 0.1),
        weights / weights.sum(),
        Ridge(torch.linspace(0.01, 0.2, d).double()),
        k,
        intercept,
        basis=contrast_basis(k),
        offsets=torch.from_numpy(draw.normal(size=(n, k))) if offset else None,
        fast=torch.float64,
    )


CASES = [
    {"k": 2},
    {"k": 3},
    {"k": 4, "intercept": False},
    {"k": 3, "soft": True},
    {"k": 3, "offset": True},
    {"k": 2, "soft": True, "offset": True, "intercept": False},
    {"k": 7, "n": 60},
]


@pytest.fixture(params=CASES, ids=str)
def pair(request):
    plain = objective(**request.param)
    start = plain.start()
    noise = torch.randn(2, *start.shape, generator=torch.Generator().manual_seed(1)).double()
    return plain, CompactObjective.of(plain), start + noise[0], noise[1]


def test_value_gradient_and_logits(pair):
    plain, compact, point, _ = pair
    one, other = plain.evaluate(point), compact.evaluate(point)
    assert one.value == pytest.approx(other.value, rel=1e-13)
    torch.testing.assert_close(other.gradient, one.gradient, **SAME)
    torch.testing.assert_close(other.state, one.state, **SAME)


def test_the_first_point_and_what_is_known_already(pair):
    plain, _, point, _ = pair
    mass, penalised = plain.mass, plain.penalised
    compact = CompactObjective.of(plain, fast=torch.float32)
    assert compact.mass is mass
    assert compact.penalised is penalised
    torch.testing.assert_close(compact.start(), plain.start(), **SAME)
    torch.testing.assert_close(compact.expand(point), plain.expand(point), **SAME)
    gradient = plain.evaluate(point).gradient
    assert compact.energy(gradient) == pytest.approx(plain.energy(gradient), rel=1e-12)


def test_hessian(pair):
    plain, compact, point, direction = pair
    one = plain.curvature(plain.evaluate(point))
    other = compact.curvature(compact.evaluate(point))
    torch.testing.assert_close(other.matrix(), one.matrix(), **SAME)
    torch.testing.assert_close(other.product(direction), one.product(direction), **SAME)


@pytest.mark.parametrize("much", [0, math.inf])
def test_products_are_the_same_whose_ever_they_are(pair, much, monkeypatch):
    plain, compact, point, direction = pair
    monkeypatch.setattr(module, "MUCH", much)
    made = compact.curvature(compact.evaluate(point)).product(direction)
    true = plain.curvature(plain.evaluate(point)).product(direction)
    torch.testing.assert_close(made, true, **SAME)


def test_torch_multiplies_where_there_is_much(pair, monkeypatch):
    _, compact, point, direction = pair
    curvature, calls = compact.curvature(compact.evaluate(point)), []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *both: calls.append(both) or mm(*both))
    curvature.product(direction)
    assert not calls
    monkeypatch.setattr(module, "MUCH", 0)
    curvature.product(direction)
    assert len(calls) == (2 if compact.n_classes > 2 else 1)


def test_a_hessian_of_many_parameters_is_the_large_objectives(pair, monkeypatch):
    plain, compact, point, _ = pair
    monkeypatch.setattr(module, "LARGEST", 1)
    made = compact.curvature(compact.evaluate(point)).matrix()
    true = plain.curvature(plain.evaluate(point)).matrix()
    torch.testing.assert_close(made, true, **SAME)


def test_products_and_matrices_that_steer_may_be_rounded(pair):
    plain, compact, point, direction = pair
    quick = dataclasses.replace(compact, fast=torch.float32)
    one = plain.curvature(plain.evaluate(point))
    other = quick.curvature(quick.evaluate(point))
    for made, true in (
        (other.product(direction), one.product(direction)),
        (other.matrix(), one.matrix()),
    ):
        assert made.dtype == torch.float64
        off = float((made - true).norm() / true.norm())
        assert 1e-12 < off < 1e-6


def test_the_first_models_are_the_diagonals_of_the_classes(pair, monkeypatch):
    monkeypatch.setattr(costs, "MATRICES", 1e9)  # which would take that long
    plain, compact, point, direction = pair
    model = compact.preconditioner(compact.evaluate(point))
    classes = dataclasses.replace(plain, basis=None)
    at = classes.evaluate(plain.expand(point))
    basis, diagonals = plain.basis, classes.curvature(at).diagonal()
    if plain.n_classes == 2:  # whose only contrast has a diagonal of its own
        diagonals = plain.curvature(plain.evaluate(point)).matrix().diagonal()
        expected = diagonals * direction
    else:
        expected = basis.T @ (diagonals * (basis @ direction))
    torch.testing.assert_close(model.curvature(direction), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(model(model.curvature(direction)), direction, rtol=1e-9, atol=1e-11)


def test_a_matrix_once_the_passes_have_taken_as_long(pair):
    plain, compact, point, direction = pair
    compact.tally.passes += 1000
    model = compact.preconditioner(compact.evaluate(point))
    expected = plain.preconditioner(plain.evaluate(point)).curvature(direction)
    torch.testing.assert_close(model.curvature(direction), expected, rtol=1e-11, atol=1e-13)


def test_a_matrix_serves_while_the_rows_curve_about_as_much(pair):
    plain, compact, point, direction = pair
    compact.tally.passes += 1000
    at = compact.evaluate(point)
    compact.preconditioner(at)
    before, near = compact.tally.passes, compact.evaluate(point + 0.01 * direction)
    model = compact.preconditioner(near)
    assert compact.tally.passes == before + 1  # the evaluation
    apart = plain.preconditioner(plain.evaluate(near.point)).curvature(direction)
    torch.testing.assert_close(model.curvature(direction), apart, rtol=0.05, atol=0.05)
    flat, before = compact.evaluate(30 * point), compact.tally.passes  # hardly any row curves F
    compact.preconditioner(flat)
    assert compact.tally.passes == before + 1


def test_rows_in_several_blocks_make_one_matrix(pair, monkeypatch):
    plain, compact, point, _ = pair
    small_blocks(monkeypatch)
    assert len(list(compact.design.blocks(torch.float64))) > 5
    one, other = plain.evaluate(point), compact.evaluate(point)
    torch.testing.assert_close(other.gradient, one.gradient, **SAME)


def test_a_line_and_its_points(pair):
    plain, compact, point, direction = pair
    one = plain.line(plain.evaluate(point), direction)
    other = compact.line(compact.evaluate(point), direction)
    for t in (0.0, 0.3, 2.0):
        assert other.slope(t) == pytest.approx(one.slope(t), rel=1e-11)
        assert other.curvature(t) == pytest.approx(one.curvature(t), rel=1e-11)
    there, here = plain.evaluate(point + 0.3 * direction), other.evaluate(0.3)
    torch.testing.assert_close(here.point, there.point, **SAME)
    torch.testing.assert_close(here.gradient, there.gradient, **SAME)
    assert here.value == pytest.approx(there.value, rel=1e-13)


def test_the_best_bias(pair):
    plain, compact, point, _ = pair
    one = plain.with_best_bias(plain.evaluate(point))
    other = compact.with_best_bias(compact.evaluate(point))
    torch.testing.assert_close(other.point, one.point, rtol=1e-11, atol=1e-12)
    if plain.intercept:
        assert float(other.gradient[:, -1].abs().max()) < 1e-15


def test_what_a_gradient_stands_for(pair):
    plain, compact, point, _ = pair
    gradient = plain.evaluate(point).gradient
    for part in ("energy", "weight_energy", "bias_energy"):
        there = getattr(plain, part)(gradient)
        assert getattr(compact, part)(gradient) == pytest.approx(there, rel=1e-12)


def test_a_column_without_penalty_costs_nothing_until_it_pulls():
    free = Ridge(torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]).double())
    compact = CompactObjective.of(dataclasses.replace(objective(), ridge=free))
    gradient = torch.zeros(2, 6).double()
    gradient[0, 1] = 1.0
    assert compact.energy(gradient) == 0.5
    gradient[1, 0] = 1.0
    assert compact.energy(gradient) == np.inf


def test_a_pass_is_counted_wherever_the_rows_are_read(pair):
    _, compact, point, direction = pair
    before = compact.tally.passes
    at = compact.evaluate(point)
    line = compact.line(at, direction)
    line.slope(0.5)
    assert compact.tally.passes - before == 2
    compact.curvature(at).matrix()
    compact.curvature(at).product(direction)
    compact.preconditioner(at)
    assert compact.tally.passes - before == 5


def test_where_it_is_worth_it():
    assert is_compact(objective())
    assert is_compact(objective(k=5))
    assert is_compact(objective(k=2, n=int(COMPACT_WORK / 10)))
    assert not is_compact(objective(k=2, n=int(COMPACT_WORK / 10) + 1))
    kinked = ElasticNet(torch.ones(5).double(), torch.ones(5).double())
    assert not is_compact(dataclasses.replace(objective(), ridge=kinked))


def test_its_cost_is_that_of_few_rows():
    plain = objective()
    assert CompactObjective.of(plain).cost == dataclasses.replace(plain.cost, compact=True)
