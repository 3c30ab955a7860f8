"""What large weights cost."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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

    def value(self, weight: Tensor) -> float:
        """R(V), in nats per row."""
        return 0.5 * float((weight.square() @ self.strength).sum())

    def gradient(self, weight: Tensor) -> Tensor:
        """dR/dV (K, D); also R'' applied to a direction, since R is quadratic."""
        return weight * self.strength

    def conjugate(self, gradient: Tensor) -> float:
        """R*(G), in nats per row; infinite where G reaches a column without penalty."""
        energy = gradient.square().sum(0)
        active = energy > 0
        return 0.5 * float((energy[active] / self.strength[active]).sum())
