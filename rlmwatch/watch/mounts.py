"""
What is mounted at and below the workspace, as the kernel's list of mounts says.

Some file systems change without telling this machine. And a mount covers a folder without an event: who watches the
folder goes on watching what is no longer seen.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

_REMOTE = re.compile(
    r"""
      nfs4? | cifs | smb3 | smbfs | ncpfs | 9p | afs | ceph | coda | davfs2? | lustre | gpfs | beegfs | orangefs | ocfs2
    | gfs2 | virtiofs | vboxsf | prl_fs | vmhgfs | drvfs
    | fuse(?!blk) .*        # sshfs, rclone, cloud drives; fuseblk is a local disk (NTFS, exFAT)
    """,
    re.VERBOSE,
)
"""Types of file systems that others write to, or that write themselves, with no event here."""


def remote(root: Path, mountinfo: str | None = None) -> str | None:
    """
    Return the type of the network or FUSE file system that *root* lies on, or that is mounted below it; else None.

    *mountinfo* is the text of the kernel's list (proc(5)); by default it is read. Where there is none, None.
    """
    place = _place(root)
    holds_root: tuple[str, str] = ("", "")
    below = None
    for _, mount, kind in _mounts(_list() if mountinfo is None else mountinfo):
        folder = mount.rstrip("/") + "/"
        if place.startswith(folder) and len(folder) >= len(holds_root[0]):  # the later of two covers the earlier
            holds_root = (folder, kind)
        elif folder.startswith(place) and _REMOTE.fullmatch(kind):
            below = kind
    return holds_root[1] if _REMOTE.fullmatch(holds_root[1]) else below


@dataclass(slots=True)
class Mounts:
    """What is mounted at or below *root*, followed over time."""

    root: Path
    _listed: str | None = None
    _here: frozenset[tuple[str, str, str]] = frozenset()

    def changed(self, mountinfo: str | None = None) -> bool:
        """
        Whether something was mounted or unmounted at or below the root since this was asked last; False the first time.

        *mountinfo* is as in `remote`. Blocks for some 50 microseconds.
        """
        listed = _list() if mountinfo is None else mountinfo
        if listed == self._listed:
            return False
        place = _place(self.root)
        here = frozenset(mount for mount in _mounts(listed) if (mount[1].rstrip("/") + "/").startswith(place))
        changed = self._listed is not None and here != self._here
        self._listed, self._here = listed, here
        return changed


def _list() -> str:
    """Return the kernel's list; empty where there is none."""
    try:
        return MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _place(root: Path) -> str:
    return os.path.join(os.path.realpath(root), "")  # noqa: PTH118 (the closing slash is wanted)


def _mounts(mountinfo: str) -> list[tuple[str, str, str]]:
    """Return (id, where, type) of every mount, in the order of mounting."""
    mounts = []
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, after = head.split(" "), tail.split(" ")
        if dash and len(fields) > 4:  # noqa: PLR2004 (the fifth is the place, proc(5))
            where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            mounts.append((fields[0], where, after[0]))
    return mounts
