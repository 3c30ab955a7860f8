"""A model over the rows of a dataset, a bounded number at a time."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from polylogit.data.dataset import Dataset
from polylogit.diagnostics.metrics import Scores, score, score_parts
from polylogit.model import SoftmaxModel
from polylogit.stored import StoredRows

PART_BYTES = 2**23  # of predictions at a time


def score_rows(model: SoftmaxModel, dataset: Dataset) -> Scores:
    """Scores of a model, as accuracy and log loss."""
    codes = label_codes(dataset)
    features = dataset.features
    if not isinstance(features, StoredRows):
        return score(model.log_probabilities(features).numpy(), codes, dataset.weights)
    slices = parts_of(model, dataset)
    parts = ((rows, model.log_probabilities(features[rows]).numpy()) for rows in slices)
    return score_parts(parts, codes, model.n_classes, dataset.weights)


def label_codes(dataset: Dataset) -> np.ndarray:
    """The class number of each row (N,); rows of probabilities count for the most probable."""
    targets = cast("np.ndarray", dataset.targets)
    codes: np.ndarray = targets if targets.ndim == 1 else targets.argmax(1)
    return codes


def parts_of(model: SoftmaxModel, dataset: Dataset) -> list[slice]:
    """Slices of the rows that fit in memory with their logits."""
    return row_slices(dataset.n_rows, max(model.n_classes, model.n_features))


def row_slices(n_rows: int, width: int) -> list[slice]:
    """Slices of rows of so many numbers that a few of them are small in memory."""
    step = max(1, PART_BYTES // (8 * width))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def cells_note(dataset: Dataset, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """What was filled, unknown or left out while the rows were encoded."""
    return {
        "missing": dict(dataset.missing),
        "unseen": {name: dict(words) for name, words in dataset.unseen.items()},
        "ignored": [*ignored, *dataset.ignored],
    }
