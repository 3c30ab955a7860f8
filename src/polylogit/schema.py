"""What a model remembers of its input: column names, kinds, categories and class names.

A `Table` is what a reader made of a file or a DataFrame: named columns, nothing encoded.
A `Schema` is what the fit keeps of it; `Schema.encode` turns any later table into the same D
numbers a row:

    numeric      one column; a missing cell becomes the training mean
    boolean      one column, false = 0, true = 1; a missing cell becomes the training share of true
    categorical  one 0/1 column for each category seen in training; none is dropped, because the
                 penalty on the weights makes the fit well posed with all of them

and one 0/1 column "NAME missing" more wherever the training rows had missing cells.
Everything here is plain data that JSON can hold; numpy is the only import.

>>> colour = Column("colour", "categorical", np.array([0, 1, 0], dtype=np.int32), ("red", "blue"))
>>> size = Column("size", "numeric", np.array([1.0, np.nan, 3.0]))
>>> table = Table((colour, size), source="doctest", n_rows=3)
>>> schema = Schema.infer(table, classes=("no", "yes"), target="bought")
>>> schema.names
('colour=blue', 'colour=red', 'size', 'size missing')
>>> schema.encode(table).matrix
array([[0., 1., 1., 0.],
       [1., 0., 2., 1.],
       [0., 1., 3., 0.]])
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from polylogit.errors import SchemaError, nearest

Label: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal["numeric", "boolean", "categorical"]

MISSING = "(missing)"
"""How `Encoded.unseen` calls missing cells of a category column that had none in training."""

MAX_FEATURES = 2**24
"""More columns than this are refused: each has a name that the model carries with it."""

_CROWDED = 50
"""From so many cells on, text with more categories than half its cells is taken for row names."""


def shown(value: object, width: int = 60) -> str:
    r"""Return `value` as it stands in a message: one line, escaped, at most `width` characters.

    >>> shown("two\nlines")
    "'two\\nlines'"
    >>> shown(np.float64(0.5))
    '0.5'
    """
    plain = value.item() if isinstance(value, np.generic) else value
    text = repr(plain) if isinstance(plain, str) else " ".join(repr(plain).split())
    return text if len(text) <= width else text[: width - 4] + "..." + text[-1]


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Return names for a message, in quotes, at most `limit` of them.

    >>> listed(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    every = [shown(name) for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read.

    `values` holds, for N rows,
      numeric, boolean:   float64 (N,), NaN where missing; boolean 0.0 or 1.0
      categorical, date:  int32 codes (N,) into `categories`, -1 where missing

    `categories` stand in code order; a boolean column read from text keeps its two words there,
    false first.
    A column with no value at all is numeric and all NaN.
    """

    name: str
    kind: Kind | Literal["date"]
    values: np.ndarray
    categories: tuple[str, ...] = ()

    @property
    def missing(self) -> np.ndarray:
        """Which cells are missing, bool (N,)."""
        return self.values < 0 if self.values.dtype.kind == "i" else np.isnan(self.values)

    def take(self, rows: np.ndarray) -> Column:
        """Return the column with these rows only."""
        return replace(self, values=self.values[rows])


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length with different names, nothing encoded yet.

    `first_line` is the line of row 0 in a text file; `lines` (N,) holds every row's line where rows
    are not consecutive lines (quoted line breaks, blank lines, a selection of rows).
    """

    columns: tuple[Column, ...]
    source: str
    n_rows: int
    first_line: int | None = None
    lines: np.ndarray | None = None

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) < len(names):
            raise SchemaError(f"{self.source}: two columns have one name among {listed(names)}")
        for column in self.columns:
            if column.values.shape != (self.n_rows,):
                raise SchemaError(
                    f"{self.source}: column {shown(column.name)} has shape {column.values.shape}, "
                    f"expected ({self.n_rows},)"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the file."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column called `name`; if there is none, the SchemaError names the nearest."""
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(
            f"{self.source} has no column {shown(name)}{nearest(name, self.names)} "
            f"(columns: {listed(self.names)})"
        )

    def without(self, *names: str) -> Table:
        """Return the table less these columns, all of which must be there."""
        for name in names:
            self.column(name)
        return replace(self, columns=tuple(c for c in self.columns if c.name not in names))

    def take(self, rows: np.ndarray) -> Table:
        """Return these rows (positions, any order), each still knowing its line in the file."""
        lines = None if self.first_line is None else self._lines()[rows]
        columns = tuple(column.take(rows) for column in self.columns)
        return replace(self, columns=columns, n_rows=len(rows), lines=lines)

    def place(self, row: int) -> str:
        """Say where a row stands: "line 5" of a text file (from 1), otherwise "row 3" (from 0)."""
        return f"row {row}" if self.first_line is None else f"line {self._lines()[row]}"

    def _lines(self) -> np.ndarray:
        if self.lines is not None:
            return self.lines
        return np.arange(self.n_rows) + (self.first_line or 0)


