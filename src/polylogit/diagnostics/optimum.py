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

from polylogit.optim.newton import newton
from polylogit.optim.objective import SoftmaxObjective, contrast_basis, logits_of, written_out
from polylogit.optim.penalty import Ridge
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Evaluation
from polylogit.training import Fit, Prepared

ROUGH = 1e-8  # nats per row still to gain, from which the Hessian is made again at a better point
SETTLED = 1e-18  # nats per row: less does not show in any logit
CHORDS, NEWTONS = 6, 50  # steps, at most


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

    def logits_at(self, points: Tensor, rows: Tensor) -> Tensor:
        """z (B, n, K) of some rows (B, n) at each of the points (B, P)."""
        z = self.products(points, rows)
        return z if self.objective.offsets is None else z + self.objective.offsets[rows]

    def products(self, points: Tensor, rows: Tensor) -> Tensor:
        """The same without offsets, so linear in the points."""
        return self.rows[rows] @ self._weights(points).mT

    def all_logits(self, points: Tensor) -> Tensor:
        """z (N, B, K) of all rows at each of the points (B, P), by one product."""
        flat = self._weights(points).flatten(0, 1)
        z = (self.rows @ flat.T).view(len(self.rows), len(points), -1)
        return z if self.objective.offsets is None else z.add_(self.objective.offsets[:, None])

    def _weights(self, points: Tensor) -> Tensor:
        return self.basis @ points.view(len(points), -1, self.rows.shape[1])


def tighten(prepared: Prepared, fit: Fit) -> Optimum:
    """The optimum near `fit`: certified is not enough, for the formula assumes a zero gradient.

    A gap of 1e-6 nats per row moves a logit by up to sqrt(2e-6 N). Newton steps on the exact
    Hessian take that to rounding; most often steps with one Hessian will do.
    """
    basis = contrast_basis(prepared.n_classes)
    objective = objective_of(prepared, fit.alpha, basis, torch.float64)
    start = prepared.design.from_user(fit.model.weight, fit.model.bias)
    at = objective.evaluate(objective.join(*start))
    factor = cholesky(objective.curvature(at).matrix())
    if _left(at, factor) > ROUGH:
        at = lowest(objective, at)
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
    aims = written_out(objective.targets, *logits.shape)
    return Optimum(objective, at.point, logits, rows, aims, factor)


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
    each = alpha * (1.0 if prepared.factors is None else prepared.factors)
    return SoftmaxObjective(
        prepared.design,
        prepared.targets,
        prepared.weights / prepared.weights.sum(),
        Ridge(each / prepared.design.scale.square()),
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
