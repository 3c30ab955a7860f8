"""CSV, TSV and other text files with a header line: bytes -> `Table`.

pyarrow splits the cells (quick and strict about ragged rows), `cells` finds out what they mean.
Where pyarrow's message lacks the place, a second pass with Python's csv module finds it; that pass
is slow and runs only when something is wrong, or when rows are not lines (quoted line breaks, blank
lines).

The file is UTF-8, with or without a byte order mark. Blank lines are skipped. The delimiter is the
one of `,` `;` tab `|` that the header has most of, a tab for .tsv, or the one given.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from polylogit.data.cells import column_of
from polylogit.data.dataset import Rows
from polylogit.data.source import bytes_of, called, refuse_foreign
from polylogit.errors import DataError, OptionError, nearest
from polylogit.schema import Table, listed, shown

LONGEST_LINE = 2**24
"""Bytes. A longer line is no line of a table, and would be held in memory several times."""

_DELIMITERS = (",", ";", "\t", "|")
_BLOCK = 2 * LONGEST_LINE  # pyarrow wants each row within one block


def read_delimited(
    path: Path,
    *,
    delimiter: str | None = None,
    categorical: Iterable[str] = (),
    ignore: Iterable[str] = (),
    numbers_in_model: Collection[str] | None = None,
) -> Table:
    """Read a text file with a header line; every column is numeric, boolean, categorical or a date.

    `categorical` names columns to take as text whatever they look like; `ignore` names columns to
    leave out unread. `numbers_in_model`, where a model is known, names the columns that it takes as
    anything but text: all others are text, whatever their cells look like.
    A DataError names the line (from 1, the header is line 1) and the column.
    """
    data = _checked_text(path)
    header = header_of(data, path, delimiter)
    categorical, ignore = tuple(categorical), tuple(ignore)
    for name in (*categorical, *ignore):
        refuse_unknown(name, header, path)
    names = [name for name in header.names if name not in ignore]
    cells = cells_of(data, header, names, path)
    rows = rows_of(data, header, cells.num_rows, path)
    text = text_columns(names, categorical, numbers_in_model)
    columns = tuple(
        column_of(name, cells.column(name), rows, categorical=name in text) for name in names
    )
    lines = None if isinstance(rows.lines, range) else rows.lines
    first = None if rows.lines is None else header.n_lines + 1
    return Table(columns, rows.source, cells.num_rows, first, lines)


def text_columns(
    names: Sequence[str], categorical: Iterable[str], numbers_in_model: Collection[str] | None
) -> set[str]:
    """The columns to take as text whatever their cells look like; see `read_delimited`."""
    known = names if numbers_in_model is None else numbers_in_model
    return {*categorical, *(name for name in names if name not in known)}


# --- bytes ----------------------------------------------------------------------------------------


def _checked_text(path: Path) -> bytes:
    """Bytes of the file that are UTF-8 without mark and without NUL, in lines of bounded length."""
    data = bytes_of(path)
    refuse_foreign(data[:4096], "text", path)
    refuse_other_encoding(data, path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not re.search(rb"\S", data):
        raise DataError(f"{called(path)}: the file is empty, so it has no rows")
    refuse_long_line(data, path)
    return data


def refuse_other_encoding(data: bytes, path: Path, before: int = 0, start: int = 0) -> None:
    """Refuse what is not UTF-8; `before` lines and `start` bytes of the file precede `data`."""
    for mark, name in _MARKS:
        if data.startswith(mark) and not start:
            raise DataError(_encoding_message(path, f"{name} (by its byte order mark)", name))
    nul = data.find(b"\0")
    if nul >= 0:
        raise DataError(_nul_message(data, nul, path, before, start))
    if not _is_utf8(data):
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise DataError(_byte_message(data, error.start, path, before)) from error


_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def _is_utf8(data: bytes) -> bool:
    """Check without building a Python string: arrow's check runs at memory speed."""
    ends = pa.array([0, len(data)], pa.int64()).buffers()[1]
    try:
        pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _nul_message(data: bytes, at: int, path: Path, before: int, start: int) -> str:
    head = b"" if start else data[:1000]
    for name, zeros, others in (
        ("UTF-16LE", head[1::2], head[::2]),
        ("UTF-16BE", head[::2], head[1::2]),
    ):
        if head and zeros.count(0) > 0.9 * len(zeros) and others.count(0) < 0.1 * len(others):
            return _encoding_message(path, f"{name} without a byte order mark", name)
    line = before + _line_of(data, at)
    return (
        f"{called(path)}: a NUL byte in line {line} (byte {start + at}): this "
        "is a binary file or a damaged one, not text; export it again as CSV in UTF-8"
    )


