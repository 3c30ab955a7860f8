"""CSV, TSV and other text files that do not fit in memory: pieces of whole lines -> `StoredTable`.

The same rules and words as `polylogit.data.delimited`, whose functions see one piece after another.
One pass takes the columns of numbers; columns in which it finds anything else are read once more,
as words, because only all of their texts say what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from polylogit.data.cells import Words, column_of_words, numbers_in, refuse_misfit, words_of
from polylogit.data.dataset import Rows
from polylogit.data.delimited import (
    Header,
    cells_of,
    diagnose,
    header_of,
    line_ends,
    refuse_long_line,
    refuse_other_encoding,
    refuse_unknown,
    rows_of,
    text_columns,
)
from polylogit.data.source import Unchanged, called, opened, refuse_foreign
from polylogit.data.stored_table import ColumnStore, StoredTable, WordStore
from polylogit.errors import DataError

PIECE_BYTES = 2**23
LONGEST_RECORD = 2**26  # bytes; a quoted cell longer than that is a quote that was never closed


@dataclass(frozen=True)
class _Piece:
    """Whole rows of the file, and how to read them: the header's delimiter and where they start."""

    data: bytes
    header: Header


def stream_delimited(
    path: Path,
    *,
    delimiter: str | None = None,
    categorical: Iterable[str] = (),
    ignore: Iterable[str] = (),
    numbers_in_model: Collection[str] | None = None,
) -> StoredTable:
    """`read_delimited` in bounded memory: a few pieces, one column at a time, and the lines."""
    unchanged, source = Unchanged(path), called(path)
    header = _checked_header(path, delimiter)
    for name in (*(categorical := tuple(categorical)), *(ignore := tuple(ignore))):
        refuse_unknown(name, header, path)
    names = [name for name in header.names if name not in ignore]
    text = text_columns(names, categorical, numbers_in_model)
    store = ColumnStore(source)
    rows, words = _numbers(path, header, names, text, store)
    unchanged.check()
    _settle(path, header, words, text, rows, store)
    unchanged.check()
    lines = None if isinstance(rows.lines, range) else rows.lines
    first = None if rows.lines is None else header.n_lines + 1
    n_rows = rows.n_rows
    return StoredTable((), source, n_rows, first, lines, store, tuple(names))


# ------------------------------------------------------------------------------------- two passes


@dataclass(frozen=True, eq=False)
class _All(Rows):
    """`Rows` that knows how many there are."""

    n_rows: int = 0


def _numbers(
    path: Path, header: Header, names: list[str], text: set[str], store: ColumnStore
) -> tuple[_All, list[str]]:
    """Store the columns of numbers; say which columns hold words, and where each row stands."""
    numeric, places = [name for name in names if name not in text], []
    for piece in _pieces(path, header):
        # the cells of columns of words are split once more later, but counted now
        cells = cells_of(piece.data, piece.header, numeric or names[:1], path)
        places.append((rows_of(piece.data, piece.header, cells.num_rows, path), cells.num_rows))
        for name in list(numeric):
            values = numbers_in(cells.column(name))
            if values is None:
                numeric.remove(name)
                store.columns.pop(name, None)
            else:
                store.append(name, values)
    if not places:
        raise DataError(f"{called(path)}: the file has a header and no rows")
    return _joined(places, header, path), [name for name in names if name not in numeric]


def _settle(
    path: Path, header: Header, names: list[str], text: set[str], rows: _All, store: ColumnStore
) -> None:
    """Read the columns of words, and let all texts of each say what it is."""
    if not names:
        return
    found = {name: WordStore(name) for name in names}
    for piece in _pieces(path, header):
        cells = cells_of(piece.data, piece.header, names, path)
        for name, words in found.items():
            own = words_of(cells.column(name))
            store.append(name, words.codes(own.texts.to_pylist(), own.codes), "categorical")
            if words.crowded:
                so_far = column_of_words(name, _words(words, store), rows, categorical=name in text)
                if so_far.kind == "numeric":
                    _refuse_late_misfit(path, header, name)
                raise words.refusal(rows.source, store.columns[name].starts[-1])
    for name, words in found.items():
        whole = _words(words, store)
        store.put(column_of_words(name, whole, rows, categorical=name in text))


