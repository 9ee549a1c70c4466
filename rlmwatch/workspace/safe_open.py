"""
Open what lies inside the workspace, and nothing that a link leads to.

Whoever can write into the workspace may put a link where a folder was, also between two of our calls. So folders
are opened one by one, each by its name in the one before and never through a link, and what is done in a folder is
done by its descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_BYTES = 16_000_000
"""Of a status file: an answer has 4 MB at most, and a job file that waits `max_input_mb` (10)."""

MAX_STATE_BYTES = 32_000_000
"""Of a state or session file: three inputs of the largest size; ordinary ones are 12,000 turns."""

NOT_REGULAR = "not a regular file"
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_PASS = getattr(os, "O_PATH", os.O_RDONLY)
"""Asks for no right to list a folder, only to pass through it."""


@contextmanager
def folder(path: Path, *, within: Path | None = None, listed: bool = True) -> Iterator[int]:
    """
    Hold the folder *path* open as a descriptor.

    Args:
        path: The folder.
        within: Folder at or above *path*, below which no link is followed; None follows the links of *path*.
        listed: Whether it can be listed and made durable by its descriptor; else only what has a name in it be opened.

    Raises:
        OSError: ENOTDIR where a link or a file is in the way, ENOENT where nothing is.
        ValueError: *path* is not within *within*.
    """
    parts = path.relative_to(within).parts if within is not None else ()
    if ".." in parts:
        raise ValueError(f"{path} leads out of {within}")
    how = _FOLDER | (os.O_RDONLY if listed else _PASS)
    fd = os.open(within if within is not None else path, how)
    try:
        for part in parts:
            above, fd = fd, os.open(part, how | os.O_NOFOLLOW, dir_fd=fd)
            os.close(above)
        yield fd
    finally:
        os.close(fd)


def make_folder(path: Path, *, within: Path) -> None:
    """
    Make the folder *path*, whose parent exists, and make it last; nothing happens where it exists.

    Raises:
        OSError: It cannot be made.
    """
    with folder(path.parent, within=within) as parent:
        try:
            os.mkdir(path.name, dir_fd=parent)
        except FileExistsError:
            return
        sync(parent)


def read(path: Path, *, within: Path, max_bytes: int) -> bytes | None:
    """
    Return the content of the regular file *path*; None where there is no such name (or folder).

    Raises:
        OSError: EISDIR for a folder, ELOOP for a link, EINVAL for a pipe or a device, EFBIG where it has more than
            *max_bytes*, ENOTDIR where a folder on the way is a link or a file.
    """
    try:
        with folder(path.parent, within=within) as parent:
            return read_in(parent, path.name, max_bytes=max_bytes)
    except FileNotFoundError:
        return None


def read_in(parent: int, name: str, *, max_bytes: int) -> bytes:
    """
    Return the content of the regular file *name* in the open folder *parent*.

    Raises:
        OSError: As `read`, and ENOENT.
    """
    with regular(parent, name) as fd, open(fd, "rb", closefd=False) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return content


@contextmanager
def regular(parent: int, name: str, *, access: int = os.O_RDONLY) -> Iterator[int]:
    """
    Hold the regular file *name* in the open folder *parent* open, as a descriptor: to read, or with another *access*.

    Raises:
        OSError: As `read_in`, but EFBIG.
    """
    try:
        fd = os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket; a pipe that nobody reads, opened to write
            raise OSError(errno.EINVAL, NOT_REGULAR, name) from None
        raise
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, name)
        yield fd
    finally:
        os.close(fd)


def names(fd: int) -> list[str]:
    """Return what is in the open folder *fd*."""
    return os.listdir(fd)


def sync(fd: int) -> None:
    """Make what was done in the open folder *fd* last; some FUSE and network mounts cannot, and need not be asked."""
    with suppress(OSError):
        os.fsync(fd)
