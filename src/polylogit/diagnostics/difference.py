"""A sum over many, from cheap guesses for all and the truth for a few: the difference estimator.

    sum_u y_u  =  sum_u g_u + sum_u (y_u - g_u)  ~  sum_u g_u + sum_(u sampled) (y_u - g_u) / pi_u

with pi_u the chance that u is sampled, so it is right on average whatever the guesses are, and the
closer they are the less it varies. The sample is drawn with pi_u proportional to a size, by Pareto
sampling: with o(p) = p / (1 - p) and u_u uniform, the n smallest o(u_u) / o(pi_u). The same seed
gives the same uniform numbers, so that samples for neighbouring sizes are mostly the same units.

Rosen, "On sampling with probability proportional to size", J. Statistical Planning and Inference 62
(1997) 159-191; for leave-one-out Magnusson et al., "Bayesian leave-one-out cross-validation for
large data", arXiv:1904.10679.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """Who was sampled (n,), in rising order, and the chance of each to be (n,)."""

    chosen: Tensor
    chance: Tensor

    @classmethod
    def of_all(cls, chosen: Tensor) -> Sample:
        """These, each of them for itself alone."""
        return cls(chosen, torch.ones(len(chosen), dtype=torch.float64))


def draw(sizes: Tensor, count: int, seed: int, *, least: float, most: float = math.inf) -> Sample:
    """A sample of `count` out of U by their `sizes` (U,) >= 0; the rest as in `chances`.

    >>> draw(torch.tensor([0.0, 5.0, 0.0, 0.1]).double(), 4, 0, least=0.1).chosen.tolist()
    [0, 1, 2, 3]
    """
    if count >= len(sizes):
        return Sample.of_all(torch.arange(len(sizes)))
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(sizes), dtype=torch.float64, generator=generator)
    chance = chances(sizes, count, least=least, most=most)
    order = (uniform / (1 - uniform)) * (1 - chance) / chance
    chosen = torch.argsort(order)[:count].sort().values
    return Sample(chosen, chance[chosen])


def chances(sizes: Tensor, count: int, *, least: float, most: float = math.inf) -> Tensor:
    """pi (U,) proportional to the sizes, that sum to `count`.

    No size counts for less than `least` times the mean size, for no guess is sure; no chance is
    above 1, nor above `most` times the mean chance.
    """
    mean = sizes.mean()
    sizes = sizes.clamp_min(least * mean) if float(mean) > 0 else torch.ones_like(sizes)
    bound = min(1.0, most * count / len(sizes))
    full = torch.zeros(len(sizes), dtype=torch.bool)
    while True:
        left = count - bound * int(full.sum())
        chance = left * sizes / sizes[~full].sum()
        beyond = (chance >= bound) & ~full
        if not beyond.any():
            return torch.where(full, bound, chance)
        full |= beyond


def total(sample: Sample, differences: Tensor) -> tuple[float, float]:
    """The sum over all of what a sample's `differences` (n,) stand for, and its standard error.

    n/(n - 1) sum (1 - pi) (d/pi - m)^2 with m the mean of d/pi by 1 - pi; infinite for one alone
    that was not sure to be sampled.
    """
    expanded, open_ = differences / sample.chance, 1 - sample.chance
    if not bool((open_ > 0).any()):
        return float(expanded.sum()), 0.0
    mean = (open_ * expanded).sum() / open_.sum()
    n = int((open_ > 0).sum())
    spread = float((open_ * (expanded - mean).square()).sum())
    return float(expanded.sum()), math.sqrt(spread * n / (n - 1)) if n > 1 else math.inf
