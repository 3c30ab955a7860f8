"""Opening what a user named: regular files only, whole, with a clear error otherwise.

Every reader gets its bytes here, so a directory, a pipe, an endless device, an unreadable file and
one that shrinks while it is read all fail in the same words.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from polylogit.data.examples import EXAMPLES
from polylogit.errors import DataError
from polylogit.schema import shown

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x89HDF", "HDF5"),
    (b"SQLite format 3", "SQLite"),
    (b"%PDF", "PDF"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
)


def called(path: Path) -> str:
    """Return a path as messages name it: one printable line; a built-in table by its name.

    >>> called(Path("data") / "a.csv"), called(EXAMPLES["penguins"].path)
    ('data/a.csv', 'penguins')
    """
    for name, example in EXAMPLES.items():
        if path == example.path:
            return name
    text = str(path)
    return text if text.isprintable() else shown(text, width=200)


def kind_of(head: bytes) -> str:
    r"""Name what the first bytes of a file say it is; "text" when nothing else is recognised.

    >>> kind_of(b"PAR1..."), kind_of(b"a,b\n1,2\n"), kind_of(b"<!DOCTYPE html>")
    ('parquet', 'text', 'HTML')
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    start = head.lstrip()[:14].lower()
    return "HTML" if start.startswith((b"<!doctype html", b"<html")) else "text"


def head_of(path: Path, size: int = 4096) -> bytes:
    """Read the first bytes of a regular file."""
    with opened(path) as file:
        return file.read(size)


def bytes_of(path: Path) -> bytes:
    """Read a whole regular file; a DataError says if its size changed meanwhile."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = file.read(size + 1)
        except OSError as error:
            raise DataError(f"{called(path)}: {_reason(error)}") from error
    if len(data) != size:
        raise DataError(
            f"{called(path)}: the file changed while it was read ({size} bytes at first, "
            f"{len(data)} read); wait until it is written and try again"
        )
    return data


def opened(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    A DataError says what the path is instead: missing, a directory, a pipe or device, not readable.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise DataError(f"{called(path)}: {_reason(error)}") from error
    try:
        _refuse_irregular(os.fstat(handle).st_mode, path)
    except DataError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _refuse_irregular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise DataError(f"{called(path)}: is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{called(path)}: is not a regular file but a pipe or a device; write its content to a "
            "file first"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "the file may not be read (permission denied); change its permissions or copy it"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name a file in it"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


_ADVICE = {
    "parquet": "a Parquet file; rename it to .parquet",
    "arrow": "an Arrow file; rename it to .arrow",
    "npy": "a numpy array; rename it to .npy",
    "zip": "a zip archive (npz, xlsx, ...); rename an npz to .npz, save a spreadsheet as CSV",
    "pickle": "a Python pickle, which is never read because it can run code; save it as npz or CSV",
    "HTML": "an HTML page, perhaps an error page saved under this name; fetch the data again",
}


def refuse_foreign(head: bytes, expected: str, path: Path) -> None:
    """Refuse a file whose first bytes say that it is something else than `expected`."""
    kind = kind_of(head)
    if kind != expected:
        advice = _ADVICE.get(kind, f"{kind} data; unpack or export it first")
        raise DataError(f"{called(path)}: by its first bytes this is {advice}")


class Unchanged:
    """Watches a file that is read for a while; `check` is a DataError if it changed meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = self._stamp()

    def check(self) -> None:
        """Refuse a file that is no longer what it was."""
        now = self._stamp()
        if now != self.first:
            raise DataError(
                f"{called(self.path)}: the file changed while it was read ({self.first[0]} bytes "
                f"at first, {now[0]} now); wait until it is written and try again"
            )

    def _stamp(self) -> tuple[int, int, int]:
        with opened(self.path) as file:
            found = os.fstat(file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ino
