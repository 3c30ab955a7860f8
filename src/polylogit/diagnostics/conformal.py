"""Which classes are still possible: prediction sets that hold the truth as often as asked.

Split conformal prediction. With scores s_i = s(x_i, y_i) of n labelled rows that the model was not
fitted on, and k = ceil((n + 1) coverage),

    threshold = the k-th smallest score, infinite where k > n
    set(x) = {y : s(x, y) <= threshold}

and a new row, exchangeable with those, has P(y in set(x)) >= coverage, whatever the model. Given
the n rows the share of sets that hold the truth is Beta(k, n + 1 - k), where no scores are tied.

    lac    s = 1 - p_y: the smallest sets on average; may be empty
    aps    s = sum of p over the classes ranked above y, plus u p_y: larger where a row is hard
    raps   aps + penalty * max(0, rank_y - free_ranks): no long tails

u is 1, or drawn evenly from [0, 1] for each row, which makes the sets of aps and raps smaller.
With `by_class` each class has a threshold of its own, from its own rows, and the promise holds
within each class.

Sources: Sadinle, Lei and Wasserman, JASA 114 (2019), for lac; Romano, Sesia and Candes, NeurIPS
2020 (arXiv:2006.02544), for aps; Angelopoulos, Bates, Malik and Jordan, ICLR 2021
(arXiv:2009.14193), for raps; Vovk, "Conditional validity of inductive conformal predictors", ACML
2012, for the Beta law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.special import betaincinv

from polylogit.arguments import check_distribution, checked_labels
from polylogit.errors import InputError, OptionError, nearest

Method = Literal["lac", "aps", "raps"]

EXACT = 1e-9  # 0.9 (n + 1) in float64 may lie this much above a whole number
ROUNDING = 1e-12  # of probabilities made again in another block of rows


@dataclass(frozen=True)
class Scoring:
    """How strange a class is for a row: the rule for scores, and the numbers of raps."""

    method: Method = "lac"
    penalty: float = 0.1
    free_ranks: int = 2

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            names = get_args(Method)
            advice = nearest(str(self.method), names)
            raise OptionError(f"method {self.method!r} is not one of {', '.join(names)}{advice}")
        if not (self.penalty >= 0 and self.free_ranks >= 0):
            raise OptionError(
                f"penalty and free_ranks must be at least 0, not {self.penalty!r} and "
                f"{self.free_ranks!r}"
            )

    def scores(self, p: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
        """s (N, K) of every class in every row, for probabilities p (N, K) and u (N,) or ones.

        >>> Scoring("aps").scores(np.array([[0.2, 0.7, 0.1]])).round(4).tolist()
        [[0.9, 0.7, 1.0]]
        """
        if self.method == "lac":
            return 1 - p
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, 1)
        within = 1.0 if u is None else u[:, None]
        scores = ranked.cumsum(1) - (1 - within) * ranked
        if self.method == "raps":
            scores += self.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - self.free_ranks, 0)
        return np.take_along_axis(scores, np.argsort(order, axis=1), 1)


@dataclass(frozen=True, eq=False)
class ConformalSets:
    """Thresholds that turn probabilities into sets; one (1,), or one for each class (K,).

    `n_rows` counts the scores that each came from and `rank` says which of them it is.
    """

    scoring: Scoring
    coverage: float
    threshold: np.ndarray
    n_rows: np.ndarray
    rank: np.ndarray
    n_classes: int
    randomised: bool = False
    approximate: bool = False

    def sets(
        self, probabilities: np.ndarray, u: np.ndarray | None = None, *, never_empty: bool = True
    ) -> np.ndarray:
        """Whether each class is in the set of each row (N, K).

        An empty set says that the row is unlike all others; `never_empty` adds the likeliest class,
        which can only raise the coverage. `u` (N,) where the thresholds were made with one. Raises
        `InputError` for rows that are no distributions over the K classes.
        """
        p = checked_probabilities(probabilities, self.n_classes)
        if (u is not None) != self.randomised:
            raise OptionError(
                f"u must be given both for the thresholds and for the sets, or for neither; these "
                f"thresholds were made {'with' if self.randomised else 'without'} it"
            )
        inside: np.ndarray = self.scoring.scores(p, _checked_u(u, len(p))) <= (
            self.threshold + ROUNDING
        )
        if never_empty:
            inside[np.arange(len(p)), p.argmax(1)] = True
        return inside

    @property
    def full(self) -> np.ndarray:
        """Where there were too few rows for the coverage, so that every set holds the class."""
        return self.rank > self.n_rows

    def interval(self, confidence: float = 0.95) -> np.ndarray:
        """Between what the coverage of these very thresholds lies, (1, 2) or (K, 2); the Beta law.

        >>> p, codes = np.full((500, 2), 0.5), np.zeros(500, dtype=int)
        >>> conformal(p, codes, 0.9).interval().round(3).tolist()
        [[0.873, 0.925]]
        """
        tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
        k, above = self.rank[:, None], np.maximum(self.n_rows - self.rank + 1, 1)[:, None]
        return np.where(self.full[:, None], 1.0, betaincinv(k, above, tails))

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data; a threshold that lets everything in is null."""
        thresholds = [t if math.isfinite(t) else None for t in self.threshold.tolist()]
        return {
            "method": self.scoring.method,
            "coverage": self.coverage,
            "by_class": len(self.threshold) > 1,
            "approximate": self.approximate,
            "n_rows": self.n_rows.tolist(),
            "rank": self.rank.tolist(),
            "rows_needed": rows_needed(self.coverage),
            "threshold": thresholds,
            "full": self.full.tolist(),
            "interval": self.interval().tolist(),
        }


