"""`read`: whatever names or holds data -> `Dataset`, by way of `read_table` and `prepare`.

The suffix picks the reader, and the file's first bytes where the suffix says nothing:

    .csv .tsv .tab        delimited     .npz    arrays: X and y, or CSR parts and y
    .parquet .pq          Parquet       .npy    features alone
    .arrow .feather .ipc  Arrow IPC     .svm .svmlight .libsvm   svmlight
    .safetensors          arrays: the tensors X and y

What would take more memory than allowed is streamed: tables by way of a cache on disk, npy,
uncompressed npz and safetensors where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polylogit.data.array_stream import (
    read_safetensors,
    stream_npy,
    stream_npz,
    stream_safetensors,
)
from polylogit.data.arrays import read_npy, read_npz
from polylogit.data.arrow import read_ipc, read_parquet
from polylogit.data.arrow_stream import cells_in_parquet, stream_ipc, stream_parquet
from polylogit.data.budget import size_of
from polylogit.data.dataset import Dataset, Matrix
from polylogit.data.delimited import read_delimited
from polylogit.data.delimited_stream import stream_delimited
from polylogit.data.examples import resolved
from polylogit.data.frames import is_frame, read_frame
from polylogit.data.prepare import prepare, split
from polylogit.data.source import called, head_of, kind_of, opened, refuse_foreign
from polylogit.data.svmlight import ZeroBased, looks_like_svmlight, read_svmlight
from polylogit.errors import DataError, OptionError
from polylogit.schema import Schema, Table, shown

__all__ = ["prepare", "read", "read_table", "split"]

_SUFFIXES: Mapping[str, str] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".npz": "npz",
    ".npy": "npy",
    ".safetensors": "safetensors",
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
}

_MAGIC: Mapping[str, str] = {"parquet": "parquet", "arrow": "arrow", "npy": "npy", "zip": "npz"}


@dataclass(frozen=True)
class _Options:
    """What the caller said beside the name; a reader takes some of it and refuses the rest."""

    delimiter: str | None = None
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    zero_based: ZeroBased = "auto"
    numbers_in_model: tuple[str, ...] | None = None

    def only(self, *taken: str) -> dict[str, Any]:
        """Return the options named in `taken`; an OptionError names any other that was given."""
        plain = _Options()
        for name, value in vars(self).items():
            if name not in taken and value != getattr(plain, name):
                raise OptionError(f"the option {name!r} does not apply to this kind of data")
        return {name: getattr(self, name) for name in taken}


_READERS: Mapping[str, Callable[[Path, _Options], Table | Matrix]] = {
    "delimited": lambda path, options: read_delimited(
        path, **options.only("delimiter", "categorical", "ignore", "numbers_in_model")
    ),
    "parquet": lambda path, options: read_parquet(path, **options.only("ignore")),
    "arrow": lambda path, options: read_ipc(path, **options.only("ignore")),
    "npz": lambda path, options: read_npz(path, **options.only()),
    "npy": lambda path, options: read_npy(path, **options.only()),
    "safetensors": lambda path, options: read_safetensors(path, **options.only()),
    "svmlight": lambda path, options: read_svmlight(path, **options.only("zero_based")),
}

_STREAMED: Mapping[str, Callable[[Path, _Options], Table | Matrix]] = {
    "delimited": lambda path, options: stream_delimited(
        path, **options.only("delimiter", "categorical", "ignore", "numbers_in_model")
    ),
    "parquet": lambda path, options: stream_parquet(path, **options.only("ignore")),
    "arrow": lambda path, options: stream_ipc(path, **options.only("ignore")),
    "npz": lambda path, options: stream_npz(path, **options.only()),
    "npy": lambda path, options: stream_npy(path, **options.only()),
    "safetensors": lambda path, options: stream_safetensors(path, **options.only()),
}

_NEED: Mapping[str, float] = {"delimited": 4, "arrow": 3, "svmlight": 3}
"""Bytes in memory for a byte of the file, about: text is held as bytes, cells, columns and rows."""


def read(
    source: Any,
    *,
    target: str | None = None,
    weights: str | None = None,
    schema: Schema | None = None,
    delimiter: str | None = None,
    categorical: Iterable[str] = (),
    ignore: Iterable[str] = (),
    zero_based: ZeroBased = "auto",
    memory: int | str | None = None,
) -> Dataset:
    """Read a file, a built-in table or a DataFrame, and encode it: `read_table`, then `prepare`.

    With the `schema` of a model its categorical columns, and its label if the classes are text, are
    read as text whatever the new cells look like. `memory` (bytes, or a text such as "2GiB") is
    what the rows may take: beyond, they stay on disk and a fit streams them.

    >>> data = read("lesson", target="y")
    >>> data.features.shape, data.schema.classes
    ((8, 4), (0, 1, 2))
    """
    ignore = _names(ignore, "ignore")
    table = read_table(
        source,
        delimiter=delimiter,
        categorical=_names(categorical, "categorical"),
        ignore=ignore,
        zero_based=zero_based,
        schema=schema,
        target=target,
        weights=weights,
        memory=memory,
    )
    data = prepare(table, target=target, weights=weights, schema=schema)
    return replace(data, ignored=(*ignore, *data.ignored))


def read_table(
    source: Any,
    *,
    delimiter: str | None = None,
    categorical: Iterable[str] = (),
    ignore: Iterable[str] = (),
    zero_based: ZeroBased = "auto",
    schema: Schema | None = None,
    target: str | None = None,
    weights: str | None = None,
    memory: int | str | None = None,
) -> Table | Matrix:
    """Read a file, a built-in table or a DataFrame without encoding it.

    `delimiter` and `categorical` (columns to take as text) apply to CSV and the like, `zero_based`
    to svmlight, `ignore` (columns to leave out) to every table. `schema`, `target` and `weights`,
    if known, say which columns are text; `memory` is that of `read`. A DataError says where a file
    goes wrong; a file that is missing is looked up among the built-in tables first.
    """
    allowed = None if memory is None else size_of(memory)
    options = _Options(
        delimiter, _names(categorical, "categorical"), _names(ignore, "ignore"), zero_based
    )
    if is_frame(source):
        return read_frame(source, **options.only("ignore"))
    if not isinstance(source, str | Path):
        raise DataError(
            f"a source is a file, a built-in table or a DataFrame, got {type(source).__name__}; "
            "arrays in memory go through from_arrays"
        )
    path = resolved(source)
    kind = _kind(path)
    if kind == "delimited" and schema is not None:
        options = replace(options, numbers_in_model=_numbers(schema, target, weights))
    if allowed is None or _need(path, kind) <= allowed:
        return _READERS[kind](path, options)
    if kind not in _STREAMED:
        raise DataError(
            f"{called(path)}: does not fit in the memory allowed ({shown(memory)}), and svmlight "
            "files are not streamed; allow more memory, or save the rows as Parquet"
        )
    return _STREAMED[kind](path, options)


def _need(path: Path, kind: str) -> float:
    """Bytes that reading the whole file into memory would take, about."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
    if kind == "parquet":
        return size + 16 * cells_in_parquet(path)
    return _NEED.get(kind, 2) * size


def _kind(path: Path) -> str:
    """Name the reader for a file, by suffix or else by its first bytes."""
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is not None:
        return kind
    head = head_of(path)
    magic = kind_of(head)
    if magic == "text":
        return "svmlight" if looks_like_svmlight(head) else "delimited"
    if magic not in _MAGIC:
        refuse_foreign(head, "text", path)
    return _MAGIC[magic]


def _numbers(schema: Schema, target: str | None, weights: str | None) -> tuple[str, ...]:
    """Columns that a model takes as anything but text; what it does not know it takes as it is."""
    numbers = [feature.name for feature in schema.features if feature.kind != "categorical"]
    words = schema.classes and isinstance(schema.classes[0], str)
    label = [target] if target and not words else []
    return (*numbers, *label, *([weights] if weights else []))


def _names(names: Iterable[str], option: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise OptionError(f"{option!r} takes a list of column names, got the text {names!r}")
    return tuple(names)
