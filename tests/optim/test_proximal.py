"""Proximal Newton on problems that are no softmax at all, and on its own quadratic model."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from toys import Bowl, Kinked, LogCosh

from polylogit.optim import proximal as module
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Evaluation
from polylogit.optim.proximal import Model, Spent, minimiser, proximal_newton


def kinked(smooth, size, n, written_out=True):
    weights = torch.full((n,), size, dtype=torch.float64)
    weights[0] = 0.0  # as of a bias
    return Kinked(smooth, weights, written_out)


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("size", [0.0, 0.01, 0.5, 3.0])
def test_the_optimum_with_its_exact_zeros(size, written_out):
    toy = kinked(LogCosh(), size, 4, written_out)
    start = torch.full((2, 2), 30.0, dtype=torch.float64)
    values, point = [], None
    for at in itertools.islice(proximal_newton(toy, toy.evaluate(start)), 60):
        values.append(at.value)
        point = at.point.flatten()
    assert all(b <= a + 1e-13 for a, b in itertools.pairwise(values))
    assert values[-1] - toy.lowest < 1e-11
    assert torch.equal(point == 0, toy.best == 0)
    assert size < 0.5 or bool((point == 0).any())


def test_a_bowl_takes_a_few_steps():
    bowl = Bowl(seed=0)
    toy = kinked(bowl, 0.3, 6)
    toy.w = toy.w.reshape(2, 3)
    points = proximal_newton(toy, toy.evaluate(torch.zeros(2, 3, dtype=torch.float64)))
    *_, last = itertools.islice(points, 5)
    assert last.value - toy.lowest < 1e-9 * abs(toy.lowest)


def test_at_the_optimum_it_stays():
    toy = kinked(LogCosh(), 0.5, 4)
    for at in itertools.islice(proximal_newton(toy, toy.evaluate(toy.best.view(2, 2))), 5):
        assert at.value - toy.lowest < 1e-14
        torch.testing.assert_close(at.point.flatten(), toy.best, rtol=0, atol=1e-9)


def test_where_all_is_zero_and_should_be_there_is_no_step():
    toy = Kinked(Bowl(seed=0), torch.full((6,), 1e9, dtype=torch.float64))
    at = toy.evaluate(torch.zeros(6, dtype=torch.float64))
    assert list(proximal_newton(toy, at)) == []


def model_of(seed, n=12, correlated=True):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(20, n, dtype=torch.float64, generator=generator)
    if correlated:
        rows += 10 * rows[:, :1]
    H = rows.T @ rows
    unit = H.diagonal().sqrt()
    H = H / torch.outer(unit, unit)
    gradient = torch.randn(n, dtype=torch.float64, generator=generator)
    weights = torch.full((n,), 0.3, dtype=torch.float64)
    centre = torch.randn(n, dtype=torch.float64, generator=generator).round()

    def newton(kept, right):
        where = torch.nonzero(kept).flatten()
        out = torch.zeros_like(right)
        factor = cholesky(H[where[:, None], where])
        out[where] = torch.cholesky_solve(right[where, None], factor).squeeze(1)
        return out

    return Model(centre, gradient, weights, unit, H.mv, newton, 1e-3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("correlated", [True, False])
def test_the_model_is_minimised(monkeypatch, seed, correlated):
    monkeypatch.setattr(module, "ROUNDS", 500)
    model = dataclasses.replace(model_of(seed, correlated=correlated), forcing=1e-11)
    u = minimiser(model, lambda u: u, Spent())
    slope = model.slope(model.product(u - model.centre))
    kept = u != 0
    torch.testing.assert_close(slope[kept], -(model.thresholds * u.sign())[kept], rtol=0, atol=1e-8)
    assert bool((slope[~kept].abs() <= model.thresholds[~kept] + 1e-8).all())


@pytest.mark.parametrize("seed", range(8))
def test_the_lowest_point_on_a_line_with_kinks(seed):
    model = model_of(seed, correlated=False)
    strong = torch.ones(12, dtype=torch.float64)
    model = dataclasses.replace(model, gradient=5 * model.gradient, thresholds=strong)
    u, image = model.centre, torch.zeros_like(model.centre)
    step = -(model.gradient + model.thresholds * u.sign())
    bend = model.product(step)
    t = module._lowest_on(model, u, image, step, bend)
    assert bool((u * (u + t * step) < 0).any())  # kinks were crossed
    here = model.value(u + t * step, image + t * bend)
    others = torch.linspace(0, 1, 2001, dtype=torch.float64).tolist()
    assert here <= min(model.value(u + s * step, image + s * bend) for s in others) + 1e-12


@pytest.mark.parametrize(("before", "rounds"), [(0, 1), (100, 2), (10**6, 500)])
def test_a_model_takes_about_as_many_products_as_all_before_it(before, rounds, monkeypatch):
    monkeypatch.setattr(module, "LEAST_PRODUCTS", 10)
    monkeypatch.setattr(module, "GRADIENT_STEPS", 40)
    monkeypatch.setattr(module, "_newton_steps", lambda _, u, image: (u, image))
    spent, model = Spent(before), model_of(0)
    model = dataclasses.replace(model, product=spent.counted(model.product), forcing=0.0)
    minimiser(model, lambda u: u, spent)
    taken = spent.products - before
    assert 40 * rounds < taken if rounds < 500 else taken > 1000
    assert rounds == 500 or taken < 2 * max(10, before) + 100


def foremost(*cheap, point=(0, 0, 5, 0, 0, 0, 0)):
    """Of seven entries with these bends, the first of which costs nothing."""
    bend = torch.tensor([1.0, 1.0, 1.0, 9.0, 1.0, 100.0, 1.0])
    thresholds = torch.tensor([0.0, *[1.0] * 6])
    at = Evaluation(torch.tensor(point), 0.0, torch.tensor([0.1, 1.3, -1.1, 4.0, -3.0, 9.0, 1.2]))
    curvature = SimpleNamespace(part_is_cheap=lambda count: count in cheap, diagonal=lambda: bend)
    return module._foremost(curvature, at, torch.arange(7), thresholds).tolist()


def test_what_is_there_and_what_promises_most_per_bend_goes_first(monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 3)
    assert foremost(4) == [0, 2, 3, 4]  # twice as many as cost nothing or are not zero
    assert foremost(3, point=[0.0] * 7) == [0, 3, 4]
    assert foremost(4, 7) == list(range(7))  # all of them are cheap
    assert foremost() == list(range(7))  # so many are dear too
    monkeypatch.setattr(module, "FEWEST", 7)
    assert foremost() == list(range(7))


@pytest.mark.parametrize("dear", [4, 5])
def test_a_large_working_set_begins_with_what_promises_most(dear, monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 2)
    toy = kinked(LogCosh(12), 1.5, 12)
    parts, curvature = [], toy.curvature

    def limited(at):
        made = curvature(at)
        kind = type(made)
        monkeypatch.setattr(kind, "part_is_cheap", lambda _, count: count <= dear)
        monkeypatch.setattr(kind, "part", lambda c, e: parts.append(e) or c.hessian[e[:, None], e])
        return made

    toy.curvature = limited
    at = toy.evaluate(torch.zeros(3, 4, dtype=torch.float64))
    pulled = (at.gradient.flatten().abs() - toy.w).clamp_min(0)
    assert int((pulled > 0).sum()) > dear
    promised = pulled.square() / curvature(at).hessian.diagonal()
    promised[0] = math.inf  # costs nothing
    *_, last = itertools.islice(proximal_newton(toy, at), 100)
    assert parts[0].tolist() == sorted(promised.topk(2).indices.tolist())
    assert all(len(part) <= dear for part in parts)
    assert len(parts) > 1
    assert last.value - toy.lowest < 1e-11
    assert torch.equal(last.point.flatten() == 0, toy.best == 0)
