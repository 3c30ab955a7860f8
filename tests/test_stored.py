"""Rows in a file come out as they went in, and leave nothing behind."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from oracle import stored

from polylogit import stored as module
from polylogit.errors import DataError, SolveError
from polylogit.stored import BFLOAT16, Spill, StoredRows, stored_rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">f4", "<f2", "<i8", "|i1", "|b1"])
def test_slices_hold_every_value(kind):
    X = RNG.integers(0, 2, size=(30, 4)).astype(kind)
    rows = stored(X)
    assert rows.shape == X.shape
    assert len(rows) == 30
    wanted = np.float32 if kind[1] == "f" and int(kind[2]) <= 4 else np.float64
    assert rows[:].dtype == rows.dtype == wanted
    for part in (slice(None), slice(3, 9), slice(25, 99), slice(7, 7), slice(40, 50)):
        np.testing.assert_array_equal(rows[part], X[part])


def test_bfloat16_is_read_as_torch_reads_it():
    X = torch.from_numpy(RNG.normal(size=(20, 3)) * 1e30).to(torch.bfloat16)
    spill = Spill("test")
    spill.append(X.view(torch.int16).numpy())
    rows = StoredRows(spill.handle, (20, 3), BFLOAT16, 0, spill.handle.stamp())
    assert rows[:].dtype == rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:], X.float().numpy())
    np.testing.assert_array_equal(rows[7:9], X[7:9].float().numpy())


def test_rows_that_are_picked():
    X = RNG.normal(size=(50, 3))
    rows, first, second = stored(X), np.array([1, 2, 30, 49]), np.array([0, 2, 3])
    np.testing.assert_array_equal(rows.take(first)[:], X[first])
    np.testing.assert_array_equal(rows.take(first).take(second)[1:], X[first][second][1:])
    assert rows.take(first).shape == (4, 3)


def test_blocks_are_all_rows_once(monkeypatch):
    X = RNG.normal(size=(50, 3))
    monkeypatch.setattr(module, "BLOCK_BYTES", 200)
    blocks = list(stored(X).blocks())
    assert [part for part, _ in blocks][:2] == [slice(0, 8), slice(8, 16)]
    np.testing.assert_array_equal(np.concatenate([values for _, values in blocks]), X)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(RNG.normal(size=(40, 2)).tobytes())
    return path


def test_a_file_that_changed_is_refused(file):
    rows = stored_rows(file, "rows", (40, 2), "<f8", 0)
    assert rows[:5].shape == (5, 2)
    with file.open("r+b") as other:
        other.write(bytes(16))
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match=r"^rows: the file changed while it was read; wait"):
        rows[:5]


def test_a_file_cut_short_is_an_error_and_no_crash(file):
    rows = stored_rows(file, "rows", (40, 2), "<f8", 0)
    os.truncate(file, 64)
    with pytest.raises(DataError, match=r"^rows: the file was cut short while it was read"):
        rows[:]


def test_a_file_that_was_replaced_is_read_as_it_was(file):
    rows = stored_rows(file, "rows", (40, 2), "<f8", 0)
    before = rows[:]
    other = file.with_name("other")
    other.write_bytes(bytes(640))
    other.replace(file)
    np.testing.assert_array_equal(rows[:], before)


def test_a_full_disk_is_one_line_that_says_what_to_do(monkeypatch):
    spill = Spill("a.csv")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SolveError) as caught:
        spill.append(np.ones(3))
    assert str(caught.value) == (
        "a.csv: the rows do not fit in memory, and the cache for them in "
        f"{module.spill_folder()} cannot be written: No space left on device; free space, or set "
        "TMPDIR to a folder with more"
    )


def test_a_folder_that_cannot_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "spill_folder", lambda: str(tmp_path / "none"))
    with pytest.raises(SolveError, match=r"^a\.csv: .* cannot be written: No such file"):
        Spill("a.csv")


def test_short_writes_are_continued(monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda to, data, at: write(to, data[:5], at))
    spill = Spill("test")
    spill.append(np.arange(9.0))
    np.testing.assert_array_equal(
        spill.rows(3, np.dtype(np.float64))[:], np.arange(9.0).reshape(3, 3)
    )


def test_tmpdir_decides_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert module.spill_folder() == str(tmp_path)


def test_descriptors_are_closed_with_the_rows():
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    rows = stored(np.ones((3, 2)))
    picked = rows.take(np.array([1]))
    del rows
    assert count() == before + 1
    assert picked[:].tolist() == [[1.0, 1.0]]
    del picked
    assert count() == before


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_whatever_ends_the_process(end, tmp_path):
    script = """
        import time
        import numpy as np
        from polylogit.stored import Spill
        spill = Spill("test")
        spill.append(np.ones(100_000))
        print("ready", flush=True)
        time.sleep(60)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=dict(os.environ, TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        held = f"/proc/{child.pid}/fd"
        assert 800_000 in [os.stat(f"{held}/{name}").st_size for name in os.listdir(held)]
        child.send_signal(end)
        child.wait(30)
    assert list(tmp_path.iterdir()) == []
