"""`polylogit.optim.decrement`: what slope and curvature at one point prove, and where not."""

import itertools
import math

import pytest
import torch
from oracle import optimum, problem, random_point

from polylogit.optim.decrement import NEGLIGIBLE, Decrement, decrement_bound, newton_decrement


def of(p, at):
    (block,) = p.objective.design.blocks(torch.float64)
    rows = torch.cat([block.dense(), torch.ones(p.objective.design.n_rows, 1)], 1)
    hessian = p.objective.curvature(at).matrix()
    return newton_decrement(hessian, at.gradient.flatten(), rows.double().split(7))


def test_the_series_meets_the_closed_form():
    for q in (0.9e-3, 1.1e-3):
        closed = (q + (1 - q) * math.log1p(-q)) / 4.0
        assert decrement_bound(q / 2, 2.0) == pytest.approx(closed, rel=2e-6)
        assert decrement_bound(q / 2, 2.0) >= closed * (1 - 1e-9)
    assert math.isinf(decrement_bound(1.0, 1.0))


def test_a_slope_that_rounding_could_have_hidden_proves_nothing():
    eps = 2.0**-52
    assert math.isinf(decrement_bound(0.0, 1 / math.sqrt(eps)))
    assert decrement_bound(0.0, 1e6) >= 0.5 * (eps * 1e6) ** 2
    assert decrement_bound(0.0, 1.0) < 1e-28


def test_step_and_size_are_those_of_newton():
    p = problem(alpha=1e-3, contrasts=True)
    at = p.objective.evaluate(random_point(p))
    left = of(p, at)
    hessian, gradient = p.objective.curvature(at).matrix(), at.gradient.flatten()
    torch.testing.assert_close(hessian @ left.step, gradient)
    assert left.size**2 == pytest.approx(float(gradient @ left.step))


def test_the_spread_is_that_of_the_worst_direction():
    p = problem(alpha=1e-2, contrasts=True)
    at = p.objective.evaluate(random_point(p))
    left, hessian = of(p, at), p.objective.curvature(at).matrix()
    found = 0.0
    for seed in range(200):
        direction = random_point(p, seed=seed, size=1.0)
        length = math.sqrt(float(direction.flatten() @ hessian @ direction.flatten()))
        change = p.objective.line(at, direction).change
        found = max(found, float((change.amax(1) - change.amin(1)).max()) / length)
    assert 0.2 * left.spread < found <= left.spread


def test_the_reach_of_the_columns_spares_the_rows_where_it_says_enough():
    p = problem(alpha=1e-2, contrasts=True)
    at = p.objective.evaluate(random_point(p))
    hessian, gradient = p.objective.curvature(at).matrix(), at.gradient.flatten()
    reach = p.objective.design.reach
    assert reach is not None
    reach = torch.cat([reach, torch.ones(1).double()])
    rows = torch.cat([block.dense() for block in p.objective.design.blocks(torch.float64)])
    assert bool((rows.abs().amax(0) <= reach[:-1]).all())
    torch.testing.assert_close(rows.abs().amax(0), reach[:-1])

    exact = of(p, at)
    close = newton_decrement(hessian, 1e-6 * gradient, iter(()), reach)
    inverse = torch.linalg.inv(hessian)
    parts = inverse.view(-1, len(reach), len(inverse) // len(reach), len(reach))
    shared = sum(parts[a, :, a] for a in range(len(parts)))
    corners = reach * torch.tensor(list(itertools.product([-1.0, 1.0], repeat=len(reach)))).double()
    worst = float(((corners @ shared) * corners).sum(1).max())
    assert close.spread >= max(exact.spread, math.sqrt(2 * worst) * (1 - 1e-12))
    assert close.size == pytest.approx(1e-6 * exact.size)
    assert close.bound == pytest.approx(0.5 * close.size**2, rel=0.01)

    bordered = torch.cat([rows, torch.ones(len(rows), 1).double()], 1)
    far = newton_decrement(hessian, gradient, [bordered], reach)
    assert far.spread == pytest.approx(exact.spread)


def test_a_reach_that_rounding_makes_useless_is_not_taken():
    rows, hessian = torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[1e-12]]).double()
    gradient, reach = torch.tensor([1e-16]).double(), torch.tensor([20.0]).double()
    exact = newton_decrement(hessian, gradient, [rows])
    found = newton_decrement(hessian, gradient, [rows], reach)
    assert math.isfinite(exact.bound)
    assert found.size * math.sqrt(2) * 20 / 1e-6 <= NEGLIGIBLE  # but for rounding
    assert found.bound == exact.bound


def test_the_damped_step_falls_from_anywhere():
    p = problem(alpha=1e-2, contrasts=True)
    at, best = p.objective.evaluate(random_point(p, size=10.0)), optimum(p)
    for _ in range(60):
        left = of(p, at)
        ahead = p.objective.evaluate(at.point - left.damped * left.step.view_as(at.point))
        assert ahead.value < at.value or at.value - best < 1e-12
        at = ahead
    assert at.value - best < 1e-12
    assert Decrement(left.step, 0.0, 1.0).damped == 1.0


@pytest.mark.parametrize("between", [1.0, 1 - 1e-12])
def test_what_curves_too_little_proves_nothing(between):
    hessian = torch.tensor([[1.0, between], [between, 1.0]], dtype=torch.float64)
    gradient, rows = torch.ones(2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    assert newton_decrement(hessian, gradient, [rows]) is None
    assert newton_decrement(torch.eye(2, dtype=torch.float64), gradient, [rows]) is not None


def test_columns_that_never_meet_leave_a_proof():
    """Their entry of H is 0 exactly, that of L L' is rounding: 1e-17 is no fault of the factor."""
    category = torch.eye(3, dtype=torch.float64)[torch.arange(60) % 3]
    number = torch.sin(torch.arange(60, dtype=torch.float64))[:, None]
    rows = torch.cat([number, category], 1)
    hessian = rows.T @ rows / 60
    found = newton_decrement(hessian, torch.full((4,), 1e-6, dtype=torch.float64), [rows])
    assert found is not None
    torch.testing.assert_close(hessian @ found.step, torch.full_like(found.step, 1e-6))