def _byte_message(data: bytes, at: int, path: Path, before: int) -> str:
    byte = data[at : at + 1]
    seen = byte.decode("cp1252", errors="replace")
    reads = f" (the byte is {seen!r} there)" if seen.isprintable() and seen != "\ufffd" else ""
    return _encoding_message(
        path,
        f"not UTF-8: byte 0x{byte.hex().upper()} in line {before + _line_of(data, at)}; most "
        f"likely it is Latin-1 or Windows-1252{reads}",
        "WINDOWS-1252",
    )


def _encoding_message(path: Path, seen: str, name: str) -> str:
    return (
        f"{called(path)}: the text is {seen}; tables are read as UTF-8: convert it with "
        f"iconv -f {name} -t UTF-8, or save it as UTF-8"
    )


def refuse_long_line(data: bytes, path: Path, before: int = 0) -> None:
    """Refuse a line that is no line of a table; `before` lines of the file precede `data`."""
    start = 0
    while len(data) - start > LONGEST_LINE:
        # The last line end within reach: all lines before it are short enough.
        end = data.rfind(b"\n", start, start + LONGEST_LINE + 1)
        if end < 0:
            raise DataError(
                f"{called(path)}: line {before + _line_of(data, start)} is longer than "
                f"{LONGEST_LINE >> 20} MiB; this is no table, or its line ends were lost"
            )
        start = end + 1


def _line_of(data: bytes, at: int) -> int:
    return line_ends(data, 0, at) + 1


def line_ends(data: bytes, start: int, end: int) -> int:
    r"""Count line ends of every kind: \n, \r\n and a lone \r."""
    pairs = data.count(b"\r\n", start, end)
    return data.count(b"\n", start, end) + data.count(b"\r", start, end) - pairs


# --- header ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    """The names of the columns, and where the rows begin."""

    names: tuple[str, ...]
    delimiter: str
    n_lines: int  # lines up to and with the header
    n_bytes: int


def header_of(data: bytes, path: Path, delimiter: str | None) -> Header:
    """Read the header, which may stand below blank lines."""
    first_line = re.search(rb"[^\r\n]+", data)
    chosen = _delimiter(first_line[0].decode() if first_line else "", path, delimiter)
    fields, n_lines = _first_record(data, chosen, path)
    names = tuple(field.strip() for field in fields)
    _refuse_names(names, path)
    ends = (end.end() for end in re.finditer(rb"\r\n|\n|\r", data))
    return Header(names, chosen, n_lines, next(islice(ends, n_lines - 1, None), len(data)))


def _delimiter(line: str, path: Path, given: str | None) -> str:
    if given is not None:
        chosen = "\t" if given in {"tab", r"\t"} else given
        if len(chosen) != 1 or not chosen.isascii() or chosen in '"\r\n\0':
            raise OptionError(
                f"the delimiter must be one character such as , ; | or tab, got {shown(given)}"
            )
        return chosen
    if path.suffix.lower() in {".tsv", ".tab"}:
        return "\t"
    bare = re.sub(r'"[^"]*"', "", line)
    return max(_DELIMITERS, key=bare.count)  # the first of equals: a comma


def _first_record(data: bytes, delimiter: str, path: Path) -> tuple[list[str], int]:
    """Return the header's fields and the line it ends in; blank lines may stand before it."""
    with _wide_fields():
        reader = csv.reader(_lines(data), delimiter=delimiter, strict=True)
        try:
            return next(record for record in reader if record), reader.line_num
        except csv.Error as error:
            raise DataError(
                f"{called(path)}: the header cannot be split into column names ({error}); check "
                "its quotes"
            ) from error


def _refuse_names(names: Sequence[str], path: Path) -> None:
    for at, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"{called(path)}: column {at} of {len(names)} has no name in the header; name it, "
                "or drop it (pandas writes its index so: use index=False)"
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{called(path)}: the header names {listed(twice)} more than once; give every column "
            "its own name"
        )
    fraction = next((name for name in names if re.fullmatch(r"[+-]?\d*\.\d+", name)), None)
    if fraction is not None:
        raise DataError(
            f"{called(path)}: line 1 holds {shown(fraction)} where column names are expected; put "
            "a header line on top"
        )


