r"""Files put in place in one step, whatever they hold: the old one stays until the new is whole.

>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "answers.csv")
...     check_destination(path)  # before the work, so that it is not lost
...     write_atomically(path, b"prediction\n")
...     path.read_bytes()
b'prediction\n'
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeAlias

from polylogit.errors import InputError, OptionError, SolveError
from polylogit.schema import shown

Path: TypeAlias = str | os.PathLike[str]


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Put `data` at `path` in one step: at every moment the old file is there or the whole new one.

    `data` may come in pieces, which are never held together.

    The bytes go to a temporary file in the same folder, are forced to disk, read back and compared;
    only then is the file renamed. A symbolic link stays one and what it points to is replaced. An
    existing file keeps its mode, a new one gets 0666 less the umask. What a killed writer of the
    same path left behind is removed; of two writers at once the later one wins.

    Raises `OptionError` where the path cannot be written to, `SolveError` where the disk fails
    (full, quota); then the old file is as it was and nothing is left behind.
    """
    with _explained(path):
        target = os.path.realpath(path)
        mode = _old_mode(target, path)
        _remove_abandoned(target)
        _replace(target, (data,) if isinstance(data, bytes) else data, mode)


def check_destination(path: Path) -> None:
    """Raise now what `write_atomically` would raise later, before work that would be lost.

    The check is to make the temporary file and to remove it: nothing at `path` itself is touched.
    """
    with _explained(path):
        target = os.path.realpath(path)
        _old_mode(target, path)
        with _temporary(target, 0o600):
            pass


# --- words for messages ---------------------------------------------------------------------------


def place(path: Path) -> str:
    r"""Return a path as messages name it: one line, escaped.

    >>> print(place("my\nmodel"))
    'my\nmodel'
    """
    return shown(os.fspath(path), 300)


def kind(mode: int) -> str:
    """Say what a file is, by `st_mode`.

    >>> kind(stat.S_IFIFO)
    'a named pipe'
    """
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def reason(error: OSError | ValueError) -> str:
    """Return what the operating system said, on one line.

    >>> reason(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "m.safetensors"))
    'No space left on device'
    """
    text = error.strerror if isinstance(error, OSError) else None
    return text or " ".join(str(error).split())


# --- writing --------------------------------------------------------------------------------------


def _old_mode(target: str, path: Path) -> int | None:
    """The mode of the file to replace; None if there is none."""
    folder = os.path.dirname(target)
    try:
        found = os.stat(target).st_mode
    except FileNotFoundError:
        if os.path.isdir(folder):
            return None
        raise OptionError(
            f"cannot write {place(path)}: there is no folder {place(folder)}; make it first "
            "(mkdir -p)"
        ) from None
    if not stat.S_ISREG(found):
        raise OptionError(f"cannot write {place(path)}: this is {kind(found)}; name a file")
    return found & 0o777


def _replace(target: str, data: Iterable[bytes], mode: int | None) -> None:
    written = hashlib.sha256()
    with _temporary(target, 0o666 if mode is None else 0o600) as (file, name):
        for piece in data:
            file.write(piece)
            written.update(piece)
        file.flush()
        os.fsync(file.fileno())
        _verify(name, written.digest())
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.replace(name, target)
    _sync_folder(os.path.dirname(target))


@contextlib.contextmanager
def _temporary(target: str, mode: int) -> Iterator[tuple[BinaryIO, str]]:
    """A new locked file beside the target; gone in the end, unless it was renamed."""
    descriptor, name = _locked(target, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _locked(target: str, mode: int) -> tuple[int, str]:
    """Make and lock a temporary file.

    The lock, which dies with its process, tells a living writer's file from an abandoned one. In
    the moment before it is locked another writer can take the file for abandoned: then it has no
    name any more, and the next is tried.
    """
    while True:
        name = f"{_stem(target)}{secrets.token_hex(8)}.tmp"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _stem(target: str) -> str:
    """How the names of the target's temporary files begin; short, however long its own name."""
    folder, name = os.path.split(target)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, f".polylogit-{digest[:16]}-")


def _remove_abandoned(target: str) -> None:
    folder, stem = os.path.split(_stem(target))
    pattern = re.compile(re.escape(stem) + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(PermissionError):  # a folder may be writeable and not readable
        for name in filter(pattern.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):  # it lives, or is gone already
                _remove_unlocked(os.path.join(folder, name))


def _remove_unlocked(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)
    finally:
        os.close(descriptor)


def _verify(name: str, digest: bytes) -> None:
    with open(name, "rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise OSError(errno.EIO, "what was written reads back differently")


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable, where the file system can (and the folder is readable)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- errors ---------------------------------------------------------------------------------------

_PATH_ERRORS = {
    errno.EACCES: "ask for the right to write in this folder, or name another",
    errno.EPERM: "ask for the right to write in this folder, or name another",
    errno.EROFS: "name a folder on a disk that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the operating system raises into one line that says what to try."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise _write_error(error, path) from error


def _write_error(error: OSError | ValueError, path: Path) -> InputError | SolveError:
    start = f"cannot write {place(path)}: {reason(error)}"
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number not in _PATH_ERRORS:
        return SolveError(f"{start}; an older file there is untouched: free space, or name another")
    return OptionError(f"{start}; {_PATH_ERRORS.get(number or 0, 'name another file')}")
