"""
The notes of a workspace: the files whose text `tools: files` searches.

1. A note is a regular file that may be material (see `context.py`): not hidden, no secret by its name or content, none
   of what sync tools and editors leave behind, and text. Documents such as PDFs are none.
2. Nor are the questions, what rlmwatch writes, what lies in `jobs/`, and `rlmwatch.toml`.
3. Folders are opened one in the other and no link is followed, so nothing outside the workspace is read, whatever is
   put in the place of a folder meanwhile.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rlmwatch.contract.formats import DOCUMENTS
from rlmwatch.contract.ignored import too_deep
from rlmwatch.contract.names import JOBS, Other, classify
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.usable import Unusable, may_be_material, text_of

MAX_NOTE_BYTES = 1_000_000
"""Of one note: 200,000 words. What is longer is material for a job."""


@dataclass(frozen=True, slots=True)
class NoteFile:
    """
    A file that may be a note, as it stood in its folder.

    Attributes:
        path: POSIX, from the workspace's root.
        signature: Size and times (modification, change; nanoseconds): the same where nobody has written meanwhile.
    """

    path: str
    signature: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.signature[0]


def note_files(root: Path, known: Mapping[str, tuple[int, int, int]]) -> Iterator[NoteFile]:
    """
    Yield the files of *root* that may be notes, in an order that stays the same. Blocks.

    A folder that cannot be listed is passed over.

    Args:
        root: The workspace.
        known: Signatures of files that were yielded before: by path, so that their names need not be judged again.

    Raises:
        OSError: The workspace itself cannot be listed.
    """
    with safe_open.folder(root) as fd:
        yield from _in_folder(fd, "", known)


def _in_folder(fd: int, above: str, known: Mapping[str, tuple[int, int, int]]) -> Iterator[NoteFile]:
    with os.scandir(fd) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{above}{entry.name}"
        if entry.name == WORKSPACE_FILE or path == JOBS:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if may_be_material(entry) and _can_be_shown(path) and not too_deep(path):
                    yield from _below(fd, entry.name, path, known)
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                note = NoteFile(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
                if known.get(path) == note.signature or (0 < note.size <= MAX_NOTE_BYTES and _may_be_note(entry, path)):
                    yield note
        except OSError:
            continue


def _below(parent: int, name: str, path: str, known: Mapping[str, tuple[int, int, int]]) -> Iterator[NoteFile]:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield from _in_folder(fd, f"{path}/", known)
    finally:
        os.close(fd)


def _may_be_note(entry: os.DirEntry[str], path: str) -> bool:
    if PurePosixPath(path).suffix.lower() in DOCUMENTS or not isinstance(classify(path), Other):
        return False
    return _can_be_shown(path) and may_be_material(entry)


def _can_be_shown(path: str) -> bool:
    """Whether *path* is text on one line: no control characters, and no bytes that are not UTF-8."""
    return path.isprintable() or not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in path)


def read_note(root: Path, path: str) -> bytes | None:
    """Return the bytes of the note *path*; None where it cannot be read, or has become too large. Blocks."""
    try:
        return safe_open.read(root / path, within=root, max_bytes=MAX_NOTE_BYTES)
    except OSError:
        return None


def note_text(raw: bytes) -> str | None:
    """Return the text of a note; None where it is not text, or holds a secret."""
    try:
        return text_of(raw)
    except Unusable:
        return None
