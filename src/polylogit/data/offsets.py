"""Offsets: logits that are known beforehand, and that a fit adds to its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from polylogit.data.dataset import Placed
from polylogit.data.memory import array_of
from polylogit.errors import DataError
from polylogit.schema import shown

LARGEST = 1e100  # of an offset: beyond, sums of logits leave float64


def offsets_of(values: Any, n_rows: int, n_classes: int, where: Placed) -> np.ndarray:
    """Check offsets and return them as (N, K) float64, to be added to the logits.

    Given are (N, K) numbers; for two classes also (N,), which are added to the log odds of the
    second. Raises `DataError` for another shape and for what is no finite number.

    >>> from polylogit.data.dataset import Rows
    >>> offsets_of([0.5, -1.0], 2, 2, Rows()).tolist()
    [[0.0, 0.5], [0.0, -1.0]]
    """
    offsets = array_of(values, "offset", where)
    _refuse_shape(offsets, n_rows, n_classes, where)
    offsets = _numbers(offsets, where)
    _refuse_infinite(offsets, where)
    if offsets.ndim == 2:
        return offsets
    return np.stack([np.zeros(n_rows), offsets], axis=1)


def _refuse_shape(offsets: np.ndarray, n_rows: int, n_classes: int, where: Placed) -> None:
    wanted = f"({n_rows}, {n_classes})"
    if offsets.shape == (n_rows, n_classes):
        return
    if n_classes == 2:
        if offsets.shape == (n_rows,):
            return
        wanted += f", or ({n_rows},) for the log odds"
    raise DataError(
        f"{where.source}: offset has shape {offsets.shape}, expected {wanted}: a known logit for "
        "each row and class"
    )


def _numbers(offsets: np.ndarray, where: Placed) -> np.ndarray:
    if offsets.dtype.kind == "O":  # a list of numbers of both kinds, most often
        offsets = np.asarray(offsets.tolist())
    if offsets.dtype.kind not in "biuf":
        raise DataError(
            f"{where.source}: offset has dtype {offsets.dtype}; offsets are finite numbers"
        )
    return offsets.astype(np.float64)


def _refuse_infinite(offsets: np.ndarray, where: Placed) -> None:
    bad = ~(np.abs(offsets) <= LARGEST)  # NaN fails too
    if bad.any():
        cell = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise DataError(
            f"{where.source}: the offset of {where.place(int(cell[0]))} is {shown(offsets[cell])} "
            f"({np.count_nonzero(bad)} such); offsets lie between {-LARGEST:g} and {LARGEST:g}"
        )
