"""The objective where a call costs more than its arithmetic: few dense rows, few classes.

`CompactObjective` is `SoftmaxObjective` with the two questions that Newton's method asks answered
in as few calls as possible: one block, targets written out, the Hessian block by block. numpy does
what is entry by entry, because a call there costs a fifth of one in torch. A law holds the two
against each other (tests/laws).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from polylogit.design import DenseDesign
from polylogit.optim.logits import Logits, shifted
from polylogit.optim.objective import (
    SoftmaxCurvature,
    SoftmaxObjective,
    best_bias_shift,
    logits_of,
)
from polylogit.optim.penalty import Ridge
from polylogit.optim.problem import Evaluation

COMPACT_WORK = 4e6  # multiply-adds of a Hessian up to which calls cost more
MOST_CLASSES = 4  # a Hessian has one product for every pair of them


_TO_INFINITY = np.errstate(over="ignore", invalid="ignore")  # as torch: the solve will see it


def is_compact(objective: SoftmaxObjective) -> bool:
    """Whether `CompactObjective` answers sooner: few dense rows in one block, few classes."""
    design, contrasts = objective.design, objective.n_classes - 1
    work = design.n_rows * (design.n_features + 1.0) ** 2 * contrasts * (contrasts + 1) / 2
    return (
        isinstance(design, DenseDesign)
        and isinstance(objective.ridge, Ridge)
        and objective.n_classes <= MOST_CLASSES
        and work <= COMPACT_WORK
        and design.block_rows(torch.float64) >= design.n_rows
        and objective.keeps_logits
        and design.device.type == "cpu"
    )


@dataclass(frozen=True)
class CompactObjective(SoftmaxObjective):
    """F over one small dense block in float64; logits lie class by class, (K, N) in memory."""

    @classmethod
    def of(cls, objective: SoftmaxObjective) -> CompactObjective:
        """The same F."""
        return cls(**{field.name: getattr(objective, field.name) for field in fields(objective)})

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient in one pass."""
        z = self._products(point).T.numpy()
        if self.offsets is not None:
            z += self.offsets.T.numpy()
        return self._evaluated(point, z)

    def line(self, at: Evaluation, direction: Tensor) -> CompactLine:
        """F along a line; the logits' own direction is the only product with X."""
        return CompactLine(self, at, direction, self._products(direction).T.numpy())

    def curvature(self, at: Evaluation) -> CompactCurvature:
        """The Hessian at `at`."""
        p, _ = _softmax(_by_class(at))
        return CompactCurvature(self, torch.from_numpy(p).T)

    def _products(self, point: Tensor) -> Tensor:
        """X V' + b (N, K) in one pass."""
        self.tally.passes += 1
        return torch.mm(self._contrasts @ point, self._columns).T

    def _balanced(self, point: Tensor, logits: Logits) -> Evaluation:
        shift = best_bias_shift(logits, self.mass, self.weights)
        step = torch.zeros_like(point)
        step[:, -1] = self._contrasts.T @ shift
        z = cast("Tensor", shifted(logits, shift)).T.numpy()
        return self._evaluated(point + step, z)

    @_TO_INFINITY
    def _evaluated(self, point: Tensor, z: np.ndarray) -> Evaluation:
        """F and its gradient where the logits z (K, N) are known."""
        p, lse = _softmax(z)
        loss = float((lse - (self._targets * z).sum(0)) @ self._shares)
        residuals = torch.from_numpy((p - self._targets) * self._shares)
        pull = point * self._ridge
        gradient = (self._contrasts.T @ (residuals @ self._columns.T)).add_(pull)
        value = loss + 0.5 * float(np.vdot(point.numpy(), pull.numpy()))
        return Evaluation(point, value, gradient, torch.from_numpy(z).T)

    @cached_property
    def _columns(self) -> Tensor:
        """[X 1]' (D~, N), or X' without a bias."""
        (block,) = self.design.blocks(torch.float64)
        ones = torch.ones(int(self.intercept), self.design.n_rows, dtype=torch.float64)
        return torch.cat([block.dense().T, ones])

    @cached_property
    def _targets(self) -> np.ndarray:
        """T' (K, N), from P - T at P = 0."""
        zeros = torch.zeros(self.design.n_rows, self.n_classes, dtype=torch.float64)
        residuals = self.targets.subtract_from(zeros, slice(0, self.design.n_rows))
        return -np.ascontiguousarray(residuals.T.numpy())

    @cached_property
    def _shares(self) -> np.ndarray:
        return self.weights.numpy()

    @cached_property
    def _ridge(self) -> Tensor:
        return self.ridge_columns()

    @cached_property
    def _contrasts(self) -> Tensor:
        """E (K, m) with V = E U."""
        return torch.eye(self.n_classes).double() if self.basis is None else self.basis

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """k and l of all k < l."""
        first, second = np.triu_indices(self.n_classes, 1)
        return first, second

    @cached_property
    def _differences(self) -> np.ndarray:
        """E_k - E_l for k < l (K (K-1)/2, m)."""
        rows, (first, second) = self._contrasts.numpy(), self._pairs
        differences: np.ndarray = rows[first] - rows[second]
        return differences


