"""Rows that stay in a file: read a slice at a time, never mapped, never all in memory.

`StoredRows` looks like the matrix (N, D) that it stands for, as far as slices of rows go. It reads
with `pread` instead of mapping the file: that is within a tenth as quick, pages that were read do
not count as memory of the process, and a file that is cut short gives an error instead of SIGBUS.

`Spill` is a file without a name: it takes disk space only as long as somebody holds it, so the
system itself removes it at the end, after an error, after Ctrl-C and after SIGKILL.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from polylogit.errors import DataError, SolveError

BLOCK_BYTES = 4 * 2**20  # of rows that are read together
BFLOAT16 = "bfloat16"  # numpy has no such type: the upper half of a float32


class Handle:
    """An open file that closes itself when nobody needs it any more."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        weakref.finalize(self, os.close, descriptor)

    def stamp(self) -> tuple[int, int]:
        """Size and time of the last change."""
        now = os.fstat(self.descriptor)
        return now.st_size, now.st_mtime_ns


@dataclass(frozen=True, eq=False)
class StoredRows:
    """N rows of D numbers in a file, one row after another from byte `offset` on.

    `dtype` is a numpy type in any byte order, or "bfloat16". Slices of rows come out as float32
    where that holds every value, else float64. `picked` (n,) chooses rows, rising. `stamp` is what
    `Handle.stamp` said when the file was looked at: a file that changed since is a `DataError`.

    >>> spill = Spill("doctest")
    >>> spill.append(np.arange(6.0))
    >>> rows = spill.rows(3, np.dtype(np.float64))
    >>> rows.shape, rows[1:].tolist(), rows.take(np.array([0, 1]))[1:].tolist()
    ((2, 3), [[3.0, 4.0, 5.0]], [[3.0, 4.0, 5.0]])
    """

    handle: Handle
    stored_shape: tuple[int, int]
    stored_dtype: str
    offset: int
    stamp: tuple[int, int]
    picked: np.ndarray | None = None
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        n_rows = self.stored_shape[0] if self.picked is None else len(self.picked)
        return n_rows, self.stored_shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Of what slices give: float32 or float64."""
        if self.stored_dtype == BFLOAT16:
            return np.dtype(np.float32)
        kept = np.dtype(self.stored_dtype)
        narrow = kept.kind == "f" and kept.itemsize <= 4
        return np.dtype(np.float32 if narrow else np.float64)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        if self.picked is None or start >= stop:
            return self._read(start, max(start, stop))
        picked = self.picked[start:stop]
        first = int(picked[0])
        span = self._read(first, int(picked[-1]) + 1)
        return np.ascontiguousarray(span[picked - first])

    def take(self, rows: np.ndarray) -> StoredRows:
        """These rows (positions, rising)."""
        return replace(self, picked=rows if self.picked is None else self.picked[rows])

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows once, in their order, a few megabytes at a time."""
        step = max(1, BLOCK_BYTES // max(1, self._row_bytes))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self[rows]

    @property
    def _row_bytes(self) -> int:
        width = 2 if self.stored_dtype == BFLOAT16 else np.dtype(self.stored_dtype).itemsize
        return width * self.stored_shape[1]

    def _read(self, start: int, stop: int) -> np.ndarray:
        data = self._bytes(self.offset + start * self._row_bytes, (stop - start) * self._row_bytes)
        shape = stop - start, self.stored_shape[1]
        if self.stored_dtype == BFLOAT16:
            wide = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).reshape(shape)
        kept = np.frombuffer(data, self.stored_dtype).reshape(shape)
        return np.asarray(kept, self.dtype)

    def _bytes(self, at: int, size: int) -> bytearray:
        data = bytearray(size)
        _fill(self.handle, data, at)
        if self.handle.stamp() != self.stamp:
            raise DataError(
                f"{self.handle.name}: the file changed while it was read; wait until it is "
                "written and try again"
            )
        return data


def _fill(handle: Handle, data: bytearray, at: int) -> None:
    """Read until `data` is full; the system gives at most 2 GiB at once."""
    view, done = memoryview(data), 0
    while done < len(view):
        try:
            got = os.preadv(handle.descriptor, [view[done:]], at + done)
        except OSError as error:
            raise DataError(f"{handle.name}: cannot be read: {error.strerror}") from error
        if got == 0:
            raise DataError(
                f"{handle.name}: the file was cut short while it was read; write it again"
            )
        done += got


def stored_rows(
    path: Path, name: str, shape: tuple[int, int], dtype: str, offset: int
) -> StoredRows:
    """The rows in a file that somebody else wrote."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    handle = Handle(os.open(path, flags), name)
    return StoredRows(handle, shape, dtype, offset, handle.stamp())


# ------------------------------------------------------------------------------------- own files


def spill_folder() -> str:
    """Where large temporary files go: $TMPDIR if set, else /var/tmp, for /tmp may be memory."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK | os.X_OK):  # noqa: S108
        return "/var/tmp"  # noqa: S108
    return tempfile.gettempdir()


class Spill:
    """A growing file without a name, for what does not fit in memory; `source` for messages."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.size = 0
        try:
            with tempfile.TemporaryFile(dir=spill_folder()) as file:
                self.handle = Handle(os.dup(file.fileno()), f"{source} (cached)")
        except OSError as error:
            raise self._failure(error) from error

    def append(self, values: np.ndarray) -> None:
        """Add these numbers at the end; a `SolveError` where the disk is full."""
        view, done = memoryview(values.tobytes()), 0
        try:
            while done < len(view):
                done += os.pwrite(self.handle.descriptor, view[done:], self.size + done)
        except OSError as error:
            raise self._failure(error) from error
        self.size += len(view)

    def rows(self, width: int, dtype: np.dtype) -> StoredRows:
        """What was written, as rows of `width` numbers."""
        n_rows = self.size // (width * dtype.itemsize)
        return StoredRows(self.handle, (n_rows, width), dtype.str, 0, self.handle.stamp())

    def read(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        """`count` numbers from byte `offset` on (n,)."""
        data = bytearray(count * dtype.itemsize)
        _fill(self.handle, data, offset)
        return np.frombuffer(data, dtype)

    def _failure(self, error: OSError) -> SolveError:
        return SolveError(
            f"{self.source}: the rows do not fit in memory, and the cache for them in "
            f"{spill_folder()} cannot be written: {error.strerror}; free space, or set TMPDIR to a "
            "folder with more"
        )
