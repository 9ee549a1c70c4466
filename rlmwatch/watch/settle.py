"""
Decide when a changed input has come to rest.

Pure: no disk, no clock. The watcher says what it saw and when (monotonic
seconds); this says which paths are due to be looked at, and how.

1. `done` (closed after writing, or moved to its name) makes a path DONE.
   `writing` (created, modified, or found different by a rescan) makes it
   WRITING. `gone` (deleted, moved away) forgets it.
2. A path is due

   a. `QUIET_S` after its last event, or
   b. `QUIET_AGAIN_S` after it, where that event came within `AGAIN_WINDOW_S`
      of the path's last admission, and
   c. never later than `DEADLINE_S` after it first changed.

3. A due path that is DONE is read. One that is WRITING may have a writer, so
   the caller probes, and answers here:

   a. free: it is read (nothing to answer here yet);
   b. busy: it is due to be probed again every `PROBE_EVERY_S`, until it is
      DONE. Programs that keep a file open without writing are an exception that
      must be proven (`keeps_still`): so the first look after an event notes what
      the file holds, and a look every `HELD_OPEN_REST_S` judges it. It is read
      without proof after `HELD_OPEN_LIMIT_S` without an event;
   c. unknown: it is read without a probe after `UNPROVEN_REST_S` without an
      event.

   These waits are not cut short by 2c: it says when a path is looked at, not
   that half a file is a save.
4. Where who was through may have opened the file anew since, unheard of by us
   yet, the caller probes once more when it was read. Busy: it is due again
   after `PROBE_EVERY_S`, by when the event of a new writer has come (it makes
   the path WRITING); if none has, it is judged as in 3b, where the close is
   proof enough but of a descriptor that can only write.
5. Due is not complete: the snapshot may still find the file moving, and then
   reports it here as changed. It is due again after `QUIET_S`, and twice as
   late each time it goes on, up to `UNPROVEN_REST_S`.

6. A path that was read may have to rest longer: a text that is still typed (`still_typing.py`). It is due again when
   it has, at the latest `TYPING_DEADLINE_S` after it first changed.

Looking takes time, so a path that was returned as due is kept apart until its
answer: events that come meanwhile start anew and win over the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

QUIET_S = 0.05
"""Rest after which a path is due. Every real editor and local sync tool is done within 11 ms (160 recorded saves)."""

QUIET_AGAIN_S = 0.5
"""Rest of a path that was just admitted: append loops and `git stash`/`pop` change it again within 0.5 s."""

AGAIN_WINDOW_S = 2.0
"""How long a path counts as just admitted."""

DEADLINE_S = 10.0
"""A path that never rests is looked at nevertheless. Longer than any recorded save but slow network copies."""

PROBE_EVERY_S = 0.25
"""How often a path that somebody has open is probed; a probe takes 5 microseconds, a person waits for this one."""

HELD_OPEN_REST_S = 5.0
"""Rest after which an open file may be whole all the same: LibreOffice keeps its file open as long as it shows it."""

WRITE_ONLY_REST_S = 15.0
"""The same where the file is open only to be written, as by a shell's `>`: such a writer most likely pauses."""

HELD_OPEN_LIMIT_S = 600.0
"""Rest after which an open file is read in any case, which the log says: a forgotten descriptor loses no save."""

UNPROVEN_REST_S = 2.5
"""Rest where nobody can say if the file is open (FUSE, NFS): slow network writes pause for up to 2 s."""

TYPING_DEADLINE_S = 60.0
"""Who types for so long without such a rest is answered nevertheless, once a minute."""


class Phase(Enum):
    """What the last event shows of the writer."""

    WRITING = "writing"
    DONE = "done"


class Lease(Enum):
    """What the last probe found."""

    UNASKED = "unasked"
    BUSY = "busy"
    UNKNOWN = "unknown"


class WhereOpen(Enum):
    """What to do with a path that is due where somebody has it open (rule 3b)."""

    LEAVE = "leave"
    NOTE = "note"  # what it holds
    JUDGE = "judge"  # whether it holds the same as before, and who has it open
    READ = "read"


