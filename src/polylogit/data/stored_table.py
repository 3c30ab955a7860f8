"""Tables that do not fit in memory: columns in one file without a name, a part of them at a time.

A reader hands over pieces of a file, a few megabytes each. Every column is settled by the rules of
the readers in memory, one column at a time: N numbers of one column are in memory at once, N x D
never. `StoredTable` is then a `Table` that `prepare` and `split` take like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from polylogit.errors import SchemaError, nearest
from polylogit.schema import Column, Encoded, Feature, Label, Schema, Table, listed, shown
from polylogit.stored import Spill, StoredRows

PART_BYTES = 2**24  # of encoded rows at a time
MOST_WORDS = 2**20  # different texts of a column; beyond, they are held to name rows


@dataclass
class Chunks:
    """The values of one column: where its pieces lie in the file."""

    kind: str = "numeric"
    categories: tuple[str, ...] = ()
    starts: list[int] = field(default_factory=lambda: [0])  # the first row of each piece, then N
    offsets: list[int] = field(default_factory=list)

    @property
    def dtype(self) -> np.dtype:
        """float64 or int32, as in `Column`."""
        return np.dtype(np.int32 if self.kind in {"categorical", "date"} else np.float64)


class ColumnStore:
    """Columns in one file without a name."""

    def __init__(self, source: str) -> None:
        self.spill = Spill(source)
        self.columns: dict[str, Chunks] = {}

    def append(self, name: str, values: np.ndarray, kind: str = "numeric") -> None:
        """Add a piece to a column."""
        chunks = self.columns.setdefault(name, Chunks(kind))
        chunks.offsets.append(self.spill.size)
        chunks.starts.append(chunks.starts[-1] + len(values))
        self.spill.append(values.astype(chunks.dtype, copy=False))

    def put(self, column: Column) -> None:
        """Set a whole column."""
        self.columns[column.name] = Chunks(column.kind, column.categories)
        self.append(column.name, column.values)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> Column:
        """These rows of a column, in memory."""
        chunks = self.columns[name]
        stop = chunks.starts[-1] if stop is None else stop
        first = max(0, int(np.searchsorted(chunks.starts, start, side="right")) - 1)
        parts = [np.empty(0, chunks.dtype)]
        for at in range(first, len(chunks.offsets)):
            low, high = chunks.starts[at], chunks.starts[at + 1]
            if low >= stop:
                break
            parts.append(self._values(chunks, at, max(start, low) - low, min(stop, high) - low))
        kind: Any = chunks.kind
        return Column(name, kind, np.concatenate(parts), chunks.categories)

    def _values(self, chunks: Chunks, at: int, start: int, stop: int) -> np.ndarray:
        offset = chunks.offsets[at] + start * chunks.dtype.itemsize
        return self.spill.read(offset, stop - start, chunks.dtype)


@dataclass(frozen=True, eq=False)
class StoredTable(Table):
    """A `Table` whose columns lie in a file; `picked` (n,) chooses rows, rising."""

    store: ColumnStore = field(default_factory=lambda: ColumnStore("table"))
    held: tuple[str, ...] = ()
    picked: np.ndarray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.held

    def column(self, name: str) -> Column:
        """The whole column, in memory: N numbers."""
        if name not in self.held:
            raise SchemaError(
                f"{self.source} has no column {shown(name)}{nearest(name, self.held)} "
                f"(columns: {listed(self.held)})"
            )
        column = self.store.column(name)
        return column if self.picked is None else column.take(self.picked)

    def without(self, *names: str) -> StoredTable:
        for name in names:
            self.column(name)
        return replace(self, held=tuple(name for name in self.held if name not in names))

    def take(self, rows: np.ndarray) -> StoredTable:
        lines = None if self.first_line is None else self._lines()[rows]
        picked = rows if self.picked is None else self.picked[rows]
        return replace(self, picked=picked, n_rows=len(rows), lines=lines)

    def only(self, name: str) -> Table:
        """The one column, in memory, as a table that still knows its lines."""
        column = self.column(name)
        return Table((column,), self.source, self.n_rows, self.first_line, self.lines)

    def parts(self, n_rows: int) -> Iterator[Table]:
        """All rows once, `n_rows` at a time, in memory."""
        for start in range(0, self.n_rows, n_rows):
            stop = min(start + n_rows, self.n_rows)
            first = None if self.first_line is None else self.first_line + start
            lines = None if self.lines is None else self.lines[start:stop]
            columns = tuple(self._part(name, start, stop) for name in self.held)
            yield Table(columns, self.source, stop - start, first, lines)

    def _part(self, name: str, start: int, stop: int) -> Column:
        if self.picked is None:
            return self.store.column(name, start, stop)
        rows = self.picked[start:stop]
        low = int(rows[0])
        return self.store.column(name, low, int(rows[-1]) + 1).take(rows - low)


# ------------------------------------------------------------------ what a schema asks of a table


def infer(table: StoredTable, classes: Sequence[Label], target: str | None) -> Schema:
    """`Schema.infer`, a column at a time."""
    if not table.held:
        return Schema.infer(table, classes, target)  # refuses
    features: list[Feature] = []
    for name in table.held:
        features += Schema.infer(table.only(name), classes, target).features
    return Schema(tuple(features), tuple(classes), target)


def encode(schema: Schema, table: StoredTable) -> tuple[StoredRows, Encoded]:
    """`Schema.encode` into a file without a name, and the counts (with an empty matrix)."""
    spill, missing = Spill(table.source), Counter[str]()
    unseen: dict[str, Counter[str]] = {}
    step = max(1, PART_BYTES // (8 * max(1, schema.n_features)))
    for part in table.parts(step):
        encoded = schema.encode(part)
        spill.append(encoded.matrix)
        missing.update(encoded.missing)
        for name, words in encoded.unseen.items():
            unseen.setdefault(name, Counter()).update(words)
    counts = Encoded(
        np.empty((0, schema.n_features)),
        {f.name: missing[f.name] for f in schema.features if missing[f.name]},
        {f.name: dict(unseen[f.name]) for f in schema.features if f.name in unseen},
    )
    return spill.rows(schema.n_features, np.dtype(np.float64)), counts


# ------------------------------------------------------------------------------- words of a column


class WordStore:
    """A column of words while its pieces come in: each different text once, codes in a file."""

    def __init__(self, name: str, kind: Literal["categorical", "date"] = "categorical") -> None:
        self.name, self.kind = name, kind
        self.places: dict[str, int] = {}
        self.counts = Counter[int]()

    def codes(self, texts: Sequence[str], codes: np.ndarray) -> np.ndarray:
        """The piece's own codes, -1 where missing, as codes into `places`."""
        at = [self.places.setdefault(text, len(self.places)) for text in texts]
        answer = np.asarray(np.array([*at, -1], dtype=np.int32)[codes])
        used, counts = np.unique(answer[answer >= 0], return_counts=True)
        self.counts.update(dict(zip(used.tolist(), counts.tolist(), strict=True)))
        return answer

    @property
    def crowded(self) -> bool:
        """Whether there are more different texts than a category column can have."""
        return len(self.places) > MOST_WORDS

    def refusal(self, source: str, n_rows: int) -> SchemaError:
        """What is said of a crowded column."""
        return SchemaError(
            f"{source}: text column {shown(self.name)} has {len(self.places)} different values in "
            f"{n_rows} rows (such as {shown(next(iter(self.places)))}); it names rows instead of "
            "grouping them: leave it out (ignore)"
        )
