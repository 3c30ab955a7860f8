"""F along a line equals autograd along it; the bias follows where that costs no pass."""

from dataclasses import replace

import pytest
import torch
from oracle import KINDS, ROWS, probabilities, problem, random_point, value

from polylogit.optim import sums as sums_module
from polylogit.optim.bias import BiasCurvature


def test_a_line_is_the_objective_along_it(p, blocks):
    point, direction = random_point(p), random_point(p, seed=7)
    line = p.objective.line(p.objective.evaluate(point), direction)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    truth = value(p, point + t * direction)
    (slope,) = torch.autograd.grad(truth, t, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, t)
    assert line.slope(0.7) == pytest.approx(slope.item(), rel=1e-10, abs=1e-13)
    if p.objective.keeps_logits:
        assert line.curvature(0.7) == pytest.approx(curvature.item(), rel=1e-10, abs=1e-13)
    there, weights = line.evaluate(0.7), slice(0, p.objective.design.n_features)
    on_line = (point + 0.7 * direction)[:, weights]
    torch.testing.assert_close(there.point[:, weights], on_line, rtol=0, atol=0)
    again = p.objective.evaluate(there.point)
    assert there.value == pytest.approx(again.value, rel=1e-13)
    torch.testing.assert_close(there.gradient, again.gradient, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(probabilities(there), probabilities(again), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS)
def test_a_line_of_rows_that_weigh_the_same(kind, rows, blocks):
    test_a_line_is_the_objective_along_it(problem(kind, rows=rows, alike=True), blocks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_on_a_line_the_bias_follows_the_weights(rows, blocks, intercept, dtype):
    p = problem(intercept=intercept, rows=rows)
    objective = replace(p.objective, dtype=dtype, bias_curvature=BiasCurvature())
    start = replace(p.objective, dtype=dtype).balanced(random_point(p))
    direction = 0.1 * random_point(p, seed=7)
    line, point = objective.line(start, direction), start.point
    passes = objective.tally.passes
    there, on_line = line.evaluate(0.7), point + 0.7 * direction
    assert objective.tally.passes == passes + 1
    if not (intercept and objective.keeps_logits):  # where it would cost passes it does not
        torch.testing.assert_close(there.point, on_line, rtol=0, atol=0)
        return
    torch.testing.assert_close(there.point[:, :-1], on_line[:, :-1], rtol=0, atol=0)
    without = p.objective.evaluate(on_line)
    assert there.value < without.value
    assert there.value == pytest.approx(p.objective.balanced(on_line).value, rel=1e-6)
    left, before = (at.gradient[:, -1].abs().max() for at in (there, without))
    assert float(left) <= 1e-3 * float(before)


def test_the_bias_does_not_follow_where_classes_are_many(monkeypatch):
    monkeypatch.setattr(sums_module, "FEW_BESIDE", 2)
    p = problem()
    point, direction = random_point(p), random_point(p, seed=7)
    assert p.objective.n_classes > max(2, p.objective.design.n_features // 2)
    there = p.objective.line(p.objective.evaluate(point), direction).evaluate(0.7)
    torch.testing.assert_close(there.point, point + 0.7 * direction, rtol=0, atol=0)


def test_where_no_logits_are_kept_a_trial_costs_a_pass_and_the_step_none():
    p = problem(rows="stored")
    at = p.objective.evaluate(p.objective.start())
    line = p.objective.line(at, random_point(p, seed=2))
    line.slope(1.0)
    assert p.objective.tally.passes == 2
    line.evaluate(1.0)
    assert p.objective.tally.passes == 2
    line.evaluate(0.5)
    assert p.objective.tally.passes == 3


def test_where_no_logits_are_kept_the_curvature_is_that_between_the_last_two_trials():
    p = problem(rows="stored")
    line = p.objective.line(p.objective.evaluate(random_point(p)), random_point(p, seed=7))
    slopes = [float((line.evaluate(t).gradient * line.direction).sum()) for t in (0.0, 0.7, 0.4)]
    for t, between in ((0.7, (slopes[1] - slopes[0]) / 0.7), (0.4, (slopes[2] - slopes[1]) / -0.3)):
        for _ in range(2):  # asked again, the answer is the same
            assert line.curvature(t) == pytest.approx(between, rel=1e-9)
