"""The convex problem of vector scaling: every class has a slope and a bias of its own.

    F(d, c) = 1/N sum_i w_i [lse(z_i) - z_i,y_i] + alpha/2 (|d|^2 + |c|^2)
    z_i = o_i + d * x_i + c

for features x (N, K), offsets o (N, K) and row weights w of mean 1. A point is (2, K): d over c. It
is a `polylogit.optim.problem.Problem` for Newton's method: with P = softmax(Z) and R = w (P - T)/N,

    dF/dd = sum_i R_i * x_i + alpha d        dF/dc = sum_i R_i + alpha c

and the Hessian comes from the K-column blocks X * P and P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from polylogit.optim.newton import newton
from polylogit.optim.problem import Evaluation, Preconditioner

STEPS = 100


@dataclass(frozen=True, eq=False)
class VectorScaling:
    """F over slopes and biases (2, K); `share` (N,) are the row weights over N, of sum 1."""

    features: Tensor
    offsets: Tensor
    codes: Tensor
    share: Tensor
    alpha: float

    def logits(self, point: Tensor) -> Tensor:
        """Z (N, K) at a point."""
        return self.offsets + self.features * point[0] + point[1]

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient at `point`; keeps Z."""
        return self._evaluated(point, self.logits(point))

    def line(self, at: Evaluation, direction: Tensor) -> _Line:
        """F along a direction."""
        return _Line(self, at, direction, self.features * direction[0] + direction[1])

    def curvature(self, at: Evaluation) -> _Curvature:
        """The Hessian at `at`, which is small enough to be written out."""
        return _Curvature(self._hessian(logits_at(at)))

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """Newton's method asks for none."""
        raise NotImplementedError

    def _evaluated(self, point: Tensor, logits: Tensor) -> Evaluation:
        log_p = logits.log_softmax(1)
        loss = -self.share @ log_p.gather(1, self.codes[:, None])[:, 0]
        residual = log_p.exp()
        residual[torch.arange(len(residual)), self.codes] -= 1
        residual *= self.share[:, None]
        slopes = torch.stack([(residual * self.features).sum(0), residual.sum(0)])
        value = float(loss) + 0.5 * self.alpha * float(point.square().sum())
        return Evaluation(point, value, slopes + self.alpha * point, logits)

    def _hessian(self, logits: Tensor) -> Tensor:
        p, w, k = logits.softmax(1), self.share[:, None], logits.shape[1]
        blocks = torch.cat([self.features * p, p], 1)
        hessian = -(blocks.T @ (w * blocks))
        xp = (w * p * self.features).sum(0)
        xxp = (w * p * self.features.square()).sum(0)
        diagonal = torch.arange(k)
        hessian[diagonal, diagonal] += xxp
        hessian[diagonal, diagonal + k] += xp
        hessian[diagonal + k, diagonal] += xp
        hessian[diagonal + k, diagonal + k] += (w * p).sum(0)
        hessian.diagonal().add_(self.alpha)
        return hessian


@dataclass(frozen=True, eq=False)
class _Line:
    trials_are_free = True

    problem: VectorScaling
    at: Evaluation
    direction: Tensor
    change: Tensor

    def slope(self, t: float) -> float:
        taken = self.change.gather(1, self.problem.codes[:, None])[:, 0]
        mean = (self._probabilities(t) * self.change).sum(1)
        along = ((self.at.point + t * self.direction) * self.direction).sum()
        return float(self.problem.share @ (mean - taken) + self.problem.alpha * along)

    def curvature(self, t: float) -> float:
        p, dz = self._probabilities(t), self.change
        spread = (p * dz.square()).sum(1) - (p * dz).sum(1).square()
        bend = self.problem.alpha * self.direction.square().sum()
        return float(self.problem.share @ spread + bend)

    def _probabilities(self, t: float) -> Tensor:
        return (logits_at(self.at) + t * self.change).softmax(1)

    def evaluate(self, t: float) -> Evaluation:
        logits = logits_at(self.at) + t * self.change
        return self.problem._evaluated(self.at.point + t * self.direction, logits)


@dataclass(frozen=True, eq=False)
class _Curvature:
    hessian: Tensor

    def product(self, direction: Tensor) -> Tensor:
        return (self.hessian @ direction.flatten()).reshape(direction.shape)

    def matrix(self) -> Tensor:
        return self.hessian


def logits_at(at: Evaluation) -> Tensor:
    """The logits that an evaluation kept."""
    return cast("Tensor", at.state)


def solved(problem: VectorScaling, start: Tensor, tol: float) -> Tensor:
    """The point (2, K) where F is proven to be within `tol` nats of the least.

    F is strongly convex, so F - F* <= |gradient|^2 / (2 alpha).
    """
    at = problem.evaluate(start)
    steps = newton(problem, at)
    for _ in range(STEPS):
        if float(at.gradient.square().sum()) <= 2 * problem.alpha * tol:
            break
        following = next(steps, None)
        if following is None:
            break
        at = following
    return at.point
