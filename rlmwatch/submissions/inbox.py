"""
The folder `jobs/`: submissions are taken in, however they came.

    watcher ─ event ─▶ settled reader ─ content ─▶ to_submission ─▶ ledger ─▶ supervisor
                             ▲
    listing ──── unknown ────┘

Rules:

1. A job file is read when it has come to rest, by the same rule as an input. One that is not a JSON object yet is read
   again each `AGAIN_S`; after `GIVE_UP_S` without a change it has failed.
2. A listing finds what came unseen. It reads names alone, none where nothing came or went, and the ledger says in one
   go which ids it does not know; only those files are opened, once. So 100,000 ended runs cost one listing.
3. Cancels are carried out before the runs that they are about are started (`cancels`).
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
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Queue
from rlmwatch.runs.submitted import Incomplete, to_submission
from rlmwatch.submissions.admission import Intake, Rules
from rlmwatch.submissions.cancellation import Cancels, RunControl
from rlmwatch.watch.mounts import remote
from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.settled_reader import SettledReader, read_now
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.snapshot import Absent, Content, NotAFile, Unreadable, WriterState, writer

AGAIN_S = 1.0
"""How often half a job file is read again where no event reports its other half."""

GIVE_UP_S = 10.0
"""Seconds without a change after which half a job file has failed: scripts pause for seconds, people wait for this."""

GIVE_UP_OPEN_S = 60.0
"""The same where somebody has it open for writing: a slow program, which will go on."""

ASKED_AT_ONCE = 5_000
"""Ids in one question to the ledger: some 10 ms, so that a paid call's reply is not kept waiting."""

SORTED_AT_ONCE = 500
"""Files of a backlog that are looked at before the loop goes on: some 30 ms, so that new ones are not kept waiting."""

