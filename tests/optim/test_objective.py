"""Value, gradient, Hessian and lines equal autograd on the user's own, unscaled features."""

import itertools
from dataclasses import replace

import pytest
import torch
from oracle import KINDS, problem, random_point, value

from polylogit import design as design_module
from polylogit.optim import objective as objective_module

CASES = [
    {"kind": kind, "intercept": intercept, "contrasts": contrasts, "sparse": sparse}
    for kind, intercept, contrasts, sparse in itertools.product(
        KINDS, (True, False), (True, False), (True, False)
    )
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case.values())))
def p(request):
    return problem(**request.param)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        monkeypatch.setattr(design_module, "BLOCK_BYTES", 1)
        monkeypatch.setattr(design_module, "SPARSE_BLOCK", 1)
        monkeypatch.setattr(design_module, "SMALLEST_BLOCK", 7)
        monkeypatch.setattr(objective_module, "CHUNK_ELEMENTS", 10)
        monkeypatch.setattr(objective_module, "PRODUCT_BYTES", 1)


def test_value_and_gradient(p, blocks):
    point = random_point(p).requires_grad_()
    truth = value(p, point)
    (gradient,) = torch.autograd.grad(truth, point)
    ours = p.objective.evaluate(point.detach())
    assert ours.value == pytest.approx(truth.item(), rel=1e-13)
    torch.testing.assert_close(ours.gradient, gradient, rtol=1e-11, atol=1e-13)


def test_hessian_product_and_matrix(p, blocks):
    point = random_point(p)
    truth = torch.autograd.functional.hessian(lambda v: value(p, v), point)
    size = point.numel()
    at = p.objective.evaluate(point)
    curvature = p.objective.curvature(at)
    direction = random_point(p, seed=5)
    expected = (truth.reshape(size, size) @ direction.reshape(-1)).reshape(point.shape)
    torch.testing.assert_close(curvature.product(direction), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        curvature.matrix(), truth.reshape(size, size), rtol=1e-10, atol=1e-12
    )


def test_a_line_is_the_objective_along_it(p, blocks):
    point, direction = random_point(p), random_point(p, seed=7)
    line = p.objective.line(p.objective.evaluate(point), direction)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    truth = value(p, point + t * direction)
    (slope,) = torch.autograd.grad(truth, t, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, t)
    ours = line.derivatives(0.7)
    assert ours == (
        pytest.approx(slope.item(), rel=1e-10, abs=1e-13),
        pytest.approx(curvature.item(), rel=1e-10, abs=1e-13),
    )
    there = line.evaluate(0.7)
    again = p.objective.evaluate(point + 0.7 * direction)
    assert there.value == pytest.approx(again.value, rel=1e-13)
    torch.testing.assert_close(there.gradient, again.gradient, rtol=1e-10, atol=1e-13)


def test_the_best_bias_balances_every_class():
    p = problem()
    at = p.objective.evaluate(random_point(p))
    best = p.objective.with_best_bias(at)
    _, left = p.objective.split_gradient(best.gradient)
    assert float(left.abs().max()) < 1e-15
    assert best.value < at.value
    torch.testing.assert_close(best.point[:, :-1], at.point[:, :-1], rtol=0, atol=0)


def test_a_balanced_evaluation_is_the_best_bias_at_the_price_of_one():
    p = problem()
    point = random_point(p)
    best = p.objective.with_best_bias(p.objective.evaluate(point))
    found = p.objective.evaluate_balanced(point)
    torch.testing.assert_close(found.point, best.point, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.gradient, best.gradient, rtol=1e-9, atol=1e-14)
    assert found.value == pytest.approx(best.value, rel=1e-14)
    truth = p.objective.evaluate(found.point)
    torch.testing.assert_close(found.gradient, truth.gradient, rtol=1e-9, atol=1e-14)
    assert found.value == pytest.approx(truth.value, rel=1e-14)
    passes = p.objective.tally.passes
    assert p.objective.with_best_bias(found) is found  # nothing is left to balance
    assert p.objective.tally.passes == passes