@dataclass(frozen=True, slots=True)
class Due:
    """
    A path to look at now.

    Attributes:
        probe: Whether to probe for a writer before it is read (rule 3).
        recheck: Whether to probe for one when it was read (rule 4).
        closed: Whether the last event was that its writer is through.
    """

    path: str
    probe: bool
    recheck: bool = False
    where_open: WhereOpen = WhereOpen.LEAVE
    closed: bool = False


def keeps_still(raw: bytes, *, unchanged_s: float, write_only: bool, closed: bool) -> bool:
    """
    Whether who has a file open is proven not to be in the middle of writing *raw* (rules 3b, 4).

    1. Closed by a writer: unless somebody else has it open only to write, that one keeps it open to show it.
    2. Else *raw* has been the same for `HELD_OPEN_REST_S`, or `WRITE_ONLY_REST_S` where it is open only to be written,
       and its last line is whole. A look may come a little early, and takes time itself: `PROBE_EVERY_S` is allowed.
    """
    if closed and not write_only:
        return True
    whole_lines = raw.endswith((b"\n", b"\r", b"\n\0", b"\r\0"))
    rest_s = WRITE_ONLY_REST_S if write_only else HELD_OPEN_REST_S
    return whole_lines and unchanged_s >= rest_s - PROBE_EVERY_S


@dataclass(frozen=True, slots=True)
class _Unrest:
    """
    A path that changed.

    Attributes:
        first: When it first changed since it was last read.
        last: Its last event.
        not_before: Earliest time of the next look.
        tries: Snapshots that found it moving.
        noted: When what it holds was last noted or judged while it was open, since its last event.
    """

    phase: Phase
    first: float
    last: float
    lease: Lease = Lease.UNASKED
    not_before: float = 0.0
    tries: int = 0
    noted: float | None = None


