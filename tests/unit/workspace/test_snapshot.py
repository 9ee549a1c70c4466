"""Snapshots of real files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlmwatch.runs.model import Signature
from rlmwatch.workspace.snapshot import (
    Absent,
    Changed,
    Content,
    NotAFile,
    Unreadable,
    WriterState,
    _judge,
    look,
    signature,
    snapshot,
    writer,
)

NAME = "note_input.txt"
MOST = 1000


@contextmanager
def nobody() -> Iterator[None]:
    """Run as a user who owns nothing, where the tests run as root: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def test_the_whole_file_with_its_signature(root: Path):
    """A file at rest is read whole."""
    (root / "a").mkdir()
    (root / "a" / NAME).write_bytes(b"What is the capital of France?\n")
    seen = snapshot(root, f"a/{NAME}", max_bytes=MOST)
    assert seen == Content(b"What is the capital of France?\n", signature((root / "a" / NAME).stat()))
    assert look(root, f"a/{NAME}") == signature((root / "a" / NAME).stat())


@pytest.mark.parametrize(("size", "kept", "oversize"), [(999, 999, False), (1000, 1000, False), (5000, 1001, True)])
def test_no_more_than_one_byte_too_many_is_read(root: Path, size: int, kept: int, oversize: bool):
    """A file of any size costs no more memory than the largest input."""
    (root / NAME).write_bytes(b"x" * size)
    seen = snapshot(root, NAME, max_bytes=MOST)
    assert isinstance(seen, Content)
    assert (len(seen.raw), seen.oversize, seen.signature.size) == (kept, oversize, size)


@pytest.mark.parametrize("path", [NAME, f"no/{NAME}"])
def test_absent(root: Path, path: str):
    """A file that is not there is absent, and so is one in a folder that is not there."""
    assert snapshot(root, path, max_bytes=MOST) == Absent()
    assert look(root, path) is None


def test_a_missing_root_has_no_files(tmp_path: Path):
    """An unmounted workspace raises nothing."""
    assert snapshot(tmp_path / "gone", NAME, max_bytes=MOST) == Absent()


def test_no_link_is_followed_at_the_end(root: Path, tmp_path: Path):
    """A link with an input's name shows nothing of what lies outside."""
    (tmp_path / "secret").write_text("secret")
    (root / NAME).symlink_to(tmp_path / "secret")
    seen = snapshot(root, NAME, max_bytes=MOST)
    assert isinstance(seen, NotAFile)
    assert seen.reason == "a link"
    assert seen.signature == signature((root / NAME).lstat())


def test_no_link_is_followed_on_the_way(root: Path, tmp_path: Path):
    """A link to a folder shows nothing of what lies outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / NAME).write_text("secret")
    (root / "a").symlink_to(tmp_path / "outside")
    assert isinstance(snapshot(root, f"a/{NAME}", max_bytes=MOST), NotAFile)
    assert writer(root, f"a/{NAME}") is WriterState.UNKNOWN
    assert look(root, f"a/{NAME}") is None


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path):
    """A person may reach the workspace through a link of their own."""
    (root / NAME).write_text("hello")
    (tmp_path / "link").symlink_to(root)
    assert isinstance(snapshot(tmp_path / "link", NAME, max_bytes=MOST), Content)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_path_stays_inside(root: Path, path: str):
    """No path leads out of the workspace, whoever made it up."""
    with pytest.raises(ValueError, match="inside the workspace"):
        snapshot(root, path, max_bytes=MOST)


def test_a_pipe_does_not_block(root: Path):
    """A pipe with an input's name is refused at once."""
    os.mkfifo(root / NAME)
    seen = snapshot(root, NAME, max_bytes=MOST)
    assert isinstance(seen, NotAFile)
    assert seen.reason == "a pipe"
    assert writer(root, NAME) is WriterState.FREE


def test_a_folder_is_no_file(root: Path):
    """A folder with an input's name is refused."""
    (root / NAME).mkdir()
    seen = snapshot(root, NAME, max_bytes=MOST)
    assert isinstance(seen, NotAFile)
    assert seen.reason == "a folder"


def test_no_permission_is_lasting(root: Path):
    """A file that we may not read is not asked for again until it changes."""
    root.chmod(0o755)
    root.parent.chmod(0o755)
    (root / NAME).write_text("hello")
    (root / NAME).chmod(0)
    for above in root.parents:  # the test's folders are for their owner only
        if above.owner() == root.owner() and str(above).startswith("/tmp/"):
            above.chmod(0o755)
    with nobody():
        seen = snapshot(root, NAME, max_bytes=MOST)
    assert isinstance(seen, Unreadable)
    assert seen.lasting
    assert seen.signature is not None


