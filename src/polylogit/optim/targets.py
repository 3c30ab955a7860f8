"""What a row should be: a class, or a distribution over the classes.

Either kind gives t_i . z_i and P - T for a block of rows, so there is one objective and not two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """Targets given as class codes (N,): t_i = (1 - e) onehot(y_i) + e/K with smoothing e."""

    codes: Tensor
    n_classes: int
    smoothing: float = 0.0

    def dot(self, logits: Tensor, rows: slice) -> Tensor:
        """t_i . z_i (B,)."""
        picked = logits.gather(1, self.codes[rows, None]).squeeze(1)
        if not self.smoothing:
            return picked
        return (1 - self.smoothing) * picked + self.smoothing * logits.mean(1)

    def losses(self, logits: Tensor, probabilities: Tensor, rows: slice) -> Tensor:
        """lse(z_i) - t_i . z_i (B,) where P = softmax(Z) is known."""
        if not self.smoothing and logits.device.type == "cpu":  # elsewhere a look is a wait
            picked = probabilities.gather(1, self.codes[rows, None]).squeeze(1)
            if float(picked.min()) >= torch.finfo(picked.dtype).tiny:
                return picked.log_().neg_()
        return _lse(logits, probabilities) - self.dot(logits, rows)

    def subtract_from(self, probabilities: Tensor, rows: slice) -> Tensor:
        """P - T (B, K), in place."""
        codes = self.codes[rows, None]
        taken = torch.full(codes.shape, self.smoothing - 1.0, dtype=probabilities.dtype)
        probabilities.scatter_add_(1, codes, taken)
        return (
            probabilities.sub_(self.smoothing / self.n_classes) if self.smoothing else probabilities
        )

    def written_out(self) -> Tensor:
        """T (N, K) in float64."""
        size, place = (len(self.codes), self.n_classes), self.codes.device
        rows = torch.full(size, self.smoothing / self.n_classes, dtype=torch.float64, device=place)
        own = 1 - self.smoothing + self.smoothing / self.n_classes
        return rows.scatter_(1, self.codes[:, None], own)

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return self if self.codes.device == device else replace(self, codes=self.codes.to(device))

    def mass(self, weights: Tensor) -> Tensor:
        """sum_i s_i t_i (K,): the weight of each class."""
        counts = torch.bincount(self.codes, weights, self.n_classes)
        if not self.smoothing:
            return counts
        return (1 - self.smoothing) * counts + self.smoothing * weights.sum() / self.n_classes


@dataclass(frozen=True)
class Distributions:
    """Targets given as rows of the simplex (N, K)."""

    rows_of: Tensor

    def dot(self, logits: Tensor, rows: slice) -> Tensor:
        """t_i . z_i (B,)."""
        return (self.rows_of[rows] * logits).sum(1)

    def losses(self, logits: Tensor, probabilities: Tensor, rows: slice) -> Tensor:
        """lse(z_i) - t_i . z_i (B,) where P = softmax(Z) is known."""
        return _lse(logits, probabilities) - self.dot(logits, rows)

    def subtract_from(self, probabilities: Tensor, rows: slice) -> Tensor:
        """P - T (B, K), in place."""
        return probabilities.sub_(self.rows_of[rows])

    def written_out(self) -> Tensor:
        """T (N, K)."""
        return self.rows_of

    def to(self, device: torch.device) -> Distributions:
        """The same on another device."""
        return replace(self, rows_of=self.rows_of.to(device))

    def mass(self, weights: Tensor) -> Tensor:
        """sum_i s_i t_i (K,): the weight of each class."""
        return weights @ self.rows_of


Targets = Labels | Distributions


def _lse(logits: Tensor, probabilities: Tensor) -> Tensor:
    """lse(z_i) (B,) where softmax(z_i) is known: the largest entry has p = exp(z - lse) >= 1/K."""
    return logits.amax(1) - probabilities.amax(1).log()