def test_the_start_is_the_best_model_that_sees_no_feature():
    p = problem()
    at = p.objective.evaluate(p.objective.start())
    _, bias = p.objective.split_gradient(at.gradient)
    assert float(bias.abs().max()) < 1e-15


def test_the_two_sums_of_two_shards_are_the_sum():
    """`reduce` is all that sharding needs: it is handed one flat partial sum per loop."""
    p = problem()
    point = random_point(p)
    whole = p.objective.evaluate(point)
    seen = []
    spied = replace(p.objective, reduce=lambda partial: seen.append(partial.clone()) or partial)
    assert spied.evaluate(point).value == whole.value
    doubled = replace(p.objective, reduce=lambda partial: 2 * partial).evaluate(point)
    penalty = p.objective.ridge.value(p.objective.split(point)[0])
    assert doubled.value - penalty == pytest.approx(2 * (whole.value - penalty), rel=1e-13)
    assert len(seen) == 1


def test_passes_are_counted():
    p = problem()
    at = p.objective.evaluate(p.objective.start())
    assert p.objective.tally.passes == 1
    p.objective.curvature(at).product(at.point)
    assert p.objective.tally.passes == 2


def test_float32_products_steer_close_to_float64():
    p = problem()
    at = p.objective.evaluate(random_point(p))
    direction = random_point(p, seed=3)
    fast = replace(p.objective, fast=torch.float32).curvature(at).product(direction)
    torch.testing.assert_close(
        fast, p.objective.curvature(at).product(direction), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_the_preconditioner_is_the_inverse_of_the_mean_curvature(sparse):
    p = problem(sparse=sparse)
    objective = p.objective
    at = objective.evaluate(objective.start())
    X = torch.cat([b.dense() for b in objective.design.blocks(torch.float64)])
    X = torch.cat([X, torch.ones(len(X), 1, dtype=torch.float64)], 1)
    P = torch.softmax(at.state, 1)
    w = objective.weights * (1 - P.square().sum(1)) / 2
    expected = X.T @ (w[:, None] * X) + torch.diag(objective.ridge_columns())
    R = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        objective.preconditioner(at)(R), R @ torch.linalg.inv(expected), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("contrasts", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_wide_designs_are_preconditioned_by_their_diagonal(monkeypatch, contrasts, sparse):
    p = problem(contrasts=contrasts, sparse=sparse)
    at = p.objective.evaluate(random_point(p))
    full = p.objective.curvature(at).matrix().diagonal().reshape(at.point.shape)
    monkeypatch.setattr(objective_module, "WIDEST_GRAM", 1)
    diagonal = p.objective.preconditioner(at).diagonal
    if contrasts:  # the diagonal in the coordinates of the classes, carried over
        basis = p.objective.basis
        everything = replace(p.objective, basis=None)
        full = everything.curvature(at).matrix().diagonal().reshape(3, -1)
        ridge = p.objective.ridge_columns()
        full = basis.square().T @ (full - ridge) + ridge
    torch.testing.assert_close(diagonal, full, rtol=1e-12, atol=0)


def test_an_evaluation_of_another_problem_is_refused():
    p = problem()
    at = replace(p.objective.evaluate(p.objective.start()), state=None)
    with pytest.raises(TypeError, match="another problem"):
        p.objective.curvature(at)


def test_the_best_bias_is_found_even_where_every_row_is_saturated():
    logits = torch.tensor([[900.0, 0.0], [0.0, 900.0], [900.0, 0.0]], dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    mass = torch.tensor([0.5, 0.5], dtype=torch.float64)
    shift = objective_module.best_bias_shift(logits, mass, weights, steps=2000)
    p = torch.softmax(logits + shift, 1)
    assert float((weights @ p - mass).abs().max()) < 1e-12
