"""What is in memory, whoever made it, as one numpy array: lists, arrays, tensors, Series.

The type of the entries is kept: a list of 1 and "a" becomes an array of objects, never two texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import torch

from polylogit.data.dataset import Placed
from polylogit.errors import DataError, InputError
from polylogit.schema import shown


def array_of(
    values: Any, name: str, where: Placed, *, error: type[InputError] = DataError
) -> np.ndarray:
    """Return `values` as an array of at least one axis; `name` is what messages call it.

    No copy is made where the memory can be shared. `error` says which kind of input this is: a
    ragged list, a masked cell, a generator and a tensor without data are refused as such.

    >>> from polylogit.data.dataset import Rows
    >>> array_of([1, "a"], "y", Rows()).dtype
    dtype('O')
    """
    try:
        array = _array(values)
    except _UnusableError as reason:
        raise error(f"{where.source}: {name} {reason}") from reason
    if array.ndim == 0:
        raise error(
            f"{where.source}: {name} is {shown(values)} ({type(values).__name__}); expected an "
            "array, a list, a tensor or a column"
        )
    return array


class _UnusableError(Exception):
    """The fact; `array_of` adds what was asked for."""


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return _from_tensor(values)
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values)
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, list | tuple):
        return _from_list(values)
    if nw.dependencies.is_into_series(values):
        return _from_series(nw.from_native(values, series_only=True))
    if nw.dependencies.is_into_dataframe(values):
        return _from_frame(nw.from_native(values, eager_only=True))
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _UnusableError(
            f"({type(values).__name__}) is no array: {shown(str(error))}"
        ) from error


def _from_tensor(tensor: torch.Tensor) -> np.ndarray:
    """Detach, bring to the processor, and widen what numpy has no name for (bfloat16)."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        plain = plain.float() if plain.dtype == torch.bfloat16 else plain
        return plain.numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise _UnusableError(
            f"is a tensor (layout {tensor.layout}, device {tensor.device}, dtype {tensor.dtype}) "
            "whose numbers cannot be read; give a dense tensor that holds data"
        ) from error


def _unmasked(values: np.ma.MaskedArray[Any, Any]) -> np.ndarray:
    mask = np.ma.getmaskarray(values)
    if mask.any():
        first = np.argwhere(mask)[0]
        cell = f"row {first[0]}" + "".join(f", column {at}" for at in first[1:])
        raise _UnusableError(
            f"has masked cells ({np.count_nonzero(mask)}, the first in {cell}); fill them "
            "(values.filled(...)) or leave the rows out"
        )
    return np.asarray(values.data)


def _from_list(values: Sequence[Any]) -> np.ndarray:
    kinds = set(map(type, values))
    # Text stays an object each: numpy's own text type cuts off NUL characters at the end. So do
    # whole numbers beyond 64 bits: numpy would round them to floats.
    if len(kinds) == 1 and kinds <= {int, float, bool}:
        array = np.asarray(values)
        if kinds != {int} or array.dtype.kind in "iu":
            return array
    if any(issubclass(kind, list | tuple | np.ndarray | torch.Tensor) for kind in kinds):
        return _nested([_from_tensor(v) if isinstance(v, torch.Tensor) else v for v in values])
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _nested(values: Sequence[Any]) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        lengths = [len(value) if hasattr(value, "__len__") else -1 for value in values]
        row = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
        where = "inner lists" if row is None else f"row 0 has {lengths[0]} entries, row {row} has "
        count = "" if row is None else ("no list" if lengths[row] < 0 else str(lengths[row]))
        raise _UnusableError(
            f"is a ragged list ({where}{count}); give every row one length"
        ) from error


def _from_series(series: nw.Series[Any]) -> np.ndarray:
    if not series.is_null().any():
        return np.asarray(series.to_numpy())
    array = np.empty(len(series), dtype=object)
    array[:] = series.to_list()
    return array


def _from_frame(frame: nw.DataFrame[Any]) -> np.ndarray:
    if len(frame.columns) == 1:
        return _from_series(frame.get_column(frame.columns[0]))
    return np.asarray(frame.to_numpy())