class CompactLine:
    """F along U + t dU over kept logits, without a product for a trial step."""

    def __init__(
        self, objective: CompactObjective, at: Evaluation, direction: Tensor, change: np.ndarray
    ) -> None:
        self.objective, self.at, self.direction, self.change = objective, at, direction, change
        pull = direction * objective._ridge
        self.pull = float(np.vdot(pull.numpy(), at.point.numpy()))
        self.bend = float(np.vdot(pull.numpy(), direction.numpy()))

    @_TO_INFINITY
    def derivatives(self, t: float) -> tuple[float, float]:
        """Slope sum_i s_i (p_i - t_i).dz_i and curvature sum_i s_i Var_p(dz_i), with the ridge."""
        problem, dz = self.objective, self.change
        p, _ = _softmax(_by_class(self.at) + t * dz)
        weighted = p * dz
        mean = weighted.sum(0)
        slope = (mean - (problem._targets * dz).sum(0)) @ problem._shares
        curvature = ((weighted * dz).sum(0) - mean * mean) @ problem._shares
        return float(slope) + self.pull + t * self.bend, float(curvature) + self.bend

    @_TO_INFINITY
    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there."""
        point = self.at.point + t * self.direction
        return self.objective._evaluated(point, _by_class(self.at) + t * self.change)


@dataclass(frozen=True)
class CompactCurvature(SoftmaxCurvature):
    """The Hessian of a `CompactObjective`."""

    objective: CompactObjective

    def matrix(self) -> Tensor:
        """H (m D~, m D~), by blocks H_ab = X~' diag(s w_ab) X~.

        w_ab = sum_{k<l} p_k p_l (E_ka - E_la) (E_kb - E_lb): no difference of rounded numbers.
        """
        problem = self.objective
        columns, (first, second), apart = problem._columns, problem._pairs, problem._differences
        p = cast("Tensor", self.probabilities).T.numpy()
        products = p[first] * p[second] * problem._shares
        m, width = apart.shape[1], len(columns)
        hessian = torch.empty(m * width, m * width, dtype=torch.float64)
        for a, b in itertools.combinations_with_replacement(range(m), 2):
            spread = torch.from_numpy((apart[:, a] * apart[:, b]) @ products)
            block = torch.mm(columns, (columns * spread).T)
            if a == b:
                block.diagonal().add_(problem._ridge)
            mine, other = slice(a * width, (a + 1) * width), slice(b * width, (b + 1) * width)
            hessian[mine, other] = hessian[other, mine] = block
        return hessian


def _by_class(at: Evaluation) -> np.ndarray:
    """The logits (K, N) of a point."""
    return cast("Tensor", logits_of(at)).T.numpy()


def _softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """softmax (K, N) and lse (N,) of z (K, N) over the classes."""
    top = z.max(0)
    p = np.exp(z - top)
    total = p.sum(0)
    p /= total
    return p, np.log(total) + top
