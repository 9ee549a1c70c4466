"""
The supervisor: admitted saves in, runs started, outcomes published, stop.

What it holds to:

1. One run at a time per conversation, in the order of the saves; `workers` in
   all. A conversation stays taken until its answer lies in the workspace.
2. Before a run is begun, the folder must be able to take its answer. Where it
   is not, the conversation backs off and is tried again; nothing is paid.
3. An outcome is committed to the ledger first, then published. What cannot be
   published stays in the ledger and is tried again; no new call is made.
4. What a person can fix (key, model, ceiling) holds a run; it runs after a
   restart or a reload, without saving again. One that a ceiling holds is tried
   again when a run has ended, which may have reserved more than it used.
5. On stop, running calls get `grace_s` to end; those of the engine, and runs
   that wait for a provider or read their material, `STEPS_GRACE_S`. Then connections are closed, and the
   runs go on at the next start.
6. A cancelled run ends, wherever it is: waiting, held, being claimed, or in the
   middle of a call, whose connection closes at once.
7. While the ledger cannot be used, a run waits and is tried again.
8. A run whose text went on meanwhile ends at once where calls are still to be made: by the engine, or by one that waits
   for a provider or reads material. A plain call that was sent is paid for, and is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import structlog

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import LedgerError, WorkspaceError
from rlmwatch.execution.executor import ActiveRun, Executor
from rlmwatch.execution.folder_history import FolderHistory
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.queue import Admission, Queue
from rlmwatch.runs.schedule import startable

ELSEWHERE = "another machine has answered this question while it answered in this folder"
GRACE_S = 5.0
"""A short answer takes about this long; systemd kills 90 s after its own stop signal."""
STEPS_GRACE_S = 0.4
"""For a run of the engine or between two tries: what was paid is in the journal, and more would only delay the stop."""
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0
"""A folder that cannot be written to is tried again after this, doubling: a person fixes it in minutes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BackingOff:
    """
    A conversation that waits for the folder, or the ledger, to take its run or its answer.

    Attributes:
        run: Its run that could not start, or not be published.
        retry_at: When that is tried again, in monotonic seconds.
        wait_s: The wait until then.
    """

    run: Run
    retry_at: float
    wait_s: float


