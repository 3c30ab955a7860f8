"""Value and gradient equal autograd on the user's own, unscaled features."""

from dataclasses import replace

import pytest
import torch
from oracle import KINDS, ROWS, probabilities, problem, random_point, value

from polylogit.optim import bias as bias_module
from polylogit.optim import logits as logits_module
from polylogit.optim import sums as sums_module
from polylogit.optim.penalty import ElasticNet


def test_value_and_gradient(p, blocks):
    point = random_point(p).requires_grad_()
    truth = value(p, point)
    (gradient,) = torch.autograd.grad(truth, point)
    ours = p.objective.evaluate(point.detach())
    assert ours.value == pytest.approx(truth.item(), rel=1e-13)
    torch.testing.assert_close(ours.gradient, gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS)
def test_sums_of_rows_that_weigh_the_same(kind, rows, blocks):
    test_value_and_gradient(problem(kind, rows=rows, alike=True), blocks)


def test_where_no_feature_is_seen_yet(p, blocks):
    point = p.objective.start().requires_grad_()
    (gradient,) = torch.autograd.grad(value(p, point), point)
    ours = p.objective.evaluate(point.detach())
    assert ours.value == pytest.approx(value(p, point).item(), rel=1e-13)
    torch.testing.assert_close(ours.gradient, gradient, rtol=1e-11, atol=1e-13)
    if p.objective.keeps_logits:
        assert ours.state.stride(0) == 0  # one row of logits, repeated


def test_an_elastic_net_shows_its_kinks_in_the_value_alone(p):
    if p.objective.basis is not None:
        p = replace(p, objective=replace(p.objective, basis=None))
    ridge, point = p.objective.ridge, random_point(p)
    lasso = torch.linspace(0.1, 0.4, 4, dtype=torch.float64) * ridge.strength.mean()
    objective = replace(p.objective, ridge=ElasticNet(lasso, ridge.strength))
    plain, kinked = p.objective.evaluate(point), objective.evaluate(point)
    weight, _ = objective.split(point)
    cost = float((weight.abs() @ lasso).sum())
    assert kinked.value == pytest.approx(plain.value + cost, rel=1e-14)
    assert torch.equal(kinked.gradient, plain.gradient)
    expected = torch.zeros_like(point)
    expected[:, :4] = lasso
    assert torch.equal(objective.thresholds(), expected)
    assert not p.objective.thresholds().any()
    columns = torch.tensor([0, 2, *[4] * objective.intercept])
    moved = point + 3.0
    moved[:, columns] = objective.centred(moved[:, columns], columns)
    moved[:, [1, 3]] = objective.centred(moved[:, [1, 3]], torch.tensor([1, 3]))
    torch.testing.assert_close(moved, objective.join(*objective.split(point + 3.0)))
    centred = objective.evaluate(moved)
    assert centred.value <= kinked.value + 1e-14
    torch.testing.assert_close(
        probabilities(centred), probabilities(kinked), rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("many", [2, 2048], ids=["a Hessian at times", "a Hessian a step"])
@pytest.mark.parametrize("rows", ROWS)
def test_the_best_bias_balances_every_class(rows, many, monkeypatch):
    monkeypatch.setattr(bias_module, "MANY_CLASSES", many)
    p = problem(rows=rows)
    at = p.objective.evaluate(random_point(p))
    best = p.objective.with_best_bias(at)
    _, left = p.objective.split_gradient(best.gradient)
    assert float(left.abs().max()) < 1e-15
    assert best.value < at.value
    torch.testing.assert_close(best.point[:, :-1], at.point[:, :-1], rtol=0, atol=0)


@pytest.mark.parametrize(("off", "looks"), [(1e-5, 0), (0.1, 1)])
def test_a_hessian_made_beside_a_point_tells_the_way_to_its_best_bias(off, looks, monkeypatch):
    p = problem(alike=True, contrasts=True)
    fast = replace(p.objective, dtype=torch.float32)
    point = p.objective.balanced(random_point(p)).point
    point[0, -1] += off
    there = p.objective.nearly_balanced(fast.evaluate(point))
    assert p.objective.is_balanced(there, 1e-5)
    calls, look = [], sums_module.best_bias_shift
    known = p.objective.mass, p.objective.weights, bias_module.BiasCurvature()
    truth = look(there.state, *known, steps=1)
    monkeypatch.setattr(
        sums_module, "best_bias_shift", lambda *a, **k: calls.append(a) or look(*a, **k)
    )
    found = p.objective.bias_shift(there)
    assert len(calls) == looks
    torch.testing.assert_close(found, truth, rtol=5e-3, atol=1e-13)
    p.objective.bias_shift(p.objective.evaluate(point))  # another point: that Hessian says nothing
    assert len(calls) == looks + 1


@pytest.mark.parametrize("intercept", [True, False])
def test_balanced_is_the_evaluation_at_the_best_bias(intercept):
    p = problem(intercept=intercept, contrasts=True)
    point = random_point(p)
    best = p.objective.with_best_bias(p.objective.evaluate(point))
    p.objective.tally.passes = 0
    balanced = p.objective.balanced(point)
    assert p.objective.tally.passes == 2  # one product for the logits, one for the gradient
    assert balanced.value == pytest.approx(best.value, rel=1e-14)
    torch.testing.assert_close(balanced.point, best.point, rtol=0, atol=1e-14)
    torch.testing.assert_close(balanced.gradient, best.gradient, rtol=1e-11, atol=1e-14)


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


def test_logits_are_kept_up_to_their_bound_and_never_of_stored_rows(monkeypatch):
    dense, stored = problem().objective, problem(rows="stored").objective
    assert dense.keeps_logits
    assert not stored.keeps_logits
    monkeypatch.setattr(sums_module, "LOGITS_BYTES", 60 * 3 * 8)
    assert dense.keeps_logits
    monkeypatch.setattr(sums_module, "LOGITS_BYTES", 60 * 3 * 8 - 1)
    assert not dense.keeps_logits
    assert isinstance(dense.evaluate(dense.start()).state, logits_module.RecomputedLogits)
