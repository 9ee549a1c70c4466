"""
Read one input of the workspace, whole or not at all.

Nobody holds the file still while it is read, so a snapshot proves itself: it
is whole when size, times and inode were the same before the read, after it,
and under the file's name once it was done.

No link is followed, neither at the end nor on the way, so that nothing outside
the workspace is ever read. Only regular files are opened; should one become a
pipe in between, the open does not block.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from rlmwatch.runs.model import Signature
from rlmwatch.workspace import safe_open

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_CHUNK_BYTES = 1 << 20
"""One read; large enough that an input is nearly always one call."""


@dataclass(frozen=True, slots=True)
class Content:
    """
    The whole file at one moment.

    Attributes:
        raw: Its bytes; the first `max_bytes + 1` of them where it is larger.
        oversize: Whether it is larger than `max_bytes`.
    """

    raw: bytes
    signature: Signature
    oversize: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """
    The file moved while it was read: to be read again.

    Attributes:
        raw: What was read, for the caller's comparison; None where it could not be opened.
        signature: The file after the read; None where it could not be opened.
        times_only: Size, inode and length of `raw` agree and only times moved.
    """

    raw: bytes | None = None
    signature: Signature | None = None
    times_only: bool = False

    def repeats(self, before: Changed | None) -> bool:
        """
        Whether *before*, taken at least 50 ms earlier, saw the same bytes, and only times moved in both.

        Then they may be taken as whole: some mounts move the time at every look.
        """
        return self.times_only and before is not None and before.times_only and before.raw == self.raw


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class NotAFile:
    """
    What has the name is not a regular file, or a link stands on the way to it.

    Attributes:
        signature: What has the name; None where that is not known.
    """

    reason: str
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    The system did not let us read.

    Attributes:
        lasting: Whether only a change of the file (its owner, its mode) can help: asking again will not.
    """

    reason: str
    signature: Signature | None = None
    lasting: bool = False


Snapshot = Content | Changed | Absent | NotAFile | Unreadable


class WriterState(Enum):
    """Whether somebody has a file open for writing."""

    FREE = "free"
    BUSY = "busy"
    UNKNOWN = "unknown"


def snapshot(root: Path, path: str, *, max_bytes: int) -> Snapshot:
    """
    Read *path*, relative to *root*, at most `max_bytes + 1` bytes of it.

    1. Every folder on the way and the file itself are opened from their parent, without following a link; only
       *root* may be reached through one.
    2. What has the name must be a regular file.
    3. (size, mtime, ctime, inode) must be the same before the read, after it, and by name: else `Changed`.

    Blocks as long as the disk does. Never raises OSError.
    """
    try:
        with _parent(root, path) as (folder, name):
            return _read(folder, name, max_bytes)
    except FileNotFoundError:
        return Absent()
    except NotADirectoryError:
        return NotAFile("a link or a file stands where a folder should be")
    except OSError as error:
        return _refused(error, None)