def conformal(
    probabilities: np.ndarray,
    codes: np.ndarray,
    coverage: float = 0.9,
    *,
    scoring: Scoring | None = None,
    by_class: bool = False,
    u: np.ndarray | None = None,
    approximate: bool = False,
) -> ConformalSets:
    """Thresholds for a coverage, from probabilities (N, K) of labelled rows and their codes (N,).

    The rows must not have been used to fit the model. Probabilities by leave-one-out will do
    nearly as well, without the proof: say `approximate` then, and the result says it on. Raises
    `InputError` or `TargetError` for what is no such data, `OptionError` for a coverage outside
    (0, 1). Rows have no weights here: the rank counts exchangeable rows, and copies are not.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    >>> made = conformal(p, np.array([0, 0, 1, 0]), coverage=0.6)
    >>> made.threshold.round(4).tolist(), made.sets(np.array([[0.65, 0.35], [0.75, 0.25]])).tolist()
    ([0.3], [[True, False], [True, False]])
    """
    scoring = scoring or Scoring()
    if not (isinstance(coverage, (int, float)) and 0 < coverage < 1):
        raise OptionError(f"coverage must lie between 0 and 1, such as 0.9, not {coverage!r}")
    p = checked_probabilities(probabilities)
    codes = _checked_codes(codes, p)
    truth = scoring.scores(p, _checked_u(u, len(p)))[np.arange(len(p)), codes]
    groups = [truth[codes == k] for k in range(p.shape[1])] if by_class else [truth]
    ranks = [rank(len(group), coverage) for group in groups]
    return ConformalSets(
        scoring,
        float(coverage),
        threshold=np.array([_smallest(g, k) for g, k in zip(groups, ranks, strict=True)]),
        n_rows=np.array([len(group) for group in groups]),
        rank=np.array(ranks),
        n_classes=p.shape[1],
        randomised=u is not None,
        approximate=approximate,
    )


def rank(n_rows: int, coverage: float) -> int:
    """ceil((n + 1) coverage), as it would be without rounding.

    >>> rank(9, 0.9), rank(99, 0.9), math.ceil(100 * 0.07), rank(99, 0.07)
    (9, 90, 8, 7)
    """
    return max(1, math.ceil((n_rows + 1) * coverage - EXACT))


def rows_needed(coverage: float) -> int:
    """The least n with rank(n) <= n: with fewer rows every set is full.

    >>> rows_needed(0.9), rows_needed(0.95), rows_needed(0.99)
    (9, 19, 99)
    """
    return max(1, math.ceil((coverage - EXACT) / (1 - coverage)))


def _smallest(scores: np.ndarray, k: int) -> float:
    """The k-th smallest score; infinite where there are fewer."""
    return float(np.partition(scores, k - 1)[k - 1]) if k <= len(scores) else math.inf


def checked_probabilities(probabilities: np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """Return probabilities (N, K) in float64, if that is what they are."""
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or (n_classes is not None and p.shape[1] != n_classes):
        raise InputError(
            f"probabilities must be of shape (N, {n_classes or 'K'}), a row for each row of data, "
            f"not {p.shape}"
        )
    check_distribution(torch.from_numpy(p), 1, "probabilities")
    return p


def _checked_codes(codes: np.ndarray, p: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.shape != p.shape[:1]:
        raise InputError(
            f"{len(p)} rows of probabilities need codes ({len(p)},), not {codes.shape}"
        )
    return checked_labels(torch.from_numpy(codes), p.shape[1]).numpy()


def _checked_u(u: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    if u is None:
        return None
    u = np.asarray(u, dtype=np.float64)
    if u.shape != (n_rows,) or not ((u >= 0) & (u <= 1)).all():
        raise InputError(f"u must be ({n_rows},) numbers from 0 to 1; draw them evenly")
    return u