S = Signature(3, 10, 10, 7)


@pytest.mark.parametrize(
    ("raw", "seen", "verdict"),
    [
        (b"abc", (S, S, S), Content(b"abc", S)),
        (b"ab", (S, S, S), Changed(b"ab", S)),
        (b"abc", (S, Signature(4, 10, 10, 7), S), Changed(b"abc", S)),
        (b"abc", (S, S, Signature(3, 10, 10, 8)), Changed(b"abc", Signature(3, 10, 10, 8))),
        (b"abc", (S, S, Signature(3, 11, 10, 7)), Changed(b"abc", Signature(3, 11, 10, 7), times_only=True)),
        (b"abc", (S, Signature(3, 10, 11, 7), S), Changed(b"abc", S, times_only=True)),
        (b"ab", (S, Signature(3, 11, 11, 7), S), Changed(b"ab", S)),
    ],
)
def test_whole_means_the_same_before_after_and_by_name(raw: bytes, seen: tuple, verdict: Content | Changed):
    """A file that moved in any way while it was read is read again."""
    assert _judge(raw, seen, MOST) == verdict


def test_only_moving_times_are_forgiven_at_the_second_look():
    """On a mount whose times move at every look, the same bytes twice are a save."""
    first = Changed(b"abc", S, times_only=True)
    assert Changed(b"abc", S, times_only=True).repeats(first)
    assert not Changed(b"abd", S, times_only=True).repeats(first)
    assert not Changed(b"abc", S).repeats(first)
    assert not Changed(b"abc", S, times_only=True).repeats(Changed(b"abc", S))
    assert not first.repeats(None)


def test_a_growing_file_is_never_taken_for_whole(root: Path):
    """While another thread appends without pause, no snapshot ends inside a write."""
    piece = b"a line of text\n" * 64
    stop = threading.Event()

    def append() -> None:
        with (root / NAME).open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 5_000_000:
                file.write(piece)

    (root / NAME).write_bytes(piece)
    thread = threading.Thread(target=append)
    thread.start()
    try:
        seen = [snapshot(root, NAME, max_bytes=100_000_000) for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    for one in seen:
        if isinstance(one, Content):
            assert len(one.raw) == one.signature.size


def test_busy_while_somebody_writes(root: Path):
    """The kernel knows who has a file open for writing."""
    (root / NAME).write_text("hello")
    assert writer(root, NAME) is WriterState.FREE
    with (root / NAME).open("a"):
        assert writer(root, NAME) is WriterState.BUSY
    with (root / NAME).open():
        assert writer(root, NAME) is WriterState.FREE


def test_the_probe_does_not_hold_the_lease(root: Path):
    """A writer that comes after the probe is not kept waiting."""
    (root / NAME).write_text("hello")
    assert writer(root, NAME) is WriterState.FREE
    os.close(os.open(root / NAME, os.O_WRONLY | os.O_NONBLOCK))


def test_unknown_where_it_cannot_be_asked(root: Path):
    """A file that is not there, or not ours, has no known writer."""
    assert writer(root, NAME) is WriterState.UNKNOWN


def test_a_writer_within_the_probe_does_not_end_the_daemon(root: Path):
    """
    The kernel's notice to the holder of a lease, by default SIGIO, ends a process that does not ignore it.

    Here a process holds such a lease for good while another opens the file for writing: it goes on.
    """
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    (root / NAME).write_text("hello")
    program = (
        "import fcntl, os, sys\n"
        "from rlmwatch.workspace import snapshot\n"
        "fcntl_ = fcntl.fcntl\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "class Kept:\n"
        "    F_SETLEASE, F_SETSIG, F_RDLCK, F_UNLCK = fcntl.F_SETLEASE, fcntl.F_SETSIG, fcntl.F_RDLCK, -1\n"
        "    def fcntl(self, fd, verb, arg):\n"
        "        return 0 if arg == -1 else fcntl_(fd, verb, arg)\n"
        "snapshot.fcntl = Kept()\n"
        "assert snapshot._probe(fd) is snapshot.WriterState.FREE\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "fcntl_(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n"
        "print('alive', flush=True)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(root / NAME)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):  # it is held, and its holder is told
            os.open(root / NAME, os.O_WRONLY | os.O_NONBLOCK)
        assert holder.communicate("go\n")[0] == "alive\n"
    assert holder.returncode == 0
