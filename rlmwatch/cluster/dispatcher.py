"""
Has runs answered by workers, on any machine: the supervisor's executor where the ledger is shared.

1. A run is dispatched when its turn has come in its conversation, as it would be
   started here: all before it are published, so what its worker needs of the folder
   is complete, and is packed then. Whose turn it is, the supervisor decides alone.
2. A run is known to have ended by its row in the ledger, whoever answered it, and
   also if this daemon was not there meanwhile. The supervisor publishes it.
3. On stop nothing is waited for: the workers go on, and the next start publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from rlmwatch.cluster.job_queue import LEASE_S, JobQueue
from rlmwatch.cluster.run_monitor import RunMonitor
from rlmwatch.cluster.run_payload import RunPayload, live_from_json, pack
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import LedgerError, RlmwatchError, WorkspaceBusy
from rlmwatch.execution.executor import ActiveRun, Executed
from rlmwatch.execution.run_context import SESSION_POLL_S
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.ledger.postgres.ledger import PostgresLedger
from rlmwatch.runs.model import Run, RunStatus, Usage
from rlmwatch.workspace.context import Context

MAX_DISPATCHED = 1000
"""Runs dispatched at a time: more than any number of workers takes, and few enough to look at every second."""
AGAIN_S = 2.0
"""After the shared ledger could not be used."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """
    Dispatches runs and follows them until they end (port `Executor`).

    Attributes:
        ledger: The shared ledger.
        jobs: Offers runs to workers.
        monitor: Knows where dispatched runs are.
        name: This workspace's name in the shared ledger.
        workspace: Reads and writes the person's folder.
        config: Returns what holds for new runs now.
        utc: Asks the wall clock.
        crash_at: Is told the named points at which a crash must lose nothing.
    """

    ledger: PostgresLedger
    jobs: JobQueue
    monitor: RunMonitor
    name: str
    workspace: WorkspaceGateway
    config: Callable[[], RuntimeConfig]
    utc: Callable[[], str]
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    async def recover(self) -> list[Run]:
        """Make the runs of dead workers pending again; return those that a worker answers now."""
        for run in await self.ledger.reclaim_orphans(LEASE_S):
            log.info("run.reclaimed", run=run.run_id, path=run.path, attempt=run.attempt)
        dispatched = (await self.ledger.dispatch_states()).items()
        working = [run_id for run_id, position in dispatched if position.status is RunStatus.RUNNING]
        found = [await self.ledger.get(run_id) for run_id in working]
        return [run for run in found if run is not None and run.status is RunStatus.RUNNING]

    @asynccontextmanager
    async def carry_out(self, active: ActiveRun) -> AsyncIterator[Executed | None]:
        """Dispatch the run, where that was not done before, and follow it; None where this daemon stops first."""
        new = active.run.status is not RunStatus.RUNNING
        if new:
            await asyncio.to_thread(self.workspace.ready_for, active.run)
        async with self._locked_session(active.run):
            if new and (cancelled := await self._dispatch(active)) is not None:
                yield Executed(cancelled)
                return
            active.on_started()
            yield await self._followed(active)

    def interrupt(self, active: ActiveRun) -> None:
        """Have the run's worker close its connection."""
        task = asyncio.create_task(self._ask_cancel(active.run.run_id, active.cancelled_for or "it was cancelled"))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _ask_cancel(self, run_id: str, reason: str) -> None:
        while True:
            try:
                if await self.ledger.request_cancel(run_id, reason, now=self.utc()) is None:
                    await self.jobs.abort(run_id)
            except LedgerError as error:
                log.warning("run.cancel_waits", run=run_id, why=str(error))
            else:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._stopping.wait()
                return

    async def _dispatch(self, active: ActiveRun) -> Run | None:
        """Offer the run to workers; return it where somebody cancelled it before, ended."""
        run = active.run
        if not await self.ledger.is_dispatched(run.run_id):
            await self.ledger.dispatch(run.run_id, pack(await self._payload(run)))
        if active.cancelled_for is not None:
            ended = await self.ledger.cancel(run.run_id, active.cancelled_for, now=self.utc())
            if ended is not None:
                return ended
        await self.jobs.send(run.run_id, self.name, run.conversation)
        log.info("run.dispatched", run=run.run_id, path=run.path)
        self.crash_at("run.dispatched")
        return None

    async def _followed(self, active: ActiveRun) -> Executed | None:
        """Report how far the run is, until it has ended or is held; None where this daemon stops first."""
        run_id = active.run.run_id
        with self.monitor.following(run_id) as moved:
            while not self._stopping.is_set():
                moved.clear()
                try:
                    run = await self.ledger.get(run_id)
                except LedgerError:
                    run = active.run
                if run is None:
                    raise AssertionError(f"{run_id} is gone from the ledger")
                active.run = run
                if run.status.ended:
                    self.crash_at("run.finished")
                    await self._report_last(run)
                    return Executed(run)
                if run.status is RunStatus.HELD:
                    return Executed(run)
                await self._report(run)
                await _first_of(moved, self._stopping)
        return None

    async def _report_last(self, run: Run) -> None:
        """Write how far the ended *run* came, where its worker was faster than our looks: its status keeps that."""
        try:
            stored = await self.ledger.progress(run.run_id)
        except LedgerError:
            return
        if stored is not None and (live := live_from_json(stored)) is not None:
            going_on = replace(run, status=RunStatus.RUNNING, completed_at=None, result=None)
            await self.workspace.report(going_on, live)

    async def _report(self, run: Run) -> None:
        """Write what its worker reports of a run into its status, and what it spent into its session."""
        position = self.monitor.positions.get(run.run_id)
        if position is None or position.progress is None or position.attempt != run.attempt:
            return  # it waits, or its worker reports in a moment
        live = live_from_json(position.progress)
        if live is None:
            return
        await self.workspace.report(run, live)
        if run.kind is Kind.RESEARCH:
            used = live.usage
            spent = Usage(used.input_tokens, used.output_tokens, used.cost_usd, used.llm_calls)
            await self.workspace.book_spending(run, spent)

    @asynccontextmanager
    async def _locked_session(self, run: Run) -> AsyncIterator[None]:
        """Hold the session of a research run while a worker has it: on this machine, where the session's file is."""
        if run.kind is not Kind.RESEARCH:
            yield
            return
        while True:
            try:
                lock = await asyncio.to_thread(self.workspace.lock_session, run)
                break
            except WorkspaceBusy:
                await asyncio.sleep(SESSION_POLL_S)
        try:
            yield
        finally:
            lock.release()

    async def _payload(self, run: Run) -> RunPayload:
        """Return what *run*'s worker needs of the folder."""
        settings = self.config().loaded.settings
        options = settings.said_for(run.kind, RunOptions.model_validate(dict(run.options)))
        values = options.model_dump(mode="json", exclude_none=True)
        try:
            context = Context()
            if run.kind is not Kind.CHAT:  # a plain call has no material
                context = await self.workspace.context(run, options.context, settings.context.outside_roots)
            session = await self.workspace.session(run) if run.kind is Kind.RESEARCH else None
            memory = await self.workspace.memory(run)
            attached = await self.workspace.attached(run)
        except RlmwatchError as error:
            return RunPayload(values, problem=str(error))
        return RunPayload(values, memory, session, context, attached=attached)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
