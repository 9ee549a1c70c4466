"""A new file for this user alone."""

from __future__ import annotations

import os
from pathlib import Path


def make_private(path: Path, *, create: bool) -> None:
    """
    Make the folder and the file, readable for this user only; or see that the file is there.

    Raises:
        OSError: It is not there, or cannot be made or used.
    """
    if not create or path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
