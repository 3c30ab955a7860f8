"""The svmlight (libsvm) text format, strict: `LABEL INDEX:VALUE INDEX:VALUE ... # comment`.

One row a line; the indices of a row rise; what is not written is zero. Blank lines and comments are
skipped. Indices count from 1 unless some index of the file is 0 (as scikit-learn's
`zero_based="auto"`): a file of few rows that never uses column 0 needs `zero_based=True`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from polylogit.data.dataset import Matrix, Rows
from polylogit.data.features import csr_of
from polylogit.data.source import bytes_of, called, refuse_foreign
from polylogit.errors import DataError
from polylogit.schema import MAX_FEATURES, shown

ZeroBased = bool | Literal["auto"]

_NUMBER = rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_PAIR = rb"[0-9]{1,9}:" + _NUMBER
_SPACE = rb"[ \t]"
# Possessive quantifiers (*+): a line that does not match fails at once instead of going back.
_ROW = re.compile(
    rb"%b*+%b(?:%b++%b)*+%b*+" % (_SPACE, _NUMBER, _SPACE, _PAIR, _SPACE),
)
_FIRST_LINE = re.compile(rb"%b(?:%b+%b)+%b*(?:#.*)?" % (_NUMBER, _SPACE, _PAIR, _SPACE))


def looks_like_svmlight(head: bytes) -> bool:
    r"""Whether the first line is a label followed by index:value pairs.

    >>> looks_like_svmlight(b"1 3:0.5 7:1\n"), looks_like_svmlight(b"a,b\n1,2\n")
    (True, False)
    """
    return _FIRST_LINE.fullmatch(head.split(b"\n", 1)[0].rstrip(b"\r")) is not None


def read_svmlight(path: Path, *, zero_based: ZeroBased = "auto") -> Matrix:
    """Read an svmlight file into CSR with its labels, which are numbers.

    A DataError names the line of the first row that is none, and what is wrong with it.
    """
    data = bytes_of(path)
    refuse_foreign(data[:4096], "text", path)
    kept = [(line, row) for line, row in enumerate(_rows(data), start=1) if row]
    where = Rows(called(path), np.array([line for line, _ in kept], dtype=np.int64))
    if not kept:
        raise DataError(f"{called(path)}: the file has no rows")
    for line, row in kept:
        if _ROW.fullmatch(row) is None:
            raise DataError(f"{called(path)}: line {line}: {_reason(row)}")
    return _matrix([row for _, row in kept], where, zero_based)


def _rows(data: bytes) -> Iterator[bytes]:
    """Lines without comments and surrounding space."""
    for line in data.split(b"\n"):
        yield line.split(b"#", 1)[0].strip()


def _matrix(rows: list[bytes], where: Rows, zero_based: ZeroBased) -> Matrix:
    """Convert rows that are known to be well-formed: all numbers of the file at once."""
    counts = np.fromiter((row.count(b":") for row in rows), np.int64, len(rows))
    numbers = np.fromstring(b" ".join(rows).replace(b":", b" "), sep=" ")
    indptr = np.concatenate([[0], np.cumsum(counts)])
    label_at = 2 * indptr[:-1] + np.arange(len(rows))
    pairs = np.delete(numbers, label_at).reshape(-1, 2)
    indices = pairs[:, 0].astype(np.int64)
    _refuse_order(indices, indptr, where)
    shift = _shift(indices, zero_based, where)
    width = int(indices.max()) + 1 - shift if len(indices) else 0
    _refuse_width(width, where)
    parts = (np.ascontiguousarray(pairs[:, 1]), indices - shift, indptr)
    features = csr_of(sparse.csr_array(parts, shape=(len(rows), width)), where)
    return Matrix(features, numbers[label_at], None, where.source, None, _lines(where), True)


def _lines(where: Rows) -> np.ndarray:
    return np.asarray(where.lines)


def _shift(indices: np.ndarray, zero_based: ZeroBased, where: Rows) -> int:
    lowest = int(indices.min()) if len(indices) else 1
    if zero_based is False and lowest == 0:
        raise DataError(
            f"{where.source}: an index is 0, but zero_based=False says that they count from 1"
        )
    return 0 if zero_based is True or lowest == 0 else 1


def _refuse_order(indices: np.ndarray, indptr: np.ndarray, where: Rows) -> None:
    falls = np.diff(indices) <= 0
    starts = indptr[1:-1]
    falls[starts[(starts > 0) & (starts < len(indices))] - 1] = False  # a new row may start lower
    if falls.any():
        at = int(np.argmax(falls))
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        raise DataError(
            f"{where.source}: {where.place(row)}: index {indices[at + 1]} follows {indices[at]}; "
            "the indices of a row must rise and be different"
        )


def _refuse_width(width: int, where: Rows) -> None:
    if width > MAX_FEATURES:
        raise DataError(
            f"{where.source}: the highest index gives {width} columns; at most {MAX_FEATURES} are "
            "taken"
        )
    if width == 0:
        raise DataError(f"{where.source}: no row has any index:value pair, so there is no column")


def _reason(row: bytes) -> str:
    """Say what is wrong with a line that is no row."""
    label, *pairs = row.split()
    if re.fullmatch(_NUMBER, label) is None:
        several = "; one label a row is taken" if b"," in label else ""
        return f"the label {_text(label)} is not a number{several}"
    for pair in pairs:
        if pair.startswith(b"qid:"):
            return f"{_text(pair)} groups rows for ranking, which is not classification; remove it"
        if re.fullmatch(_PAIR, pair) is None:
            return f"{_text(pair)} is not INDEX:VALUE (such as 3:0.5)"
    return f"{_text(row)} cannot be split into LABEL INDEX:VALUE ..."


def _text(token: bytes) -> str:
    return shown(token.decode("utf-8", errors="replace"))
