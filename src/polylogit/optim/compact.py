"""The objective where a call costs more than its arithmetic: few dense rows, few classes.

`CompactObjective` is `SoftmaxObjective` with the questions that Newton's method asks answered in as
few calls as possible: one block, targets written out, the Hessian as one product. numpy does what
is entry by entry, because a call there costs a third of one in torch. A law holds the two against
each other (tests/laws).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from polylogit.design import DenseDesign
from polylogit.optim.bias import BALANCED, LONGEST_STEP
from polylogit.optim.logits import Logits
from polylogit.optim.objective import (
    SoftmaxCurvature,
    SoftmaxObjective,
    logits_of,
    written_out,
)
from polylogit.optim.penalty import Ridge
from polylogit.optim.problem import Evaluation

COMPACT_WORK = 4e6  # multiply-adds of a Hessian up to which calls cost more
MOST_CLASSES = 4  # a Hessian has one block for every pair of contrasts
BIAS_STEPS = 30  # to the best bias, at most

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
class CompactEvaluation(Evaluation):
    """Keeps the probabilities (K, N) too: the Hessian asks for them."""

    probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class CompactObjective(SoftmaxObjective):
    """F over one small dense block in float64; logits lie class by class, (K, N) in memory."""

    @classmethod
    def of(cls, objective: SoftmaxObjective) -> CompactObjective:
        """The same F."""
        return cls(**{field.name: getattr(objective, field.name) for field in fields(objective)})

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient in one pass."""
        z = self._logits_along(point)
        return self._evaluated(point, z if self.offsets is None else z.add_(self.offsets.T))

    def line(self, at: Evaluation, direction: Tensor) -> CompactLine:
        """F along a line; the logits' own direction is the only product with X."""
        return CompactLine(self, at, direction, self._logits_along(direction))

    def curvature(self, at: Evaluation) -> CompactCurvature:
        """The Hessian at `at`."""
        return CompactCurvature(self, torch.from_numpy(_probabilities(at)).T)

    def energy(self, gradient: Tensor) -> float:
        """Roughly the gap."""
        if not self.penalised:
            return super().energy(gradient)
        g, (columns, classes) = gradient.numpy(), self._costs
        total = (g * g @ columns).sum()
        if self.intercept:
            total += np.square(self._contrasts @ g[:, -1]) @ classes
        return 0.5 * float(total)

    def with_best_bias(self, at: Evaluation) -> Evaluation:
        """The same V with its best bias, by Newton's method: an evaluation brings all it needs."""
        last = math.inf
        for _ in range(BIAS_STEPS if self.intercept else 0):
            size = float(np.abs(at.gradient.numpy()[:, -1]).max())
            if size <= BALANCED or (size < 1e-12 and size >= 0.5 * last):
                break  # what is left is rounding
            last, step = size, self._bias_step(at)
            point = at.point.clone()
            point[:, -1] += torch.from_numpy(step)
            along = torch.from_numpy(self._contrasts @ step)
            at = self._evaluated(point, _by_class(at) + along[:, None])
        return at

    def _bias_step(self, at: Evaluation) -> np.ndarray:
        """Newton's step (m,) for the bias alone, at most two nats long."""
        p, contrasts = _probabilities(at), self._contrasts
        shared = p * self._shares
        hessian = contrasts.T @ (np.diag(shared.sum(1)) - shared @ p.T) @ contrasts
        hessian.flat[:: len(hessian) + 1] += np.finfo(np.float64).eps  # for saturated rows
        step = np.linalg.solve(hessian, -at.gradient.numpy()[:, -1])
        return step * min(1.0, LONGEST_STEP / max(1e-300, float(np.abs(step).max())))

    def _logits_along(self, point: Tensor) -> Tensor:
        """V X' + b (K, N) in one pass."""
        self.tally.passes += 1
        return torch.mm(torch.from_numpy(self._contrasts @ point.numpy()), self._columns)

    def _products(self, point: Tensor) -> Tensor:
        return self._logits_along(point).T

    def _balanced(self, point: Tensor, logits: Logits) -> Evaluation:
        return self.with_best_bias(self._evaluated(point, cast("Tensor", logits).T))

    @_TO_INFINITY
    def _evaluated(self, point: Tensor, z: Tensor) -> CompactEvaluation:
        """F and its gradient where the logits z (K, N) are known."""
        log_p = torch.log_softmax(z, 0)
        p = log_p.exp().numpy()
        residuals = torch.from_numpy(self._contrasts.T @ (p * self._shares - self._targets))
        pull = point * self._ridge
        gradient = torch.addmm(pull, residuals, self._columns.T)
        loss = np.vdot(self._targets, log_p.numpy())
        value = float(0.5 * np.vdot(point.numpy(), pull.numpy()) - loss)
        return CompactEvaluation(point, value, gradient, z.T, p)

    @cached_property
    def _columns(self) -> Tensor:
        """[X 1]' (D~, N), or X' without a bias."""
        (block,) = self.design.blocks(torch.float64)
        ones = torch.ones(int(self.intercept), self.design.n_rows, dtype=torch.float64)
        return torch.cat([block.dense().T, ones])

    @cached_property
    def _targets(self) -> np.ndarray:
        """T' diag(s) (K, N)."""
        rows = written_out(self.targets, self.design.n_rows, self.n_classes)
        shares: np.ndarray = np.ascontiguousarray(rows.T.numpy()) * self._shares
        return shares

    @cached_property
    def _shares(self) -> np.ndarray:
        return self.weights.numpy()

    @cached_property
    def _ridge(self) -> Tensor:
        return self.ridge_columns()

    @cached_property
    def _costs(self) -> tuple[np.ndarray, np.ndarray]:
        """What a squared slope costs: (D~,) by column, the bias left out, and (K,) by class."""
        columns = np.zeros(len(self._ridge))
        columns[: self.design.n_features] = 1 / self.ridge.strength.numpy()
        return columns, 1 / self.mass.numpy()

    @cached_property
    def _contrasts(self) -> np.ndarray:
        """E (K, m) with V = E U."""
        return np.eye(self.n_classes) if self.basis is None else self.basis.numpy()

    @cached_property
    def _blocks(self) -> _Blocks:
        """How the Hessian is put together."""
        return _Blocks.of(self._contrasts, self._ridge)


