"""
The letter box `jobs/`: submissions in, cancels carried out.

    watcher ─ change ─▶ settling ─ due ─▶ reading ─▶ to_submission ─▶ ledger ─▶ supervisor
                           ▲
    listing ─── unknown ───┘

What it holds to:

1. A job file is read when it has come to rest, by the same rule as an input. One that is no JSON object yet is read
   again at each change; after `GIVE_UP_S` without one it has failed.
2. A listing finds what came unseen. It reads names alone, none where nothing came or went, and the ledger says in one
   go which ids it does not know; only those files are opened. So 100,000 files of ended runs cost what they should.
3. Whatever cannot be answered is kept beside its status, and the status says why.
4. A cancel goes before the run that it is about: it is looked for first, and one for a job that is not there yet waits
   for it. Its file is removed when that is done.
5. An input or a job file that is deleted cancels its runs; the same bytes, put back, are asked anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from rlmwatch import clock
from rlmwatch.contract.documents import StatusFile, read_status
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import JOBS, CancelRequest, InputName, Submission, classify
from rlmwatch.errors import InputError, LedgerError, WorkspaceError
from rlmwatch.runs.model import Run, Save, Signature
from rlmwatch.runs.queue import Admission, OnNewSave, Queue
from rlmwatch.runs.submitted import Incomplete, Told, to_submission
from rlmwatch.watch.mounts import remote
from rlmwatch.watch.observer import Seen
from rlmwatch.watch.reading import Look, look_at
from rlmwatch.watch.readings import Readings
from rlmwatch.watch.settle import Due, Settling
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.snapshot import Changed, Content, NotAFile, Unreadable, Writer, writer
from rlmwatch.workspace.snapshot import look as signature_of
from rlmwatch.workspace.status import lost

GIVE_UP_S = 10.0
"""Seconds without a change after which half a job file has failed: scripts pause for seconds, people wait for this."""

GIVE_UP_OPEN_S = 60.0
"""The same where somebody has it open for writing: a slow program, which will go on."""

GONE_S = 0.25
"""
Rest after which a deleted file counts as deleted. Editors that delete and write anew take 11 ms at most (160 recorded
saves); a person who cancels waits for this, and the connection is to be closed within 0.5 s.
"""

CANCEL_KEPT_S = 24 * 3600.0
"""How long a cancel waits for its job: the submission may come later, through a sync tool that was off for the night."""

ASKED_AT_ONCE = 5_000
"""Ids in one question to the ledger: some 10 ms, so that a paid call's reply is not kept waiting."""

RETRY_S = 2.0
"""After a failure of folder or ledger; the cause is mended by a person, or by time."""

LOST = (
    "the record of this run is lost (rlmwatch has a new ledger). An input is asked again by itself; submit a job again"
)

log = structlog.get_logger()