RETRY_S = 2.0
"""After a failure of folder or ledger, whose cause a person or time removes."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Half:
    """A job file that is not a JSON object yet: how large, and since when."""

    size: int
    since: float


@dataclass(slots=True)
class Inbox:
    """
    Takes submissions and cancels out of one workspace's `jobs/`.

    `begin` comes first, then `run`, on one loop.

    Attributes:
        rules: Returns what holds now; asked for each file.
    """

    root: Root
    queue: Queue
    control: RunControl
    rules: Callable[[], Rules]
    cancels: Cancels = field(init=False)
    _intake: Intake = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _resting: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: SettledReader = field(init=False)
    _halves: dict[str, _Half] = field(default_factory=dict)
    _backlog: deque[str] = field(default_factory=deque)  # unknown to the ledger, and not looked at yet
    _strange: set[str] = field(default_factory=set)  # unknown to the ledger, and no status of an ended run
    _passed: set[str] = field(default_factory=set)  # unknown to the ledger, read, and nothing to us
    _list_soon: bool = True
    _looks: tuple[int, int] = (-1, -2)
    _failing: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = SettledReader(self.root.path)
        self.cancels = Cancels(self.root, self.queue, self.control)
        self._intake = Intake(self.root, self.queue, self.control, self.cancels, self.rules)

    @property
    def at_rest(self) -> bool:
        """Whether everything that was seen so far was taken care of, if it can be (for `run --once`)."""
        waits = self._reader or self._halves or self._backlog or self._list_soon
        return bool(self._failing) or not (waits or not self.cancels.at_rest)

    async def until_at_rest(self) -> None:
        """Return as soon as `run` has taken care of everything that was seen."""
        await self._resting.wait()

    async def begin(self) -> None:
        """See what is there, and carry out its cancels: before anything is started that they are about."""
        await self._patiently("list", self._list)

    def changed(self, path: str, event: PathEvent) -> None:
        """Note what the watcher saw; on the loop."""
        now = clock.monotonic()
        if not self.cancels.changed(path, event, now=now):
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
        if self.cancels.published(run):
            self._notify()

    def _notify(self) -> None:
        self._resting.clear()
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        self._wake.set()
        try:
            while not stop.is_set():
                await self._sleep()
                await self._patiently("cancel", self.cancels.carry_out)
                await self._patiently("list", self._list)
                await self._patiently("deleted", self.cancels.end_deleted)
                await self._read_due()
                await self._sort_backlog()
                (self._resting.set if self.at_rest else self._resting.clear)()
        finally:
            stopping.cancel()

    async def take_now(self, job_id: str) -> None:
        """Take in the job file of *job_id*, which is whole, in place of `begin` and `run`."""
        path = f"{JOBS}/{job_id}.json"
        found = await read_now(self.root.path, path, max_bytes=self.rules().max_bytes)
        if isinstance(found, Content):
            await self._offer(path, found)

    async def _sleep(self) -> None:
        """Wait for a change, the next timer, or stop."""
        timers = [due for due in (self._reader.next_due(), self.cancels.next_due()) if due is not None]
        timers += [0.0] if self._list_soon or self._backlog else []
        least = RETRY_S if self._failing else 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(max(least, min(timers) - clock.monotonic()) if timers else None):
                await self._wake.wait()
        self._wake.clear()

    async def _patiently(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do *work*; where ledger or folder fail, say so once, and return False: what was to do is left for later."""
        try:
            await work()
        except (LedgerError, WorkspaceError) as error:
            if self._failing.get(what) != str(error):
                log.error("jobs.waiting", what=what, why=str(error), done="will be tried again")  # noqa: TRY400
            self._failing[what] = str(error)
            return False
        except Exception as error:
            if self._failing.get(what) != repr(error):  # one strange file must not end the daemon
                log.exception("jobs.fault", what=what)
            self._failing[what] = repr(error)
            return False
        self._failing.pop(what, None)
        return True

    async def _list(self) -> None:
        """Find what came unseen (rule 2), and the cancels that lie there."""
        if not self._list_soon:
            return
        self._reader.trust_leases = not await asyncio.to_thread(remote, self.root.path)
        # The clock of a file system moves in steps: only a folder that looked the same twice has nothing new.
        steady = self._looks[0] if self._looks[0] == self._looks[1] else -1
        box = await asyncio.to_thread(jobs.look, self.root.path, unless_ns=steady)
        if box is not None:
            self.cancels.listed(box.cancels)
            await self.cancels.carry_out(box.cancels)
            self._passed.intersection_update(box.jobs)
            asked = [job for job in box.jobs if job not in self._passed]
            unknown: set[str] = set()
            for at in range(0, len(asked), ASKED_AT_ONCE):
                unknown |= await self.queue.unknown(asked[at : at + ASKED_AT_ONCE])
            self._backlog = deque(sorted(unknown))
            self._looks = (box.changed_ns, self._looks[0])
        self._list_soon = False

    async def _sort_backlog(self) -> None:
        """Tell submissions from the files of ended runs, some of the backlog at a time."""
        some = [self._backlog.popleft() for _ in range(min(SORTED_AT_ONCE, len(self._backlog)))]
        passed = await asyncio.to_thread(jobs.ended, self.root.path, some) if some else set()
        self._passed |= passed
        for job in (job for job in some if job not in passed):
            path = f"{JOBS}/{job}.json"
            self._strange.add(job)
            if path not in self._reader:
                self._reader.changed(path, PathEvent.WRITING, now=clock.monotonic())

    # Reading

    async def _read_due(self) -> None:
        """Take in one batch of the files that have come to rest."""
        for settled in await self._reader.read(max_bytes=self.rules().max_bytes):
            match settled.found:
                case Content() as content:
                    await self._offer(settled.path, content)
                case NotAFile() | Unreadable() as refused:
                    if self._refused.get(settled.path) != refused.reason:
                        self._refused[settled.path] = refused.reason
                        log.warning("job.refused", path=settled.path, reason=refused.reason)
                    self._rests(settled.path)
                case Absent():
                    self._forget(settled.path)
                    self._looks = (-1, -2)  # if the folder was away, what it holds is to be seen anew

    def _rests(self, path: str) -> None:
        self._reader.rests(path)
        self._forget_troubles(path)

    def _forget(self, path: str) -> None:
        self._reader.forget(path)
        self._forget_troubles(path)

    def _forget_troubles(self, path: str) -> None:
        self._halves.pop(path, None)
        self._failing.pop(path, None)

    async def _offer(self, path: str, content: Content) -> None:
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
        strange = name.job_id in self._strange
        take = partial(self._intake.take, name, content.raw, found, strange=strange)
        if not await self._patiently(path, take):
            self._reader.look_later(path)
            return
        self._rests(path)
        if strange:
            self._strange.discard(name.job_id)
            self._passed.add(name.job_id)

    async def _given_up(self, path: str, size: int) -> bool:
        """Note half a file, and say whether nobody goes on with it (rule 1)."""
        now = clock.monotonic()
        half = self._halves.get(path)
        if half is None or half.size != size:
            self._halves[path] = _Half(size, now)
            return False
        rested = now - half.since
        if rested < GIVE_UP_S or rested >= GIVE_UP_OPEN_S:
            return rested >= GIVE_UP_OPEN_S
        return await asyncio.to_thread(writer, self.root.path, path) is not WriterState.BUSY
