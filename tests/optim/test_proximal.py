"""Proximal Newton on problems that are no softmax at all, and on its own quadratic model."""

import dataclasses
import itertools

import pytest
import torch
from toys import Bowl, Kinked, LogCosh

from polylogit.optim import proximal as module
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.proximal import Model, minimiser, proximal_newton


def kinked(smooth, size, n, written_out=True):
    weights = torch.full((n,), size, dtype=torch.float64)
    weights[0] = 0.0  # as of a bias
    return Kinked(smooth, weights, written_out)


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("size", [0.0, 0.01, 0.5, 3.0])
def test_the_optimum_with_its_exact_zeros(size, written_out):
    toy = kinked(LogCosh(), size, 4, written_out)
    start = torch.full((4,), 30.0, dtype=torch.float64)
    values, point = [], None
    for at in itertools.islice(proximal_newton(toy, toy.evaluate(start)), 60):
        values.append(at.value)
        point = at.point
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
    for at in itertools.islice(proximal_newton(toy, toy.evaluate(toy.best)), 5):
        assert at.value - toy.lowest < 1e-14
        torch.testing.assert_close(at.point, toy.best, rtol=0, atol=1e-9)


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

    return Model(centre, gradient, weights, unit, H.mv, newton)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("correlated", [True, False])
def test_the_model_is_minimised(monkeypatch, seed, correlated):
    monkeypatch.setattr(module, "FORCING", 1e-11)
    monkeypatch.setattr(module, "ROUNDS", 500)
    model = model_of(seed, correlated=correlated)
    u = minimiser(model, lambda u: u)
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