def refuse_unknown(name: str, header: Header, path: Path) -> None:
    """Refuse a name that is no column's."""
    if name not in header.names:
        raise DataError(
            f"{called(path)} has no column {shown(name)}{nearest(name, header.names)} (columns: "
            f"{listed(header.names)})"
        )


# --- rows -----------------------------------------------------------------------------------------


def cells_of(data: bytes, header: Header, names: Sequence[str], path: Path) -> pa.Table:
    """Split the rows into text cells, one string column a name."""
    body = pa.py_buffer(data)[header.n_bytes :]
    if not re.compile(rb"[^\r\n]").search(data, header.n_bytes):
        raise DataError(f"{called(path)}: the file has a header and no rows")
    quoted = b'"' in data
    if quoted and data.count(b'"') % 2:  # pyarrow would take the rest of the file as one cell
        diagnose(data, header, path)
    try:
        return pv.read_csv(
            pa.BufferReader(body),
            pv.ReadOptions(column_names=list(header.names), block_size=_BLOCK),
            pv.ParseOptions(delimiter=header.delimiter, newlines_in_values=quoted),
            pv.ConvertOptions(
                column_types={name: pa.string() for name in header.names},
                strings_can_be_null=False,
                include_columns=list(names),
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        diagnose(data, header, path)
        raise DataError(f"{called(path)}: {shown(str(error), 200)}") from error


def diagnose(data: bytes, header: Header, path: Path) -> None:
    """Find the first row that is no row and raise its DataError; return if there is none."""
    expected = len(header.names)
    start = header.n_lines + 1
    with _wide_fields():
        reader = csv.reader(_lines(data[header.n_bytes :]), delimiter=header.delimiter, strict=True)
        try:
            for record in reader:
                if record and len(record) != expected:
                    raise DataError(
                        f"{called(path)}: line {start} has {_fields(len(record))}, the header has "
                        f"{expected}{_ragged_advice(len(record), expected)}"
                    )
                start = header.n_lines + reader.line_num + 1
        except csv.Error as error:
            before = 0 if header.n_bytes else header.n_lines  # what precedes a piece of the file
            raise DataError(_quote_message(data, start, before, str(error), path)) from error


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _ragged_advice(found: int, expected: int) -> str:
    if found < expected:
        return "; fill the row up, or leave it out"
    return "; put a text that contains the delimiter into double quotes"


def _quote_message(data: bytes, start: int, before: int, reason: str, path: Path) -> str:
    if "unexpected end" not in reason:
        return (
            f"{called(path)}: line {start} cannot be split into fields ({reason}); a double quote "
            "within a quoted text is written twice"
        )
    ends = (end.end() for end in re.finditer(rb"\r\n|\n|\r", data))
    skipped = start - 1 - before  # lines of `data` before the row
    begin = next(islice(ends, skipped - 1, None)) if skipped else 0
    rest = data[begin:].replace(b'""', b"  ")
    line = start + line_ends(rest, 0, rest.rfind(b'"'))
    return (
        f"{called(path)}: the double quote opened in line {line} is never closed; close it, or "
        "write a lone quote twice within a quoted text"
    )


def rows_of(data: bytes, header: Header, n_rows: int, path: Path) -> Rows:
    """Where each row stands: consecutive lines unless line breaks are quoted or lines are blank."""
    first = header.n_lines + 1
    n_lines = line_ends(data, header.n_bytes, len(data)) + (not data.endswith((b"\n", b"\r")))
    if n_lines == n_rows:
        return Rows(called(path), range(first, first + n_rows))
    starts = np.fromiter(_starts(data, header), np.int64)
    # Where the two parsers disagree on lax quotes, no line is better than a wrong one.
    return Rows(called(path), starts if len(starts) == n_rows else None)


def _starts(data: bytes, header: Header) -> Iterator[int]:
    start = header.n_lines + 1
    with _wide_fields():
        reader = csv.reader(_lines(data[header.n_bytes :]), delimiter=header.delimiter)
        for record in reader:
            if record:
                yield start
            start = header.n_lines + reader.line_num + 1


def _lines(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Let the csv module take fields as long as a block; its limit is global, so give it back."""
    before = csv.field_size_limit(_BLOCK)
    try:
        yield
    finally:
        csv.field_size_limit(before)
