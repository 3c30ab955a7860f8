"""Prediction sets of a model and what they are worth, both from rows that it has not seen.

The rows are halved: one half sets the thresholds, the other counts how often the sets hold the
truth. A row that did both would be counted in its own favour, and so would one of its group.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from polylogit.diagnostics.conformal import ConformalSets, conformal, rows_needed
from polylogit.diagnostics.folds import folds_of_groups

COVERAGES = (0.8, 0.9, 0.95)
SEED = 0  # of the halves, so that a page can be made again


def coverage(
    p: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    approximate: bool = False,
) -> dict[str, Any]:
    """Sets of every size, made and judged from probabilities (N, K) of rows new to the model.

    `approximate` where the probabilities are by leave-one-out, so new only nearly. The rows of one
    of the `groups` (N,) are all in the same half.
    """
    made, judged = _halves(codes, groups)
    if len(made) < rows_needed(COVERAGES[0]) or not len(judged):
        return {"why": "few", "sets": []}
    thresholds = [conformal(p[made], codes[made], c, approximate=approximate) for c in COVERAGES]
    return {
        "why": None,
        "approximate": approximate,
        "grouped": groups is not None,
        "n_made": len(made),
        "n_judged": len(judged),
        "sets": [_judged(sets, p[judged], codes[judged]) for sets in thresholds],
    }


def _halves(codes: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The rows that set the thresholds and those that are counted."""
    if groups is None:
        made, judged = np.array_split(np.random.default_rng(SEED).permutation(len(codes)), 2)
        return made, judged
    different, of = np.unique(groups, return_inverse=True)
    mass = np.zeros((len(different), codes.max(initial=0) + 1))
    np.add.at(mass, (of, codes), 1.0)
    counted = folds_of_groups(mass, 2, SEED)[of] == 1  # what is never held out is not counted
    return np.flatnonzero(~counted), np.flatnonzero(counted)


def _judged(made: ConformalSets, p: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    inside = made.sets(p)
    sizes = inside.sum(1)
    return {
        "coverage": made.coverage,
        "mean_size": float(sizes.mean()),
        "single": float((sizes == 1).mean()),
        "holds_truth": float(inside[np.arange(len(p)), codes].mean()),
        "interval": made.interval()[0].tolist(),
        "full": bool(made.full[0]),
    }