@dataclass(frozen=True)
class Feature:
    """What the fit remembers of one input column.

    `fill` replaces a missing number (the training mean; share of true for a boolean column).
    `has_missing`: training rows had missing cells, so a 0/1 column "NAME missing" exists.
    `categories`: of a categorical column, sorted.
    """

    name: str
    kind: Kind
    fill: float = 0.0
    has_missing: bool = False
    categories: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns that this feature gives.

        >>> Feature("sex", "categorical", has_missing=True, categories=("female", "male")).names
        ('sex=female', 'sex=male', 'sex missing')
        """
        own = tuple(f"{self.name}={word}" for word in self.categories)
        own = own if self.kind == "categorical" else (self.name,)
        return (*own, f"{self.name} missing") if self.has_missing else own


@dataclass(frozen=True, eq=False)
class Encoded:
    """A table as numbers.

    `matrix` (N, D) float64, C order, finite; `missing[column]` counts missing cells, filled;
    `unseen[column][category]` counts cells of a category that training never saw: all zeros.
    """

    matrix: np.ndarray
    missing: dict[str, int]
    unseen: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Schema:
    """How a table becomes D numbers a row, and what the K classes are called.

    kind "table": named columns of any kind. kind "array": D numeric columns, no missing values.
    `classes` are sorted labels of one type; empty when nothing was labelled.
    """

    features: tuple[Feature, ...]
    classes: tuple[Label, ...]
    target: str | None
    kind: Literal["table", "array"] = "table"

    @staticmethod
    def infer(table: Table, classes: Sequence[Label], target: str | None) -> Schema:
        """Learn the schema from the training rows; `table` holds feature columns only.

        A SchemaError names a column of dates, one without any value, and a text column with almost
        as many categories as rows, which names rows and cannot help with new ones.
        """
        if not table.columns:
            raise SchemaError(f"{table.source}: no feature column is left to learn from")
        features = tuple(_learned(column, table) for column in table.columns)
        return Schema(features, tuple(classes), target)

    @staticmethod
    def for_array(
        n_features: int,
        classes: Sequence[Label],
        target: str | None = None,
        names: Sequence[str] | None = None,
    ) -> Schema:
        """Return the schema of a plain matrix: numeric columns x0, x1, ... or `names`.

        >>> Schema.for_array(2, classes=(0, 1)).names
        ('x0', 'x1')
        """
        if names is None:
            return Schema(_numbered(n_features), tuple(classes), target, kind="array")
        names = tuple(names)
        if len(names) != n_features or len(set(names)) < n_features:
            raise SchemaError(
                f"{n_features} features need as many different names, got {listed(names)}"
            )
        features = tuple(Feature(name, "numeric") for name in names)
        return Schema(features, tuple(classes), target, kind="array")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Encoded feature names, length D."""
        if self.kind == "array":
            return tuple(feature.name for feature in self.features)
        return tuple(name for feature in self.features for name in feature.names)

    @property
    def n_features(self) -> int:
        """D, the number of encoded columns."""
        return len(self.names)

    def encode(self, table: Table) -> Encoded:
        """Turn the table's rows into (N, D) numbers; columns are found by name, others ignored.

        A SchemaError names every column that is missing, one of another kind than in training, a
        missing cell where kind is "array", and a matrix that the machine's memory cannot hold.
        """
        columns = {column.name: column for column in table.columns}
        absent = [feature.name for feature in self.features if feature.name not in columns]
        if absent:
            raise SchemaError(_absent_message(absent, table))
        _refuse_too_large(table, self)
        encoded = Encoded(np.zeros((table.n_rows, self.n_features)), {}, {})
        start = 0
        for feature in self.features:
            column, stop = columns[feature.name], start + len(feature.names)
            _refuse_misfit(feature, column, table, strict=self.kind == "array")
            _write(feature, column, encoded, slice(start, stop))
            start = stop
        return encoded

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON-able data, of which `from_json` makes an equal schema."""
        head: dict[str, Any] = {
            "kind": self.kind,
            "target": self.target,
            "classes": list(self.classes),
        }
        if self.kind == "table":
            return head | {"features": [_feature_json(feature) for feature in self.features]}
        plain = self.features == _numbered(self.n_features)
        return head | {"n_features": self.n_features, "names": None if plain else list(self.names)}

    @staticmethod
    def from_json(obj: object) -> Schema:
        """Rebuild a schema from `to_json`, trusting nothing: every key and type is checked.

        A SchemaError says which entry is wrong and what it holds.
        """
        kind = _entry(obj, "kind", "schema")
        if kind == "array":
            return _array_from_json(obj)
        if kind != "table":
            raise SchemaError(f"schema: 'kind' must be 'table' or 'array', got {shown(kind)}")
        record = _record(obj, {"kind", "target", "classes", "features"}, "schema")
        entries = enumerate(_list(record["features"], "schema features"))
        features = tuple(_feature_from_json(entry, f"schema feature {i}") for i, entry in entries)
        _refuse_repeats([feature.name for feature in features], "schema feature names")
        return Schema(features, _classes(record["classes"]), _target(record["target"]))


# --- learning -------------------------------------------------------------------------------------


def _learned(column: Column, table: Table) -> Feature:
    missing = column.missing
    if missing.all():
        raise SchemaError(
            f"{table.source}: column {shown(column.name)} holds no value in any of "
            f"{table.n_rows} rows; leave it out (ignore)"
        )
    if column.kind == "date":
        raise SchemaError(_date_message(column, table))
    if column.kind == "categorical":
        return _learned_words(column, table)
    _refuse_infinite(column, table)
    fill = _mean(column.values[~missing])
    return Feature(column.name, column.kind, fill, bool(missing.any()))


def _learned_words(column: Column, table: Table) -> Feature:
    present = column.values[column.values >= 0]
    words = tuple(sorted(column.categories[code] for code in np.unique(present)))
    if len(present) >= _CROWDED and 2 * len(words) > len(present):
        raise SchemaError(
            f"{table.source}: text column {shown(column.name)} has {len(words)} different values "
            f"in {len(present)} rows (such as {shown(words[0])}); it names rows instead of "
            "grouping them: leave it out (ignore)"
        )
    return Feature(column.name, "categorical", 0.0, len(present) < table.n_rows, words)


def _mean(values: np.ndarray) -> float:
    """Mean that does not overflow: scaled by the largest magnitude first."""
    scale = float(np.abs(values).max())
    return float(np.mean(values / scale)) * scale if scale > 0 and math.isfinite(1 / scale) else 0.0


def _date_message(column: Column, table: Table) -> str:
    row = int(np.argmin(column.missing))
    found = f"{_cell(column, row)} in {table.place(row)}"
    return (
        f"{table.source}: column {shown(column.name)} holds dates ({found}), which are neither "
        "numbers nor categories; replace it by numbers (year, month, days since a start) or leave "
        "it out (ignore)"
    )


def _refuse_infinite(column: Column, table: Table) -> None:
    infinite = np.isinf(column.values)
    if infinite.any():
        row = int(np.argmax(infinite))
        found = f"{shown(column.values[row])} in {table.place(row)}"
        raise SchemaError(
            f"{table.source}: column {shown(column.name)} holds {found} "
            f"({np.count_nonzero(infinite)} in all); only finite numbers can be used"
        )


# --- encoding -------------------------------------------------------------------------------------


def _write(feature: Feature, column: Column, encoded: Encoded, at: slice) -> None:
    """Fill the feature's columns of the matrix and count what was missing or unseen."""
    n_missing = int(np.count_nonzero(column.missing))
    if feature.kind != "categorical":
        _write_numbers(feature, column, encoded.matrix[:, at])
        encoded.missing.update({feature.name: n_missing} if n_missing else {})
        return
    strange = _write_words(feature, column, encoded.matrix[:, at])
    if n_missing and not feature.has_missing:
        strange[MISSING] = n_missing
    elif n_missing:
        encoded.missing[feature.name] = n_missing
    encoded.unseen.update({feature.name: strange} if strange else {})


