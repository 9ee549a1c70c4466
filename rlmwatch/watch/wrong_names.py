"""
Files whose names look meant for rlmwatch: said once in the log, and in a note beside each.

1. A name is judged where an event or a walk shows it (`contract/near_misses.py`); only a near miss is looked at on the
   disk, once it has rested for `REST_S`. Nothing of it is read.
2. At most `NOTES_PER_FOLDER` of a folder have a note and a line in the log; the rest are one line more.
3. A note goes when its file is gone or has another name: by the event, or by the next walk, so also after a time
   without a daemon. Only what is still our own note is removed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rlmwatch.contract.near_misses import NearMiss, near_miss, note_of, noted
from rlmwatch.errors import WorkspaceError
from rlmwatch.watch.observer import PathEvent
from rlmwatch.workspace.notes import remove_note, there, write_note

REST_S = 2.0
"""After the last event: a file manager makes a file under a first name, and the person types another."""
NOTES_PER_FOLDER = 20
MAX_WATCHED = 1_000
"""Near misses that are remembered, in all: what a hostile folder may take of memory."""

log = structlog.get_logger()


@dataclass(slots=True)
class WrongNames:
    """
    What is said of near misses in one workspace. Used on one loop.

    Attributes:
        root: The workspace.
        notes: Whether notes are written now.
    """

    root: Path
    notes: Callable[[], bool]
    _due: dict[str, float] = field(default_factory=dict)
    _told: dict[str, NearMiss] = field(default_factory=dict)
    _in: Counter[str] = field(default_factory=Counter)  # told, by folder
    _strange: set[str] = field(default_factory=set)  # with a note's name, looked at, and not ours

    @property
    def waiting(self) -> bool:
        """Whether something is still to be said or removed."""
        return bool(self._due)

    def next_due(self) -> float | None:
        """When `tell` has something to do (monotonic seconds); None where it has not."""
        return min(self._due.values(), default=None)

    def seen(self, path: str, event: PathEvent, *, now: float) -> None:
        """Take note of an event of a name that is no input."""
        if event in (PathEvent.WRITING, PathEvent.DONE, PathEvent.GONE) and near_miss(path) is not None:
            self._look_at(path, now if event is PathEvent.GONE else now + REST_S)

    def walked(self, near: Sequence[NearMiss], notes: Sequence[str], *, whole: bool, now: float) -> None:
        """Take over what a walk found: near misses, and files with a note's name."""
        present = {miss.path for miss in near}
        for miss in near:
            if miss.path not in self._told:
                self._look_at(miss.path, self._due.get(miss.path, now))
        for note in notes:
            file = noted(note)
            if file is not None and file not in present and note not in self._strange:
                self._look_at(file, now)
        if whole:
            for gone in [path for path in self._told if path not in present]:
                self._look_at(gone, now)

    async def tell(self, now: float) -> None:
        """Say, write and remove what is due."""
        for path in [path for path, at in self._due.items() if at <= now]:
            del self._due[path]
            try:
                await self._judge(path)
            except WorkspaceError as error:
                log.warning("note.not_written", path=path, why=str(error))

    def _look_at(self, path: str, at: float) -> None:
        if path in self._due or len(self._due) < MAX_WATCHED:
            self._due[path] = at

    async def _judge(self, path: str) -> None:
        miss = near_miss(path)
        taken = None if miss is None else await asyncio.to_thread(there, self.root, miss)
        if miss is None or taken is None:
            await self._forget(path)
        elif path not in self._told and len(self._told) < MAX_WATCHED:
            self._told[path] = miss
            await self._say(miss, taken=taken)

    async def _say(self, miss: NearMiss, *, taken: bool) -> None:
        folder = miss.path.rpartition("/")[0]
        self._in[folder] += 1
        if self._in[folder] > NOTES_PER_FOLDER:
            if self._in[folder] == NOTES_PER_FOLDER + 1:
                log.warning("name.more_wrong", folder=folder or ".", done="no more notes in this folder")
            return
        log.warning("name.wrong", path=miss.path, why=miss.wrong, cure=miss.cure(taken=taken))
        if self.notes() and (note := await asyncio.to_thread(write_note, self.root, miss, taken=taken)):
            self._strange.discard(note)

    async def _forget(self, path: str) -> None:
        if self._told.pop(path, None) is not None:
            self._in[path.rpartition("/")[0]] -= 1
            log.info("name.gone", path=path)
        note = note_of(path)
        if note is None:
            return
        if await asyncio.to_thread(remove_note, self.root, note):
            log.info("note.removed", path=note)
        elif len(self._strange) < MAX_WATCHED:
            self._strange.add(note)