class Office(Protocol):
    """What the supervisor does for the letter box: see `Supervisor`."""

    def admitted(self, admission: Admission) -> None: ...  # noqa: D102 (see `Supervisor`)

    async def end(self, run_id: str, reason: str) -> bool: ...  # noqa: D102

    def publish(self, run: Run) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What holds for submissions now.

    Attributes:
        max_bytes: Largest job file.
        accepts: Whether this version has a handler for a kind.
        refusal: Says why a webhook is not allowed; None where it is.
        host: This machine.
    """

    max_bytes: int
    accepts: Callable[[Kind], bool]
    refusal: Callable[[str], str | None]
    host: str


@dataclass(slots=True)
class _Half:
    """A job file that is no JSON object yet, since when it has not changed, and when to look again."""

    signature: Signature
    since: float
    look_at: float


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
    office: Office
    rules: Callable[[], Rules]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _resting: asyncio.Event = field(default_factory=asyncio.Event)
    _settling: Settling = field(default_factory=Settling)
    _readings: Readings = field(default_factory=Readings)
    _dues: deque[Due] = field(default_factory=deque)
    _halves: dict[str, _Half] = field(default_factory=dict)
    _cancels: dict[str, float | None] = field(default_factory=dict)
    _gone: dict[str, float] = field(default_factory=dict)
    _strange: set[str] = field(default_factory=set)
    _passed: set[str] = field(default_factory=set)
    _list_soon: bool = True
    _changed_ns: tuple[int, int] = (-1, -2)
    _remote: str | None = None
    _waiting_for: str | None = None

    @property
    def at_rest(self) -> bool:
        """Whether everything that was seen so far was answered for (for `run --once`)."""
        return not (self._settling or self._dues or self._halves or self._gone or self._list_soon)

    async def until_at_rest(self) -> None:
        """Return as soon as `run` has answered for everything that was seen."""
        await self._resting.wait()

    async def begin(self) -> None:
        """List what lies there, and carry out its cancels: before anything is started that they are about."""
        self._remote = await asyncio.to_thread(remote, self.root.path)
        await self._with_patience(self._list)

    def changed(self, path: str, seen: Seen) -> None:
        """Note what the watcher saw; on the loop."""
        now = clock.monotonic()
        match seen, classify(path):
            case Seen.RESCAN, _:
                self._list_soon = True
            case Seen.FOLDER, _:
                self._list_soon = self._list_soon or path == JOBS
            case Seen.GONE, (InputName() | Submission()):
                self._settling.gone(path)
                self._halves.pop(path, None)
                self._gone[path] = now + GONE_S
            case (Seen.WRITING | Seen.DONE), CancelRequest(job_id=job_id):
                self._cancels[job_id] = None
            case Seen.WRITING, Submission():
                self._settling.writing(path, now=now)
            case Seen.DONE, Submission():
                self._settling.done(path, now=now)
            case _:
                return
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                await self._sleep()
                await self._with_patience(self._carry_out_cancels)
                await self._with_patience(self._list)
                await self._with_patience(self._cancel_deleted)
                await self._with_patience(self._read_due)
                (self._resting.set if self.at_rest else self._resting.clear)()
        finally:
            stopping.cancel()

    async def _sleep(self) -> None:
        """Wait for a change, the next timer, or stop."""
        timers = [half.look_at for half in self._halves.values()] + list(self._gone.values())
        if (due := self._settling.next_due()) is not None:
            timers.append(due)
        if self._dues or self._list_soon or None in self._cancels.values():
            timers.append(clock.monotonic() + (RETRY_S if self._waiting_for else 0.0))
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timers) - clock.monotonic() if timers else None):
                await self._wake.wait()
        self._wake.clear()

    async def _with_patience(self, work: Callable[[], Any]) -> None:
        """Do *work*; where ledger or folder fail, say so once, and leave what was to do for later."""
        try:
            await work()
        except (LedgerError, WorkspaceError) as error:
            if self._waiting_for != str(error):
                self._waiting_for = str(error)
                log.error("jobs.waiting", why=str(error), done="will be tried again")  # noqa: TRY400 (a person's matter)
        else:
            self._waiting_for = None

    # Listing

    async def _list(self) -> None:
        """Find what came unseen, where something may have (rule 2), and the cancels that wait."""
        if not self._list_soon:
            return
        steady = self._changed_ns[0] if len(set(self._changed_ns)) == 1 else -1
        box = await asyncio.to_thread(jobs.look, self.root.path, unless_ns=steady)
        self._list_soon = False
        if box is None:
            return
        # The clock of a file system moves in steps: only a folder that looked the same twice has nothing new.
        self._changed_ns = (box.changed_ns, self._changed_ns[0])
        self._cancels = {**dict.fromkeys(box.cancels, None), **{k: v for k, v in self._cancels.items() if v is None}}
        await self._carry_out_cancels(box.cancels)
        self._passed &= set(box.jobs)
        asked = [job_id for job_id in box.jobs if job_id not in self._passed]
        for at in range(0, len(asked), ASKED_AT_ONCE):
            for job_id in await self.queue.unknown(asked[at : at + ASKED_AT_ONCE]):
                path = f"{JOBS}/{job_id}.json"
                self._strange.add(job_id)
                if path not in self._settling and path not in self._halves:
                    self._settling.writing(path, now=clock.monotonic())
