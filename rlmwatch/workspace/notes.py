"""The note beside a file whose name looks meant for rlmwatch: written, and removed, and nobody else's touched."""

from __future__ import annotations

import stat
from pathlib import Path

from rlmwatch.contract.near_misses import NOTE_MAX_BYTES, NearMiss, is_note, note_of, note_text
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.snapshot import look


def there(root: Path, miss: NearMiss) -> bool | None:
    """Return whether a file of the right name is there beside that of *miss*; None where *miss* is not there itself."""
    try:
        if not stat.S_ISREG((root / miss.path).lstat().st_mode):
            return None
    except OSError:
        return None
    return miss.right is not None and look(root, miss.right) is not None


def write_note(root: Path, miss: NearMiss, *, taken: bool) -> str | None:
    """
    Write the note of *miss* beside it, and return its path; None where something else has that name.

    Raises:
        WorkspaceError: It could not be stored.
    """
    note = note_of(miss.path)
    if note is None or _holds(root, note) is False:
        return None
    atomic.write(root / note, note_text(miss, taken=taken).encode(), within=root, question=root / miss.path)
    return note


def remove_note(root: Path, note: str) -> bool:
    """
    Remove the file *note* where it is a note of ours that nobody has changed; return whether it was.

    Raises:
        WorkspaceError: It could not be looked at, or removed.
    """
    return _holds(root, note) is True and atomic.remove(root / note, within=root)


def _holds(root: Path, note: str) -> bool | None:
    """Return whether *note* is one of ours; None where there is no such file."""
    try:
        content = safe_open.read(root / note, within=root, max_bytes=NOTE_MAX_BYTES)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise cannot("read", root / note, error) from error
        return False  # a folder, a link, a pipe, or a longer file: not ours
    return None if content is None else is_note(content)
