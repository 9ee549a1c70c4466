"""
The inbox `jobs/`: submissions in, by whatever way they came.

    watcher ─ event ─▶ settled reader ─ content ─▶ to_submission ─▶ ledger ─▶ supervisor
                             ▲
    listing ──── unknown ────┘

What it holds to:

1. A job file is read when it has come to rest, by the same rule as an input. One that is not a JSON object yet is read
   again each `AGAIN_S`; after `GIVE_UP_S` without a change it has failed.
2. A listing finds what came without an event. It reads names alone, none where nothing came or went, and the ledger
   says in one go which ids it does not know; only those files are opened, once. So 100,000 ended runs cost one listing.
3. Cancel requests go before the runs that they are about (`cancellation.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from rlmwatch import clock
from rlmwatch.contract.names import JOBS, Submission, classify
from rlmwatch.errors import LedgerError, WorkspaceError
from rlmwatch.runs.model import Run, Save
from rlmwatch.runs.queue import Queue
from rlmwatch.runs.submitted import Incomplete, to_submission
from rlmwatch.submissions.admission import Rules, SubmissionAdmission, as_it_is
from rlmwatch.submissions.cancellation import Cancellations, RunControl
from rlmwatch.watch.mounts import remote
from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.settled_reader import SettledReader, read_now
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.snapshot import Absent, Content, NotAFile, Unreadable, WriterState, writer

AGAIN_S = 1.0
"""How often a partial job file is read again where no event reports the rest."""

GIVE_UP_S = 10.0
"""Seconds without a change after which a partial job file has failed: scripts pause for seconds, people wait."""

GIVE_UP_OPEN_S = 60.0
"""The same where somebody has it open for writing: a slow program, which will go on."""

ASKED_AT_ONCE = 5_000
"""Ids in one question to the ledger: some 10 ms, so that a paid call's reply does not wait."""

SORTED_AT_ONCE = 500
"""Files of a backlog that are looked at before the loop goes on: some 30 ms, so that new ones do not wait."""

RETRY_S = 2.0
"""After a failure of folder or ledger, whose cause a person fixes, or which passes."""

log = structlog.get_logger()


@dataclass(slots=True)
class _PartialFile:
    """A job file that is not a JSON object yet: how large, and since when."""

    size: int
    since: float


