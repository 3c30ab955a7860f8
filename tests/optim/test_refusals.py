"""What has no optimum, or leaves float64, is refused by name."""

import math

import numpy as np
import pytest
import torch
from solved import IRIS, WINE, net, run

from polylogit.design import design_of
from polylogit.errors import SolveError, TargetError
from polylogit.optim import stages as stages_module
from polylogit.optim.compact import CompactObjective
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.solve import solve
from polylogit.optim.targets import Distributions


def test_separated_classes_without_a_penalty_are_refused():
    with pytest.raises(TargetError, match=r"separate the classes perfectly.*set C to a finite"):
        run(*WINE, alpha=0.0)
    with pytest.raises(TargetError, match=r"separate the classes in some rows"):
        run(*IRIS, alpha=0.0)


def test_an_optimum_that_is_proven_asks_no_linear_program(monkeypatch):
    monkeypatch.setattr("polylogit.optim.refusals.is_separable", None)
    y = np.random.default_rng(0).integers(3, size=150)
    assert run(IRIS[0], y, alpha=0.0).certified


def test_smoothed_labels_have_an_optimum_even_where_separated():
    X, y = WINE
    soft = np.eye(3)[y] * 0.9 + 0.1 / 3
    solution = solve(
        design_of(X), Distributions(torch.from_numpy(soft)), torch.ones(178, dtype=torch.float64),
        n_classes=3, alpha=0.0,
    )  # fmt: skip
    assert solution.certified


def test_a_class_without_weight_is_refused():
    weights = np.where(WINE[1] == 1, 0.0, 1.0)
    with pytest.raises(TargetError, match="class 1 has no weight in any row"):
        run(*WINE, weights=weights)


@pytest.mark.parametrize("kind", [SoftmaxObjective, CompactObjective])
def test_an_objective_that_is_not_finite_is_an_error(monkeypatch, kind):
    monkeypatch.setattr(stages_module, "is_compact", lambda _: kind is CompactObjective)
    evaluate = kind.evaluate

    def broken(self, point):
        at = evaluate(self, point)
        return type(at)(at.point, math.nan, at.gradient, at.state)

    monkeypatch.setattr(kind, "evaluate", broken)
    with pytest.raises(SolveError, match="objective became nan"):
        run(*WINE)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_free_column_that_separates_is_refused_with_kinks_too(l1_ratio):
    rng = np.random.default_rng(0)
    y = np.arange(20) // 10
    X = np.c_[y, rng.normal(size=20)]
    with pytest.raises(TargetError, match=r"separate the classes .* penalty factor above 0"):
        net(X, y, l1_ratio, factors=torch.tensor([0.0, 1.0]).double())
