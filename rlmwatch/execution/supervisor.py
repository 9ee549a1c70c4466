"""
The supervisor: admitted saves in, runs started, outcomes published, stop.

What it holds to:

1. One run at a time per conversation, in the order of the saves; `workers` in
   all. A conversation stays taken until its answer lies in the workspace.
2. Before a run is claimed, the folder must be able to take its answer. Where it
   is not, the conversation waits and is tried again; nothing is paid.
3. An outcome is committed to the ledger first, then published. What cannot be
   published stays in the ledger and is tried again; no new call is made.
4. What a person can mend (key, model, ceiling) holds a run; it runs after a
   restart or a reload, without saving again. One that a ceiling holds is tried
   again when a run has ended, which may have reserved more than it used.
5. On stop, running calls get `grace_s` to end; then their connections are
   closed, and the runs go on at the next start.
6. A cancelled run ends, wherever it is: waiting, held, being claimed, or in the
   middle of a call, whose connection closes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace

import structlog

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import LedgerError, RunCancelled, RunTimeout, WorkspaceError
from rlmwatch.execution.heard import Heard, RunContexts
from rlmwatch.execution.outcomes import Hold, ended_by
from rlmwatch.execution.parked import Parked, parked
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.handlers.base import Handler
from rlmwatch.runs.model import Result, Run
from rlmwatch.runs.queue import Admission, Queue
from rlmwatch.runs.schedule import startable

GRACE_S = 5.0
"""A short answer takes about this long; systemd kills 90 s after its own stop signal."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Active:
    task: asyncio.Task[None]
    run: Run
    cancelled_for: str | None = None
    answering: bool = False


