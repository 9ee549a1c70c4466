"""Which file systems change without telling this machine: read from the kernel's list of mounts."""

from __future__ import annotations

import os
import re
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
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    place = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 (the closing slash is wanted)
    holds_root: tuple[str, str] = ("", "")
    below = None
    for mount, kind in _mounts(mountinfo):
        folder = mount.rstrip("/") + "/"
        if place.startswith(folder) and len(folder) >= len(holds_root[0]):  # the later of two covers the earlier
            holds_root = (folder, kind)
        elif folder.startswith(place) and _REMOTE.fullmatch(kind):
            below = kind
    return holds_root[1] if _REMOTE.fullmatch(holds_root[1]) else below


def _mounts(mountinfo: str) -> list[tuple[str, str]]:
    """Return (where, type) of every mount, in the order of mounting."""
    mounts = []
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, after = head.split(" "), tail.split(" ")
        if dash and len(fields) > 4:  # noqa: PLR2004 (the fifth is the place, proc(5))
            where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            mounts.append((where, after[0]))
    return mounts