def look(root: Path, path: str) -> Signature | None:
    """Return the signature of what has the name *path*, without opening it; None where nothing can be said."""
    try:
        with _parent(root, path) as (folder, name):
            return signature(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None


def writer(root: Path, path: str) -> WriterState:
    """
    Ask the kernel whether somebody has *path* open for writing, by taking a read lease and giving it back at once.

    FREE: nobody has (or it is not a regular file, which `snapshot` will say). BUSY: somebody has. UNKNOWN: the file
    system has no leases (FUSE, NFS), the file is not ours, or it cannot be opened.

    The lease is held for some 5 microseconds and never while reading: a writer that comes meanwhile would block.
    One that comes within them makes the kernel notify us. By default it does so with SIGIO, which ends a process that
    does not ignore it; here the lease is asked to use SIGURG, which is ignored unless a handler is installed. So no
    caller needs to prepare, and who installs a handler for SIGURG must expect it.
    """
    try:
        with _parent(root, path) as (folder, name):
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return WriterState.FREE
            fd = os.open(name, _FILE, dir_fd=folder)
    except BlockingIOError:
        return WriterState.BUSY
    except OSError:
        return WriterState.UNKNOWN
    try:
        return _probe(fd)
    finally:
        os.close(fd)


def write_only(root: Path, path: str, proc: Path = Path("/proc")) -> str | None:
    """
    Return who has *path* open only to write it, as `name (pid)`; None where nobody is seen to.

    Who keeps a file open to show it opens it to read, too. Only processes of this user are seen, as root all. Costs
    some 10 ms: a `stat` for each open file of each such process.
    """
    try:
        with _parent(root, path) as (folder, name):
            wanted = os.stat(name, dir_fd=folder, follow_symlinks=False)
        processes = [entry.name for entry in os.scandir(proc) if entry.name.isdecimal()]
    except OSError:
        return None
    for process in processes:
        with suppress(OSError):  # another user's, or it has just ended
            if _writes_only(proc / process, (wanted.st_dev, wanted.st_ino)):
                return f"{(proc / process / 'comm').read_text(errors='replace').strip()} ({process})"
    return None


def _writes_only(process: Path, identity: tuple[int, int]) -> bool:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            found = descriptor.stat()
            if (found.st_dev, found.st_ino) != identity:
                continue
            flags = re.search(r"^flags:\s*([0-7]+)", (process / "fdinfo" / descriptor.name).read_text(), re.MULTILINE)
            if flags and int(flags[1], 8) & os.O_ACCMODE == os.O_WRONLY:
                return True
    return False


def signature(status: os.stat_result) -> Signature:
    """Return the signature in *status*."""
    return Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _probe(fd: int) -> WriterState:
    if not hasattr(fcntl, "F_SETLEASE"):
        return WriterState.UNKNOWN
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return WriterState.BUSY
    except OSError:
        return WriterState.UNKNOWN
    return WriterState.FREE


@contextmanager
def _parent(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """Open the folder of *path* and yield it with the file's name; it is closed at the end."""
    inner = PurePosixPath(path)
    if inner.is_absolute() or ".." in inner.parts:
        raise ValueError(f"{path!r} is not a path inside the workspace")
    with safe_open.folder(root / inner.parent, within=root, listed=False) as fd:
        yield fd, inner.name


def _read(folder: int, name: str, max_bytes: int) -> Snapshot:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return NotAFile(_what(status.st_mode), signature(status))
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except BlockingIOError:
        return Changed()  # somebody holds a write lease on it, as file servers do
    except FileNotFoundError:
        raise
    except OSError as error:
        return _refused(error, signature(status))
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return NotAFile(_what(status.st_mode), signature(status))
        before = signature(status)
        raw = _bytes(fd, max_bytes + 1)
        after = signature(os.fstat(fd))
    except OSError as error:
        return _refused(error, signature(status))
    finally:
        os.close(fd)
    return _judge(raw, (before, after, signature(os.stat(name, dir_fd=folder, follow_symlinks=False))), max_bytes)


def _judge(raw: bytes, seen: tuple[Signature, Signature, Signature], max_bytes: int) -> Snapshot:
    """Say whether *raw* is the whole file, given how it looked before, after and by name."""
    before, _, named = seen
    whole = len(raw) == min(before.size, max_bytes + 1)
    if whole and len(set(seen)) == 1:
        return Content(raw, named, oversize=len(raw) > max_bytes)
    still = len({(s.size, s.inode) for s in seen}) == 1
    return Changed(raw, named, times_only=whole and still)


def _bytes(fd: int, most: int) -> bytes:
    """Read up to *most* bytes; fewer only at the end of the file."""
    pieces = []
    while most and (piece := os.read(fd, min(most, _CHUNK_BYTES))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _refused(error: OSError, seen: Signature | None) -> NotAFile | Unreadable:
    match error.errno:
        case errno.ELOOP:
            return NotAFile("a link", seen)
        case errno.EACCES | errno.EPERM:
            return Unreadable("no permission to read it", seen, lasting=True)
        case _:
            return Unreadable(error.strerror or str(error), seen)


def _what(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