def _refuse_late_misfit(path: Path, header: Header, name: str) -> None:
    """Find the cell that keeps so many numbers from being a column of numbers."""
    for piece in _pieces(path, header):
        cells = cells_of(piece.data, piece.header, [name], path)
        if numbers_in(cells.column(name)) is None:
            where = rows_of(piece.data, piece.header, cells.num_rows, path)
            refuse_misfit(name, cells.column(name), where)


def _words(words: WordStore, store: ColumnStore) -> Words:
    counts = np.array([words.counts[code] for code in range(len(words.places))], dtype=np.int64)
    texts = pa.array(list(words.places), pa.string())
    return Words(texts, store.column(words.name).values, counts)


def _joined(places: Sequence[tuple[Rows, int]], header: Header, path: Path) -> _All:
    """Where every row stands: consecutive lines, or their numbers, or unknown."""
    n_rows = sum(count for _, count in places)
    lines = [rows.lines for rows, _ in places]
    if any(part is None for part in lines):
        return _All(called(path), None, n_rows)
    first = header.n_lines + 1
    ends = [first]
    for part in lines:
        if isinstance(part, range) and part.start == ends[-1]:
            ends.append(part.stop)
    if len(ends) == len(lines) + 1:
        return _All(called(path), range(first, first + n_rows), n_rows)
    return _All(called(path), np.concatenate([np.asarray(part) for part in lines]), n_rows)


# ----------------------------------------------------------------------------------------- pieces


def _checked_header(path: Path, delimiter: str | None) -> Header:
    with opened(path) as file:
        data = _start(file)
    refuse_foreign(data[:4096], "text", path)
    if not re.search(rb"\S", data):
        raise DataError(f"{called(path)}: the file is empty, so it has no rows")
    end = _record_end(data)
    data = data[:end] if end else data
    refuse_other_encoding(data, path)
    refuse_long_line(data, path)
    return header_of(data.removeprefix(_MARK), path, delimiter)


_MARK = b"\xef\xbb\xbf"


def _start(file: BinaryIO) -> bytes:
    """The first piece; more of it where it is all blank, for the header may stand below."""
    data = file.read(PIECE_BYTES)
    while _record_end(data) == 0 or not re.search(rb"\S", data):
        more = file.read(PIECE_BYTES)
        if not more or len(data) > LONGEST_RECORD:
            break
        data += more
    return data


def _pieces(path: Path, header: Header) -> Iterator[_Piece]:
    """All rows once, in pieces that end where a row ends; blank pieces are left out."""
    n_lines, rest, start = header.n_lines, b"", header.n_bytes
    with opened(path) as file:
        file.seek(header.n_bytes + (len(_MARK) if file.read(3) == _MARK else 0))
        while True:
            more = file.read(PIECE_BYTES)
            data = rest + more
            end = _record_end(data) if more else len(data)
            if not end and more:
                _refuse_endless(data, replace(header, n_lines=n_lines, n_bytes=0), path)
            data, rest = data[:end], data[end:]
            refuse_other_encoding(data, path, n_lines, start)
            refuse_long_line(data, path, n_lines)
            if re.search(rb"[^\r\n]", data):
                yield _Piece(data, replace(header, n_lines=n_lines, n_bytes=0))
            n_lines, start = n_lines + line_ends(data, 0, len(data)), start + len(data)
            if not more:
                return


def _record_end(data: bytes) -> int:
    """Behind the last line end that no quotes enclose; 0 without one."""
    end = data.rfind(b"\n") + 1
    odd = data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd = (odd + data.count(b'"', before, end)) % 2
        end = before
    return end


def _refuse_endless(data: bytes, header: Header, path: Path) -> None:
    """Refuse a row that does not end within `LONGEST_RECORD`."""
    refuse_long_line(data, path, header.n_lines)
    if len(data) > LONGEST_RECORD:
        diagnose(data, header, path)
        raise DataError(
            f"{called(path)}: the row in line {header.n_lines + 1} does not end within "
            f"{LONGEST_RECORD >> 20} MiB; a double quote there is never closed"
        )
