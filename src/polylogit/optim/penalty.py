"""What weights cost: their squares (ridge), their sizes (lasso), or both (elastic net)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

INSIDE = 1 - 4 * torch.finfo(torch.float64).eps  # so that rounding leaves no box of the dual


@dataclass(frozen=True)
class Ridge:
    """R(V) = 1/2 sum_d strength_d sum_k V_kd^2 for V (K, D), with a strength per column.

    A penalty alpha on the user's own weights W = V diag(1/s) is `strength = alpha / s^2` here.

    The dual side: R*(U) = 1/2 sum_d |U_d|^2 / strength_d, so a gradient G left at V proves that
    no more than `conjugate(G)` is to be gained (`polylogit.optim.certificate`).

    >>> import torch
    >>> ridge = Ridge(torch.tensor([2.0, 8.0]))
    >>> ridge.value(torch.tensor([[1.0, 0.5]])), ridge.conjugate(torch.tensor([[2.0, 4.0]]))
    (2.0, 2.0)
    """

    strength: Tensor  # (D,) float64, >= 0

    @property
    def costly(self) -> Tensor:
        """Which columns (D,) cost something: where all do, an optimum exists."""
        return self.strength > 0

    def value(self, weight: Tensor) -> float:
        """R(V), in nats per row."""
        return 0.5 * float((weight.square() @ self.strength).sum())

    def gradient(self, weight: Tensor) -> Tensor:
        """dR/dV (K, D); also R'' applied to a direction, since R is quadratic."""
        return weight * self.strength

    def conjugate(self, gradient: Tensor) -> float:
        """R*(G), in nats per row; infinite where G reaches a column without penalty."""
        energy = gradient.square().sum(0)
        if self._all_cost:
            return 0.5 * float(energy @ self._inverse)
        active = energy > 0
        return 0.5 * float((energy[active] / self.strength[active]).sum())

    @cached_property
    def _all_cost(self) -> bool:
        return bool(self.costly.all())

    @cached_property
    def _inverse(self) -> Tensor:
        return 1 / self.strength

    def centred(self, weight: Tensor) -> Tensor:
        """V less the shift common to all classes, which softmax cannot see, where R is least."""
        return weight - weight.mean(0)


@dataclass(frozen=True)
class ElasticNet:
    """R(V) = sum_d [lasso_d |V_d|_1 + strength_d/2 |V_d|^2] for V (K, D).

    A penalty alpha f_d [l1_ratio |W_d|_1 + (1 - l1_ratio)/2 |W_d|^2] on the user's own weights
    W = V diag(1/s) has here, column by column, `lasso = alpha l1_ratio f / s` and
    `strength = alpha (1 - l1_ratio) f / s^2`.

    The dual side, entry by entry: R*(u) = max(0, |u| - lasso)^2 / (2 strength); where `strength`
    is 0 that is 0 up to |u| = lasso and infinite beyond.

    >>> net = ElasticNet(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    >>> net.value(torch.tensor([[1.0, -3.0]])), net.conjugate(torch.tensor([[3.0, -1.0]]))
    (5.0, 1.0)
    >>> net.prox(torch.tensor([[4.0, -0.5]]), 1.0).tolist()
    [[1.0, 0.0]]
    """

    lasso: Tensor  # (D,) float64, >= 0
    strength: Tensor  # (D,) float64, >= 0, of the smooth part

    def of(self, columns: Tensor) -> ElasticNet:
        """What some of the columns (n,) cost."""
        return ElasticNet(self.lasso[columns], self.strength[columns])

    @property
    def costly(self) -> Tensor:
        """Which columns (D,) cost something: where all do, an optimum exists."""
        return (self.lasso > 0) | (self.strength > 0)

    def value(self, weight: Tensor) -> float:
        """R(V), in nats per row."""
        return float((weight.abs() @ self.lasso + 0.5 * (weight.square() @ self.strength)).sum())

    def gradient(self, weight: Tensor) -> Tensor:
        """The gradient (K, D) of the smooth part; also its second derivative along a direction."""
        return weight * self.strength

    def prox(self, weight: Tensor, step: float) -> Tensor:
        """argmin_U |U - V|^2 / 2 + step R(U): V drawn to zero, and kept there where it is small."""
        return shrink(weight, step * self.lasso) / (1 + step * self.strength)

    def conjugate(self, gradient: Tensor) -> float:
        """R*(G), in nats per row; infinite where G goes beyond a kink that nothing curves."""
        beyond = gradient.abs() - self.lasso
        active = beyond > 0
        return 0.5 * float((beyond.square() / self.strength)[active].sum())

    def left(self, weight: Tensor, gradient: Tensor) -> float:
        """R(V) + R*(-G) + <V, G> >= 0 (Fenchel-Young): what is left to gain where G pulls at V."""
        beyond = (gradient.abs() - self.lasso).clamp_min(0)
        dual = torch.where(beyond > 0, 0.5 * beyond.square() / self.strength, 0.0)
        primal = weight.abs() * self.lasso + 0.5 * weight.square() * self.strength
        return float((primal + weight * gradient + dual).clamp_min(0).sum())

    def feasible(self, gradient: Tensor, free: Tensor) -> float:
        """The largest theta <= 1 with theta |G_kd| <= lasso_d in the columns `free` (D,)."""
        size = gradient.abs().amax(0)[free]
        within = torch.where(size > 0, INSIDE * self.lasso[free] / size, 1.0)
        return min(1.0, float(within.min())) if len(within) else 1.0

    def centred(self, weight: Tensor) -> Tensor:
        """V less the shift common to all classes where R is least, column by column.

        That shift is a median where nothing but |V|_1 counts, and zeros stay zeros if zero is one:
        it is the median nearest to zero, save with two classes, which are treated alike.
        """
        if len(weight) == 2:
            return weight - weight.mean(0)
        return weight - self._shift(weight)

    def _shift(self, weight: Tensor) -> Tensor:
        """argmin_c R(V - c) (D,)."""
        k, ordered = len(weight), weight.sort(0).values
        median = torch.zeros_like(self.lasso).clamp(ordered[(k - 1) // 2], ordered[k // 2])
        flat = torch.where(self.lasso > 0, median, weight.mean(0))
        return torch.where(self.strength > 0, self._curved_shift(weight, ordered), flat)

    def _curved_shift(self, weight: Tensor, ordered: Tensor) -> Tensor:
        """The root c of sum_k [lasso sign(V_k - c) + strength (V_k - c)] (D,).

        Between the m-th and the next of the sorted V the sum is linear in c and vanishes at
        mean(V) + lasso (K - 2m) / (strength K); held within its stretch, the cheapest is the root.
        """
        k = len(weight)
        larger = k - 2 * torch.arange(1, k, dtype=weight.dtype)[:, None]  # (K - 1, 1)
        roots = weight.mean(0) + self.lasso * larger / (self.strength * k)
        roots = roots.nan_to_num().clamp(ordered[:-1], ordered[1:])
        costs = torch.stack([self._costs(weight - root) for root in roots])
        return roots.gather(0, costs.argmin(0)[None]).squeeze(0)

    def _costs(self, weight: Tensor) -> Tensor:
        """R column by column (D,)."""
        return weight.abs().sum(0) * self.lasso + 0.5 * weight.square().sum(0) * self.strength


Penalty = Ridge | ElasticNet


def shrink(values: Tensor, thresholds: Tensor) -> Tensor:
    """argmin_u (u - v)^2 / 2 + threshold |u|, entry by entry: soft thresholding.

    >>> shrink(torch.tensor([3.0, -0.5]), torch.tensor([1.0, 1.0])).tolist()
    [2.0, 0.0]
    """
    return values - values.clamp(-thresholds, thresholds)