@dataclass(slots=True)
class Inbox:
    """
    Takes submissions and cancel requests out of one workspace's `jobs/`.

    `begin` comes first, then `run`, on one loop.

    Attributes:
        rules: Returns what holds now; asked for each file.
        captured: Returns a save with what its preset and its schema say now.
        attach: Returns a save with what its task mentions.
    """

    root: Root
    queue: Queue
    supervisor: RunControl
    rules: Callable[[], Rules]
    captured: Callable[[Save], Awaitable[Save]] = as_it_is
    attach: Callable[[Save], Awaitable[Save]] = as_it_is
    cancellations: Cancellations = field(init=False)
    _admission: SubmissionAdmission = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _rested: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: SettledReader = field(init=False)
    _partial: dict[str, _PartialFile] = field(default_factory=dict)
    _backlog: deque[str] = field(default_factory=deque)  # unknown to the ledger, and not looked at yet
    _unknown: set[str] = field(default_factory=set)  # unknown to the ledger, and no status of an ended run
    _ignored: set[str] = field(default_factory=set)  # unknown to the ledger, read, and not a submission
    _list_soon: bool = True
    _last_changes_ns: tuple[int, int] = (-1, -2)
    _reported: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = SettledReader(self.root.path)
        self.cancellations = Cancellations(self.root, self.queue, self.supervisor)
        self._admission = SubmissionAdmission(
            self.root, self.queue, self.supervisor, self.cancellations, self.rules, self.captured, self.attach
        )

    @property
    def at_rest(self) -> bool:
        """Whether everything that was seen so far was taken care of, if it can be (for `run --once`)."""
        waits = self._reader or self._partial or self._backlog or self._list_soon
        return bool(self._reported) or not (waits or not self.cancellations.at_rest)

    async def until_at_rest(self) -> None:
        """Return as soon as `run` has taken care of everything that was seen."""
        await self._rested.wait()

    async def begin(self) -> None:
        """List what is there, and carry out its cancel requests: before anything is started that they are about."""
        await self._or_later("list", self._list)

    def changed(self, path: str, event: PathEvent) -> None:
        """Note what the watcher saw; to be called on the loop."""
        now = clock.monotonic()
        if not self.cancellations.changed(path, event, now=now):
            match event, classify(path):
                case (PathEvent.RESCAN, _) | (PathEvent.FOLDER, _):
                    self._list_soon = self._list_soon or path in ("", JOBS)
                case _, Submission():
                    self._reader.changed(path, event, now=now)
                case _:
                    return
        elif event is PathEvent.GONE:
            self._forget(path)
        self._notify()

    def published(self, run: Run) -> None:
        """Note that *run* has ended and its status says so."""
        if self.cancellations.published(run):
            self._notify()

    def _notify(self) -> None:
        self._rested.clear()
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        self._wake.set()
        try:
            while not stop.is_set():
                await self._sleep()
                await self._or_later("cancel", self.cancellations.carry_out)
                await self._or_later("list", self._list)
                await self._or_later("deleted", self.cancellations.end_deleted)
                await self._read_due()
                await self._sort_backlog()
                (self._rested.set if self.at_rest else self._rested.clear)()
        finally:
            stopping.cancel()

    async def admit_now(self, job_id: str) -> None:
        """Take in the job file of *job_id*, which is whole, in place of `begin` and `run`."""
        path = f"{JOBS}/{job_id}.json"
        found = await read_now(self.root.path, path, max_bytes=self.rules().max_bytes)
        if isinstance(found, Content):
            await self._submit(path, found)

    async def _sleep(self) -> None:
        """Wait for a change, the next timer, or stop."""
        timers = [due for due in (self._reader.next_due(), self.cancellations.next_due()) if due is not None]
        timers += [0.0] if self._list_soon or self._backlog else []
        least = RETRY_S if self._reported else 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(max(least, min(timers) - clock.monotonic()) if timers else None):
                await self._wake.wait()
        self._wake.clear()

    async def _or_later(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do *work*; where ledger or folder fail, log that once, and return False: the work is left for later."""
        try:
            await work()
        except (LedgerError, WorkspaceError) as error:
            if self._reported.get(what) != str(error):
                log.error("jobs.waiting", what=what, why=str(error), done="will be tried again")  # noqa: TRY400
            self._reported[what] = str(error)
            return False
        except Exception as error:
            if self._reported.get(what) != repr(error):  # one bad file must not end the daemon
                log.exception("jobs.fault", what=what)
            self._reported[what] = repr(error)
            return False
        self._reported.pop(what, None)
        return True

    async def _list(self) -> None:
        """Find what came without an event (rule 2), and the cancel requests that are there."""
        if not self._list_soon:
            return
        self._reader.trust_leases = not await asyncio.to_thread(remote, self.root.path)
        # The clock of a file system moves in steps: only a folder that looked the same twice has nothing new.
        steady = self._last_changes_ns[0] if self._last_changes_ns[0] == self._last_changes_ns[1] else -1
        listing = await asyncio.to_thread(jobs.look, self.root.path, unless_ns=steady)
        if listing is not None:
            self.cancellations.listed(listing.cancels)
            await self.cancellations.carry_out(listing.cancels)
            self._ignored.intersection_update(listing.jobs)
            asked = [job for job in listing.jobs if job not in self._ignored]
            unknown: set[str] = set()
            for at in range(0, len(asked), ASKED_AT_ONCE):
                unknown |= await self.queue.unknown(asked[at : at + ASKED_AT_ONCE])
            self._backlog = deque(sorted(unknown))
            self._last_changes_ns = (listing.changed_ns, self._last_changes_ns[0])
        self._list_soon = False

    async def _sort_backlog(self) -> None:
        """Separate submissions from the files of ended runs, some of the backlog at a time."""
        some = [self._backlog.popleft() for _ in range(min(SORTED_AT_ONCE, len(self._backlog)))]
        ignored = await asyncio.to_thread(jobs.ended, self.root.path, some) if some else set()
        self._ignored |= ignored
        for job in (job for job in some if job not in ignored):
            path = f"{JOBS}/{job}.json"
            self._unknown.add(job)
            if path not in self._reader:
                self._reader.changed(path, PathEvent.WRITING, now=clock.monotonic())

    # Reading

    async def _read_due(self) -> None:
        """Take in one batch of the files that have come to rest."""
        for settled in await self._reader.read(max_bytes=self.rules().max_bytes):
            match settled.found:
                case Content() as content:
                    await self._submit(settled.path, content)
                case NotAFile() | Unreadable() as refused:
                    if self._refused.get(settled.path) != refused.reason:
                        self._refused[settled.path] = refused.reason
                        log.warning("job.refused", path=settled.path, reason=refused.reason)
                    self._rests(settled.path)
                case Absent():
                    self._forget(settled.path)
                    self._last_changes_ns = (-1, -2)  # if the folder was away, what it holds is to be seen anew

    def _rests(self, path: str) -> None:
        self._reader.rests(path)
        self._forget_troubles(path)

    def _forget(self, path: str) -> None:
        self._reader.forget(path)
        self._forget_troubles(path)

    def _forget_troubles(self, path: str) -> None:
        self._partial.pop(path, None)
        self._reported.pop(path, None)

    async def _submit(self, path: str, content: Content) -> None:
        """Take in one whole content, or leave it for later."""
        name = classify(path)
        if not isinstance(name, Submission):
            raise TypeError(path)
        found = to_submission(name, content.raw, size=content.signature.size, max_bytes=self.rules().max_bytes)
        if isinstance(found, Incomplete):
            if not await self._given_up(path, content.signature.size):
                self._reader.look_again(path, at=clock.monotonic() + AGAIN_S)
                return
            found = found.save
        unknown = name.job_id in self._unknown
        take = partial(self._admission.take, name, content.raw, found, unknown=unknown)
        if not await self._or_later(path, take):
            self._reader.look_later(path)
            return
        self._rests(path)
        if unknown:
            self._unknown.discard(name.job_id)
            self._ignored.add(name.job_id)

    async def _given_up(self, path: str, size: int) -> bool:
        """Note a partial file; True where nobody goes on writing it (rule 1)."""
        now = clock.monotonic()
        file = self._partial.get(path)
        if file is None or file.size != size:
            self._partial[path] = _PartialFile(size, now)
            return False
        rested = now - file.since
        if rested < GIVE_UP_S or rested >= GIVE_UP_OPEN_S:
            return rested >= GIVE_UP_OPEN_S
        return await asyncio.to_thread(writer, self.root.path, path) is not WriterState.BUSY
