"""Columns without penalty, brought to their best before a proof.

The dual bound of `polylogit.optim.certificate` needs residuals that sum to zero against all that
costs nothing: the bias, and columns with a penalty factor of 0. Over these alone, all other weights
held, F is smooth and convex, and small: Newton's method with damped steps (`Decrement.damped`; Bach
2010, as there) ends in a few steps where what is left is rounding. Its decrement proves that the
lowest point exists and is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from polylogit.optim.cost import MOST_WRITTEN
from polylogit.optim.curvature import columns_in
from polylogit.optim.decrement import Decrement, newton_decrement
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.problem import Evaluation
from polylogit.optim.sums import contrast_basis

STEPS = 50
SETTLED = 1e-13  # of the decrement: its square is nothing
ROUNDED = 1e-9  # what rounding may leave of it


def with_best_free(objective: SoftmaxObjective, at: Evaluation) -> tuple[Evaluation, float]:
    """The same penalised weights with the best of the rest, and a bound on what that still lacks.

    In nats per row. Where too many parameters are free or nothing is proven, as where no lowest
    point exists, it is `at` itself and infinite. The point of `objective` has all classes in it,
    (K, D + 1).
    """
    columns, begin, last = _free_columns(objective), at, math.inf
    if objective.n_classes * len(columns) > MOST_WRITTEN:
        return begin, math.inf
    for _ in range(STEPS):
        left = _decrement(objective, at, columns)
        if left is None:
            break
        idle = left.size >= 0.5 * last and left.size <= ROUNDED
        if left.size <= SETTLED or idle:
            return at, left.bound
        last = left.size
        at = objective.evaluate(at.point - left.damped * _direction(objective, left, columns))
    return begin, math.inf


def _free_columns(objective: SoftmaxObjective) -> Tensor:
    """Which columns of a point cost nothing, rising; the bias is the last."""
    free = ~objective.ridge.costly
    bias = torch.ones(int(objective.intercept), dtype=torch.bool)
    return torch.nonzero(torch.cat([free, bias])).flatten()


def _decrement(objective: SoftmaxObjective, at: Evaluation, columns: Tensor) -> Decrement | None:
    """Newton's step over the free columns, in contrasts of the classes."""
    basis, count = contrast_basis(objective.n_classes), len(columns)
    width = at.point.shape[1]
    entries = (torch.arange(objective.n_classes)[:, None] * width + columns).flatten()
    part = objective.exactly().curvature(at).part(entries)
    pairs = part.view(len(basis), count, len(basis), count)
    hessian = torch.einsum("km,kcld,ln->mcnd", basis, pairs, basis)
    size = basis.shape[1] * count
    gradient = objective.contrasts(at.gradient[:, columns]).flatten()
    return newton_decrement(hessian.reshape(size, size), gradient, _rows(objective, columns))


def _rows(objective: SoftmaxObjective, columns: Tensor) -> Iterator[Tensor]:
    for block in objective.design.blocks(torch.float64):
        yield columns_in(block, columns, objective.design.n_features)


def _direction(objective: SoftmaxObjective, left: Decrement, columns: Tensor) -> Tensor:
    """The step in the shape of a point, zero where a column is penalised."""
    basis = contrast_basis(objective.n_classes)
    width = objective.design.n_features + objective.intercept
    direction = torch.zeros(len(basis), width, dtype=torch.float64)
    direction[:, columns] = basis @ left.step.view(basis.shape[1], len(columns))
    return direction
