"""Newton-CG on problems that are no softmax at all."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from toys import Bowl, LogCosh

from polylogit.optim import newton_cg as module
from polylogit.optim import problem as problem_module
from polylogit.optim.newton_cg import conjugate_gradients, newton_cg


@pytest.mark.parametrize("few", [0, 10_000])
def test_conjugate_gradients_solve_the_system(few, monkeypatch):
    monkeypatch.setattr(module, "FORCING", 1e-12)
    monkeypatch.setattr(problem_module, "FEW", few)
    bowl = Bowl(seed=0)
    at = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    step, _ = conjugate_gradients(
        bowl.curvature(at), bowl.preconditioner(at), at.gradient, torch.float64
    )
    torch.testing.assert_close(step, bowl.solution, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fast", [torch.float32, torch.float64])
def test_the_residual_falls_as_far_as_was_asked(fast):
    bowl = Bowl(seed=3)
    at = bowl.evaluate(torch.ones(2, 3, dtype=torch.float64))
    curvature, precondition = bowl.curvature(at), bowl.preconditioner(at)
    step, _ = conjugate_gradients(curvature, precondition, at.gradient, fast)
    left = at.gradient + curvature.product(step)
    size = (left * precondition(left)).sum() / (at.gradient * precondition(at.gradient)).sum()
    assert float(size) <= module.FORCING**2 * 1.001
    assert float((step * at.gradient).sum()) < 0


@pytest.mark.parametrize("fast", [torch.float32, torch.float64])
def test_numpy_and_torch_find_the_same(fast, monkeypatch):
    bowl = Bowl(seed=4)
    at = bowl.evaluate(torch.ones(2, 3, dtype=torch.float64))
    curvature, precondition = bowl.curvature(at), bowl.preconditioner(at)
    by_numpy = conjugate_gradients(curvature, precondition, at.gradient, fast)
    monkeypatch.setattr(problem_module, "FEW", 0)
    step, products = conjugate_gradients(curvature, precondition, at.gradient, fast)
    assert products == by_numpy[1]
    torch.testing.assert_close(step, by_numpy[0], rtol=1e-6, atol=0)


def test_a_vanished_gradient_gives_no_direction():
    bowl = Bowl(seed=0)
    at = bowl.evaluate(bowl.solution)
    nothing = torch.zeros_like(at.gradient)
    step, _ = conjugate_gradients(
        bowl.curvature(at), bowl.preconditioner(at), nothing, torch.float32
    )
    assert torch.equal(step, nothing)


class Exact:
    """The inverse of a Hessian."""

    def __init__(self, hessian):
        self.hessian = hessian

    def __call__(self, residual):
        return torch.linalg.solve(self.hessian, residual.reshape(-1)).reshape(residual.shape)

    def curvature(self, direction):
        return (self.hessian @ direction.reshape(-1)).reshape(direction.shape)


def test_where_the_preconditioner_is_the_hessian_one_product_is_enough():
    bowl, asked = Bowl(seed=1), []
    at = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    counted = SimpleNamespace(product=lambda d: asked.append(d) or bowl.curvature(at).product(d))
    step, products = conjugate_gradients(counted, Exact(bowl.A), at.gradient, torch.float64)
    torch.testing.assert_close(step, bowl.solution, rtol=1e-9, atol=1e-9)
    assert products == len(asked) == 1


@pytest.mark.parametrize("most", [1, 3])
def test_a_step_takes_no_more_products_than_it_may(most, monkeypatch):
    monkeypatch.setattr(module, "FORCING", 1e-12)
    bowl, asked = Bowl(seed=1), []
    first = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    product = bowl.curvature(first).product
    bowl.curvature = lambda _: SimpleNamespace(product=lambda d: asked.append(d) or product(d))
    assert next(newton_cg(bowl, first, most=most)).value < first.value
    assert len(asked) == most


def renewals(dear, steps=9):
    toy, made = LogCosh(), []

    def exact(at):
        made.append(at)
        return Exact(toy.hessian(at.point))

    toy.preconditioner = exact
    *_, last = itertools.islice(newton_cg(toy, toy.evaluate(toy.far), dear=dear), steps)
    assert last.value - toy.lowest < 1e-10
    return len(made)


def test_a_preconditioner_is_renewed_once_products_have_cost_as_much():
    assert renewals(0) == 9  # which is every step
    assert 1 < renewals(6) < 9
    assert renewals(math.inf) == 1


def test_float32_steering_still_reaches_the_float64_optimum():
    toy = LogCosh()
    points = newton_cg(toy, toy.evaluate(toy.far), torch.float32)
    values = [point.value for point in itertools.islice(points, 30)]
    assert values[-1] - toy.lowest < 1e-14
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("few", [0, 10_000])
def test_damping_solves_the_damped_system(few, monkeypatch):
    monkeypatch.setattr(problem_module, "FEW", few)
    monkeypatch.setattr(module, "FORCING", 1e-12)
    bowl = Bowl(seed=2)
    at = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    M = bowl.preconditioner(at)
    step, _ = conjugate_gradients(bowl.curvature(at), M, at.gradient, torch.float64, 0.5)
    left = at.gradient + bowl.curvature(at).product(step) + 0.5 * M.curvature(step)
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-9)
