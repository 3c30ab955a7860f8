"""`polylogit.optim.free`: columns without penalty are at their best, the rest has not moved."""

import math
from dataclasses import replace

import pytest
import scipy.optimize
import torch
from oracle import problem

from polylogit.optim import free
from polylogit.optim.free import with_best_free
from polylogit.optim.penalty import ElasticNet

COLUMNS = [1, 3]


def net(intercept=True, **options):
    """A lasso on all columns but two, all classes in the point."""
    p = problem(alpha=0.01, intercept=intercept, **options)
    lasso = p.alpha * torch.ones_like(p.objective.design.scale)
    lasso[COLUMNS] = 0.0
    return p, replace(p.objective, ridge=ElasticNet(lasso, 0 * lasso), basis=None)


def start(objective, seed=0):
    weight = torch.randn(
        objective.start().shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return objective.evaluate(weight)


@pytest.mark.parametrize("intercept", [True, False])
def test_the_free_columns_are_at_their_best_and_the_rest_stays(intercept):
    _, objective = net(intercept)
    at = start(objective)
    best, lacks = with_best_free(objective, at)
    columns = COLUMNS + ([objective.design.n_features] if intercept else [])
    moved = (best.point - at.point).abs().amax(0)
    assert torch.nonzero(moved).flatten().tolist() == columns
    assert 0 <= lacks < 1e-20

    def value(u):
        point = at.point.clone()
        point[:, columns] = torch.from_numpy(u).view(-1, len(columns))
        there = objective.evaluate(point)
        return there.value, there.gradient[:, columns].flatten().numpy()

    found = scipy.optimize.minimize(
        value, at.point[:, columns].flatten().numpy(), jac=True, method="BFGS",
        options={"gtol": 1e-10},
    )  # fmt: skip
    assert best.value == pytest.approx(found.fun, abs=1e-12)
    assert best.gradient[:, columns].abs().max() < 1e-13


def test_where_there_is_no_best_nothing_is_proven():
    _, objective = net(n=6)  # six rows are separated by two columns and the bias
    at = start(objective)
    assert with_best_free(objective, at) == (at, math.inf)


def test_too_many_free_parameters_are_left_alone(monkeypatch):
    _, objective = net()
    monkeypatch.setattr(free, "MOST_WRITTEN", 5)
    at = start(objective)
    assert with_best_free(objective, at) == (at, math.inf)