def back_off(run: Run, before: BackingOff | None, *, now: float) -> BackingOff:
    """Return how the conversation of *run* waits, having waited as *before*; None for the first time. Pure."""
    wait_s = FIRST_RETRY_S if before is None else min(LONGEST_RETRY_S, before.wait_s * 2)
    return BackingOff(run, now + wait_s, wait_s)


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """
    Starts admitted runs and publishes how they end.

    Attributes:
        ledger: The runs.
        workspace: Reads and writes the person's folder.
        history: Knows which of two saves is the later one.
        executor: Carries out a run whose turn has come.
        kinds: What can be answered here.
        workers: Runs at once, across all conversations.
        monotonic: Asks the monotonic clock.
        utc: Asks the wall clock.
        crash_at: Is told the named points at which a crash must lose nothing.
        on_published: Is given each ended run whose files are written.
        on_held: Is given each run that is held.
        grace_s: Seconds that running calls get to end on a stop.
        answered, unanswered: How many runs were published since the start, with an answer and without.
        only: The one conversation that is worked on, for a command that answers one file; None for all.
    """

    ledger: Queue
    workspace: WorkspaceGateway
    history: FolderHistory
    executor: Executor
    kinds: Collection[Kind]
    workers: int
    monotonic: Callable[[], float]
    utc: Callable[[], str]
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    on_published: Callable[[Run], None] = field(default=lambda _run: None)
    on_held: Callable[[Run], None] = field(default=lambda _run: None)
    grace_s: float = GRACE_S
    answered: int = 0
    unanswered: int = 0
    only: str | None = None
    _waiting: dict[str, Run] = field(default_factory=dict)
    _active: dict[str, ActiveRun] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _backing_off: dict[str, BackingOff] = field(default_factory=dict)
    _cancelled: dict[str, str] = field(default_factory=dict)  # reasons, of runs that wait for the ledger
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _left_over: set[str] = field(default_factory=set)  # admitted by an earlier program, and not published yet
    _publishing: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)  # by conversation
    _some_may_pass: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def recover(self) -> None:
        """Take over what an earlier process left: running, held, waiting and unpublished runs. Once, at start."""
        for run in await self.executor.recover():
            self._left_over.add(run.run_id)
            active = ActiveRun(run)
            self._begin(active, self._carry_out(active))
        await self.release_held()
        for run in await self.ledger.pending():
            self._left_over.add(run.run_id)
            if run.run_id in self._active or not self._is_ours(run):
                continue
            self._waiting[run.run_id] = run
            if await self._answered_elsewhere(run):
                log.info("run.answered_elsewhere", run=run.run_id, path=run.path)
                await self.end(run.run_id, ELSEWHERE)
        for run in filter(self._is_ours, await self.ledger.unpublished()):
            log.info("run.publishing_again", run=run.run_id, path=run.path)
            self._left_over.add(run.run_id)
            self.publish(run)
        self._wake.set()

    async def _answered_elsewhere(self, run: Run) -> bool:
        """Whether another machine has answered what *run* asks while the folder was its; where unknown, it is asked."""
        try:
            return await self.history.answered_elsewhere(run)
        except WorkspaceError as error:
            log.warning("history.unreadable", why=str(error), done="read again when it is needed")
            return False

    def _is_ours(self, run: Run) -> bool:
        return self.only in (None, run.conversation)

    async def release_held(self) -> None:
        """Let runs go on that waited for a person to fix something."""
        for run in await self.ledger.release_held(now=self.utc(), conversation=self.only):
            log.info("run.released", run=run.run_id, path=run.path)
            self._waiting[run.run_id] = run
        self._wake.set()

    async def try_held_again(self) -> None:
        """Do as `release_held`; where the ledger fails now, they wait for the next time."""
        try:
            await self.release_held()
        except LedgerError as error:
            log.warning("run.not_released", why=str(error))

    def admitted(self, admission: Admission) -> None:
        """Take in a new run, publish those that it replaced, cancel those that it cancels."""
        for run in admission.replaced:
            self._waiting.pop(run.run_id, None)
            self.publish(run)
        for run_id in admission.to_cancel:
            self.cancel(run_id, "a later save of this conversation replaced it")
        for run_id in filter(self.workspace.stops_at_once, admission.outgrown):
            self.cancel(run_id, "the question went on: a later save begins with this text")
        new = admission.run
        if new is None:
            return
        self._left_over.discard(new.run_id)  # where `recover` found it pending
        self.crash_at("run.admitted")
        if new.status.ended:
            self.publish(new)
            return
        self._waiting[new.run_id] = new
        self._in_background(self.workspace.report(new))
        self._wake.set()

    def cancel(self, run_id: str, reason: str) -> bool:
        """
        Cancel a run that works: its connection closes at once. False where it does not work here, or has ended.

        One that is just being claimed or put aside ends as cancelled a moment later; its task goes on until then.
        """
        active = self._active.get(run_id)
        if active is None or active.run.status.ended:
            return False
        if active.cancelled_for is None:
            active.cancelled_for = reason
            self.executor.interrupt(active)
        return True

    async def end(self, run_id: str, reason: str) -> bool:
        """
        Cancel a run wherever it is: one that waits or is held ends now. False where it had ended, or is not here.

        Raises:
            LedgerError: Nothing happened, and it may be asked again.
        """
        if self.cancel(run_id, reason):
            return True
        waiting = self._waiting.pop(run_id, None)  # so that it cannot start meanwhile
        try:
            ended = await self.ledger.cancel(run_id, reason, now=self.utc())
        except LedgerError:
            if waiting is not None:
                self._waiting[run_id] = waiting
            raise
        if ended is not None:
            self.publish(ended)
        return ended is not None

    def publish(self, run: Run) -> None:
        """Write the files of the ended *run*, once more where they were written before."""
        if run.run_id not in self._active:
            self._begin(ActiveRun(run), self._publish(run))

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is being published; held runs and those that back off wait for a person."""
        waiting = {each.run.conversation for each in self._backing_off.values()}
        return not self._active and all(run.conversation in waiting for run in self._waiting.values())

    async def until_idle(self) -> None:
        """Start what may start, until nothing is left that could."""
        while True:
            started_at = self._start()
            if self.idle:
                return
            await self._woken(started_at)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*, then end cleanly."""
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _task: self._wake.set())
        while not stop.is_set():
            await self._woken(self._start())
        await self.close()

    async def close(self) -> None:
        """Give running calls a moment to end, then close their connections. Their runs go on at the next start."""
        await self.executor.close()
        tasks = list(self._tasks.values())
        if tasks:
            log.info("stopping", running=len(tasks), grace_s=self.grace_s)
            late, left_s, told = set(tasks), self.grace_s, set[str]()
            while late and left_s > 0:
                wait_s = min(left_s, STEPS_GRACE_S)
                left_s -= wait_s
                _, late = await asyncio.wait(late, timeout=wait_s)
                # Asked each time: a run that has only just begun comes to its material later.
                for run_id in [each for each in self._tasks if each not in told]:
                    if self.workspace.stops_at_once(run_id):
                        self._tasks[run_id].cancel()
                        told.add(run_id)
            for task in late:
                task.cancel()
        await asyncio.gather(*tasks, *self._background, return_exceptions=True)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        """Write to the folder beside the work that goes on."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _woken(self, started_at: float) -> None:
        """Wait until something happened, or a conversation is due that was not at *started_at*, the last `_start`."""
        taken = {active.run.conversation for active in self._active.values()}
        waits = ((conversation, each.retry_at) for conversation, each in self._backing_off.items())
        due = min((at for conversation, at in waits if conversation not in taken and at > started_at), default=None)
        timeout = None if due is None else max(0.0, due - self.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _start(self) -> float:
        """Start every run that may start now, in monotonic seconds, and return that."""
        now = self.monotonic()
        for run in [each.run for each in self._backing_off.values() if each.retry_at <= now]:
            if run.status.ended:
                self.publish(run)
        blocked = {conversation for conversation, each in self._backing_off.items() if each.retry_at > now}
        ready = [run for run in self._waiting.values() if run.conversation not in blocked]
        for run in startable(ready, [active.run for active in self._active.values()], self.workers):
            del self._waiting[run.run_id]
            active = ActiveRun(run, cancelled_for=self._cancelled.pop(run.run_id, None))
            self._begin(active, self._carry_out(active))
        return now

    def _begin(self, active: ActiveRun, work: Coroutine[None, None, None]) -> None:
        run_id = active.run.run_id
        self._active[run_id] = active
        task = self._tasks[run_id] = asyncio.create_task(work, name=run_id)
        task.add_done_callback(lambda done: self._done(run_id, done))

    def _done(self, run_id: str, task: asyncio.Task[None]) -> None:
        del self._active[run_id], self._tasks[run_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            # The run stays in the ledger as it was, and goes on at the next start.
            log.error("run.internal_error", run=run_id, exc_info=error)
        self._wake.set()

    async def _carry_out(self, active: ActiveRun) -> None:
        """Have one run carried out, and publish how it ended."""
        active.on_started = lambda: self._no_longer_backing_off(active.run)
        try:
            async with self.executor.carry_out(active) as executed:
                if executed is None:
                    self._no_longer_backing_off(active.run)
                    await self._publish_if_ended(active)
                    return
                active.run = executed.run
                if executed.run.status is RunStatus.HELD:
                    self._some_may_pass |= executed.may_pass
                    await self._held(active)
                else:
                    await self.release_what_may_pass()
                    await self._publish(executed.run)
        except WorkspaceError as error:
            self._back_off(active.run, error)
            self._waiting[active.run.run_id] = active.run
            if await self._cancelled_meanwhile(active):
                del self._waiting[active.run.run_id]
        except LedgerError as error:
            log.warning("ledger.unavailable", run=active.run.run_id, why=str(error), done="the run is tried again")
            self._wait_for_ledger(active.run)
            if active.run.status is RunStatus.PENDING:
                self._waiting[active.run.run_id] = active.run
                if active.cancelled_for is not None:
                    self._cancelled[active.run.run_id] = active.cancelled_for

    async def _publish_if_ended(self, active: ActiveRun) -> None:
        """Publish a run that was replaced or cancelled just before it could be claimed."""
        run = await self.ledger.get(active.run.run_id)
        if run is not None and run.status.ended and not run.published:
            active.run = run
            await self._publish(run)

    async def _held(self, active: ActiveRun) -> None:
        run = active.run
        log.warning("run.held", run=run.run_id, path=run.path, why=run.held_for)
        await self.workspace.report(run)
        await asyncio.to_thread(self.workspace.explain, run, run.held_for or "")
        self.on_held(run)
        await self._cancelled_meanwhile(active)

    async def release_what_may_pass(self) -> None:
        """Let runs go on that a ceiling holds: one that has ended, here or elsewhere, may have used less than that."""
        if self._some_may_pass:
            self._some_may_pass = False
            await self.try_held_again()

    async def _cancelled_meanwhile(self, active: ActiveRun) -> bool:
        """End and publish a run that waits again, where somebody cancelled it before it came to that."""
        if active.cancelled_for is None:
            return False
        ended = await self.ledger.cancel(active.run.run_id, active.cancelled_for, now=self.utc())
        if ended is not None:
            active.run = ended
            await self._publish(ended)
        return ended is not None

    async def _publish(self, run: Run) -> None:
        """Write an ended run's files; where that fails, keep it and try again later."""
        # Two of one conversation, one after the other: else the later one's error file might go with the earlier's.
        publishing = self._publishing.setdefault(run.conversation, asyncio.Lock())
        try:
            async with publishing:
                later = await self.history.later(run, left_over=run.run_id in self._left_over)
                await asyncio.to_thread(self.workspace.publish, run, later)
            self.crash_at("run.written")
            await self.ledger.published(run.run_id)
        except WorkspaceError as error:
            self._back_off(run, error)
            return
        except LedgerError as error:
            log.warning("ledger.unavailable", run=run.run_id, why=str(error), done="it is published once more")
            self._wait_for_ledger(run)
            return
        self._no_longer_backing_off(run)
        self._left_over.discard(run.run_id)
        if run.status is RunStatus.COMPLETE:
            self.answered += 1
        else:
            self.unanswered += 1
        self.on_published(run)
        self.crash_at("run.published")

    def _back_off(self, run: Run, error: WorkspaceError) -> None:
        before = self._backing_off.get(run.conversation)
        self._backing_off[run.conversation] = back_off(run, before, now=self.monotonic())
        if before is None:
            log.error("workspace.waiting", run=run.run_id, path=run.path, why=str(error))
            self._in_background(asyncio.to_thread(self.workspace.explain, run, str(error)))
            if not run.status.ended:
                self._in_background(self.workspace.report(replace(run, held_for=str(error))))

    def _wait_for_ledger(self, run: Run) -> None:
        """Try again soon: a server that is back answers at once, and the folder has nothing to do with it."""
        self._backing_off[run.conversation] = back_off(run, None, now=self.monotonic())

    def _no_longer_backing_off(self, run: Run) -> None:
        self._backing_off.pop(run.conversation, None)
