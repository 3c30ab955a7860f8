"""Numbers in memory, checked, as a feature matrix: (N, D) float32 or float64, dense or CSR, finite.

float32 stays float32 and half precision becomes float32; everything else becomes float64, so that
no finite number overflows. Nothing of the caller's is changed; memory is shared where it is fit to
use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse

from polylogit.data.dataset import Features, Placed
from polylogit.data.memory import array_of
from polylogit.errors import DataError
from polylogit.schema import MAX_FEATURES, shown

_BLOCK = 2**20
"""Entries looked at together when searching for NaN: small beside the data."""


def features_of(X: Any, where: Placed) -> Features:
    """Check X, of any kind, and return it as dense C order or as canonical CSR.

    A DataError says what is wrong and where first: not two axes, no column, complex numbers, text,
    dates, objects, NaN and infinity, or the broken parts of a sparse matrix.

    >>> from polylogit.data.dataset import Rows
    >>> features_of([[1, 2], [3, 4]], Rows())
    array([[1., 2.],
           [3., 4.]])
    """
    if isinstance(X, torch.Tensor) and X.layout != torch.strided:
        X = _scipy_of(X, where)
    return csr_of(X, where) if sparse.issparse(X) else dense_of(X, where)


# --- dense ----------------------------------------------------------------------------------------


def dense_of(X: Any, where: Placed) -> np.ndarray:
    """Check a dense matrix; see `features_of`."""
    array = array_of(X, "X", where)
    refuse_shape(array.shape, where)
    matrix = np.ascontiguousarray(_floats(array, where))
    refuse_infinite(matrix, where)
    return matrix


def refuse_shape(shape: tuple[int, ...], where: Placed) -> None:
    """Refuse what is no (N, D) matrix of 1 to `MAX_FEATURES` columns."""
    if len(shape) == 1:
        raise DataError(
            f"{where.source}: X has shape {shape}, one axis; expected (N, D): use X[:, None] if "
            "these are rows of one feature, X[None, :] if they are one row"
        )
    if len(shape) != 2:
        raise DataError(
            f"{where.source}: X has shape {shape}, {len(shape)} axes; expected (N, D): flatten "
            "each row with X.reshape(len(X), -1)"
        )
    if shape[1] == 0:
        raise DataError(
            f"{where.source}: X has shape {shape}: no columns, so nothing to learn from"
        )
    if shape[1] > MAX_FEATURES:
        raise DataError(
            f"{where.source}: X has {shape[1]} columns; at most {MAX_FEATURES} are taken"
        )


def _floats(array: np.ndarray, where: Placed) -> np.ndarray:
    if array.dtype.kind == "O":
        return _from_objects(array, where)
    refuse_kind(array.dtype, where)
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    with np.errstate(over="ignore"):  # a long double may become infinite: found just after
        return array.astype(np.float32 if narrow else np.float64, copy=False)


def refuse_kind(dtype: np.dtype, where: Placed) -> None:
    """Refuse a type that is not of real numbers."""
    if dtype.kind not in "biuf":
        raise DataError(
            f"{where.source}: X has dtype {dtype}; features are real numbers{_advice(dtype.kind)}"
        )


def _from_objects(array: np.ndarray, where: Placed) -> np.ndarray:
    """Numbers kept as Python objects are fine; anything else is named."""
    for (row, column), entry in np.ndenumerate(array):
        if not isinstance(entry, int | float | np.number | np.bool_) or isinstance(
            entry, np.complexfloating
        ):
            raise DataError(
                f"{where.source}: X holds {shown(entry)} ({type(entry).__name__}) in row {row}, "
                f"column {column}; features are real numbers: give mixed columns as a DataFrame"
            )
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise DataError(f"{where.source}: X holds a whole number beyond float64's range") from error


def _advice(kind: str) -> str:
    advice = {
        "U": ": convert text with X.astype(float), or give categories as a DataFrame",
        "T": ": convert text with X.astype(float), or give categories as a DataFrame",
        "S": ": decode the bytes and convert them with X.astype(float)",
        "M": ": turn dates into numbers first (days since a start, month, weekday)",
        "m": ": turn durations into numbers first (X / np.timedelta64(1, 's'))",
        "c": ": split complex numbers into real and imaginary columns",
        "V": ": give a record array as a DataFrame",
    }
    return advice.get(kind, "")


def refuse_infinite(matrix: np.ndarray, where: Placed, first: int = 0) -> None:
    """Refuse NaN and infinity; `first` is the row of the whole that `matrix` begins with."""
    step = max(1, _BLOCK // matrix.shape[1])
    for start in range(0, len(matrix), step):
        if not _all_finite(matrix[start : start + step]):
            bad = ~np.isfinite(matrix)
            row, column = (int(at) for at in np.argwhere(bad)[0])
            raise DataError(_infinite_message(matrix[bad], first + row, column, where))


@np.errstate(over="ignore", invalid="ignore")
def _all_finite(numbers: np.ndarray) -> bool:
    """Whether all are: then so is their sum, unless it overflows, and that takes half the time."""
    return bool(np.isfinite(numbers.sum()) or np.isfinite(numbers).all())


def _infinite_message(bad: np.ndarray, row: int, column: int, where: Placed) -> str:
    n_nan = int(np.count_nonzero(np.isnan(bad)))
    counts = [f"{n} {name}" for n, name in ((n_nan, "NaN"), (len(bad) - n_nan, "infinite")) if n]
    return (
        f"{where.source}: X holds {' and '.join(counts)} among its numbers, the first in "
        f"{where.place(row)}, column {column}; fill them or leave the rows out (a DataFrame or a "
        "table file may have missing cells)"
    )


# --- sparse ---------------------------------------------------------------------------------------


def csr_of(X: Any, where: Placed) -> sparse.csr_array[Any]:
    """Check any scipy sparse matrix; return canonical CSR (sorted, no duplicates)."""
    refuse_shape(X.shape, where)
    if X.dtype.kind not in "biuf":
        raise DataError(
            f"{where.source}: the sparse X has dtype {X.dtype}; features are real numbers"
            f"{_advice(X.dtype.kind)}"
        )
    if X.format in {"csr", "csc"}:
        _refuse_broken(X, where)
    elif X.format == "bsr":
        blocks = (X.shape[0] // X.blocksize[0], X.shape[1] // X.blocksize[1])
        _refuse_broken(_Parts(X.data, X.indices, X.indptr, blocks), where)
    elif X.format == "coo":
        _refuse_outside(X, where)
    matrix = _canonical(sparse.csr_array(X.tocsr()))
    dtype = np.float32 if matrix.dtype == np.float32 else np.float64
    matrix = matrix.astype(dtype, copy=False)
    _refuse_infinite_entries(matrix, where)
    return matrix


def csr_of_parts(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: Any, where: Placed
) -> sparse.csr_array[Any]:
    """Build and check CSR from its parts as `scipy.sparse.save_npz` writes them."""
    sizes = np.asarray(shape)
    if sizes.shape != (2,) or sizes.dtype.kind not in "iu" or (sizes < 0).any():
        raise DataError(f"{where.source}: 'shape' must hold two sizes, got {shown(sizes.tolist())}")
    for name, part in (("data", data), ("indices", indices), ("indptr", indptr)):
        if part.ndim != 1:
            raise DataError(f"{where.source}: {name!r} has shape {part.shape}, expected one axis")
    parts = _Parts(data, indices, indptr, (int(sizes[0]), int(sizes[1])))
    _refuse_broken(parts, where)
    return csr_of(sparse.csr_array((data, indices, indptr), shape=parts.shape), where)


class _Parts:
    """The parts of a CSR matrix that nobody has checked yet."""

    format = "csr"

    def __init__(
        self, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]
    ) -> None:
        self.data, self.indices, self.indptr, self.shape = data, indices, indptr, shape


def _refuse_broken(X: Any, where: Placed) -> None:
    """Refuse row pointers and indices that would read outside the arrays."""
    major, minor = X.shape if X.format == "csr" else X.shape[::-1]
    row, column = ("row", "column") if X.format == "csr" else ("column", "row")
    pointers, indices, n_entries = np.asarray(X.indptr), np.asarray(X.indices), len(X.data)
    if pointers.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise DataError(f"{where.source}: the sparse X has indices that are not whole numbers")
    if len(pointers) != major + 1 or len(indices) != n_entries:
        raise DataError(
            f"{where.source}: the sparse X of {major} {row}s needs {major + 1} {row} pointers and "
            f"as many indices as values, got {len(pointers)} pointers, {len(indices)} indices and "
            f"{n_entries} values"
        )
    if pointers[0] != 0 or pointers[-1] > n_entries:
        raise DataError(
            f"{where.source}: the {row} pointers of the sparse X run from {pointers[0]} to "
            f"{pointers[-1]}, expected 0 to {n_entries} (the number of values)"
        )
    falls = np.flatnonzero(pointers[1:] < pointers[:-1])
    if len(falls):
        raise DataError(
            f"{where.source}: the {row} pointers of the sparse X fall from {pointers[falls[0]]} to "
            f"{pointers[falls[0] + 1]} at {row} {falls[0]}; they may only rise"
        )
    used = indices[: pointers[-1]]
    outside = np.flatnonzero((used < 0) | (used >= minor))
    if len(outside):
        at = int(np.searchsorted(pointers, outside[0], side="right")) - 1
        raise DataError(
            f"{where.source}: the sparse X has {column} index {used[outside[0]]} in {row} {at}, "
            f"outside 0..{minor - 1}"
        )


def _refuse_outside(X: Any, where: Placed) -> None:
    for name, at, size in (("row", X.row, X.shape[0]), ("column", X.col, X.shape[1])):
        outside = np.flatnonzero((at < 0) | (at >= size))
        if len(outside):
            raise DataError(
                f"{where.source}: the sparse X has {name} index {at[outside[0]]} in entry "
                f"{outside[0]}, outside 0..{size - 1}"
            )


def _canonical(X: sparse.csr_array[Any]) -> sparse.csr_array[Any]:
    """Sort the indices and add up duplicates, on a copy if there is anything to do."""
    n_used = int(X.indptr[-1])
    fresh = sparse.csr_array((X.data[:n_used], X.indices[:n_used], X.indptr), shape=X.shape)
    if not fresh.has_canonical_format:  # looked up afresh: a flag the caller left could be stale
        fresh = fresh.copy()
        fresh.sum_duplicates()
    return fresh


def _refuse_infinite_entries(X: sparse.csr_array[Any], where: Placed) -> None:
    if not _all_finite(X.data):
        bad = ~np.isfinite(X.data)
        at = int(np.argmax(bad))
        row = int(np.searchsorted(X.indptr, at, side="right")) - 1
        raise DataError(_infinite_message(X.data[bad], row, int(X.indices[at]), where))


def _scipy_of(tensor: torch.Tensor, where: Placed) -> Any:
    if tensor.ndim != 2:
        refuse_shape(tuple(tensor.shape), where)
    plain = tensor.detach().cpu().to_sparse_coo().coalesce()
    rows, columns = plain.indices().numpy()
    values = array_of(plain.values(), "X", where)
    return sparse.coo_array((values, (rows, columns)), shape=tuple(plain.shape))
