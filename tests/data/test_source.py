"""`polylogit.data.source`: only regular files, whole, are read."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polylogit.data import source
from polylogit.data.examples import EXAMPLES
from polylogit.data.source import bytes_of, called, head_of, kind_of, opened, refuse_foreign
from polylogit.errors import DataError

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]


def test_a_file_is_read_whole_or_in_part(written: Written) -> None:
    path = written("a.csv", b"0123456789")
    assert (bytes_of(path), head_of(path, 3)) == (b"0123456789", b"012")


def test_a_link_leads_to_its_file(written: Written) -> None:
    written("a.csv", b"text")
    Path("b.csv").symlink_to("a.csv")
    assert bytes_of(Path("b.csv")) == b"text"


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_refused_without_waiting(
    written: Written, refusal: Refusal
) -> None:
    written("a.csv", b"")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    device = "is not a regular file but a pipe or a device; write its content to a file first"
    for name, reason in {
        "none.csv": "there is no such file",
        "folder": "is a directory; name a file in it",
        "pipe": device,
        "/dev/zero": device,
        "/dev/null": device,
        "loop": "cannot be read: Too many levels of symbolic links",
        "a\0b": "cannot be read: embedded null byte",
    }.items():
        message = refusal(DataError, bytes_of, Path(name))
        assert message == f"{called(Path(name))}: {reason}"


def test_an_unreadable_file_is_refused(
    written: Written, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("a.csv", b"text")

    def denied(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    # As root, whom permissions do not bind, the system would not refuse.
    monkeypatch.setattr(source.os, "open", denied)
    assert refusal(DataError, bytes_of, path) == (
        "a.csv: the file may not be read (permission denied); change its permissions or copy it"
    )


class _Moving(io.FileIO):
    """A file that another program writes to just after its size was looked up."""

    change = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.change:
            with Path("a.csv").open("ab") as file:
                file.write(self.change)
        else:
            os.truncate("a.csv", 2)
        return super().read(-1 if size is None else size)


@pytest.mark.parametrize(("change", "n_read"), [(b"more", 5), (b"", 2)])
def test_a_file_that_changes_meanwhile_is_refused(
    change: bytes, n_read: int, written: Written, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("a.csv", b"text")
    monkeypatch.setattr(_Moving, "change", change)
    monkeypatch.setattr(source.os, "fdopen", _Moving)
    assert refusal(DataError, bytes_of, path) == (
        f"a.csv: the file changed while it was read (4 bytes at first, {n_read} read); wait until "
        "it is written and try again"
    )


def test_handles_of_refused_files_are_closed(written: Written, refusal: Refusal) -> None:
    written("a.csv", b"")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        refusal(DataError, opened, Path("/dev/zero"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_with_control_characters_stay_one_line() -> None:
    assert called(Path("a\nb")) == r"'a\nb'"
    assert called(Path(os.fsdecode(b"\xff.csv"))) == r"'\udcff.csv'"


def test_a_built_in_table_is_called_by_its_name() -> None:
    assert [called(example.path) for example in EXAMPLES.values()] == ["penguins", "lesson"]
    assert called(Path("penguins.csv")) == "penguins.csv"


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    return bytes(sink.getvalue())


def npy() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.zeros(2))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("head", "kind", "advice"),
    [
        (parquet(), "parquet", "a Parquet file; rename it to .parquet"),
        (npy(), "npy", "a numpy array; rename it to .npy"),
        (b"ARROW1\0\0", "arrow", "an Arrow file; rename it to .arrow"),
        (
            b"PK\x03\x04",
            "zip",
            "a zip archive (npz, xlsx, ...); rename an npz to .npz, save a spreadsheet as CSV",
        ),
        (
            pickle.dumps([1], protocol=4),
            "pickle",
            "a Python pickle, which is never read because it can run code; save it as npz or CSV",
        ),
        (
            b"\n <!DOCTYPE html>",
            "HTML",
            "an HTML page, perhaps an error page saved under this name; fetch the data again",
        ),
        (b"\x1f\x8b\x08", "gzip", "gzip data; unpack or export it first"),
    ],
)
def test_foreign_files_are_known_by_their_first_bytes(
    head: bytes, kind: str, advice: str, refusal: Refusal
) -> None:
    assert kind_of(head) == kind
    message = refusal(DataError, refuse_foreign, head, "text", Path("a.csv"))
    assert message == f"a.csv: by its first bytes this is {advice}"
