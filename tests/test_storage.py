"""At every moment the old file is there or the whole new one; whoever dies, whatever fails."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from polylogit import storage
from polylogit.errors import OptionError, SolveError
from polylogit.storage import check_destination, write_atomically

OLD, NEW = b"old", b"new" * 100_000

WITHOUT_RIGHTS = """
import ctypes, sys
from polylogit import errors, storage
# even root is bound by the mode of a folder without its capabilities
if ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
    sys.exit("cannot give up capabilities")
"""


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A file with old content, by its bare name; the working folder holds nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(OLD)
    return "file"


def child(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


def raised(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return str(caught.value)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# --- what is written ------------------------------------------------------------------------------


def test_the_new_content_stands_there_alone(old):
    write_atomically(old, NEW)
    write_atomically("other", b"")
    write_atomically(Path("p" * 255), b"long name")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {
        "file": NEW,
        "other": b"",
        "p" * 255: b"long name",
    }


def test_content_may_come_in_pieces(old):
    write_atomically(old, (bytes([i]) * 1000 for i in range(5)))
    assert Path(old).read_bytes() == b"".join(bytes([i]) * 1000 for i in range(5))


def test_pieces_that_do_not_come_leave_the_old_file(old):
    before = Path(old).read_bytes()

    def pieces():
        yield b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(old, pieces())
    assert [path.name for path in Path().iterdir()] == [old]
    assert Path(old).read_bytes() == before


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_a_new_file_has_the_mode_that_the_umask_gives(old, umask, expected):
    before = os.umask(umask)
    try:
        write_atomically("new", NEW)
    finally:
        os.umask(before)
    assert mode("new") == expected


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o444, 0o777])
def test_an_existing_file_keeps_its_mode(old, kept):
    Path(old).chmod(kept)
    write_atomically(old, NEW)
    assert (mode(old), Path(old).read_bytes()) == (kept, NEW)


def test_rights_of_the_owner_are_not_lent_to_new_content(old):
    Path(old).chmod(0o6755)
    write_atomically(old, NEW)
    assert mode(old) == 0o755


@pytest.mark.parametrize("target", ["file", "absent"])
def test_a_symbolic_link_stays_one_and_its_target_is_written(old, target):
    os.mkdir("folder")
    os.symlink(os.path.join("..", target), "folder/link")
    check_destination("folder/link")
    write_atomically("folder/link", NEW)
    assert os.readlink("folder/link") == os.path.join("..", target)
    assert Path(target).read_bytes() == NEW
    assert os.listdir("folder") == ["link"]


def test_everything_is_on_the_disk_before_the_rename_and_the_rename_after_it(old, monkeypatch):
    calls = []

    def spy(name, function):
        def called(first, *rest):
            if name == "fsync":
                calls.append(os.readlink(f"/proc/self/fd/{first}"))
            else:
                calls.append((Path(first).read_bytes(), *rest))
            return function(first, *rest)

        monkeypatch.setattr(os, name, called)

    spy("fsync", os.fsync)
    spy("replace", os.replace)
    write_atomically(old, NEW)
    temporary, renamed, folder = calls
    assert Path(temporary).parent == Path.cwd()
    assert Path(temporary).name.startswith(".polylogit-")
    assert renamed == (NEW, str(Path("file").absolute()))
    assert folder == os.getcwd()


# --- destinations that cannot be written ----------------------------------------------------------


def loop():
    os.symlink("b", "a")
    os.symlink("a", "b")
    return "a"


def folder():
    os.mkdir("folder")
    return "folder"


def pipe():
    os.mkfifo("pipe")
    return "pipe"


def listener():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    return "socket"


WRONG = {
    folder: "cannot write 'folder': this is a directory; name a file",
    pipe: "cannot write 'pipe': this is a named pipe; name a file",
    listener: "cannot write 'socket': this is a socket; name a file",
    loop: (
        "cannot write 'a': Too many levels of symbolic links; its symbolic links lead in a circle"
    ),
    lambda: "": "cannot write '': this is a directory; name a file",
    lambda: "file/x": (
        "cannot write 'file/x': Not a directory; a part of the path is a file, not a folder"
    ),
    lambda: "n" * 256: (f"cannot write '{'n' * 256}': File name too long; choose a shorter name"),
    lambda: "a\0b": r"cannot write 'a\x00b': embedded null byte; name another file",
    lambda: "no\n/x": (
        r"cannot write 'no\n/x': there is no folder '{cwd}/no\n'; make it first (mkdir -p)"
    ),
}


@pytest.mark.parametrize("act", [check_destination, lambda path: write_atomically(path, NEW)])
@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_destination_is_refused_before_the_work_as_after_it(old, make, act):
    path = make()
    before = sorted(os.listdir())
    assert raised(OptionError, act, path) == WRONG[make].replace("{cwd}", os.getcwd())
    assert sorted(os.listdir()) == before
    assert Path(old).read_bytes() == OLD


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("act", [check_destination, lambda path: write_atomically(path, NEW)])
def test_a_device_is_refused(old, mode, act, monkeypatch):
    # a real device is no thing to test with: a mistake would replace it
    fake = os.stat_result((mode | 0o666, *[0] * 9))
    monkeypatch.setattr(os, "stat", lambda *_: fake)
    assert raised(OptionError, act, old) == "cannot write 'file': this is a device; name a file"


@pytest.mark.parametrize("act", ["check_destination(path)", "write_atomically(path, b'new')"])
def test_a_folder_without_the_right_to_write_is_refused(old, act):
    Path().chmod(0o555)
    code = f"""{WITHOUT_RIGHTS}
