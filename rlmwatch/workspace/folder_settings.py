"""The `rlmwatch.toml` files of the folders on the way to a question; the workspace's own stands in the settings."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rlmwatch.errors import ConfigError
from rlmwatch.settings.folder_file import FolderSettings, read_folder_settings
from rlmwatch.settings.workspace_file import MAX_BYTES, WORKSPACE_FILE, text_of
from rlmwatch.workspace import safe_open


def folder_settings(root: Path, path: str) -> Sequence[FolderSettings]:
    """
    Return what the sub-folders on the way to *path* (POSIX, in the workspace *root*) set, the nearest first. Blocks.

    Raises:
        ConfigError: A file is wrong, a link, too large, no text, or cannot be read; names the file.
    """
    found = []
    for folder in PurePosixPath(path).parents:
        if folder != PurePosixPath("."):
            file = folder / WORKSPACE_FILE
            raw = _read(root, file)
            if raw is not None:
                found.append(read_folder_settings(file, text_of(file, raw)))
    return found


def _read(root: Path, file: PurePosixPath) -> bytes | None:
    try:
        return safe_open.read(root / file, within=root, max_bytes=MAX_BYTES)
    except OSError as error:
        if error.errno == errno.ENOTDIR:  # the question's own folder is gone, or another took its place
            return None
        why = "is a link, which is not followed: put a copy there" if error.errno == errno.ELOOP else error.strerror
        if error.errno == errno.EFBIG:
            why = f"is larger than {MAX_BYTES // 1024} KB: make it shorter"
        raise ConfigError(f"{file}: {why or error}") from None