@dataclass(slots=True)
class Supervisor:
    """
    Starts admitted runs and publishes how they end.

    Attributes:
        queue: The ledger's runs.
        desk: Reads and writes the person's folder.
        handlers: One per kind that this program can answer.
        benches: Sets up what a handler works with.
        workers: Runs at once, over all conversations.
        monotonic: Asks the monotonic clock.
        utc: Asks the wall clock.
        crash_at: Is told the named points at which a crash must lose nothing.
        on_published: Is told of each ended run whose files are written.
        grace_s: Seconds that running calls get to end on a stop.
    """

    queue: Queue
    desk: WorkspaceGateway
    handlers: Mapping[Kind, Handler]
    benches: RunContexts
    workers: int
    monotonic: Callable[[], float]
    utc: Callable[[], str]
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    on_published: Callable[[Run], None] = field(default=lambda _run: None)
    grace_s: float = GRACE_S
    ended: list[Run] = field(default_factory=list)
    _waiting: dict[str, Run] = field(default_factory=dict)
    _active: dict[str, _Active] = field(default_factory=dict)
    _parked: dict[str, Parked] = field(default_factory=dict)
    _tellings: set[asyncio.Task[None]] = field(default_factory=set)
    _some_may_pass: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def recover(self) -> None:
        """Take over what an earlier process left: running, held, waiting and unpublished runs. Once, at start."""
        for run in await self.queue.reclaim(now=self.utc()):
            log.info("run.reclaimed", run=run.run_id, path=run.path, attempt=run.attempt)
        await self.release_held()
        for run in await self.queue.pending():
            self._waiting[run.run_id] = run
        for run in await self.queue.unpublished():
            log.info("run.publishing_again", run=run.run_id, path=run.path)
            self._begin(run, self._publish(run))

    async def release_held(self) -> None:
        """Let runs go on that waited for a person to mend something."""
        for run in await self.queue.release_held(now=self.utc()):
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
        """Take in a new run, end those that it replaced, cancel those that it cancels."""
        for run in admission.replaced:
            self._waiting.pop(run.run_id, None)
            self._begin(run, self._publish(run))
        for run_id in admission.to_cancel:
            self.cancel(run_id, "a later save of this conversation replaced it")
        new = admission.run
        if new is None:
            return
        self.crash_at("run.admitted")
        if new.status.ended:
            self._begin(new, self._publish(new))
            return
        self._waiting[new.run_id] = new
        self._tell(self.desk.tell(new))
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
            if active.answering:
                active.task.cancel()
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
            ended = await self.queue.cancel(run_id, reason, now=self.utc())
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
            self._begin(run, self._publish(run))

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is being published; held and parked runs wait for a person."""
        waiting = {each.run.conversation for each in self._parked.values()}
        return not self._active and all(run.conversation in waiting for run in self._waiting.values())

    async def until_idle(self) -> None:
        """Start what may start, until nothing is left that could."""
        while True:
            self._start()
            if self.idle:
                return
            await self._woken()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*, then end cleanly."""
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _task: self._wake.set())
        while not stop.is_set():
            self._start()
            await self._woken()
        await self.close()

    async def close(self) -> None:
        """Give running calls a moment to end, then close their connections. Their runs go on at the next start."""
        tasks = [active.task for active in self._active.values()]
        if tasks:
            log.info("stopping", running=len(tasks), grace_s=self.grace_s)
            _, late = await asyncio.wait(tasks, timeout=self.grace_s)
            for task in late:
                task.cancel()
        await asyncio.gather(*tasks, *self._tellings, return_exceptions=True)

    def _tell(self, telling: Coroutine[None, None, None]) -> None:
        """Write to the folder beside the work that goes on."""
        task = asyncio.create_task(telling)
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    async def _woken(self) -> None:
        """Wait until something happened, or a parked conversation is due."""
        taken = {active.run.conversation for active in self._active.values()}
        waits = (each.retry_at for conversation, each in self._parked.items() if conversation not in taken)
        due = min(waits, default=None)
        timeout = None if due is None else max(0.0, due - self.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _start(self) -> None:
        """Start every run that may start now."""
        now = self.monotonic()
        for run in [each.run for each in self._parked.values() if each.retry_at <= now]:
            if run.status.ended and run.run_id not in self._active:
                self._begin(run, self._publish(run))
        blocked = {conversation for conversation, each in self._parked.items() if each.retry_at > now}
        ready = [run for run in self._waiting.values() if run.conversation not in blocked]
        for run in startable(ready, [active.run for active in self._active.values()], self.workers):
            del self._waiting[run.run_id]
            self._begin(run, self._attempt(run))

    def _begin(self, run: Run, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=run.run_id)
        self._active[run.run_id] = _Active(task, run)
        task.add_done_callback(lambda done: self._done(run.run_id, done))

    def _done(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._active.pop(run_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The run stays in the ledger as it was, and goes on at the next start.
            log.error("run.internal_error", run=run_id, exc_info=error)
        self._wake.set()

    async def _attempt(self, run: Run) -> None:
        """Claim one run, have it answered, commit how it ended, publish it."""
        try:
            await asyncio.to_thread(self.desk.ready_for, run)
        except WorkspaceError as error:
            self._park(run, error)
            if not await self._cancelled_meanwhile(run):
                self._waiting[run.run_id] = run
            return
        claimed = await self.queue.claim(run.run_id, now=self.utc())
        if claimed is None:
            return
        self._parked.pop(run.conversation, None)
        self._active[run.run_id].run = claimed
        log.info("run.started", run=claimed.run_id, path=claimed.path, attempt=claimed.attempt)
        self.crash_at("run.claimed")
        heard = Heard()
        with heard.until_published:
            end = await self._answered(claimed, heard)
            if isinstance(end, Hold):
                await self._hold(claimed, end)
            elif end is not None:
                await self._finish(claimed, end)

    async def _hold(self, run: Run, end: Hold) -> None:
        held = await self.queue.hold(run.run_id, run.attempt, end.reason, now=self.utc())
        if held is not None:
            self._some_may_pass |= end.may_pass
            log.warning("run.held", run=held.run_id, path=held.path, why=end.reason)
            await self.desk.tell(held)
            await asyncio.to_thread(self.desk.explain, held, end.reason)
            await self._cancelled_meanwhile(held)

    async def _finish(self, run: Run, end: Result) -> None:
        finished = await self.queue.finish(run.run_id, run.attempt, end, now=self.utc())
        if finished is None:
            log.warning("run.fenced", run=run.run_id, attempt=run.attempt)
            return
        self.crash_at("run.finished")
        self._active[run.run_id].run = finished
        if self._some_may_pass:
            self._some_may_pass = False
            await self.try_held_again()
        await self._publish(finished)

    async def _cancelled_meanwhile(self, run: Run) -> bool:
        """End and publish *run*, which waits again, where somebody cancelled it before it came to that."""
        active = self._active[run.run_id]
        if active.cancelled_for is None:
            return False
        ended = await self.queue.cancel(run.run_id, active.cancelled_for, now=self.utc())
        if ended is not None:
            active.run = ended
            await self._publish(ended)
        return ended is not None

    async def _answered(self, run: Run, heard: Heard) -> Result | Hold | None:
        """Have the handler answer; return how the run ended. None leaves the run as it is, for the next start."""
        active = self._active[run.run_id]
        try:
            if active.cancelled_for is not None:
                return ended_by(RunCancelled(active.cancelled_for), None)
            active.answering = True
            bench = await self.benches(run, heard)
            await self.desk.tell(run, heard.live)
            async with asyncio.timeout(heard.max_seconds):
                return await self.handlers[run.kind](run, bench)
        except TimeoutError:
            return ended_by(RunTimeout(f"no answer within {heard.max_seconds:g} seconds (max_seconds)"), heard.bench)
        except asyncio.CancelledError:
            if active.cancelled_for is None:
                raise
            return ended_by(RunCancelled(active.cancelled_for), heard.bench)
        except Exception as error:  # noqa: BLE001 (each run ends in words, whatever went wrong in it)
            return ended_by(error, heard.bench)
        finally:
            active.answering = False
            await heard.closing.aclose()

    async def _publish(self, run: Run) -> None:
        """Write an ended run's files; where that fails, keep it and try again later."""
        try:
            await asyncio.to_thread(self.desk.publish, run)
        except WorkspaceError as error:
            self._park(run, error)
            return
        self.crash_at("run.written")
        await self.queue.published(run.run_id)
        self._parked.pop(run.conversation, None)
        self.ended.append(run)
        self.on_published(run)
        self.crash_at("run.published")

    def _park(self, run: Run, error: WorkspaceError) -> None:
        before = self._parked.get(run.conversation)
        self._parked[run.conversation] = parked(run, before, now=self.monotonic())
        if before is None:
            log.error("workspace.waiting", run=run.run_id, path=run.path, why=str(error))
            self._tell(asyncio.to_thread(self.desk.explain, run, str(error)))
            if not run.status.ended:
                self._tell(self.desk.tell(replace(run, held_for=str(error))))