def _write_numbers(feature: Feature, column: Column, out: np.ndarray) -> None:
    missing = column.missing
    out[:, 0] = np.where(missing, feature.fill, column.values)
    if feature.has_missing:
        out[:, 1] = missing


def _write_words(feature: Feature, column: Column, out: np.ndarray) -> dict[str, int]:
    """Write one-hot rows; return how often each category came that training never saw."""
    if column.kind != "categorical":  # a column with no value at all
        column = Column(column.name, "categorical", np.full(len(out), -1, dtype=np.int32))
    place = {word: at for at, word in enumerate(feature.categories)}
    at_missing = len(feature.categories) if feature.has_missing else -1
    at = np.array(
        [place.get(word, -1) for word in column.categories] + [at_missing], dtype=np.int64
    )
    positions = at[column.values]  # code -1, a missing cell, picks the last entry
    rows = np.flatnonzero(positions >= 0)
    out[rows, positions[rows]] = 1.0
    return _unseen(column, at)


def _unseen(column: Column, at: np.ndarray) -> dict[str, int]:
    counts = np.bincount(column.values[column.values >= 0], minlength=len(column.categories))
    strange = np.flatnonzero((at[:-1] < 0) & (counts > 0))
    return {column.categories[code]: int(counts[code]) for code in strange}


