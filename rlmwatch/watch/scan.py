"""
The whole folder at one moment: every input and how it looks, without reading any.

The same walk serves the start, lost events, folders that appear, and folders
without events. A link to a folder is not gone into. Somebody who swaps a folder
for a link in the middle of a walk can make it list names elsewhere; reading
them is refused all the same, by the snapshot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.contract.ignored import ignored_folder, too_deep
from rlmwatch.contract.names import JOBS, InputName, input_name
from rlmwatch.contract.near_misses import NOTE_ENDING, NearMiss, has_hint, near_miss
from rlmwatch.runs.model import Signature
from rlmwatch.workspace.snapshot import signature

MAX_ODD = 1_000
"""Near misses and notes that one walk remembers."""


@dataclass(frozen=True, slots=True)
class FoundInput:
    """
    Something with an input's name, be it a file or not.

    Attributes:
        signature: As `lstat` says: of the link, where it is one.
    """

    name: InputName
    signature: Signature


@dataclass(frozen=True, slots=True)
class UnlistedFolder:
    """A folder that could not be listed, or not to its end; what is in it is not known."""

    path: str
    reason: str


def skipped(folder: str) -> bool:
    """Whether no file in *folder* (POSIX path inside the workspace) can be an input or a submission."""
    return folder.startswith(f"{JOBS}/") or ignored_folder(folder) is not None


class Scan:
    """
    One walk over a workspace, or over one folder of it. Iterate it once; it blocks as the disk does.

    Memory: the folders still to be visited and one folder's handle, however many files there are.

    Attributes:
        folders: Folders that can have a watch, so far: all but skipped ones and those that may not be listed.
        complete: Whether every folder could be listed, so far.
        too_deep: The first folder that was passed over because it is too deep; None where there was none so far.
        near: Names that look meant for us and are no input, so far; at most `MAX_ODD`.
        notes: Files with a note's name, so far; likewise.
    """

    def __init__(self, root: Path, start: str = "") -> None:
        self.folders = 0
        self.complete = True
        self.too_deep: str | None = None
        self.near: list[NearMiss] = []
        self.notes: list[str] = []
        self._root = os.fspath(root)
        self._start = start

    def __iter__(self) -> Iterator[FoundInput | UnlistedFolder]:
        waiting: list[str] = []
        self._visit_later(self._start, waiting)
        while waiting:
            folder = waiting.pop()
            if folder != JOBS:  # it has no inputs, and may have thousands of files
                yield from self._list(folder, waiting)
            else:
                self.folders += 1

    def _list(self, folder: str, waiting: list[str]) -> Iterator[FoundInput | UnlistedFolder]:
        """Yield the inputs of *folder* and add its folders to *waiting*."""
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                self.folders += 1
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._visit_later(prefix + entry.name, waiting)
                    elif not has_hint(entry.name.lower()):
                        continue
                    elif (name := input_name(prefix + entry.name)) is None:
                        self._odd(prefix + entry.name)
                    elif found := _found(name, entry):
                        yield found
        except FileNotFoundError:
            if not folder:
                self.complete = False
                yield UnlistedFolder(folder, "missing")
        except NotADirectoryError:
            pass  # it was replaced by a file since its parent was listed
        except OSError as error:
            self.complete = False
            yield UnlistedFolder(folder, error.strerror or str(error))

    def _odd(self, path: str) -> None:
        if path.endswith(NOTE_ENDING):
            if len(self.notes) < MAX_ODD:
                self.notes.append(path)
        elif (miss := near_miss(path)) is not None and len(self.near) < MAX_ODD:
            self.near.append(miss)

    def _visit_later(self, folder: str, waiting: list[str]) -> None:
        if not skipped(folder):
            waiting.append(folder)
        elif too_deep(folder):
            self.too_deep = self.too_deep or folder


def _found(name: InputName, entry: os.DirEntry[str]) -> FoundInput | None:
    """Return how *entry* looks; None where it has gone, or cannot be asked: then there is nothing to read either."""
    try:
        return FoundInput(name, signature(entry.stat(follow_symlinks=False)))
    except OSError:
        return None
