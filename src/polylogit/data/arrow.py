"""Typed columns: Parquet and Arrow IPC (Feather) files, and the Arrow arrays that DataFrames give.

The file's own types decide: numbers are numeric, bool is boolean, text and dictionaries are
categorical, dates and times are dates. Missing is null (and NaN in a column of floats), nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polylogit.data.dataset import Placed, Rows
from polylogit.data.source import bytes_of, called, refuse_foreign
from polylogit.errors import DataError, InputError, nearest
from polylogit.schema import Column, Table, listed, shown


def read_parquet(path: Path, *, ignore: Iterable[str] = ()) -> Table:
    """Read a Parquet file, columns named in `ignore` left out unread."""
    return _read(path, "parquet", lambda data: pq.ParquetFile(pa.BufferReader(data)), ignore)


def read_ipc(path: Path, *, ignore: Iterable[str] = ()) -> Table:
    """Read an Arrow IPC file (also called Feather version 2), `ignore` left out."""
    return _read(path, "arrow", lambda data: _Ipc(pa.ipc.open_file(pa.BufferReader(data))), ignore)


class _Ipc:
    """An Arrow file with the two things of a Parquet file that are used here."""

    def __init__(self, file: Any) -> None:
        self.file, self.schema_arrow = file, file.schema

    def read(self, columns: list[str]) -> pa.Table:
        """Read these columns."""
        return self.file.read_all().select(columns)


def _read(path: Path, kind: str, opening: Callable[[bytes], Any], ignore: Iterable[str]) -> Table:
    data = bytes_of(path)
    refuse_foreign(data[:4096], kind, path)
    with damaged(path):
        file = opening(data)
        names = names_of(file.schema_arrow.names, tuple(ignore), path)
        table = file.read(columns=names)
        table.validate(full=True)  # offsets of a damaged file may point anywhere
    return table_of(table, called(path))


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what Arrow raises over damaged bytes into a DataError."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = shown(str(error).partition("\n")[0], 150)
        raise DataError(
            f"{called(path)}: the file is damaged or cut short: {reason}; write it again"
        ) from error


def names_of(names: list[str], ignore: tuple[str, ...], path: Path) -> list[str]:
    """The columns to read; refuses names that come twice, and unknown ones to ignore."""
    if len(set(names)) < len(names):
        raise DataError(f"{called(path)}: two columns have one name among {listed(names)}")
    for name in ignore:
        if name not in names:
            raise DataError(
                f"{called(path)} has no column {shown(name)}{nearest(name, names)} (columns: "
                f"{listed(names)})"
            )
    return [name for name in names if name not in ignore]


def table_of(table: pa.Table, source: str) -> Table:
    """Turn an Arrow table into a `Table`.

    A DataError names a column of a type that holds no plain values, and infinite numbers.

    >>> table_of(pa.table({"a": [1, None], "b": ["x", "y"]}), "doctest").column("a").values
    array([ 1., nan])
    """
    if table.num_rows == 0:
        raise DataError(f"{source}: the table has no rows")
    where = Rows(source)
    columns = tuple(column_of(name, table.column(name), where) for name in table.column_names)
    return Table(columns, source, table.num_rows)


def column_of(name: str, cells: pa.ChunkedArray | pa.Array, where: Placed) -> Column:
    """Turn one Arrow column into a `Column`; see `table_of`."""
    kind = cells.type
    if pa.types.is_null(kind):
        return Column(name, "numeric", np.full(len(cells), np.nan))
    if pa.types.is_boolean(kind):
        return Column(name, "boolean", _floats(pc.cast(cells, pa.uint8())))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numeric(name, cells, where)
    if pa.types.is_temporal(kind):
        return _words(name, "date", pc.cast(cells, pa.large_string()))
    if pa.types.is_dictionary(kind):
        return _words(name, "categorical", _text(name, pc.cast(cells, kind.value_type), where))
    return _words(name, "categorical", _text(name, cells, where))


def _numeric(name: str, cells: Any, where: Placed) -> Column:
    values = _floats(cells)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise DataError(
            f"{where.source}: column {shown(name)} holds {shown(values[row])} in "
            f"{where.place(row)} ({np.count_nonzero(infinite)} infinite cells); only finite "
            "numbers can be used: correct them or make them missing"
        )
    return Column(name, "numeric", values)


def _floats(cells: Any) -> np.ndarray:
    values = pc.cast(cells, pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False) if _flat(values) else values.to_numpy())


def _flat(cells: Any) -> bool:
    return isinstance(cells, pa.Array)


def _text(name: str, cells: Any, where: Placed) -> Any:
    kind = cells.type
    simple = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if simple or any(test(kind) for test in _TEXT):
        return pc.cast(cells, pa.large_string())
    advice = (
        "decode the bytes to text" if "binary" in str(kind) else "give each part its own column"
    )
    raise DataError(
        f"{where.source}: column {shown(name)} has the type {shown(str(kind))}, which is neither "
        f"numbers nor text; {advice}, or leave the column out (ignore)"
    )


_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _words(name: str, kind: Any, cells: Any) -> Column:
    chunked = pa.chunked_array([cells]) if _flat(cells) else cells
    whole = chunked.dictionary_encode().unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    codes = pc.fill_null(whole.indices, -1).to_numpy(zero_copy_only=False)
    return Column(name, kind, codes.astype(np.int32), tuple(whole.dictionary.to_pylist()))