for path in ("file", "absent"):
    try:
        storage.{act}
    except errors.OptionError as error:
        print(error)
"""
    result = child(code)
    Path().chmod(0o755)
    assert result.stdout.splitlines() == [
        f"cannot write {name!r}: Permission denied; ask for the right to write in this folder, or "
        "name another"
        for name in ("file", "absent")
    ], result.stderr
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], OLD)


def test_a_folder_that_can_be_written_and_not_read_is_good_enough(old):
    Path().chmod(0o300)
    result = child(
        f"{WITHOUT_RIGHTS}\nstorage.check_destination('file')\n"
        "storage.write_atomically('file', b'new')"
    )
    Path().chmod(0o755)
    assert result.returncode == 0, result.stderr
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], b"new")


@pytest.mark.parametrize("act", [check_destination, lambda path: write_atomically(path, NEW)])
def test_a_read_only_disk_is_refused(old, act, monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.EROFS))
    assert raised(OptionError, act, old) == (
        "cannot write 'file': Read-only file system; name a folder on a disk that can be written to"
    )


def test_the_check_touches_neither_the_file_nor_its_folder_for_long(old):
    before = os.stat(old)
    check_destination(old)
    check_destination("absent")
    assert os.stat(old) == before
    assert Path(old).read_bytes() == OLD
    assert os.listdir() == ["file"]


# --- disks that fail ------------------------------------------------------------------------------


def failing(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_leaves_the_old_file(old):
    result = child(
        f"""
import resource
from polylogit import errors, storage
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    storage.write_atomically({old!r}, bytes(100_000))
except errors.SolveError as error:
    print(error)