def _refuse_misfit(feature: Feature, column: Column, table: Table, *, strict: bool) -> None:
    if column.kind != feature.kind and not column.missing.all():
        raise SchemaError(_kind_message(feature, column, table))
    if strict and column.missing.any():
        raise SchemaError(_gap_message(column, table))
    if column.kind == "numeric":
        _refuse_infinite(column, table)


def _kind_message(feature: Feature, column: Column, table: Table) -> str:
    row = int(np.argmin(column.missing))
    found = f"{_cell(column, row)} in {table.place(row)}"
    return (
        f"{table.source}: column {shown(column.name)} is {column.kind} ({found}) but was "
        f"{feature.kind} when the model was fitted; give it in the form it had then"
    )


def _cell(column: Column, row: int) -> str:
    if column.values.dtype.kind == "i":
        return shown(column.categories[column.values[row]])
    value = float(column.values[row])
    return str(bool(value)).lower() if column.kind == "boolean" else f"{value:.15g}"


def _absent_message(absent: Sequence[str], table: Table) -> str:
    names = listed(absent, limit=20)
    hint = nearest(absent[0], table.names)
    columns = "a column" if len(absent) == 1 else f"{len(absent)} columns"
    return (
        f"{table.source} lacks {columns} that the model needs: {names}{hint} "
        f"(columns: {listed(table.names)})"
    )


def _gap_message(column: Column, table: Table) -> str:
    row = int(np.argmax(column.missing))
    return (
        f"{table.source}: column {shown(column.name)} is missing in {table.place(row)}, "
        "but the model was fitted on a plain matrix without missing values; fill the cell or leave "
        "the row out"
    )


def _refuse_too_large(table: Table, schema: Schema) -> None:
    """Refuse before allocating what the machine does not have."""
    if not hasattr(os, "sysconf"):
        return
    need = 8 * table.n_rows * schema.n_features
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have:
        widest = max(schema.features, key=lambda feature: len(feature.names))
        raise SchemaError(
            f"{table.source}: {table.n_rows} rows of {schema.n_features} encoded columns need "
            f"{need / 2**30:.0f} GiB, this machine has {have / 2**30:.0f}; column "
            f"{shown(widest.name)} alone gives {len(widest.names)}: leave it out (ignore) or "
            "group it"
        )


# --- JSON -----------------------------------------------------------------------------------------


