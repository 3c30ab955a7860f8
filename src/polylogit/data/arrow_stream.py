"""Parquet and Arrow IPC files that do not fit in memory: record batches -> `StoredTable`.

The same rules and words as `polylogit.data.arrow`, whose functions see one batch after another. An
Arrow file is read in the batches it was written in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polylogit.data.arrow import column_of, damaged, names_of
from polylogit.data.dataset import Rows
from polylogit.data.source import Unchanged, called, head_of, opened, refuse_foreign
from polylogit.data.stored_table import ColumnStore, StoredTable, WordStore
from polylogit.errors import DataError
from polylogit.schema import Column

PIECE_BYTES = 2**23


@dataclass(frozen=True, eq=False)
class _Shifted(Rows):
    """Rows of a batch that begins at row `start` of the file."""

    start: int = 0

    def place(self, row: int) -> str:
        return f"row {self.start + row}"


def stream_parquet(path: Path, *, ignore: Iterable[str] = ()) -> StoredTable:
    """`read_parquet` in bounded memory."""
    return _stream(path, "parquet", _parquet_batches, tuple(ignore))


def stream_ipc(path: Path, *, ignore: Iterable[str] = ()) -> StoredTable:
    """`read_ipc` in memory bounded by the largest of its batches."""
    return _stream(path, "arrow", _ipc_batches, tuple(ignore))


def cells_in_parquet(path: Path) -> int:
    """How many cells the file says it has."""
    with opened(path) as file, damaged(path):
        found = pq.read_metadata(file)
        return int(found.num_rows * found.num_columns)


_Batches = Callable[[BinaryIO, Callable[[list[str]], list[str]]], Iterator[Any]]


def _stream(path: Path, kind: str, batches: _Batches, ignore: tuple[str, ...]) -> StoredTable:
    refuse_foreign(head_of(path), kind, path)
    unchanged, source = Unchanged(path), called(path)
    names: list[str] = []

    def choose(found: list[str]) -> list[str]:
        names.extend(names_of(found, ignore, path))
        return names

    store, words, n_rows = ColumnStore(source), dict[str, WordStore](), 0
    with opened(path) as file, damaged(path):
        for batch in batches(file, choose):
            batch.validate(full=True)  # offsets of a damaged file may point anywhere
            for name in names:
                column = column_of(name, batch.column(name), _Shifted(source, start=n_rows))
                _append(column, store, words)
            n_rows += batch.num_rows
    unchanged.check()
    if n_rows == 0:
        raise DataError(f"{source}: the table has no rows")
    for name, found in words.items():
        store.columns[name].categories = tuple(found.places)
    return StoredTable((), source, n_rows, None, None, store, tuple(names))


def _append(column: Column, store: ColumnStore, words: dict[str, WordStore]) -> None:
    values: np.ndarray = column.values
    if values.dtype.kind == "i":
        found = words.setdefault(column.name, WordStore(column.name))
        values = found.codes(column.categories, values)
        if found.crowded and column.kind == "categorical":
            raise found.refusal(store.spill.source, store.columns[column.name].starts[-1])
    store.append(column.name, values, column.kind)


def _parquet_batches(file: BinaryIO, choose: Callable[[list[str]], list[str]]) -> Iterator[Any]:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # or the whole file would wait in memory
    names = choose(cast("list[str]", parquet.schema_arrow.names))
    size = max(1, PIECE_BYTES // (8 * max(1, len(names))))
    yield from parquet.iter_batches(size, columns=names)


def _ipc_batches(file: BinaryIO, choose: Callable[[list[str]], list[str]]) -> Iterator[Any]:
    arrow = pa.ipc.open_file(file)
    names = choose(cast("list[str]", arrow.schema.names))
    for at in range(arrow.num_record_batches):
        yield arrow.get_batch(at).select(names)
