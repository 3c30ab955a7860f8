"""May the probabilities be believed: of the likeliest class, of every class, and all at once.

A model is calibrated where, among the rows it gives the probabilities p, the classes occur with
the frequencies p. A proper score splits accordingly (Broecker, "Reliability, sufficiency, and the
decomposition of proper scores", Q. J. R. Meteorol. Soc. 135 (2009)):

    loss(p) = [loss(p) - loss(g(p))] + loss(g(p)) = calibration + refinement

with g the best recalibration: nobody knows it, and each g that is tried gives a lower bound of the
calibration part. For one event g is the best monotone one (`polylogit.diagnostics.reliability`);
for all K classes at once it is a map fitted on other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp

from polylogit.arguments import check_distribution, checked_labels
from polylogit.data.dataset import Rows
from polylogit.data.targets import weights_of
from polylogit.diagnostics.reliability import (
    BINS,
    Curve,
    Decomposition,
    binned_error,
    brier_decomposition,
    debiased_error,
    log_decomposition,
    reliability_curve,
    smooth_error,
    weighted_mean,
)
from polylogit.errors import InputError


@dataclass(frozen=True, eq=False)
class EventCalibration:
    """What the probabilities of one event are worth; see `polylogit.diagnostics.reliability`.

    `said` is the mean probability and `seen` how often the event happened.
    """

    said: float
    seen: float
    smooth_error: float
    debiased_error: float
    binned_error: float
    log_loss: Decomposition
    brier: Decomposition
    curve: Curve

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data."""
        plain = ("said", "seen", "smooth_error", "debiased_error", "binned_error")
        deep = ("log_loss", "brier", "curve")
        return {name: getattr(self, name) for name in plain} | {
            name: getattr(self, name).to_json() for name in deep
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration of N predicted rows: of the top label, and of each of the K classes."""

    n_rows: int
    bins: int
    top: EventCalibration
    classes: tuple[EventCalibration, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {
            "n_rows": self.n_rows,
            "bins": self.bins,
            "top": self.top.to_json(),
            "classes": [event.to_json() for event in self.classes],
        }


def measure(
    log_probabilities: np.ndarray,
    codes: np.ndarray,
    bins: int = BINS,
    *,
    weights: np.ndarray | None = None,
) -> Calibration:
    """Measure the calibration of log-probabilities (N, K) against class codes (N,).

    `weights` (N,) are copies: a row of weight 2 counts as two equal rows. Raises `InputError` where
    the rows are no distributions, `TargetError` for a code outside 0..K-1 or what is no weight.

    >>> log_p = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> result = measure(log_p, np.array([0, 1, 1, 1]))
    >>> round(result.top.said, 4), result.top.seen, len(result.classes)
    (0.75, 0.75, 2)
    """
    log_p, codes = checked_rows(log_probabilities, codes)
    weights = None if weights is None else weights_of(weights, len(codes), Rows())
    log_not, top = log_complements(log_p), log_p.argmax(1)
    rows = np.arange(len(codes))
    return Calibration(
        n_rows=len(codes),
        bins=bins,
        top=_event(log_p[rows, top], log_not[rows, top], codes == top, bins, weights),
        classes=tuple(
            _event(log_p[:, k], log_not[:, k], codes == k, bins, weights)
            for k in range(log_p.shape[1])
        ),
    )


def decomposed(
    log_probabilities: np.ndarray,
    recalibrated: np.ndarray,
    codes: np.ndarray,
    *,
    weights: np.ndarray | None = None,
) -> tuple[Decomposition, Decomposition]:
    """Log loss in nats and Brier score of all K classes, by what `recalibrated` (N, K) wins.

    `recalibrated` are log-probabilities of the same rows after a map that was fitted without them;
    then the calibration part is a lower bound of the true one, but for chance, and may come out
    below 0 where there is nothing to win. `weights` (N,) weigh all means.

    >>> log_p, even = np.log([[0.9, 0.1], [0.9, 0.1]]), np.log([[0.5, 0.5], [0.5, 0.5]])
    >>> log_loss, brier = decomposed(log_p, even, np.array([0, 1]))
    >>> round(log_loss.calibration, 4), round(brier.calibration, 4)
    (0.5108, 0.32)
    """
    log_p, codes = checked_rows(log_probabilities, codes)
    after, _ = checked_rows(recalibrated, codes)
    weights = None if weights is None else weights_of(weights, len(codes), Rows())
    counts = np.bincount(codes, weights, minlength=log_p.shape[1])
    with np.errstate(divide="ignore"):  # a class that never occurs is never asked for
        base = np.log(counts / counts.sum())
    three = (log_p, after, np.broadcast_to(base, log_p.shape))
    log_loss = Decomposition(*(weighted_mean(_log_losses(q, codes), weights) for q in three))
    return log_loss, Decomposition(*(weighted_mean(_briers(q, codes), weights) for q in three))


def log_complements(log_p: np.ndarray) -> np.ndarray:
    """log(1 - p) (N, K), exact where p is next to 1: there the other classes are summed.

    >>> log_complements(np.array([[0.0, -800.0]]))[0].tolist()
    [-800.0, -0.0]
    """
    rows, top = np.arange(len(log_p)), log_p.argmax(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        answer: np.ndarray = np.log1p(-np.exp(log_p))
        others = log_p.copy()
        others[rows, top] = -np.inf
        answer[rows, top] = logsumexp(others, axis=1)
    return answer


def checked_rows(log_probabilities: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities (N, K) in float64 and codes (N,) in int64, checked."""
    log_p, codes = np.asarray(log_probabilities, dtype=np.float64), np.asarray(codes)
    if log_p.ndim != 2 or codes.shape != log_p.shape[:1] or not len(codes):
        raise InputError(
            "log-probabilities (N, K) and class codes (N,) must share N of at least 1, not have "
            f"the shapes {log_p.shape} and {codes.shape}"
        )
    check_distribution(torch.from_numpy(np.exp(log_p)), 1, "exp(log_probabilities)")
    return log_p, checked_labels(torch.from_numpy(codes), log_p.shape[1]).numpy()


def _event(
    log_p: np.ndarray,
    log_not_p: np.ndarray,
    happened: np.ndarray,
    bins: int,
    weights: np.ndarray | None,
) -> EventCalibration:
    p = np.minimum(np.exp(log_p), 1.0)
    return EventCalibration(
        said=weighted_mean(p, weights),
        seen=weighted_mean(happened, weights),
        smooth_error=smooth_error(p, happened, weights=weights),
        debiased_error=debiased_error(p, happened, bins, weights=weights),
        binned_error=binned_error(p, happened, bins, weights=weights),
        log_loss=log_decomposition(log_p, log_not_p, happened, weights=weights),
        brier=brier_decomposition(p, happened, weights=weights),
        curve=reliability_curve(p, happened, bins, weights=weights),
    )


def _log_losses(log_p: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.asarray(-log_p[np.arange(len(codes)), codes])


def _briers(log_p: np.ndarray, codes: np.ndarray) -> np.ndarray:
    truth = np.eye(log_p.shape[1])[codes]
    return np.asarray(np.square(np.exp(log_p) - truth).sum(1))
