"""
Read files whole, once they have come to rest: settle, read, look again.

    change ─▶ settling ─ due ─▶ look (in a worker thread) ─▶ what is there
                 ▲                 │
                 └── open, moving ─┘

The watcher reads inputs so, and the inbox job files. When a path is due stands in `settle.py`; how it is looked at in
`reading.py`. What was seen of a path goes back to the settle rule here, so that a caller gets only what it can act on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.runs.model import Signature
from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.reading import Look, look_at
from rlmwatch.watch.settle import (
    DEADLINE_S,
    HELD_OPEN_LIMIT_S,
    QUIET_S,
    UNPROVEN_REST_S,
    Due,
    Settling,
    WhereOpen,
    keeps_still,
)
from rlmwatch.workspace.snapshot import Absent, Changed, Content, NotAFile, Snapshot, Unreadable, WriterState, snapshot

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """What is at *path*, which rests."""

    path: str
    found: Content | NotAFile | Unreadable | Absent


@dataclass(frozen=True, slots=True)
class _Held:
    """
    What a file held while somebody had it open.

    Attributes:
        since: When it was first seen to hold that.
        reported: Whether the log says that it is waited for.
    """

    digest: bytes
    since: float
    reported: bool


class SettledReader:
    """
    The files of one workspace that changed and were not read since.

    Used on one loop, by one task; only `read` and `survey` wait for the disk. Times are monotonic seconds.

    Attributes:
        trust_leases: Whether a free lease proves that nobody writes; False on mounts that others write to.
    """

    def __init__(self, root: Path, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self.root = root
        self._monotonic = monotonic
        self.trust_leases = True
        self._settling = Settling()
        self._dues: deque[Due] = deque()
        self._again: dict[str, float] = {}
        self._moving: dict[str, Changed] = {}
        self._sighted: dict[str, Signature] = {}
        self._held: dict[str, _Held] = {}

    def __bool__(self) -> bool:
        """Whether any path waits or is being looked at."""
        return bool(self._settling or self._dues or self._again)

    def __contains__(self, path: str) -> bool:
        """Whether *path* waits or is being looked at."""
        return path in self._settling or path in self._again

    def next_due(self) -> float | None:
        """Return when there is something to read next; None where nothing waits."""
        if self._dues:
            return 0.0
        settled = self._settling.next_due()
        return min([*self._again.values(), *([] if settled is None else [settled])], default=None)

    # What happened to a path

    def changed(self, path: str, event: PathEvent, *, now: float) -> None:
        """Note an event: *path* is written to, was closed or moved to its name, or is gone."""
        self._again.pop(path, None)
        match event:
            case PathEvent.WRITING:
                self._settling.writing(path, now=now)
            case PathEvent.DONE:
                self._settling.done(path, now=now)
            case PathEvent.GONE:
                self.forget(path)
            case _:
                raise ValueError(f"{event} does not happen to one file")

    def forget(self, path: str) -> None:
        """Note that *path* is gone."""
        self._settling.gone(path)
        self._forget_looks(path)

    def clear(self) -> None:
        """Forget every path; a walk will find what is there."""
        self._settling.clear()
        self._dues.clear()
        self._again.clear()

    # Reading

    async def read(self, *, max_bytes: int) -> list[Settled]:
        """
        Look at one batch of the paths that are due, and return what is at those that rest.

        The caller answers for each of them with `rests`, `forget`, `look_later` or `look_again`.
        """
        now = self._monotonic()
        self._dues.extend(self._settling.due(now=now))
        for path in [path for path, at in self._again.items() if at <= now]:
            del self._again[path]
            self._dues.append(Due(path, probe=False))
        settled = [self._judge(due, look, max_bytes) for due, look in await self._look(self._dues, max_bytes)]
        return [each for each in settled if each is not None]

    async def survey(self, *, max_bytes: int) -> AsyncIterator[tuple[str, Snapshot | None]]:
        """
        Yield every path that waits, as it is now, whether it rests or not.

        Those for which the caller does not answer go on waiting.
        """
        dues = deque(Due(due.path, probe=False) for due in self._settling.due(now=float("inf")))
        while dues:
            for _, look in await self._look(dues, max_bytes):
                yield look.path, look.snapshot
                if look.path in self._settling:
                    self._settling.read(look.path)
                    self._settling.writing(look.path, now=self._monotonic())

    # What the caller answers

    def rests(self, path: str) -> None:
        """Note that *path* was taken care of; an event that came since it was read counts."""
        self._settling.read(path)
        self._forget_looks(path)

    def rests_for(self, path: str, rest_s: float) -> bool:
        """Whether *path*, which was read, has rested for *rest_s*. Where not, it is read again when it has."""
        return self._settling.rests_for(path, rest_s, now=self._monotonic())

    def look_later(self, path: str) -> None:
        """Note that what was read could not be taken now: *path* is read again soon, later each time."""
        now = self._monotonic()
        if path in self._settling:
            self._settling.changed(path, now=now)
        else:
            self._again[path] = now + UNPROVEN_REST_S

    def look_again(self, path: str, *, at: float) -> None:
        """Note that *path* rests for now; it is read again at the time *at*, or when it changes."""
        self._settling.read(path)
        self._again[path] = at

    def admitted(self, path: str) -> None:
        """Note that a content of *path* was admitted: what follows soon is given more time (settle rule 2b)."""
        self._settling.admitted(path, now=self._monotonic())

    async def _look(self, dues: deque[Due], max_bytes: int) -> list[tuple[Due, Look]]:
        """Look at a batch from the front of *dues*, take it off, and return what was seen of each."""
        if not dues:
            return []
        looks = await asyncio.to_thread(
            look_at, self.root, tuple(dues), max_bytes=max_bytes, trust_leases=self.trust_leases
        )
        return [(dues.popleft(), look) for look in looks]

    def _judge(self, due: Due, look: Look, max_bytes: int) -> Settled | None:
        """Tell the settle rule what was seen of a path; return what is there if it rests."""
        path, now = look.path, self._monotonic()
        if due.where_open is WhereOpen.READ:
            log.warning("save.read_while_open", path=path, after_s=HELD_OPEN_LIMIT_S)
        if look.writer is WriterState.BUSY and not self._keeps_still(due, look, now):
            self._settling.busy(path, now=now)
            return None
        match look.writer, look.snapshot:
            case WriterState.UNKNOWN, _:
                if look.sighted is not None:
                    self._sighted[path] = look.sighted
                self._settling.unknown(path)
            case _, Changed() as changed:
                repeats = changed.repeats(self._moving.get(path))
                self._moving[path] = changed
                if repeats and (content := _content(changed, max_bytes)):
                    return self._settled(path, content)
                self.look_later(path)
            case _, Content() as content:
                return self._settled(path, content)
            case _, (NotAFile() | Unreadable() | Absent()) as found:
                return Settled(path, found)
            case _, None:
                return Settled(path, Absent())
        return None

    def _keeps_still(self, due: Due, look: Look, now: float) -> bool:
        """Note what an open file holds; whether that is a save, as the settle rule says where it is to be judged."""
        if not isinstance(look.snapshot, Content):
            return False
        path, raw = due.path, look.snapshot.raw
        digest = sha256(raw).digest()
        held = self._held.get(path)
        if held is None or held.digest != digest:
            held = _Held(digest, since=now, reported=held is not None and held.reported)
        self._held[path] = held
        if due.where_open is not WhereOpen.JUDGE:
            return False
        write_only = look.write_only is not None
        if keeps_still(raw, unchanged_s=now - held.since, write_only=write_only, closed=due.closed):
            return True
        if not held.reported:
            log.info("save.waiting_for_writer", path=path, writer=look.write_only, at_most_s=HELD_OPEN_LIMIT_S)
            self._held[path] = replace(held, reported=True)
        return False

    def _settled(self, path: str, content: Content) -> Settled | None:
        """
        Return *content*, or None where *path* grew since nobody could say if it has a writer: it is still written.

        Times do not count: on some mounts they move at every look.
        """
        sighted = self._sighted.get(path)
        if sighted is None or (sighted.size, sighted.inode) == (content.signature.size, content.signature.inode):
            return Settled(path, content)
        self._sighted[path] = content.signature
        self._settling.read(path)
        self._settling.writing(path, now=self._monotonic())
        return None

    def _forget_looks(self, path: str) -> None:
        for looks in (self._again, self._moving, self._sighted, self._held):
            looks.pop(path, None)


async def read_now(root: Path, path: str, *, max_bytes: int) -> Snapshot:
    """
    Read *path*, which somebody asked for: nobody probes for a writer, but the content is whole.

    A file that moves is read again every `QUIET_S`, for up to `DEADLINE_S`; then it is returned as `Changed`.
    """
    deadline = clock.monotonic() + DEADLINE_S
    before: Changed | None = None
    while True:
        found = await asyncio.to_thread(snapshot, root, path, max_bytes=max_bytes)
        if not isinstance(found, Changed):
            return found
        if found.repeats(before) and (content := _content(found, max_bytes)):
            return content
        if clock.monotonic() > deadline:
            return found
        before = found
        await asyncio.sleep(QUIET_S)


def _content(changed: Changed, max_bytes: int) -> Content | None:
    """Return the whole content in a look at which only times moved."""
    if changed.raw is None or changed.signature is None:
        return None
    return Content(changed.raw, changed.signature, oversize=len(changed.raw) > max_bytes)
