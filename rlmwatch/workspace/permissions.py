"""
Who may read and write what we write: as before, or as the folder says, and never more than may read the question.

1. A file that is replaced keeps its group, its mode and its access control list (ACL), and its owner where we may give
   files away. Where its group or its list cannot be kept, the group gets no more than everybody has: it would be
   another group.
2. A new file gets what the folder says: its group where that is setgid, its default list, or what the umask leaves.
   That is the kernel's doing.
3. Either is at least as closed to group and others as the question that it answers.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POSIX_ACL = "system.posix_acl_access"
_ACLS = (_POSIX_ACL, "system.nfs4_acl")
"""Where Linux keeps access control lists: of local file systems, and of NFS 4."""

_GROUP_OBJ, _MASK = 0x04, 0x10
"""Tags of an ACL (acl(5)): the file's own group, and what the mode shows in its place."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    The permissions that an answer may have, as bits of a mode.

    Attributes:
        with_acl: For a file with an ACL, where the bits of the group are the most that anybody but the owner has.
        plain: For a file without, where they are those of the file's group.
    """

    with_acl: int = 0o777
    plain: int = 0o777

    def closes(self, folder: int, name: str, mode: int) -> bool:
        """Whether the file *name*, of *mode*, in the open folder *folder* is more open than that."""
        if not mode & ~(self.with_acl & self.plain):
            return False
        return bool(mode & ~(self.plain if _acl(_at(folder, name)) is None else self.with_acl))


def allowed_by(question: Path | None) -> Allowed:
    """Return the permissions that an answer to *question* may have: all where it is gone, or nobody asked."""
    try:
        mode = 0o777 if question is None else 0o700 | stat.S_IMODE(question.lstat().st_mode)
    except OSError:
        return Allowed()
    acl = None if question is None else _acl(question)
    return Allowed(mode, mode if acl is None else mode & (0o707 | _of_group(acl) << 3))


def take(folder: int, name: str, fd: int, allowed: Allowed) -> None:
    """
    Give the open new file *fd* the access that it is to have as *name* in the open folder *folder*.

    A mount that keeps no owners, modes or lists is no error.
    """
    try:
        old = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        old = None
    made = stat.S_IMODE(os.fstat(fd).st_mode) & 0o777
    mode = made
    if old is not None and stat.S_ISREG(old.st_mode):
        mode = stat.S_IMODE(old.st_mode) & 0o777
        owned, listed = _take_owner(old, fd), _take_acl(_at(folder, name), fd)
        if not (owned and listed):
            mode &= 0o707 | (mode & 0o007) << 3
    mode &= allowed.plain if _acl(fd) is None else allowed.with_acl
    if mode != stat.S_IMODE(os.fstat(fd).st_mode) & 0o777:
        with suppress(PermissionError):
            os.fchmod(fd, mode)


def _take_owner(old: os.stat_result, fd: int) -> bool:
    """Give *fd* owner and group of *old*; False where the group could not be kept."""
    now = os.fstat(fd)
    if (now.st_uid, now.st_gid) == (old.st_uid, old.st_gid):
        return True
    for owner in (old.st_uid, -1):
        with suppress(OSError):
            os.fchown(fd, owner, old.st_gid)
            return True
    return os.fstat(fd).st_gid == old.st_gid


def _take_acl(old: str, fd: int) -> bool:
    """Give *fd* the list of the file *old*, or take its own away; False where a list could not be kept."""
    for kind in _ACLS:
        before, now = _attribute(old, kind), _attribute(fd, kind)
        if before == now:
            continue
        try:
            if before is None:
                os.removexattr(fd, kind)
            else:
                os.setxattr(fd, kind, before)
        except OSError:
            return False
    return True


def _at(folder: int, name: str) -> str:
    """Return a path for calls that take no descriptor of a folder; it leads through no link."""
    return f"/proc/self/fd/{folder}/{name}"


def _acl(file: str | Path | int) -> bytes | None:
    return _attribute(file, _POSIX_ACL)


def _attribute(file: str | Path | int, kind: str) -> bytes | None:
    try:
        return os.getxattr(file, kind) if isinstance(file, int) else os.getxattr(file, kind, follow_symlinks=False)
    except OSError:  # it has none, or nothing has any here
        return None


def _of_group(acl: bytes) -> int:
    """Return what the file's own group may do by *acl*: its entry, under the mask."""
    entries: dict[int, int] = {tag: permissions for tag, permissions, _ in struct.iter_unpack("<HHI", acl[4:])}
    return entries.get(_GROUP_OBJ, 0) & entries.get(_MASK, 7)
