"""Easy stand-ins for the inverse Hessian: one curvature for all classes.

Every diagonal block of the Hessian is X~' diag(s p_k (1 - p_k)) X~ + ridge. Replacing p_k(1 - p_k)
by its mean over the classes leaves one matrix for all of them. The ridge stands in it at the
strength of each standardised column, so columns of any size are taken care of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.linalg.lapack import dposv
from torch import Tensor

CHANGED = 2.0  # a factor of the rows' mean curvature after which kept sums are out of date
SMALL = 64  # unknowns
JITTER = 1e-12  # of the mean diagonal, added where a Gram matrix is singular to rounding


@dataclass(frozen=True)
class GramPreconditioner:
    """R -> R A^-1 for a residual R (m, n) and the curvature A (n, n) shared by all classes."""

    gram: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "_inverse", torch.cholesky_inverse(cholesky(self.gram)))

    def __call__(self, residual: Tensor) -> Tensor:
        inverse: Tensor = self._inverse  # type: ignore[attr-defined]
        return residual @ inverse.to(residual.dtype)

    def curvature(self, direction: Tensor) -> Tensor:
        return direction @ self.gram.to(direction.dtype)


@dataclass(frozen=True)
class DiagonalPreconditioner:
    """R -> R / A entry by entry, for designs too wide for a D x D matrix; A (m, n) or (n,)."""

    diagonal: Tensor

    def __post_init__(self) -> None:
        floor = self.diagonal.mean() * JITTER
        object.__setattr__(self, "diagonal", self.diagonal.clamp_min(floor))

    def __call__(self, residual: Tensor) -> Tensor:
        return residual / self.diagonal.to(residual.dtype)

    def curvature(self, direction: Tensor) -> Tensor:
        return direction * self.diagonal.to(direction.dtype)


@dataclass
class Kept:
    """The sums behind a preconditioner, without the ridge, kept while they are about right.

    `total` is the curvature of all rows together; as it changes, the sums are scaled with it.
    """

    sums: Tensor | None = None
    total: float = 0.0

    def renewed(self, total: float, compute: Callable[[], Tensor]) -> Tensor:
        """The sums where the rows' curvature is `total`: the kept ones, or new ones."""
        if self.sums is None or not self.total / CHANGED <= total <= self.total * CHANGED:
            self.sums, self.total = compute(), total
        return self.sums if total == self.total else self.sums * (total / self.total)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right, in the shape of `right`, for a positive definite matrix in float64.

    Up to `SMALL` unknowns a call to LAPACK takes a fifth of the time of torch's two.
    """
    if matrix.shape[0] <= SMALL and matrix.device.type == "cpu":
        _, solution, failed = dposv(matrix.numpy().T, right.numpy().ravel())  # LAPACK's order
        if not failed:
            return torch.from_numpy(solution).view_as(right)
    return torch.cholesky_solve(right.reshape(-1, 1), cholesky(matrix)).view_as(right)


def cholesky(matrix: Tensor) -> Tensor:
    """L with L L' = matrix, the diagonal raised as little as rounding demands.

    The matrix is scaled to a unit diagonal first, so columns of any size keep their digits.
    """
    diagonal = matrix.diagonal().clamp_min(torch.finfo(matrix.dtype).tiny).sqrt()
    unit = (matrix / diagonal).div_(diagonal[:, None])
    lift = JITTER
    for _ in range(12):
        factor, failed = torch.linalg.cholesky_ex(unit)
        if not failed:
            lower: Tensor = factor.mul_(diagonal[:, None])
            return lower
        unit.diagonal().add_(lift)
        lift *= 10
    return torch.diag(diagonal)  # hopeless: steer by the diagonal alone
