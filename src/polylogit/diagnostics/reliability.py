"""One event: how well do its probabilities p (N,) fit what happened (N,)?

The event may be "the row is of class k", or "the likeliest class is right" (the top label). Every
measure here is 0 where P(happened | p) = p, and estimates how far the two lie apart:

    binned_error     sum_b n_b/N |seen_b - said_b|: biased upwards, jumps with the bins
    debiased_error   sum_b n_b/N [(seen_b - said_b)^2 - seen_b (1 - seen_b) / (n_b - 1)]
    smooth_error     integral |r(t)| dt with r the residuals smoothed as wide as the error itself
    ..._decomposition    what a monotone recalibration would win of log loss and Brier score

with said_b and seen_b the means of p and of what happened over the n_b rows of bin b. Weights (N,)
are copies: a row of weight 2 counts as two equal rows, and one of weight 0 is not there.

Sources: Kumar, Liang and Ma, "Verified uncertainty calibration", NeurIPS 2019 (arXiv:1909.10155);
Blasiok and Nakkiran, "Smooth ECE", ICLR 2024 (arXiv:2309.12236); Dimitriadis, Gneiting and Jordan,
"Stable reliability diagrams for probabilistic classifiers", PNAS 118 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct, idct
from scipy.optimize import brentq, isotonic_regression
from scipy.special import xlogy

from polylogit.data.dataset import Rows
from polylogit.data.targets import weights_of
from polylogit.errors import InputError, OptionError

BINS = 15
CELLS = 8192  # of [0, 1], in which residuals are summed before they are smoothed


@dataclass(frozen=True, eq=False)
class Curve:
    """A reliability curve: for every bin that holds rows, its number, its rows, and two means.

    `rows` is their weight where they have weights. `said` is the mean probability, `seen` the share
    of rows in which the event happened.
    """

    bin: np.ndarray
    rows: np.ndarray
    said: np.ndarray
    seen: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {name: getattr(self, name).tolist() for name in ("bin", "rows", "said", "seen")}


@dataclass(frozen=True)
class Decomposition:
    """A mean loss = `calibration` + `refinement`; `uncertainty` is what the base rates lose.

    `refinement` is the loss left after recalibration: a matter of the features, not of trust.
    """

    loss: float
    refinement: float
    uncertainty: float

    @property
    def calibration(self) -> float:
        """What recalibration wins."""
        return self.loss - self.refinement

    @property
    def discrimination(self) -> float:
        """What the recalibrated probabilities win over the base rates."""
        return self.uncertainty - self.refinement

    def to_json(self) -> dict[str, float | None]:
        """Return plain JSON data; what is infinite is null, for JSON has no infinity."""
        names = ("loss", "calibration", "refinement", "discrimination", "uncertainty")
        values = {name: getattr(self, name) for name in names}
        return {name: value if np.isfinite(value) else None for name, value in values.items()}


def reliability_curve(
    p: np.ndarray,
    happened: np.ndarray,
    bins: int = BINS,
    *,
    equal_mass: bool = False,
    weights: np.ndarray | None = None,
) -> Curve:
    """Rows by their probability: in `bins` of equal width, [i, i + 1) / bins, or of equal mass.

    The last bin of equal width holds 1 too. Rows with the same probability share a bin. Raises
    `InputError` for what is no probability or no weight or has no row, `OptionError` for less than
    one bin.

    >>> curve = reliability_curve(np.array([0.1, 0.15, 0.9, 1.0]), np.array([0, 1, 1, 1]), 5)
    >>> curve.bin.tolist(), curve.rows.tolist(), curve.seen.tolist()
    ([0, 4], [2, 2], [0.5, 1.0])
    """
    event = Event.of(p, happened, weights)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise OptionError(f"bins must be a whole number >= 1, not {bins!r}")
    if equal_mass:
        place = (event.below() * bins // event.weights.sum()).astype(np.int64)
    else:
        place = np.minimum((event.p * bins).astype(np.int64), bins - 1)
    number, place = np.unique(place, return_inverse=True)
    rows = np.bincount(place, event.weights)
    said, seen = (
        np.bincount(place, event.weights * values) / rows for values in (event.p, event.happened)
    )
    return Curve(number, rows.astype(np.int64) if weights is None else rows, said, seen)


def binned_error(
    p: np.ndarray, happened: np.ndarray, bins: int = BINS, *, weights: np.ndarray | None = None
) -> float:
    """The expected calibration error (ECE) over bins of equal width.

    Only to compare with what others print: it is biased upwards, most where p is calibrated.

    >>> binned_error(np.array([0.75, 0.75, 0.25, 0.25]), np.array([1, 1, 0, 0]))
    0.25
    """
    curve = reliability_curve(p, happened, bins, weights=weights)
    return float(curve.rows @ np.abs(curve.seen - curve.said) / curve.rows.sum())


def debiased_error(
    p: np.ndarray, happened: np.ndarray, bins: int = BINS, *, weights: np.ndarray | None = None
) -> float:
    """The squared calibration error over bins of equal mass, less what chance adds to it.

    Its mean is 0 where p is calibrated, so it comes out negative there half the time; the root of
    what is above 0 compares with an ECE. Kumar et al., definition 4.1.

    >>> round(debiased_error(np.repeat([0.2, 0.8], 5), np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])), 4)
    -0.04
    """
    curve = reliability_curve(p, happened, bins, equal_mass=True, weights=weights)
    chance = curve.seen * (1 - curve.seen) / np.maximum(curve.rows - 1, 1)
    return float(curve.rows @ (np.square(curve.seen - curve.said) - chance) / curve.rows.sum())


def smooth_error(
    p: np.ndarray, happened: np.ndarray, *, weights: np.ndarray | None = None
) -> float:
    """The smooth calibration error (smECE): the s at which E(s) = s, where

        E(s) = integral_0^1 |sum_i w_i K_s(t, p_i) (happened_i - p_i) / sum_i w_i| dt

    and K_s is the Gaussian of width s on [0, 1], reflected at both ends. E falls with s, so there
    is one such s. It needs no bins, is continuous in p, and within a factor of the distance to the
    nearest calibrated prediction. Blasiok and Nakkiran, definitions 7 and 8.

    A reflected Gaussian is heat in a rod with closed ends, so it smooths the k-th cosine by
    exp(-(pi k s)^2 / 2) and one cosine transform serves every s. Residuals are summed in cells
    of width 1/8192 first.

    >>> round(smooth_error(np.full(10, 0.8), np.repeat([0, 1], 5)), 3)
    0.3
    """
    event = Event.of(p, happened, weights)
    cells = np.minimum((event.p * CELLS).astype(np.int64), CELLS - 1)
    mass = np.bincount(cells, event.share * (event.happened - event.p), CELLS)
    spectrum, wave = dct(mass, norm="ortho"), np.pi * np.arange(CELLS)

    def excess(width: float) -> float:
        smoothed = idct(spectrum * np.exp(-np.square(wave * width) / 2), norm="ortho")
        return float(np.abs(smoothed).sum() - width)

    return min(1.0, float(brentq(excess, 0.0, 2.0, xtol=1e-9)))  # E is 1 at most, but for rounding


def recalibrated(
    p: np.ndarray, happened: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Best fit to what happened that never falls where p rises (N,): pool adjacent violators.

    It is best for every proper score at once, and needs no bins. A row without weight gets what the
    next lower p gets, for it says nothing itself.

    >>> recalibrated(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 0, 1])).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    event = Event.of(p, happened, weights)
    levels, place = np.unique(event.p, return_inverse=True)
    rows = np.bincount(place, event.weights)
    seen = np.bincount(place, event.weights * event.happened) / rows
    fitted = isotonic_regression(seen, weights=rows).x
    return np.asarray(fitted[np.maximum(np.searchsorted(levels, p, side="right") - 1, 0)])


def brier_decomposition(
    p: np.ndarray, happened: np.ndarray, *, weights: np.ndarray | None = None
) -> Decomposition:
    """The mean of (p - happened)^2, decomposed by `recalibrated`.

    >>> brier_decomposition(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1])).loss
    0.0
    """
    best, base = recalibrated(p, happened, weights=weights), weighted_mean(happened, weights)
    return Decomposition(
        *(weighted_mean(np.square(q - happened), weights) for q in (p, best, base))
    )


def log_decomposition(
    log_p: np.ndarray,
    log_not_p: np.ndarray,
    happened: np.ndarray,
    *,
    weights: np.ndarray | None = None,
) -> Decomposition:
    """The log loss of an event in nats, decomposed; from log p and log(1 - p), so never clipped.

    >>> halves = np.log([0.5, 0.5])
    >>> log_decomposition(halves, halves, np.array([0, 1])).calibration
    0.0
    """
    yes = np.asarray(happened, dtype=bool)
    best = recalibrated(np.minimum(np.exp(log_p), 1.0), yes, weights=weights)
    base = np.full(len(yes), weighted_mean(yes, weights))
    after, before = (xlogy(yes, q) + xlogy(~yes, 1 - q) for q in (best, base))
    gains = (np.where(yes, log_p, log_not_p), after, before)
    return Decomposition(*(-weighted_mean(gain, weights) for gain in gains))


def weighted_mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """The mean of values (N,) by weight; a row without weight may have any value.

    >>> weighted_mean(np.array([1.0, 4.0, np.inf]), np.array([2, 1, 0]))
    2.0
    """
    if weights is None:
        return float(np.mean(values))
    there = np.asarray(weights) > 0
    return float(np.average(np.asarray(values)[there], weights=np.asarray(weights)[there]))


@dataclass(frozen=True, eq=False)
class Event:
    """p, what happened and weights of the rows that have any weight, in float64."""

    p: np.ndarray
    happened: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, p: np.ndarray, happened: np.ndarray, weights: np.ndarray | None) -> Event:
        """The three checked; all weights are 1 where none are given."""
        p, happened = checked_event(p, happened)
        if weights is None:
            return cls(p, happened, np.ones(len(p)))
        weights = weights_of(weights, len(p), Rows())
        there = weights > 0
        return cls(p[there], happened[there], weights[there])

    @property
    def share(self) -> np.ndarray:
        """Weights of sum 1."""
        return np.asarray(self.weights / self.weights.sum())

    def below(self) -> np.ndarray:
        """How much weight lies at a lower p than each row."""
        levels, place = np.unique(self.p, return_inverse=True)
        rows = np.bincount(place, self.weights, len(levels))
        return np.asarray((rows.cumsum() - rows)[place])


def checked_event(p: np.ndarray, happened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64, if they are (N,) probabilities and zeros or ones."""
    p, happened = np.asarray(p, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    if p.ndim != 1 or p.shape != happened.shape or not len(p):
        raise InputError(
            f"probabilities and what happened must both be (N,) with N at least 1, not {p.shape} "
            f"and {happened.shape}; take one class at a time"
        )
    for name, values, good in (
        ("probability", p, (p >= 0) & (p <= 1)),
        ("happened", happened, (happened == 0) | (happened == 1)),
    ):
        if not good.all():
            row = int(good.argmin())
            allowed = "from 0 to 1" if name == "probability" else "0 or 1"
            raise InputError(f"{name} of row {row} is {values[row]}, but must be {allowed}")
    return p, happened
