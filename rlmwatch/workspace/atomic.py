"""
Write a file so that nobody ever sees half of it, and a crash leaves the old or the new one.

A temporary file in the same folder, fsync, rename, fsync of the folder. The temporary name begins with
`.syncthing.`, which Syncthing takes for its own and never carries; other sync tools and our own watcher pass over
it because it begins with a dot.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from rlmwatch.workspace import safe_open
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.permissions import Allowed, allowed_by, take

PREFIX = ".syncthing.rlmwatch-"
SUFFIX = ".tmp"

log = structlog.get_logger()


def write(path: Path, data: bytes, *, within: Path | None = None, question: Path | None = None) -> bool:
    """
    Make *data* the content of *path*, atomically and durably; False where it already was.

    1. An existing file keeps who may read and write it; a new one gets what its folder says (`permissions.py`). Either
       is at least as closed to group and others as *question*.
    2. A link at *path* is replaced, never followed.
    3. The same bytes again leave the file alone (same mtime and inode): a sync tool has nothing to carry. They are
       still made to last, since the write before may have ended in a crash.

    Whatever happens, no temporary file is left, except by a kill: see `sweep`.

    Args:
        path: The file.
        data: All of its content.
        within: Folder below which no link on the way is followed either; a link there is an error.
        question: The file that this one answers.

    Raises:
        WorkspaceError: It could not be stored (disk full, read-only, no permission, a folder has this name); the
            old file is as it was.
    """
    try:
        with safe_open.folder(path.parent, within=within) as folder:
            allowed = allowed_by(question)
            unchanged = _holds(folder, path.name, data, allowed)
            if not unchanged:
                try:
                    _replace(folder, path.name, data, allowed)
                except FileNotFoundError:  # a daemon that starts has swept the temporary file; it sweeps once
                    _replace(folder, path.name, data, allowed)
            safe_open.sync(folder)
    except OSError as error:
        raise cannot("store", path, error) from error
    return not unchanged


def remove(path: Path, *, within: Path) -> bool:
    """
    Remove the file *path*, durably; False where it was not there. A link is removed, not what it leads to.

    Raises:
        WorkspaceError: It could not be removed.
    """
    try:
        with safe_open.folder(path.parent, within=within) as folder:
            os.unlink(path.name, dir_fd=folder)
            safe_open.sync(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot("remove", path, error) from error
    return True


def sweep(root: Path, *, before: str | None = None) -> int:
    """
    Remove the temporary files that killed writers left anywhere under *root*; return how many.

    Links are not followed, and folders that begin with a dot, where we never write, are passed over. A writer whose
    file is swept under it (a client in another process) writes again.

    Args:
        root: The workspace.
        before: Only files last written before this RFC 3339 time; None for all, when the lock is held and no
            writer of this daemon is at work.
    """
    limit = None if before is None else datetime.fromisoformat(before).timestamp()
    swept = 0
    folders = [str(root)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # what cannot be listed cannot be swept
            for entry in entries:
                if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                    swept += _sweep_one(entry, limit)
                elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    if swept:
        log.info("workspace.swept", files=swept)
    return swept


def _sweep_one(entry: os.DirEntry[str], limit: float | None) -> int:
    """Remove one temporary file; return 1 where it is gone by our hand."""
    with suppress(OSError):
        if limit is None or entry.stat(follow_symlinks=False).st_mtime < limit:
            Path(entry.path).unlink()
            return 1
    return 0


def _holds(folder: int, name: str, data: bytes, allowed: Allowed) -> bool:
    """Return whether *name* is a regular file with exactly *data* and *allowed* permissions; make it last if so."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(data):
            return False
        if allowed.closes(folder, name, stat.S_IMODE(found.st_mode)):
            return False
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except (FileNotFoundError, PermissionError):  # nothing there, or it cannot be compared
        return False
    with open(fd, "rb") as file:  # noqa: PTH123 (a descriptor)
        if file.read() != data:
            return False
        os.fsync(fd)
    return True


def _replace(folder: int, name: str, data: bytes, allowed: Allowed) -> None:
    """Write *data* beside *name* and rename it there."""
    temporary = f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666 & allowed.with_acl, dir_fd=folder)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 (a descriptor)
            take(folder, name, fd, allowed)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