"""
    )
    assert result.stdout == (
        "cannot write 'file': File too large; an older file there is untouched: free space, or "
        "name another\n"
    ), result.stderr
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], OLD)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace"])
def test_a_failure_in_any_step_leaves_the_old_file(old, step, number, monkeypatch):
    monkeypatch.setattr(os, step, failing(number))
    assert raised(SolveError, write_atomically, old, NEW) == (
        f"cannot write 'file': {os.strerror(number)}; an older file there is untouched: free "
        "space, or name another"
    )
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], OLD)


def test_what_reads_back_differently_is_not_put_in_place(old, monkeypatch):
    def spoil(descriptor):
        os.pwrite(descriptor, b"?", 1000)

    monkeypatch.setattr(os, "fsync", spoil)
    assert "what was written reads back differently" in raised(
        SolveError, write_atomically, old, NEW
    )
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], OLD)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_ctrl_c_leaves_the_old_file_and_nothing_else(old, step, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(old, NEW)
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], OLD)


def test_a_folder_that_cannot_be_synced_is_no_failure(old, monkeypatch):
    sync = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no such thing here")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_atomically(old, NEW)
    assert Path(old).read_bytes() == NEW


# --- writers that die -----------------------------------------------------------------------------

DYING = """
import fcntl, os, resource, signal, sys
from polylogit import storage
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "half":  # the kernel ends the process in the middle of a write
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
else:
    setattr(fcntl if sys.argv[1] == "flock" else os, sys.argv[1], die)
storage.write_atomically("file", b"new" * 100_000)
"""


@pytest.mark.parametrize(
    ("moment", "size"), [("flock", 0), ("half", 4096), ("fsync", 300_000), ("replace", 300_000)]
)
def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(old, moment, size):
    by = signal.SIGXFSZ if moment == "half" else signal.SIGKILL
    assert child(DYING, moment).returncode == -by
    assert Path(old).read_bytes() == OLD
    (litter,) = set(os.listdir()) - {"file"}
    assert os.stat(litter).st_size == size
    write_atomically("other", NEW)
    assert litter in os.listdir()  # it belongs to another file
    write_atomically(old, NEW)
    assert sorted(os.listdir()) == ["file", "other"]
    assert Path(old).read_bytes() == NEW


def test_what_a_living_writer_is_about_to_put_in_place_is_left_alone(old):
    with storage._temporary(os.path.realpath(old), 0o600) as (_, name):
        write_atomically(old, NEW)
        assert os.path.exists(name)
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], NEW)


def test_only_temporary_files_are_removed(old):
    stem = os.path.basename(storage._stem(os.path.realpath(old)))
    strangers = {f"{stem}{'0' * 16}.tmp.csv", f"{stem}.tmp", f"{stem}{'0' * 15}g.tmp"}
    for stranger in strangers:
        Path(stranger).touch()
    os.symlink(old, f"{stem}{'1' * 16}.tmp")
    os.mkdir(f"{stem}{'2' * 16}.tmp")
    before = set(os.listdir())
    Path(f"{stem}{'3' * 16}.tmp").touch()
    write_atomically(old, NEW)
    assert set(os.listdir()) == before


def test_a_file_taken_for_abandoned_before_it_was_locked_is_made_again(old, monkeypatch):
    lock = storage.fcntl.flock
    taken = []

    def late(descriptor, how):
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            storage._remove_unlocked(*taken)
        lock(descriptor, how)

    monkeypatch.setattr(storage.fcntl, "flock", late)
    before = os.listdir("/proc/self/fd")
    write_atomically(old, NEW)
    assert taken
    assert os.listdir("/proc/self/fd") == before
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], NEW)


def test_a_file_system_without_locks_is_good_enough(old, monkeypatch):
    monkeypatch.setattr(storage.fcntl, "flock", failing(errno.ENOLCK))
    write_atomically(old, NEW)
    assert (os.listdir(), Path(old).read_bytes()) == (["file"], NEW)


WRITING = """
import sys
from polylogit.storage import write_atomically
for _ in range(100):
    write_atomically("file", sys.argv[1].encode() * 300_000)
"""


def test_two_writers_at_once_leave_a_whole_file_and_no_reader_sees_less(old):
    whole = {OLD, b"a" * 300_000, b"b" * 300_000}
    writers = [subprocess.Popen([sys.executable, "-c", WRITING, letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(Path(old).read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= whole
    assert len(seen) > 1
    assert Path(old).read_bytes() in whole - {OLD}
    assert os.listdir() == ["file"]


def test_no_descriptor_stays_open(old):
    before = os.listdir("/proc/self/fd")
    write_atomically(old, NEW)
    check_destination(old)
    assert os.listdir("/proc/self/fd") == before
