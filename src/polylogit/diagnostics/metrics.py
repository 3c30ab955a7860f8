"""How good are the predictions: accuracy, log loss, Brier score, macro F1, confusion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from polylogit.errors import DataError


@dataclass(frozen=True, eq=False)
class Scores:
    """What N predicted rows are worth, for K classes.

    `log_loss` = mean of -log p of the true class, in nats; `brier` = mean of sum_k (p_k - t_k)^2;
    `confusion` (K, K) counts rows, truth down and prediction across. Per class (K,): `precision`,
    `recall`, `f1` (0 where nothing was predicted or nothing is true) and `support`, rows of truth.
    `macro_f1` is the mean of `f1` over the classes that are true or predicted somewhere.
    """

    n_rows: int
    accuracy: float
    log_loss: float
    brier: float
    macro_f1: float
    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data; an infinite log loss is null, for JSON has no infinity."""
        return {
            "n_rows": self.n_rows,
            "accuracy": self.accuracy,
            "log_loss": self.log_loss if np.isfinite(self.log_loss) else None,
            "brier": self.brier,
            "macro_f1": self.macro_f1,
            "confusion": self.confusion.tolist(),
            "precision": self.precision.tolist(),
            "recall": self.recall.tolist(),
            "f1": self.f1.tolist(),
            "support": self.support.tolist(),
        }


def score(
    log_probabilities: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None
) -> Scores:
    """Score log-probabilities (N, K) against class codes (N,); `weights` (N,) weigh every mean.

    The log loss is never clipped: it comes from log-probabilities, which stay finite where
    probabilities have become 0. Raises `DataError` where there is no row or no weight.

    >>> result = score(np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 1]))
    >>> round(result.accuracy, 4), round(result.log_loss, 4), result.confusion.tolist()
    (0.6667, 0.4149, [[1, 0], [1, 1]])
    """
    whole = slice(0, len(log_probabilities))
    n_classes = log_probabilities.shape[1]
    return score_parts([(whole, log_probabilities)], codes, n_classes, weights)


def score_parts(
    parts: Iterable[tuple[slice, np.ndarray]],
    codes: np.ndarray,
    n_classes: int,
    weights: np.ndarray | None = None,
) -> Scores:
    """`score` where the log-probabilities come some rows at a time: which rows, and theirs."""
    share = _shares(len(codes), weights)
    means = np.zeros(4)
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    weighed = np.zeros((n_classes, n_classes))
    for rows, log_probabilities in parts:
        predicted, truth = log_probabilities.argmax(1), codes[rows]
        means += _means(log_probabilities, predicted, truth, share[rows])
        np.add.at(confusion, (truth, predicted), 1)
        np.add.at(weighed, (truth, predicted), share[rows])
    precision, recall, f1, macro = _per_class(weighed)
    return Scores(
        len(codes),
        accuracy=float(means[0] / means[3]),  # all rows right gives exactly 1
        log_loss=float(means[1]),
        brier=float(means[2]),
        macro_f1=macro,
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=f1,
        support=confusion.sum(1),
    )


def _means(
    log_probabilities: np.ndarray, predicted: np.ndarray, truth: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """What these rows give to accuracy, log loss, Brier score and the weight of all rows (4,)."""
    log_truth = log_probabilities[np.arange(len(truth)), truth]
    squares = np.square(np.exp(log_probabilities)).sum(1) - 2 * np.exp(log_truth) + 1
    brier = share @ np.maximum(squares, 0.0)
    there = share > 0  # elsewhere a loss may be infinite
    loss = share[there] @ -log_truth[there]
    return np.array([share[predicted == truth].sum(), loss, brier, share.sum()])


def _shares(n_rows: int, weights: np.ndarray | None) -> np.ndarray:
    """The part of each row in a mean."""
    if weights is None:
        weights = np.ones(n_rows)
    total = float(weights.sum())
    if n_rows == 0 or total <= 0:
        raise DataError(f"nothing to score: {n_rows} rows with a total weight of {total:g}")
    return np.asarray(weights / total)


def _per_class(weighed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Precision, recall and F1 of each class, and the mean F1 of the classes that occur."""
    hit, true, predicted = weighed.diagonal(), weighed.sum(1), weighed.sum(0)
    occurs = true + predicted > 0
    f1 = _ratio(2 * hit, true + predicted)
    return _ratio(hit, predicted), _ratio(hit, true), f1, float(f1[occurs].mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return ratio
