"""What leaving rows out gives, before it is put into words: logits, a loss, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polylogit.diagnostics import difference
from polylogit.diagnostics.difference import Sample
from polylogit.diagnostics.units import Units, lonely
from polylogit.training import Prepared

LOSS_CHANGE, INFLUENCE = 0.1, 0.3  # beyond either the formula is not trusted (nats; share)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Losses (N,) with all rows; logits (N, K) and losses without. The words of `LeaveOneOut`."""

    before: Tensor
    logits: Tensor
    losses: Tensor
    loss: float
    sampling_error: float
    effective_dof: float
    n_flagged: int
    n_refitted: int
    n_draws: int


@dataclass(frozen=True, eq=False)
class Jury:
    """By what rows are judged: `truth` (N, K), their `share` (N,) in means, and who leaves.

    `absent` (U,) are the units that take all that is left of a class; their rows have no share.
    """

    truth: Tensor
    share: Tensor
    units: Units
    absent: Tensor

    @classmethod
    def of(cls, prepared: Prepared, units: Units) -> Jury:
        """Rows are judged by their labels or their own probabilities, never smoothed."""
        given = torch.from_numpy(prepared.dataset.targets)
        truth = given if given.ndim == 2 else torch.eye(prepared.n_classes).double()[given]
        absent = lonely(prepared, units)
        weights = own_weights(prepared) * ~absent[units.of]
        return cls(truth, weights / weights.sum(), units, absent)

    def losses(self, logits: Tensor) -> Tensor:
        """-sum_k t_k log p_k (N,), in nats."""
        sums = torch.logsumexp(logits, 1)
        return sums * self.truth.sum(1) - (self.truth * logits).sum(1)

    def rises(self, before: Tensor, losses: Tensor) -> Tensor:
        """How much each unit's rows lose by leaving, by their shares (U,), at least 0."""
        return self._totals(losses - before).clamp_min(0)

    def flagged(self, before: Tensor, losses: Tensor, influence: Tensor) -> Tensor:
        """Which units (U,) are beyond the formula's reach."""
        grown = torch.zeros(self.units.count, dtype=torch.bool)
        grown[self.units.of[losses - before > LOSS_CHANGE]] = True
        return (grown | (influence > INFLUENCE)) & ~self.absent

    def verdict(self, guessed: Tensor, losses: Tensor, sample: Sample) -> tuple[float, float]:
        """The mean loss, and its error by sampling, where only a sample of units was refitted.

        `guessed` (N,) are the losses by the formula, `losses` the same with the refits in place.
        """
        change, error = difference.total(sample, self._totals(losses - guessed)[sample.chosen])
        return weighted_mean(guessed, self.share) + change, error

    def accuracy(self, logits: Tensor) -> float:
        """The share of the weight whose likeliest class is the truth."""
        right = self.truth.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        return weighted_mean(right, self.share)

    def spread(self, losses: Tensor) -> float:
        """The standard error of their mean."""
        return standard_error(losses, self.share, self.units.of)

    def _totals(self, values: Tensor) -> Tensor:
        return self.units.total(torch.where(self.share > 0, self.share * values, 0.0))


def own_weights(prepared: Prepared) -> Tensor:
    """The weights (N,) that the rows came with, or ones."""
    own = prepared.dataset.weights
    if own is None:
        return torch.ones(prepared.dataset.n_rows, dtype=torch.float64)
    return torch.from_numpy(own)


def weighted_mean(values: Tensor, share: Tensor) -> float:
    """sum_i share_i v_i over the rows with a share; others may be NaN."""
    return float((values[share > 0] * share[share > 0]).sum())


def standard_error(values: Tensor, share: Tensor, units: Tensor) -> float:
    """Of a weighted mean of `values` (N,), where whole units vary independently.

    sqrt(U/(U - 1) sum_u [sum_(i in u) share_i (v_i - mean)]^2), which is sd / sqrt(N) for equal
    rows; infinite where there is but one unit.
    """
    spread = torch.where(share > 0, share * (values - weighted_mean(values, share)), 0.0)
    sums = torch.bincount(units, spread)
    present = len(units[share > 0].unique())
    if present < 2:
        return math.inf
    return math.sqrt(float(sums.square().sum()) * present / (present - 1))
