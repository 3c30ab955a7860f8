"""F along a line: what a line search asks, most often without a product with the data."""

from __future__ import annotations

import math
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from polylogit.optim.logits import chunks, inner, logits_of, row_sums, softmax
from polylogit.optim.problem import Evaluation, dot
from polylogit.optim.sums import SoftmaxSums


class LogitLine:
    """F along V + t dV: the logits are Z + t dZ, so a trial step costs no product with X.

    The probabilities of the last trial are kept, for it is most often the step that is taken.
    """

    trials_are_free = True

    def __init__(
        self, objective: SoftmaxSums, at: Evaluation, direction: Tensor, change: Tensor
    ) -> None:
        self.objective, self.at, self.direction = objective, at, direction
        self.change = change  # dZ (N, K)
        self._logits: Tensor | None = None
        self._probabilities = objective.room()
        self._sums = torch.zeros(objective.n_classes, dtype=torch.float64)  # sum_i s_i p_i
        self._tried = math.nan

    def slope(self, t: float) -> float:
        """sum_i s_i (p_i - t_i).dz_i at `t`, with the ridge."""
        problem, before, self._tried = self.objective, cast("Tensor", logits_of(self.at)), t
        if self._logits is None:
            self._logits = problem.room()
        slope, self._sums = 0.0, torch.zeros(problem.n_classes, dtype=torch.float64)
        for rows in chunks(*before.shape):
            dz, share = self.change[rows], problem.weights[rows]
            z = torch.add(before[rows], dz, alpha=t, out=self._logits[rows])
            p = softmax(z, self._probabilities[rows])
            self._sums += share.to(p.dtype) @ p  # while they are in cache
            slope += _mean_product(p, dz, share, problem.alike)
        pull, bend = self._ridge
        return slope - self._wanted + pull + t * bend

    def curvature(self, t: float) -> float:
        """sum_i s_i Var_p(dz_i) at `t`, with the ridge."""
        if self._tried != t or self._logits is None:
            self.slope(t)
        _, curvature = self._ridge
        for rows in chunks(*self.change.shape):
            dz = self.change[rows]
            weighted = self._probabilities[rows] * dz
            mean = row_sums(weighted)
            spread = row_sums(weighted.mul_(dz)) - mean.square_()
            curvature += float(self.objective.weights[rows] @ spread.double())
        return curvature

    @cached_property
    def _wanted(self) -> float:
        """sum_i s_i t_i.dz_i, which no step changes."""
        problem, change = self.objective, self.change
        picked = (problem.targets.dot(change[rows], rows) for rows in chunks(*change.shape))
        return float(problem.weights @ torch.cat(list(picked)).double())

    @cached_property
    def _ridge(self) -> tuple[float, float]:
        """The ridge's slope where the line sets out, and how fast it changes on it."""
        pull = self.direction * self.objective.ridge_columns()
        return dot(pull, self.at.point), dot(pull, self.direction)

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there, the bias near its best: one pass, for the gradient alone."""
        point, logits = self._taken(t)  # the probabilities become residuals
        return self.objective.evaluate_settled(point, logits, self._probabilities, self._sums)

    def balanced(self, t: float) -> Evaluation:
        """As `evaluate`, with the best bias up to rounding."""
        return self.objective.balanced_known(*self._taken(t))

    def _taken(self, t: float) -> tuple[Tensor, Tensor]:
        """The point there, and its logits, which are no longer the line's."""
        if self._logits is None or self._tried != t:
            self.slope(t)
        logits, self._logits = cast("Tensor", self._logits), None
        return self.at.point + t * self.direction, logits


class RecomputedLine:
    """F along V + t dV with no logits kept: every trial is an evaluation, so taking it is free.

    The slope is the gradient there times the direction. The curvature at a point would cost two
    more products with X; that between the last two points serves, and costs none.
    """

    trials_are_free = False

    def __init__(self, objective: SoftmaxSums, at: Evaluation, direction: Tensor) -> None:
        self.objective, self.at, self.direction = objective, at, direction
        self._last, self._curvature = (0.0, at), 0.0

    def slope(self, t: float) -> float:
        """dF.d there."""
        (before, last), there = self._last, self.evaluate(t)
        if t != before:
            rise = dot(there.gradient - last.gradient, self.direction)
            self._last, self._curvature = (t, there), rise / (t - before)
        return dot(there.gradient, self.direction)

    def curvature(self, t: float) -> float:
        """How fast the slope rose from the last other point."""
        self.slope(t)
        return self._curvature

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there; free where it was tried last."""
        if self._last[0] == t:
            return self._last[1]
        return self.objective.evaluate(self.at.point + t * self.direction)


def _mean_product(p: Tensor, dz: Tensor, share: Tensor, alike: float | None) -> float:
    """sum_i s_i p_i.dz_i, at once where all rows weigh the same."""
    if alike is not None:
        return alike * inner(p, dz)
    return float(share @ row_sums(p * dz).double())
