"""An error of the file system in the person's folder, in words that say what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from rlmwatch.errors import WorkspaceError

_CURES = {
    errno.ENOSPC: "the disk is full. Free some space there",
    errno.EDQUOT: "the disk quota is used up. Free some space there, or raise the quota",
    errno.EFBIG: "the file would be larger than this user may write. Raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only. Mount it for writing (in a systemd unit: ReadWritePaths=)",
    errno.EACCES: "permission denied. Give the user that runs rlmwatch access to this folder",
    errno.EPERM: "not permitted. Give the user that runs rlmwatch access to this folder",
    errno.ENOENT: "there is no such folder. Put it back",
    errno.ENOTDIR: "a link or a file stands where a folder belongs. Move it away; links are not followed",
    errno.ELOOP: "a link stands where a file or a folder belongs. Move it away; links are not followed",
    errno.EISDIR: "a folder stands where this file belongs. Move or rename that folder",
    errno.ENAMETOOLONG: "the name is too long for this file system. Give the input a shorter name",
    errno.EIO: "the disk does not answer (input/output error). Check it, and its cable or network",
    errno.ESTALE: "the mount has gone stale. Mount it again",
    errno.ENOTCONN: "the mount is not connected. Mount it again",
    errno.EHOSTDOWN: "the server of this mount is down. Wait for it, or mount it again",
}


def cannot(do: str, path: Path, error: OSError) -> WorkspaceError:
    """
    Return the WorkspaceError that says that one cannot *do* something with *path*, why, and what to do.

    Args:
        do: A verb, such as `store`.
        path: What it was tried with.
        error: What the system said.
    """
    cure = _CURES.get(error.errno or 0, f"{error.strerror or error}. Look at this folder")
    return WorkspaceError(f"cannot {do} {path}: {cure}.")


def cannot_use_state(path: Path, error: OSError) -> WorkspaceError:
    """Return the WorkspaceError of a file of the private state, which may lie elsewhere as well."""
    return WorkspaceError(
        f"{cannot('use the private state file', path, error)} Or set RLMWATCH_STATE_DIR to another folder."
    )
