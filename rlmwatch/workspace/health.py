"""
Whether the workspace is there, is the same folder as before, and can take an answer.

Asked before every paid call: no call is made whose answer could not be stored.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace.os_errors import cannot

PROBE_BYTES = 64 * 1024
"""More than nearly every answer, state and status file; less than any disk that is not full has left."""

_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS)
"""What kernels and file systems without O_TMPFILE answer (open(2)); ENOENT is also that of a missing folder."""


@dataclass(frozen=True, slots=True)
class Root:
    """
    The workspace's folder, as it was when it was opened.

    It holds no descriptor: one would keep the person from unmounting.

    Attributes:
        path: Absolute, links resolved.
        identity: Device and inode.
        is_mount: Whether it was a mount point itself: its empty shell is then not the workspace.
        status_lock: Held from reading a status file to writing it (see `status.py`).
    """

    path: Path
    identity: tuple[int, int]
    is_mount: bool
    status_lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Return the workspace at *path*.

        Raises:
            WorkspaceError: It is missing, no folder, or cannot be read.
        """
        try:
            resolved = path.resolve(strict=True)
        except OSError as error:
            raise cannot("open the workspace", path, error) from error
        found = _look(resolved)
        return cls(resolved, (found.st_dev, found.st_ino), os.path.ismount(resolved))

    def check(self) -> None:
        """
        Return if the workspace is the folder that was opened.

        Raises:
            WorkspaceError: It is missing, unmounted, mounted over, replaced, no folder, or cannot be read.
        """
        found = _look(self.path)
        if (found.st_dev, found.st_ino) == self.identity:
            return
        if self.is_mount and not os.path.ismount(self.path):
            raise WorkspaceError(f"the workspace {self.path} is not mounted. Mount it again.")
        if found.st_dev != self.identity[0]:
            raise WorkspaceError(f"something else is mounted at the workspace {self.path}. Unmount it, or restart.")
        raise WorkspaceError(f"the workspace {self.path} was replaced by another folder of that name.")

    def reopened(self) -> Root:
        """
        Return the folder that is now at the same path, for a watcher that starts over on it.

        Raises:
            WorkspaceError: It is missing, no folder, cannot be read, or is a mount point with nothing mounted.
        """
        now = Root.open(self.path)
        if self.is_mount and not now.is_mount:
            raise WorkspaceError(f"the workspace {self.path} is not mounted. Mount it again.")
        return now


def storable(folder: Path) -> None:
    """
    Return if a file could be stored in *folder* now.

    Tried with a file without a name (O_TMPFILE), which nothing can see or leave behind. The kernel reports it to
    those who watch the folder as `#<inode>`, a name that never exists: our watcher passes over it, and a sync tool
    that looks finds nothing to carry. Where the file system has no such files, permission and free space are asked.

    It promises nothing about a moment later.

    Raises:
        WorkspaceError: It is missing, read-only, full, over quota, or not ours to write; the text says what to do.
    """
    try:
        try:
            fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            _ask(folder)
            return
        with open(fd, "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        raise cannot("store anything in", folder, error) from error


def _look(path: Path) -> os.stat_result:
    """Return what stands at *path*, a readable folder."""
    try:
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise cannot("use the workspace", path, error) from error
    return found


def _ask(folder: Path) -> None:
    """Ask for permission and space, as far as the system says."""
    space = os.statvfs(folder)
    if space.f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    no_inodes = space.f_files > 0 and space.f_favail == 0  # btrfs and some network mounts count none
    if space.f_bavail * space.f_frsize < PROBE_BYTES or no_inodes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