@dataclass(slots=True)
class Settling:
    """The paths that changed and were not read since."""

    _unrest: dict[str, _Unrest] = field(default_factory=dict)
    _looked_at: dict[str, _Unrest] = field(default_factory=dict)
    _admitted: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many paths wait or are being looked at."""
        return len(self._unrest.keys() | self._looked_at.keys())

    def __contains__(self, path: str) -> bool:
        """Whether *path* waits or is being looked at."""
        return path in self._unrest or path in self._looked_at

    def done(self, path: str, *, now: float) -> None:
        """Note that *path* was closed by its writer or moved to its name (rule 1)."""
        self._event(path, Phase.DONE, now)

    def writing(self, path: str, *, now: float) -> None:
        """Note that *path* was created, modified, or found different by a rescan (rule 1)."""
        self._event(path, Phase.WRITING, now)

    def gone(self, path: str) -> None:
        """Forget *path*: it was deleted or moved away (rule 1)."""
        self._unrest.pop(path, None)
        self._looked_at.pop(path, None)

    def clear(self) -> None:
        """Forget every path; a rescan will find what is there."""
        self._unrest.clear()
        self._looked_at.clear()

    def due(self, *, now: float) -> list[Due]:
        """
        Return the paths that are due at *now*, in the order of their last event.

        Each stays out until it is answered by `busy`, `unknown`, `changed` or `read`.
        """
        ripe = [(unrest.last, path) for path, unrest in self._unrest.items() if self._due_at(path, unrest) <= now]
        dues = []
        for _, path in sorted(ripe):
            unrest = self._unrest.pop(path)
            closed = unrest.phase is Phase.DONE
            just_closed = closed and unrest.lease is Lease.UNASKED
            where_open = WhereOpen.LEAVE if just_closed else self._where_open(unrest, now)
            probe = not just_closed and unrest.lease is not Lease.UNKNOWN and where_open is not WhereOpen.READ
            if where_open in (WhereOpen.NOTE, WhereOpen.JUDGE):
                unrest = replace(unrest, noted=now)
            self._looked_at[path] = unrest
            dues.append(Due(path, probe, recheck=probe or just_closed, where_open=where_open, closed=closed))
        return dues

    def next_due(self) -> float | None:
        """Return when the next path will be due; None where none waits."""
        return min((self._due_at(path, unrest) for path, unrest in self._unrest.items()), default=None)

    def busy(self, path: str, *, now: float) -> None:
        """Answer that somebody has *path* open for writing (rules 3b, 4)."""
        self._back(path, lease=Lease.BUSY, not_before=now + PROBE_EVERY_S)

    def unknown(self, path: str) -> None:
        """Answer that nobody can say whether *path* has a writer (rule 3c)."""
        self._back(path, lease=Lease.UNKNOWN, not_before=0.0)

    def changed(self, path: str, *, now: float) -> None:
        """Answer that the snapshot found *path* moving (rule 5)."""
        unrest = self._looked_at.get(path)
        if unrest is not None:
            wait = min(QUIET_S * 2**unrest.tries, UNPROVEN_REST_S)
            self._back(path, not_before=now + wait, tries=unrest.tries + 1)

    def rests_for(self, path: str, rest_s: float, *, now: float) -> bool:
        """
        Whether *path*, whose look is not answered yet, has rested for *rest_s* (rule 6).

        Where not, that answers the look: the path is due again when it has. A path that is not being looked at rests.
        """
        unrest = self._looked_at.get(path)
        if unrest is None or now >= (deadline := unrest.first + TYPING_DEADLINE_S):
            return True
        due = min(unrest.last + rest_s, deadline)
        if now >= due and path not in self._unrest:
            return True
        self._back(path, not_before=due)
        return False

    def read(self, path: str) -> None:
        """Answer that *path* was read, or that there is nothing to read: it rests, but for events since the look."""
        self._looked_at.pop(path, None)

    def admitted(self, path: str, *, now: float) -> None:
        """Note that a content of *path* was admitted (rule 2b)."""
        self._admitted.pop(path, None)
        self._admitted[path] = now  # at the end: the dict is in the order of time
        while now - (then := next(iter(self._admitted.items())))[1] > AGAIN_WINDOW_S + DEADLINE_S:
            del self._admitted[then[0]]

    def _event(self, path: str, phase: Phase, now: float) -> None:
        seen = self._unrest.get(path)
        if seen is None:
            before = self._looked_at.get(path)
            self._unrest[path] = _Unrest(phase, now if before is None else before.first, now)
            return
        seen = replace(seen, phase=phase, last=now, noted=None)
        if phase is Phase.DONE:  # what was known of the writer is over
            seen = replace(seen, lease=Lease.UNASKED, not_before=0.0)
        self._unrest[path] = seen

    def _back(self, path: str, *, not_before: float, lease: Lease | None = None, tries: int | None = None) -> None:
        """Take *path* back after a look, unless an event since then has begun it anew."""
        unrest = self._looked_at.pop(path, None)
        if unrest is not None and path not in self._unrest:
            self._unrest[path] = replace(
                unrest,
                not_before=not_before,
                lease=unrest.lease if lease is None else lease,
                tries=unrest.tries if tries is None else tries,
            )

    def _due_at(self, path: str, unrest: _Unrest) -> float:
        admitted = self._admitted.get(path)
        again = admitted is not None and unrest.last - admitted <= AGAIN_WINDOW_S
        rest = unrest.last + (QUIET_AGAIN_S if again else QUIET_S)
        due = max(min(rest, unrest.first + DEADLINE_S), unrest.not_before)
        if unrest.lease is not Lease.UNKNOWN or unrest.phase is Phase.DONE:
            return due
        return max(due, unrest.last + UNPROVEN_REST_S)

    @staticmethod
    def _where_open(unrest: _Unrest, now: float) -> WhereOpen:
        if unrest.lease is Lease.UNKNOWN:
            return WhereOpen.LEAVE
        if unrest.lease is Lease.BUSY and now >= unrest.last + HELD_OPEN_LIMIT_S:
            return WhereOpen.READ
        if unrest.noted is None:
            return WhereOpen.NOTE if unrest.phase is Phase.WRITING else WhereOpen.JUDGE
        return WhereOpen.JUDGE if now >= unrest.noted + HELD_OPEN_REST_S else WhereOpen.LEAVE
