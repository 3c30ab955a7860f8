"""Easy stand-ins for the inverse Hessian.

Every diagonal block of the Hessian is H_k = X~' diag(s p_k (1 - p_k)) X~ + ridge. Replacing
p_k(1 - p_k) by its mean over the classes leaves one matrix A for all of them. The ridge stands in
it at the strength of each standardised column, so columns of any size are taken care of.

Columns matter more to one class than to another. With r_k the diagonal of H_k over that of A,

    M_k = diag(r_k)^1/2 A diag(r_k)^1/2

has the right diagonal for every class and still takes one inverse. Steps have no share in what
moves all classes alike, for softmax cannot see it, while sum_k u_k' M_k u_k charges for it. So the
model is minimised where the steps sum to zero:

    u = argmin { 1/2 sum_k u_k' M_k u_k - sum_k g_k' u_k  :  sum_k u_k = 0 }
    u_k = M_k^-1 (g_k - l),     l = (sum_k M_k^-1)^-1 sum_k M_k^-1 g_k

and sum_k M_k^-1 = A^-1 * sum_k q_k q_k', entry by entry, with q_k = r_k^-1/2. On 10 000 images of
digits L-BFGS takes a third fewer steps with it than with A alone.

Where columns are collinear, X n = 0, nothing but the ridge curves F along n, in any class; M_k says
so of r_k^-1/2 n instead, where H_k is far from flat. How far is a matter of how the ratios of a
class differ, e_kd = (r_kd / median_d r_kd)^1/2 - 1, so A is lifted by a multiple of its diagonal
times the mean of e_kd^2 over the classes. The plain M_k = median_d r_kd A (`even`) has no such
trouble, and is the better one where most columns are indicators of categories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy.linalg.lapack import dposv
from torch import Tensor

from polylogit.optim.problem import Preconditioner

CHANGED = 2.5  # a factor of the rows' mean curvature after which kept sums are out of date
LEAST_RATIO = 0.6  # of a class's usual one: below, the ridge in A would be scaled away
EVEN = 0.02  # of a root: ratios that differ by no more within a class are one
MISFIT = 3.0  # times the squared unevenness of the ratios, by which A is lifted
SMALL = 64  # unknowns
SMALL_PIVOT = 0.03  # squared, the share of a column that those before it lack; float32 sees 1e-7
JITTER = 1e-12  # of the mean diagonal, added where a Gram matrix is singular to rounding


@dataclass(frozen=True, eq=False)
class Precise:
    """A tensor made in float64, and the same in other precisions, converted once."""

    exact: Tensor
    rounded: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def like(self, other: Tensor) -> Tensor:
        """It in the precision of `other`."""
        if other.dtype == self.exact.dtype:
            return self.exact
        if other.dtype not in self.rounded:
            self.rounded[other.dtype] = self.exact.to(other.dtype)
        return self.rounded[other.dtype]


@dataclass(frozen=True)
class GramPreconditioner:
    """R -> R A^-1 for a residual R (m, n) and the curvature A (n, n) shared by all classes."""

    gram: Tensor

    @cached_property
    def _factor(self) -> Factor:
        return Factor.of(self.gram)

    @cached_property
    def _inverse(self) -> Precise:
        return Precise(self._factor.inverse())

    def __call__(self, residual: Tensor) -> Tensor:
        return residual @ self._inverse.like(residual)

    def once(self, residual: Tensor) -> Tensor:
        """As a call, at a third of the price of an inverse."""
        return self._factor.solve(residual.T).T.to(residual.dtype)

    def curvature(self, direction: Tensor) -> Tensor:
        return direction @ self.gram.to(direction.dtype)


@dataclass(frozen=True)
class EvenPreconditioner(GramPreconditioner):
    """G -> u for gradients G (..., K, n) that sum to zero over the classes, with M_k = r_k A.

    `ratios` (K, 1) are r_k; l is their weighted mean of the gradients.
    """

    ratios: Tensor

    def __call__(self, residual: Tensor) -> Tensor:
        return self._shared(super().__call__, residual)

    def once(self, residual: Tensor) -> Tensor:
        return self._shared(super().once, residual)

    def curvature(self, direction: Tensor) -> Tensor:
        return super().curvature(direction) * self.ratios.to(direction.dtype)

    def _shared(self, solve: Callable[[Tensor], Tensor], residual: Tensor) -> Tensor:
        narrow = self.ratios.reciprocal().to(residual.dtype)
        mean = (residual * narrow).sum(-2, keepdim=True) / narrow.sum()
        return solve(residual - mean).mul_(narrow)


@dataclass(frozen=True)
class ClassPreconditioner:
    """G -> u for gradients G (..., K, n) that sum to zero over the classes, as written above.

    `gram` is A (n, n), `diagonals` (K, n) are those of the H_k.
    """

    gram: Tensor
    diagonals: Tensor

    @cached_property
    def _root(self) -> Tensor:
        """r_k^1/2 (K, n)."""
        least = LEAST_RATIO * self._usual
        return torch.maximum(self._ratio, least).clamp_min_(JITTER).sqrt_()

    @cached_property
    def _ratio(self) -> Tensor:
        return (self.diagonals / self.gram.diagonal()).nan_to_num_(1.0)  # where nothing curves F

    @cached_property
    def _usual(self) -> Tensor:
        """median_d r_kd (K, 1)."""
        return self._ratio.median(1, keepdim=True).values.clamp_min_(JITTER)

    @cached_property
    def _lifted(self) -> Tensor:
        """A, with more on its diagonal the less one ratio serves all columns of a class."""
        uneven = self._uneven.square().mean(0)
        return self.gram + torch.diag(uneven.mul_(MISFIT * self.gram.diagonal()))

    @cached_property
    def _uneven(self) -> Tensor:
        """e_kd (K, n)."""
        return self._root / self._usual.sqrt() - 1

    @property
    def is_even(self) -> bool:
        """Whether one ratio for all columns of a class says as much, as where a fit sets out."""
        return float(self._uneven.abs().max()) <= EVEN

    def even(self) -> EvenPreconditioner:
        """The same with one ratio for all columns of a class, for collinear ones."""
        return EvenPreconditioner(self.gram, self._usual)

    @cached_property
    def _inverse(self) -> Precise:
        """A^-1."""
        return Precise(Factor.of(self._lifted).inverse())

    @cached_property
    def _narrow(self) -> Precise:
        """r_k^-1/2 (K, n)."""
        return Precise(self._root.reciprocal())

    @cached_property
    def _common(self) -> Precise:
        """(sum_k M_k^-1)^-1."""
        return Precise(Factor.of(self._inverses_summed).inverse())

    @property
    def _inverses_summed(self) -> Tensor:
        """sum_k M_k^-1 (n, n)."""
        each = self._narrow.exact
        return self._inverse.exact * (each.T @ each)

    def __call__(self, residual: Tensor) -> Tensor:
        common = self._common.like(residual)
        return _of_sum_zero(self._apart, lambda u: u @ common, residual)

    def _apart(self, residual: Tensor) -> Tensor:
        """M_k^-1 times the residual of each class."""
        narrow = self._narrow.like(residual)
        return ((residual * narrow) @ self._inverse.like(residual)).mul_(narrow)

    def curvature(self, direction: Tensor) -> Tensor:
        root = self._root.to(direction.dtype)
        return (direction * root) @ self._lifted.to(direction.dtype) * root


def _of_sum_zero(
    apart: Callable[[Tensor], Tensor], common: Callable[[Tensor], Tensor], residual: Tensor
) -> Tensor:
    """u_k = M_k^-1 (g_k - l) from M_k^-1 for every class and (sum_k M_k^-1)^-1."""
    alone = apart(residual)
    return alone - apart(common(alone.sum(-2, keepdim=True)).expand_as(residual))


@dataclass(frozen=True)
class DiagonalPreconditioner:
    """R -> R / A entry by entry, for designs too wide for a D x D matrix; A (m, n) or (n,)."""

    diagonal: Tensor

    def __post_init__(self) -> None:
        floor = self.diagonal.mean() * JITTER
        object.__setattr__(self, "diagonal", self.diagonal.clamp_min(floor))

    @cached_property
    def _inverse(self) -> Precise:
        return Precise(self.diagonal.reciprocal())

    def __call__(self, residual: Tensor) -> Tensor:
        return residual * self._inverse.like(residual)

    def curvature(self, direction: Tensor) -> Tensor:
        return direction * self.diagonal.to(direction.dtype)


@dataclass(frozen=True)
class ClassDiagonalPreconditioner(DiagonalPreconditioner):
    """The same for gradients (K, n) that sum to zero over the classes: A is the diagonal of H."""

    @cached_property
    def _common(self) -> Precise:
        """(sum_k M_k^-1)^-1."""
        return Precise(self._inverse.exact.sum(0).reciprocal_())

    def __call__(self, residual: Tensor) -> Tensor:
        common = self._common.like(residual)
        return _of_sum_zero(super().__call__, lambda u: u * common, residual)


@dataclass(frozen=True)
class InContrasts:
    """R -> M^-1 R for residuals R (m, n) in orthonormal contrasts E (K, m), by a model of classes.

    `classes` minimises over steps (K, n) that sum to zero, which are those in contrasts.
    """

    basis: Tensor
    classes: Preconditioner

    def __call__(self, residual: Tensor) -> Tensor:
        basis = self.basis.to(residual.dtype)
        return basis.T @ self.classes(basis @ residual)

    def curvature(self, direction: Tensor) -> Tensor:
        basis = self.basis.to(direction.dtype)
        return basis.T @ self.classes.curvature(basis @ direction)


@dataclass
class Kept:
    """The sums behind a preconditioner, without the ridge, kept while they are about right.

    `total` is the curvature of all rows together; as it changes, the sums are scaled with it.
    """

    sums: Tensor | None = None
    total: float = 0.0
    even: bool | None = None  # whether one ratio for all columns of a class gains more, once tried

    def renewed(self, total: float, compute: Callable[[], Tensor]) -> Tensor:
        """The sums where the rows' curvature is `total`: the kept ones, or new ones."""
        if self.sums is None or not self.total / CHANGED <= total <= self.total * CHANGED:
            self.sums, self.total, self.even = compute(), total, None
        return self.sums if total == self.total else self.sums * (total / self.total)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right, in the shape of `right`, for a positive definite matrix in float64.

    Up to `SMALL` unknowns a call to LAPACK takes a fifth of the time of torch's two.
    """
    if matrix.shape[0] <= SMALL and matrix.device.type == "cpu":
        _, solution, failed = dposv(matrix.numpy().T, right.numpy().ravel())  # LAPACK's order
        if not failed:
            return torch.from_numpy(solution.reshape(right.shape))
    return torch.cholesky_solve(right.reshape(-1, 1), cholesky(matrix)).view_as(right)


@dataclass(frozen=True)
class Factor:
    """A = diag(r) L L' diag(r), to steer by: a large L is made in float32 where that keeps digits.

    That halves the price; `root` is r (n,), so that columns of any size keep theirs.
    """

    lower: Tensor
    root: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Factor:
        """Of a positive definite matrix, or as far as `cholesky` can factor it."""
        root = _root(matrix)
        unit = _scaled(matrix, root)
        quick = _quick_cholesky(unit) if len(unit) > SMALL else None
        return cls(_raised_cholesky(unit) if quick is None else quick, root)

    def inverse(self) -> Tensor:
        """A^-1 (n, n) in float64."""
        return _scaled(torch.cholesky_inverse(self.lower).double(), self.root)

    def solve(self, right: Tensor) -> Tensor:
        """A^-1 R (n, m) in float64 for R (n, m)."""
        root = self.root[:, None]
        solution = torch.cholesky_solve((right / root).to(self.lower.dtype), self.lower)
        return solution.double() / root


def cholesky(matrix: Tensor) -> Tensor:
    """L with L L' = matrix, the diagonal raised as little as rounding demands.

    The matrix is scaled to a unit diagonal first, so columns of any size keep their digits.
    """
    root = _root(matrix)
    return _raised_cholesky(_scaled(matrix, root)).mul_(root[:, None])


def _root(matrix: Tensor) -> Tensor:
    """The root of the diagonal (n,)."""
    diagonal = matrix.diagonal()
    # where nothing curves F at all, next to nothing of the largest does, so that an inverse exists
    diagonal = torch.where(diagonal > 0, diagonal, diagonal.max())
    return diagonal.clamp_min(torch.finfo(matrix.dtype).tiny).sqrt()


def _scaled(matrix: Tensor, root: Tensor) -> Tensor:
    """diag(r)^-1 A diag(r)^-1."""
    return (matrix / root).div_(root[:, None])


def _quick_cholesky(unit: Tensor) -> Tensor | None:
    """L with L L' = a matrix of unit diagonal in float32; None where its columns are too alike."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(unit.float())
    if failed or not float(factor.diagonal().min()) >= SMALL_PIVOT:  # nor where it is not a number
        return None
    return factor


def _raised_cholesky(unit: Tensor) -> Tensor:
    """L with L L' = a matrix of unit diagonal, which is raised, in place, until there is one."""
    factor: Tensor
    lift = JITTER
    for _ in range(12):
        factor, failed = torch.linalg.cholesky_ex(unit)
        if not failed:
            return factor
        unit.diagonal().add_(lift)
        lift *= 10
    return torch.eye(len(unit), out=unit)  # hopeless: steer by the diagonal alone
