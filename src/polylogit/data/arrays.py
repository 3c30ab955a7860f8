"""Arrays: npz and npy files, and whatever is in memory.

    npz   X (or features) and, if there are labels, y (or targets); weights (or sample_weight);
          or instead of X the parts of a CSR matrix as scipy.sparse.save_npz writes them
    npy   the features alone

Files with Python objects are refused: reading them could run code.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polylogit.data import frames
from polylogit.data.dataset import Dataset, Matrix, Rows
from polylogit.data.features import csr_of_parts, features_of
from polylogit.data.prepare import dataset_of_matrix, dataset_of_table
from polylogit.data.source import called, head_of, opened, refuse_foreign
from polylogit.data.targets import from_memory, weights_of
from polylogit.errors import DataError
from polylogit.schema import Schema, listed, shown

FEATURES = ("X", "features")
TARGETS = ("y", "targets")
WEIGHTS = ("weights", "sample_weight")
_CSR = ("data", "indices", "indptr", "shape")


def from_arrays(
    X: Any, y: Any = None, *, sample_weight: Any = None, schema: Schema | None = None
) -> Dataset:
    """Make a Dataset of what is in memory.

    X (N, D): a numpy array, a list of rows, a scipy sparse matrix, a torch tensor, or a DataFrame
    of pandas, polars or pyarrow. y: N labels, or (N, K) probabilities. With a `schema` (of a model)
    the rows are encoded by it; without one it is made from the data. Columns of a DataFrame are
    found by name; a plain matrix can stand for a table of plain numbers, and the other way round,
    by position.

    >>> data = from_arrays([[1.0], [2.0], [4.0]], ["a", "b", "a"])
    >>> data.schema.classes, data.targets
    (('a', 'b'), array([0, 1, 0]))
    """
    if frames.is_frame(X):
        table = frames.read_frame(X)
        targets = None if y is None else from_memory(y, table.n_rows, table)
        weights = None
        if sample_weight is not None:
            weights = weights_of(sample_weight, table.n_rows, table)
        return dataset_of_table(table, targets, weights, schema, by_position=True)
    matrix = Matrix(features_of(X, Rows("array")), y, sample_weight)
    return dataset_of_matrix(matrix, schema)


def read_npy(path: Path) -> Matrix:
    """Read the features from an npy file."""
    refuse_foreign(head_of(path), "npy", path)
    return Matrix(features_of(loaded(path), Rows(called(path))), source=called(path))


def read_npz(path: Path) -> Matrix:
    """Read features, labels and weights from an npz file; see the module's table."""
    refuse_foreign(head_of(path), "zip", path)
    arrays = loaded(path)
    where = Rows(called(path))
    if set(_CSR) <= set(arrays) and not set(FEATURES) & set(arrays):
        _refuse_other_sparse(arrays, where)
        data, indices, indptr, shape = (arrays[name] for name in _CSR)
        features: Any = csr_of_parts(data, indices, indptr, shape, where)
    else:
        features = one_of(arrays, FEATURES, where)
        if features is None:
            raise DataError(
                f"{where.source}: no features among the arrays {listed(arrays)}; save them as X, "
                f"or the parts of a CSR matrix as {listed(_CSR)}"
            )
        features = features_of(features, where)
    targets, weights = one_of(arrays, TARGETS, where), one_of(arrays, WEIGHTS, where)
    return Matrix(features, targets, weights, where.source)


def one_of(arrays: Mapping[str, Any], names: tuple[str, ...], where: Rows) -> Any:
    """The entry called by one of these names, or None; a DataError if there are two."""
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise DataError(f"{where.source}: holds both {' and '.join(map(repr, found))}; keep one")
    return arrays[found[0]] if found else None


def _refuse_other_sparse(arrays: Mapping[str, np.ndarray], where: Rows) -> None:
    form = arrays.get("format", np.array(b"csr")).item()
    if form not in {b"csr", "csr"}:
        raise DataError(
            f"{where.source}: holds a sparse matrix in the format {shown(form)}; save it as CSR "
            "(X.tocsr())"
        )


def loaded(path: Path) -> Any:
    """Load without pickle: an array, or a dict of arrays."""
    with opened(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files written by Python 2, which are read well
        try:
            loaded = np.load(file, allow_pickle=False)
            return (
                loaded if isinstance(loaded, np.ndarray) else {n: loaded[n] for n in loaded.files}
            )
        # numpy and zipfile raise whatever they stumble over in damaged bytes: ten kinds and more.
        except Exception as error:
            raise DataError(f"{called(path)}: {_damage(error)}") from error


def _damage(error: Exception) -> str:
    if "allow_pickle" in str(error):
        return (
            "holds Python objects, which are never read because they can run code; save plain "
            "arrays of numbers and text"
        )
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"damaged or cut short: {shown(reason, 150)}; save it again"
