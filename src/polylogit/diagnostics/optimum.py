"""A fitted optimum brought to rounding, with its Hessian factored: what leave-one-out starts from.

In the coordinates of `SoftmaxObjective` with contrasts: a point is (K - 1, D~), the bias in the
last column, and the shift that softmax cannot see is gone, so the Hessian has an inverse. All
weights are shares of the rows' total weight; standardised rows x~ end in a one for the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from polylogit.design import row_slices
from polylogit.optim.logits import logits_of
from polylogit.optim.newton import newton
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import Ridge
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Evaluation
from polylogit.optim.sums import contrast_basis
from polylogit.training import Fit, Prepared

CLOSE, ROUGH = 1e-10, 1e-6  # nats per row still to gain: else the Hessian is made again, closer
SETTLED = 1e-18  # nats per row: less does not show in any logit
CHORDS, NEWTONS = 6, 50  # steps, at most
FAST = torch.float32  # of products with all rows
CELLS = 2**19  # numbers of a part of the rows at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Optimum:
    """The lowest point of `objective` (m, D~), m = K - 1, and what is known there.

    `rows` (N, D~) are the x~_i, `aims` (N, K) the targets t_i of the fit, smoothed or not;
    `factor` (P, P) is L with L L' = H, the Hessian between the P = m D~ entries of a point.
    """

    objective: SoftmaxObjective
    point: Tensor
    logits: Tensor
    rows: Tensor
    aims: Tensor
    factor: Tensor

    @property
    def basis(self) -> Tensor:
        """E (K, K - 1): the contrasts."""
        return cast("Tensor", self.objective.basis)

    @property
    def ridge(self) -> Tensor:
        """The penalty's curvature of every entry of a point (P,)."""
        return self.objective.ridge_columns().repeat(self.basis.shape[1])

    @cached_property
    def inverse(self) -> Tensor:
        """H^-1 (P, P)."""
        return torch.cholesky_inverse(self.factor)

    def products(self, moves: Tensor, rows: Tensor) -> Tensor:
        """By how much each of the moves (B, P) of the point changes z (B, n, K) of rows (B, n)."""
        return self.rows[rows] @ (self.basis @ self._apart(moves)).mT

    def pulls(self, moves: Tensor) -> Tensor:
        """sum_i w_i (p_i - p_i at the optimum) x~_i' in contrasts (B, P), for p_i after each move.

        All of them share two products with the rows, in `FAST`, for the differences are small.
        """
        fast = self.fast
        directions = (self.basis @ self._apart(moves)).transpose(0, 1).to(fast.rows.dtype)
        total = torch.zeros(directions.shape, dtype=torch.float64)
        step = max(1, CELLS // directions[..., 0].numel())
        for part in row_slices(len(self.rows), step):
            z = (directions.flatten(0, 1) @ fast.rows[part].T).view(*directions.shape[:2], -1)
            p = torch.softmax(z.add_(fast.logits[:, None, part]), 0)
            p.sub_(fast.probabilities[:, None, part])
            total += p @ fast.weighted[part]
        return torch.einsum("km,kbd->bmd", self.basis, total).flatten(1)

    def _apart(self, moves: Tensor) -> Tensor:
        return moves.view(len(moves), -1, self.rows.shape[1])

    @cached_property
    def fast(self) -> Fast:
        """What products with all rows take."""
        weighted = self.rows * self.objective.weights[:, None]
        logits = self.logits.T.to(FAST).contiguous()
        return Fast(self.rows.to(FAST), weighted.to(FAST), logits, torch.softmax(logits, 0))


@dataclass(frozen=True, eq=False)
class Fast:
    """Rows (N, D~), the same by their weights, logits and probabilities (K, N), in `FAST`."""

    rows: Tensor
    weighted: Tensor
    logits: Tensor
    probabilities: Tensor


def tighten(prepared: Prepared, fit: Fit, close: float = CLOSE) -> Optimum:
    """The optimum near `fit`: certified is not enough, for the formula assumes a zero gradient.

    A gap of 1e-6 nats per row moves a logit by up to sqrt(2e-6 N). Newton steps on the exact
    Hessian take that to rounding; most often steps with one Hessian will do. That Hessian is of a
    point from which no more than `close` nats per row were to gain.
    """
    basis = contrast_basis(prepared.n_classes)
    objective = objective_of(prepared, fit.alpha, basis, torch.float64)
    start = prepared.design.from_user(fit.model.weight, fit.model.bias)
    at = objective.evaluate(objective.join(*start))
    factor = cholesky(objective.curvature(at).matrix())
    for _ in range(NEWTONS):
        if _left(at, factor) <= close:
            break
        at = _better(objective, at, factor)
        factor = cholesky(objective.curvature(at).matrix())
    for _ in range(CHORDS):
        if _left(at, factor) <= SETTLED:
            break
        at = objective.evaluate(at.point - _step(at, factor))
    blocks = prepared.design.blocks(torch.float64)
    rows = torch.cat([block.dense() for block in blocks])
    if prepared.intercept:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    logits = cast("Tensor", logits_of(at))
    aims = objective.targets.written_out()
    return Optimum(objective, at.point, logits, rows, aims, factor)


def _better(objective: SoftmaxObjective, at: Evaluation, factor: Tensor) -> Evaluation:
    """After a full Newton step, or where that leads up, at the end of shorter ones."""
    full = objective.evaluate(at.point - _step(at, factor))
    return full if full.value < at.value else lowest(objective, at)


def lowest(objective: SoftmaxObjective, at: Evaluation) -> Evaluation:
    """The end of Newton's method from here: where float64 sees no fall any more."""
    for _, better in zip(range(NEWTONS), newton(objective, at), strict=False):
        fall, at = at.value - better.value, better
        if fall <= 1e-15 * max(1.0, abs(at.value)):
            break
    return at


def objective_of(
    prepared: Prepared, alpha: float, basis: Tensor | None, fast: torch.dtype
) -> SoftmaxObjective:
    """F of a fit with a ridge, its Hessian products in `fast` and all else in float64."""
    factors = 1.0 if prepared.factors is None else prepared.design.of_columns(prepared.factors)
    return SoftmaxObjective(
        prepared.design,
        prepared.targets,
        prepared.weights / prepared.weights.sum(),
        Ridge(alpha * factors / prepared.design.scale.square()),
        prepared.n_classes,
        prepared.intercept,
        basis,
        prepared.offsets,
        fast=fast,
    )


def _step(at: Evaluation, factor: Tensor) -> Tensor:
    """H^-1 times the gradient, in the shape of the point."""
    return torch.cholesky_solve(at.gradient.reshape(-1, 1), factor).view_as(at.point)


def _left(at: Evaluation, factor: Tensor) -> float:
    """g' H^-1 g / 2: what a step would gain."""
    return 0.5 * float((at.gradient * _step(at, factor)).sum())
