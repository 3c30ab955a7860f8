"""Prediction sets of a model and what they are worth, both from rows that it has not seen.

The rows are halved by chance: one half sets the thresholds, the other counts how often the sets
hold the truth. A row that did both would be counted in its own favour.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from polylogit.diagnostics.conformal import ConformalSets, conformal, rows_needed

COVERAGES = (0.8, 0.9, 0.95)
SEED = 0  # of the halves, so that a page can be made again


def coverage(p: np.ndarray, codes: np.ndarray, *, approximate: bool = False) -> dict[str, Any]:
    """Sets of every size, made and judged from probabilities (N, K) of rows new to the model.

    `approximate` where the probabilities are by leave-one-out, so new only nearly.
    """
    order = np.random.default_rng(SEED).permutation(len(codes))
    made, judged = np.array_split(order, 2)
    if len(made) < rows_needed(COVERAGES[0]):
        return {"why": "few", "sets": []}
    thresholds = [conformal(p[made], codes[made], c, approximate=approximate) for c in COVERAGES]
    return {
        "why": None,
        "approximate": approximate,
        "n_made": len(made),
        "n_judged": len(judged),
        "sets": [_judged(sets, p[judged], codes[judged]) for sets in thresholds],
    }


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
