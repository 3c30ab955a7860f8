"""The objective where a call costs more than its arithmetic: few dense rows.

`CompactObjective` is `SoftmaxObjective` with the questions that Newton's methods ask answered in as
few calls as possible: one matrix, targets written out, the Hessian of few classes as one product.
All of it is numpy, where a call costs a third of one in torch and a small product half. Tests hold
the two against each other (tests/optim/test_compact.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from scipy.linalg.lapack import dgesv
from torch import Tensor

from polylogit.design import DenseDesign
from polylogit.optim.bias import LONGEST_STEP, is_rounding
from polylogit.optim.cost import Cost
from polylogit.optim.curvature import SoftmaxCurvature
from polylogit.optim.logits import Logits, logits_of
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import Ridge
from polylogit.optim.preconditioner import (
    ClassDiagonalPreconditioner,
    DiagonalPreconditioner,
    GramPreconditioner,
    InContrasts,
    Kept,
)
from polylogit.optim.problem import Evaluation, Preconditioner
from polylogit.optim.sums import contrast_basis

COMPACT_WORK = 3e6  # multiply-adds of a pass up to which calls cost more
MOST_CLASSES, LARGEST = 4, 600  # classes, and rows, of a Hessian made here block by block
MUCH = 1e6  # multiply-adds of a product with few rows, from which on torch's is quicker
BIAS_STEPS = 30  # to the best bias, at most
_LASTING = {"mass", "penalised"}  # what is known of F in any coordinates and precision


def is_compact(objective: SoftmaxObjective) -> bool:
    """Whether `CompactObjective` answers sooner: few dense rows."""
    design = objective.design
    return (
        isinstance(design, DenseDesign)
        and isinstance(objective.ridge, Ridge)
        and objective.cost.work <= COMPACT_WORK
        and objective.keeps_logits
        and design.device.type == "cpu"
    )


@dataclass(frozen=True)
class CompactEvaluation(Evaluation):
    """Keeps the probabilities (K, N) too: the Hessian asks for them."""

    probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class CompactObjective(SoftmaxObjective):
    """F over few dense rows in float64; logits lie class by class, (K, N) in memory."""

    @classmethod
    def of(cls, objective: SoftmaxObjective, **changes: Any) -> CompactObjective:
        """The same F, but for `changes` of fields."""
        same = {field.name: getattr(objective, field.name) for field in fields(objective)}
        made = cls(**same | changes)
        known = {name: what for name, what in vars(objective).items() if name in _LASTING}
        vars(made).update(known)  # as `cached_property` keeps it
        return made

    @cached_property
    def cost(self) -> Cost:
        """How long the ways to the lowest F take."""
        return replace(super().cost, compact=True)

    def start(self) -> Tensor:
        """V = 0 and the bias of the class frequencies."""
        point = np.zeros((self._contrasts.shape[1], len(self._ridge)))
        if self.intercept:
            point[:, -1] = self._contrasts.T.dot(np.log(self.mass.numpy()))
        return torch.from_numpy(point)

    def expand(self, coordinates: Tensor) -> Tensor:
        """The (K, .) tensor of coordinates (m, .)."""
        return torch.from_numpy(self._contrasts.dot(coordinates.numpy()))

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient in one pass."""
        z = self._logits_along(point)
        z = z if self.offsets is None else z + self.offsets.numpy().T
        return self._evaluated(point, _shares_of(z))

    def line(self, at: Evaluation, direction: Tensor) -> CompactLine:
        """F along a line; the logits' own direction is the only product with X."""
        return CompactLine(self, at, direction, self._logits_along(direction))

    def curvature(self, at: Evaluation) -> CompactCurvature:
        """The Hessian at `at`."""
        p = _probabilities(at)
        return CompactCurvature(self, _by_row(p), self._rounded(p))

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """The diagonal of the Hessian; a matrix once the passes have taken as long as that does."""
        p = self._rounded(_probabilities(at))
        if self.tally.passes >= self.cost.matrix_in_products:
            return self._matrix_model(p)
        self.tally.passes += 1
        columns, shares, _ = self._quick
        two = self.n_classes == 2  # which have one contrast, of the sum of both
        spreads = (2 * p[:1] * p[1:] if two else p - p * p) * shares
        diagonals = torch.from_numpy((np.square(columns) @ spreads.T).T + self._ridge)
        if two:
            return DiagonalPreconditioner(diagonals)
        return InContrasts(
            torch.from_numpy(self._contrasts), ClassDiagonalPreconditioner(diagonals)
        )

    def _matrix_model(self, p: np.ndarray) -> GramPreconditioner:
        """What the contrasts curve on average, as in `SoftmaxObjective`; kept while it is right."""
        columns, shares, _ = self._quick
        spread = (1 - (p * p).sum(0)) * shares / (self.n_classes - 1)

        def gram() -> Tensor:
            self.tally.passes += 1
            sums = (columns * spread) @ columns.T
            return torch.from_numpy(sums.astype(np.float64, copy=False))

        sums = self._kept.renewed(float(spread.sum()), gram)
        return GramPreconditioner(sums + torch.diag(self.ridge_columns()))

    @cached_property
    def _kept(self) -> Kept:
        """The sums of the last matrix, of this fit or of one before it."""
        return self.kept or Kept()

    def weight_energy(self, gradient: Tensor) -> float:
        """R*(dF/dV)."""
        if not self.penalised:
            return super().weight_energy(gradient)
        g = gradient.numpy()
        return 0.5 * float(np.vdot(g, g * self._costs))

    def bias_energy(self, gradient: Tensor) -> float:
        """Roughly what a better bias would gain."""
        if not self.intercept:
            return 0.0
        pull = gradient.numpy()[:, -1]
        return 0.5 * float(pull.dot(self._bias_costs).dot(pull))

    def with_best_bias(self, at: Evaluation) -> Evaluation:
        """The same V with its best bias, by Newton's method: an evaluation brings all it needs."""
        last = math.inf
        for _ in range(BIAS_STEPS if self.intercept else 0):
            size = float(np.abs(at.gradient.numpy()[:, -1]).max())
            if is_rounding(size, size / last):
                break
            last, step = size, self._bias_step(at)
            u, along = at.point.numpy().copy(), self._contrasts.dot(step)
            u[:, -1] += step
            known = _shares_of(_by_class(at) + along[:, None])
            at = self._evaluated(torch.from_numpy(u), known)
        return at

    def _bias_step(self, at: Evaluation) -> np.ndarray:
        """Newton's step (m,) for the bias alone, at most two nats long."""
        p, contrasts = _probabilities(at), self._contrasts
        shared = p * self._shares
        spread = np.diag(shared.sum(1)) - shared.dot(p.T)
        hessian = contrasts.T.dot(spread).dot(contrasts)
        hessian.flat[:: len(hessian) + 1] += np.finfo(np.float64).eps  # for saturated rows
        *_, found, _ = dgesv(hessian, -at.gradient.numpy()[:, -1])
        step: np.ndarray = found * min(1.0, LONGEST_STEP / max(1e-300, float(np.abs(found).max())))
        return step

    def _logits_along(self, point: Tensor) -> np.ndarray:
        """V X' + b (K, N) in one pass."""
        return self._along(point.numpy(), self._columns, self._contrasts)

    def _along(self, u: np.ndarray, columns: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
        """E U X~' (K, N) in one pass."""
        self.tally.passes += 1
        if len(u) == 1:  # a vector times a matrix takes a fraction of two vectors
            along: np.ndarray = contrasts * (u @ columns)
        else:
            along = self._times(contrasts.dot(u), columns)
        return along

    def _products(self, point: Tensor) -> Tensor:
        return _by_row(self._logits_along(point))

    def _balanced(self, point: Tensor, logits: Logits) -> Evaluation:
        known = _shares_of(cast("Tensor", logits).T.numpy())
        return self.with_best_bias(self._evaluated(point, known))

    def _evaluated(self, point: Tensor, known: _Shares) -> CompactEvaluation:
        """F and its gradient where logits and probabilities are known.

        The loss is sum_i s_i [log sum_k exp(z_ik - max_i) + t_i.(max_i - z_i)], both terms >= 0.
        """
        z, below, p, total = known
        residuals = p * self._shares
        residuals -= self._targets
        u = point.numpy()
        pull = u * self._ridge
        gradient = self._contrasts.T.dot(residuals).dot(self._columns.T)
        gradient += pull
        loss = self._shares.dot(np.log(total)) - np.vdot(self._targets, below)
        value = float(loss + 0.5 * np.vdot(u, pull))
        return CompactEvaluation(point, value, torch.from_numpy(gradient), _by_row(z), p)

    @cached_property
    def _columns(self) -> np.ndarray:
        """[X 1]' (D~, N), or X' without a bias."""
        width = self.design.n_features
        columns = np.empty((width + self.intercept, self.design.n_rows))
        columns[width:] = 1.0
        for block in self.design.blocks(torch.float64):
            columns[:width, block.rows] = block.dense().numpy().T
        return columns

    @cached_property
    def _quick(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_columns`, `_shares` and `_contrasts` for products that steer."""
        exact = self._columns, self._shares, self._contrasts
        columns, shares, contrasts = map(self._rounded, exact)
        return columns, shares, contrasts

    @cached_property
    def _quick_rows(self) -> np.ndarray:
        """diag(s) X~ (N, D~), in the order that is quick for torch's product back."""
        columns, shares, _ = self._quick
        return np.ascontiguousarray((columns * shares).T)

    @property
    def _is_much(self) -> bool:
        """Whether torch's products take less time than numpy's, whose calls cost less."""
        columns, _, contrasts = self._quick
        return bool(contrasts.shape[1] * columns.size >= MUCH)

    def _times(self, few: np.ndarray, many: np.ndarray) -> np.ndarray:
        """A product of few rows with a matrix."""
        if self._is_much:
            product: np.ndarray = torch.mm(torch.from_numpy(few), torch.from_numpy(many)).numpy()
        else:
            product = few.dot(many)
        return product

    def _back(self, along: np.ndarray) -> np.ndarray:
        """sum_i s_i a_i x_i' (K-1, D~) for contrasts `along` the rows (K-1, N)."""
        columns, shares, _ = self._quick
        if self._is_much:
            return self._times(along, self._quick_rows)
        image: np.ndarray = (columns @ (along * shares).T).T  # in the order that is quick
        return image

    def _rounded(self, numbers: np.ndarray) -> np.ndarray:
        """As precise as what steers has to be."""
        return numbers if self.fast == torch.float64 else numbers.astype(np.float32)

    @cached_property
    def _targets(self) -> np.ndarray:
        """T' diag(s) (K, N)."""
        rows = np.ascontiguousarray(self.targets.written_out().T.numpy())
        shares: np.ndarray = rows * self._shares
        return shares

    @cached_property
    def _shares(self) -> np.ndarray:
        return self.weights.numpy()

    @cached_property
    def _ridge(self) -> np.ndarray:
        return self.ridge_columns().numpy()

    @cached_property
    def _ridge_diagonal(self) -> np.ndarray:
        """The ridge's part of the Hessian's diagonal (m D~,)."""
        return np.concatenate([self._ridge] * self._contrasts.shape[1])

    @cached_property
    def _costs(self) -> np.ndarray:
        """What a squared slope (D~,) costs by column, the bias left out."""
        columns = np.zeros(len(self._ridge))
        columns[: self.design.n_features] = 1 / self.ridge.strength.numpy()
        return columns

    @cached_property
    def _bias_costs(self) -> np.ndarray:
        """E' diag(1/mass) E (m, m): what a slope of the bias costs."""
        costs: np.ndarray = (self._contrasts.T / self.mass.numpy()) @ self._contrasts
        return costs

    @cached_property
    def _contrasts(self) -> np.ndarray:
        """E (K, m) with V = E U; these objectives have no other coordinates."""
        return cast("Tensor", self.basis).numpy()

    @cached_property
    def _blocks(self) -> _Blocks:
        """How the Hessian is put together."""
        return _Blocks.of(self.n_classes, len(self._ridge))


@dataclass(frozen=True)
class _Blocks:
    """The blocks [a, b] of a Hessian with a <= b among m contrasts."""

    pairs: tuple[np.ndarray, np.ndarray]  # k and l of all k < l among the classes
    spread: np.ndarray  # (E_ka - E_la) (E_kb - E_lb), a row for each block, a column for each pair
    places: np.ndarray  # (m D~, m D~), where every entry of H stands among those of the blocks

    @staticmethod
    @lru_cache(maxsize=8)
    def of(n_classes: int, width: int) -> _Blocks:
        """Those of the contrasts E (K, m), for points of `width` columns."""
        contrasts = contrast_basis(n_classes).numpy()
        m = contrasts.shape[1]
        (first, second), (mine, other) = np.triu_indices(n_classes, 1), np.triu_indices(m)
        apart = (contrasts[first] - contrasts[second]).T
        number = np.empty((m, m), dtype=np.intp)
        number[mine, other] = number[other, mine] = np.arange(len(mine))
        within = np.arange(width * width).reshape(width, width)
        places = number[:, None, :, None] * width**2 + within[:, None, :]
        square = places.reshape(m * width, m * width)
        return _Blocks((first, second), apart[mine] * apart[other], square)


class CompactLine:
    """F along U + t dU over kept logits, without a product for a trial step."""

    trials_are_free = True

    def __init__(
        self, objective: CompactObjective, at: Evaluation, direction: Tensor, change: np.ndarray
    ) -> None:
        self.objective, self.at, self.direction, self.change = objective, at, direction, change
        ahead = direction.numpy()
        pull = ahead * objective._ridge
        self.pull = float(np.vdot(pull, at.point.numpy()))
        self.bend = float(np.vdot(pull, ahead))
        self._tried = math.nan

    def slope(self, t: float) -> float:
        """sum_i s_i (p_i - t_i).dz_i, with the ridge."""
        problem, dz = self.objective, self.change
        self._tried, self._known = t, _shares_of(self._logits(t))
        self._weighted = self._known.probabilities * dz
        self._mean = self._weighted.sum(0)
        slope = self._mean @ problem._shares - np.vdot(problem._targets, dz)
        return float(slope) + self.pull + t * self.bend

    def curvature(self, t: float) -> float:  # noqa: ARG002
        """sum_i s_i Var_p(dz_i), with the ridge, where the slope was asked for last."""
        spread = (self._weighted * self.change).sum(0) - self._mean * self._mean
        return float(spread @ self.objective._shares) + self.bend

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there."""
        known = self._known if t == self._tried else _shares_of(self._logits(t))
        return self.objective._evaluated(self.at.point + t * self.direction, known)

    def _logits(self, t: float) -> np.ndarray:
        return _by_class(self.at) + t * self.change


@dataclass(frozen=True)
class CompactCurvature(SoftmaxCurvature):
    """The Hessian of a `CompactObjective`; `by_class` is P (K, N), as precise as products are."""

    objective: CompactObjective
    by_class: np.ndarray

    def product(self, direction: Tensor) -> Tensor:
        """H times a direction in one pass: diag(p) - pp' between two products with X."""
        problem, p = self.objective, self.by_class
        columns, _, contrasts = problem._quick
        u = direction.numpy()
        pq = problem._along(problem._rounded(u), columns, contrasts)
        pq *= p
        pq -= p * np.add.reduce(pq)
        image = problem._back(contrasts.T.dot(pq))
        return torch.from_numpy(image + u * problem._ridge)

    def matrix(self) -> Tensor:
        """H (m D~, m D~), from blocks H_ab = X~' diag(s w_ab) X~ for a <= b.

        w_ab = sum_{k<l} p_k p_l (E_ka - E_la) (E_kb - E_lb): no difference of rounded numbers.
        """
        problem = self.objective
        if problem.n_classes > MOST_CLASSES or problem.cost.parameters > LARGEST:
            known = cast("Tensor", self.probabilities).to(problem.fast)
            return SoftmaxCurvature(problem, known).matrix()
        problem.tally.passes += 1
        blocks = problem._blocks
        (columns, shares, _), p, (first, second) = problem._quick, self.by_class, blocks.pairs
        pairs = p.take(first, 0)
        pairs *= p.take(second, 0)
        pairs *= shares
        spread = blocks.spread.astype(p.dtype, copy=False).dot(pairs)
        weighted = (columns * spread[:, None]).reshape(-1, columns.shape[1])
        hessian = weighted.dot(columns.T).take(blocks.places).astype(np.float64, copy=False)
        hessian.ravel()[:: len(hessian) + 1] += problem._ridge_diagonal
        return torch.from_numpy(hessian)


class _Shares(NamedTuple):
    """Logits (K, N), how far they lie below the largest of their row, and their softmax."""

    logits: np.ndarray
    below: np.ndarray
    probabilities: np.ndarray
    total: np.ndarray  # (N,), of exp(below)


def _shares_of(z: np.ndarray) -> _Shares:
    below = z - np.maximum.reduce(z)
    p = np.exp(below)
    total = np.add.reduce(p)
    p /= total
    return _Shares(z, below, p, total)


def _by_row(matrix: np.ndarray) -> Tensor:
    """The same (N, K) in torch, for whoever asks `SoftmaxObjective`."""
    return torch.from_numpy(matrix.T)


def _by_class(at: Evaluation) -> np.ndarray:
    """The logits (K, N) of a point."""
    logits: np.ndarray = cast("Tensor", logits_of(at)).T.numpy()
    return logits


def _probabilities(at: Evaluation) -> np.ndarray:
    """softmax of the logits (K, N) of a point."""
    known = at.probabilities if isinstance(at, CompactEvaluation) else None
    return _shares_of(_by_class(at)).probabilities if known is None else known