@lru_cache(maxsize=8)  # ten thousand of them take as long as a step of their fit
def _numbered(n: int) -> tuple[Feature, ...]:
    """The columns of a matrix without names: x0, x1, ..."""
    return tuple(Feature(f"x{i}", "numeric") for i in range(n))


def _feature_json(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "kind": feature.kind,
        "fill": feature.fill,
        "has_missing": feature.has_missing,
        "categories": list(feature.categories),
    }


def _feature_from_json(obj: object, where: str) -> Feature:
    record = _record(obj, {"name", "kind", "fill", "has_missing", "categories"}, where)
    name, kind, has_missing = record["name"], record["kind"], record["has_missing"]
    if not isinstance(name, str):
        raise SchemaError(f"{where}: 'name' must be text, got {shown(name)}")
    if kind not in get_args(Kind):
        raise SchemaError(
            f"{where}: 'kind' must be one of {listed(get_args(Kind))}, got {shown(kind)}"
        )
    if not isinstance(has_missing, bool):
        raise SchemaError(f"{where}: 'has_missing' must be true or false, got {shown(has_missing)}")
    fill = _fill(record["fill"], kind, where)
    return Feature(name, kind, fill, has_missing, _categories(record["categories"], kind, where))


def _fill(value: object, kind: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise SchemaError(f"{where}: 'fill' must be a finite number, got {shown(value)}")
    if kind == "boolean" and not 0 <= value <= 1:
        raise SchemaError(
            f"{where}: 'fill' of a boolean column must lie in 0..1, got {shown(value)}"
        )
    return float(value)


def _is_finite(value: float) -> bool:
    """Whether a number fits into float64; also right for an int of a thousand digits."""
    return -sys.float_info.max <= value <= sys.float_info.max


def _categories(value: object, kind: str, where: str) -> tuple[str, ...]:
    words = _texts(value, f"{where} categories")
    if list(words) != sorted(set(words)):
        raise SchemaError(
            f"{where}: 'categories' must be sorted and different, got {listed(words)}"
        )
    if bool(words) != (kind == "categorical"):
        raise SchemaError(f"{where}: a {kind} column cannot have {len(words)} categories")
    return words


def _array_from_json(obj: object) -> Schema:
    record = _record(obj, {"kind", "target", "classes", "n_features", "names"}, "schema")
    n, names = record["n_features"], record["names"]
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_FEATURES:
        raise SchemaError(
            f"schema: 'n_features' must be an integer in 1..{MAX_FEATURES}, got {shown(n)}"
        )
    names = None if names is None else _texts(names, "schema names")
    return Schema.for_array(n, _classes(record["classes"]), _target(record["target"]), names)


def _classes(value: object) -> tuple[Label, ...]:
    classes = _list(value, "schema classes")
    for label in classes:
        unusual = isinstance(label, float) and not _is_finite(label)
        if unusual or not isinstance(label, str | int | float):
            raise SchemaError(
                f"schema: a class must be text, a number or true/false, got {shown(label)}"
            )
    if len({type(label) for label in classes}) > 1:
        raise SchemaError(f"schema: the classes must be of one type, got {listed(classes)}")
    _refuse_repeats(classes, "schema classes")
    return tuple(cast("list[Label]", classes))


def _target(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise SchemaError(f"schema: 'target' must be text or null, got {shown(value)}")
    return value


def _entry(obj: object, key: str, where: str) -> object:
    if not isinstance(obj, Mapping) or key not in obj:
        raise SchemaError(f"{where}: expected an object with the key {key!r}, got {shown(obj)}")
    return obj[key]


def _record(obj: object, keys: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(obj, Mapping):
        raise SchemaError(f"{where}: expected an object, got {shown(obj)}")
    if set(obj) != keys:
        raise SchemaError(f"{where}: expected the keys {listed(sorted(keys))}, got {listed(obj)}")
    return obj


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise SchemaError(f"{where}: expected a list, got {shown(value)}")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    entries = _list(value, where)
    for entry in entries:
        if not isinstance(entry, str):
            raise SchemaError(f"{where}: expected text, got {shown(entry)}")
    return tuple(cast("list[str]", entries))


def _refuse_repeats(values: Sequence[object], where: str) -> None:
    if len(set(values)) < len(values):
        raise SchemaError(f"{where}: some come twice among {listed(values)}")