@dataclass(frozen=True)
class _Blocks:
    """The blocks [a, b] of a Hessian with a <= b among m contrasts."""

    pairs: tuple[np.ndarray, np.ndarray]  # k and l of all k < l among the classes
    spread: np.ndarray  # (E_ka - E_la) (E_kb - E_lb), a row for each block, a column for each pair
    ridge: Tensor  # the blocks of the ridge, one below the other
    places: np.ndarray  # (m D~, m D~), where every entry of H stands among those of the blocks

    @classmethod
    def of(cls, contrasts: np.ndarray, ridge: Tensor) -> _Blocks:
        """Those of E (K, m) and the ridge's strength for every column of a point."""
        (n_classes, m), width = contrasts.shape, len(ridge)
        (first, second), (mine, other) = np.triu_indices(n_classes, 1), np.triu_indices(m)
        apart = (contrasts[first] - contrasts[second]).T
        inner = torch.diag(ridge) * torch.from_numpy((mine == other) * 1.0)[:, None, None]
        number = np.empty((m, m), dtype=np.intp)
        number[mine, other] = number[other, mine] = np.arange(len(mine))
        within = np.arange(width * width).reshape(width, width)
        places = number[:, None, :, None] * width**2 + within[:, None, :]
        square = places.reshape(m * width, m * width)
        return cls((first, second), apart[mine] * apart[other], inner.reshape(-1, width), square)


class CompactLine:
    """F along U + t dU over kept logits, without a product for a trial step."""

    trials_are_free = True

    def __init__(
        self, objective: CompactObjective, at: Evaluation, direction: Tensor, change: Tensor
    ) -> None:
        self.objective, self.at, self.direction, self.change = objective, at, direction, change
        pull = (direction * objective._ridge).numpy()
        self.pull = float(np.vdot(pull, at.point.numpy()))
        self.bend = float(np.vdot(pull, direction.numpy()))

    @_TO_INFINITY
    def derivatives(self, t: float) -> tuple[float, float]:
        """Slope sum_i s_i (p_i - t_i).dz_i and curvature sum_i s_i Var_p(dz_i), with the ridge."""
        problem, dz = self.objective, self.change.numpy()
        p = torch.softmax(self._logits(t), 0).numpy()
        weighted = p * dz
        mean = weighted.sum(0)
        slope = mean @ problem._shares - np.vdot(problem._targets, dz)
        curvature = ((weighted * dz).sum(0) - mean * mean) @ problem._shares
        return float(slope) + self.pull + t * self.bend, float(curvature) + self.bend

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there."""
        return self.objective._evaluated(self.at.point + t * self.direction, self._logits(t))

    def _logits(self, t: float) -> Tensor:
        return torch.add(_by_class(self.at), self.change, alpha=t)


@dataclass(frozen=True)
class CompactCurvature(SoftmaxCurvature):
    """The Hessian of a `CompactObjective`."""

    objective: CompactObjective

    def matrix(self) -> Tensor:
        """H (m D~, m D~), from blocks H_ab = X~' diag(s w_ab) X~ for a <= b.

        w_ab = sum_{k<l} p_k p_l (E_ka - E_la) (E_kb - E_lb): no difference of rounded numbers.
        """
        problem, blocks = self.objective, self.objective._blocks
        p, (first, second) = cast("Tensor", self.probabilities).T.numpy(), blocks.pairs
        spread = torch.from_numpy(blocks.spread @ (p[first] * p[second] * problem._shares))
        columns = problem._columns
        weighted = (columns * spread[:, None]).view(-1, columns.shape[1])
        upper = torch.addmm(blocks.ridge, weighted, columns.T)
        return torch.from_numpy(upper.numpy().take(blocks.places))


def _by_class(at: Evaluation) -> Tensor:
    """The logits (K, N) of a point."""
    return cast("Tensor", logits_of(at)).T


def _probabilities(at: Evaluation) -> np.ndarray:
    """softmax of the logits (K, N) of a point."""
    known = at.probabilities if isinstance(at, CompactEvaluation) else None
    return torch.softmax(_by_class(at), 0).numpy() if known is None else known
