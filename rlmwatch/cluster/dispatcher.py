"""
The supervisor of a daemon whose ledger is shared: it hands runs out, follows them, and publishes how they end.

It keeps to the supervisor's rules, with these in place of its own attempts:

1. A run is handed out when its turn has come in its conversation, as it would be
   started: all before it are published, so what its worker needs of the folder is
   complete, and is packed then. Whose turn it is, is decided here alone.
2. A run is known to be answered by its row in the ledger, whoever answered it,
   and also if this daemon was not there meanwhile. It is published here.
3. On stop nothing is waited for: the workers go on, and the next start publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from rlmwatch.cluster.job_queue import LEASE_S, JobQueue
from rlmwatch.cluster.run_monitor import RunMonitor
from rlmwatch.cluster.run_payload import RunPayload, pack
from rlmwatch.contract.documents import Progress, StatusCaps, UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import LedgerError, RlmwatchError, WorkspaceBusy, WorkspaceError
from rlmwatch.execution.run_context import SESSION_POLL_S, RunContextFactory
from rlmwatch.execution.supervisor import Supervisor
from rlmwatch.ledger.postgres.ledger import PostgresLedger
from rlmwatch.runs.model import Run, RunStatus, Usage
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.status import Live

OUT_AT_ONCE = 1000
"""Runs that are handed out at a time: more than any number of workers takes, and few enough to look at every second."""
AGAIN_S = 2.0
"""After the shared ledger could not be used."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shared:
    """
    What a shared ledger brings.

    Attributes:
        workspace: This one's name in it.
    """

    ledger: PostgresLedger
    handout: JobQueue
    hearing: RunMonitor
    workspace: str


@dataclass(slots=True)
class Dispatcher(Supervisor):
    """
    Hands admitted runs out and publishes how they end.

    Attributes:
        shared: Where they are handed out; always set.
    """

    shared: Shared | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def recover(self) -> None:
        """Take over what an earlier process left: what waits, is out, or ended and is not published. Once, at start."""
        for run in await self._out.ledger.reclaim_orphans(LEASE_S):
            log.info("run.reclaimed", run=run.run_id, path=run.path, attempt=run.attempt)
        await self.release_held()
        for run in await self.queue.pending():
            self._waiting[run.run_id] = run
        for run_id, seen in (await self._out.ledger.dispatch_states()).items():
            run_out = await self.queue.get(run_id) if seen.status is RunStatus.RUNNING else None
            if run_out is not None and run_id not in self._active:
                self._begin(run_out, self._followed(run_out))
        for run in await self.queue.unpublished():
            log.info("run.publishing_again", run=run.run_id, path=run.path)
            self.publish(run)
        self._wake.set()

    def cancel(self, run_id: str, reason: str) -> bool:
        """End a run that is out: its worker closes its connection. False where it is not out, or has ended."""
        active = self._active.get(run_id)
        if active is None or active.run.status.ended:
            return False
        if active.cancelled_for is None:
            active.cancelled_for = reason
            self._tell(self._ask_cancel(run_id, reason))
        return True

    async def close(self) -> None:
        """Follow no longer; publishing that has begun is finished."""
        self._stopping.set()
        await Supervisor.close(self)

    @property
    def _out(self) -> Shared:
        if self.shared is None:
            raise AssertionError("a dispatcher of no shared ledger")
        return self.shared

    async def _ask_cancel(self, run_id: str, reason: str) -> None:
        while True:
            try:
                if await self._out.ledger.request_cancel(run_id, reason, now=self.utc()) is None:
                    await self._out.handout.abort(run_id)
            except LedgerError as error:
                log.warning("run.cancel_waits", run=run_id, why=str(error))
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _attempt(self, run: Run) -> None:
        """Hand one run out, follow it, publish how it ended."""
        try:
            await asyncio.to_thread(self.desk.ready_for, run)
            async with self._session(run):
                if not await self._out.ledger.is_dispatched(run.run_id):
                    await self._out.ledger.dispatch(run.run_id, pack(await self._packed(run)))
                if await self._cancelled_meanwhile(run):
                    return
                await self._out.handout.send(run.run_id, self._out.workspace, run.conversation)
                self._parked.pop(run.conversation, None)
                log.info("run.handed_out", run=run.run_id, path=run.path)
                self.crash_at("run.handed_out")
                await self._follow(run)
        except WorkspaceError as error:
            self._park(run, error)
            if not await self._cancelled_meanwhile(run):
                self._waiting[run.run_id] = run
        except LedgerError as error:
            log.warning("run.not_handed_out", run=run.run_id, why=str(error))
            await asyncio.sleep(AGAIN_S)
            self._waiting[run.run_id] = run

    async def _followed(self, run: Run) -> None:
        """Follow a run that was handed out before this daemon started."""
        async with self._session(run):
            await self._follow(run)

    async def _follow(self, run: Run) -> None:
        """Tell how far *run* is, until it has ended and is published, is held, or this daemon stops."""
        active = self._active[run.run_id]
        with self._out.hearing.following(run.run_id) as news:
            while not self._stopping.is_set():
                news.clear()
                try:
                    here = await self.queue.get(run.run_id)
                except LedgerError:
                    here = active.run
                if here is None:
                    raise AssertionError(f"{run.run_id} is gone from the ledger")
                active.run = here
                if here.status.ended:
                    self.crash_at("run.finished")
                    await self._last_words(here)
                    await self._publish(here)
                    return
                if here.status is RunStatus.HELD:
                    await self._held(here)
                    return
                await self._say(here)
                await _first_of(news, self._stopping)

    async def _held(self, run: Run) -> None:
        log.warning("run.held", run=run.run_id, path=run.path, why=run.held_for)
        await self.desk.tell(run)
        await asyncio.to_thread(self.desk.explain, run, run.held_for or "")
        await self._cancelled_meanwhile(run)

    async def _last_words(self, run: Run) -> None:
        """Write how far the ended *run* came, where its worker was faster than our looks: its status keeps that."""
        try:
            live = await self._out.ledger.progress(run.run_id)
        except LedgerError:
            return
        if live is not None:
            going_on = replace(run, status=RunStatus.RUNNING, completed_at=None, result=None)
            await self.desk.tell(going_on, _live(live))

    async def _say(self, run: Run) -> None:
        """Write what its worker says of a run that is out into its status, and what it spent into its session."""
        seen = self._out.hearing.seen.get(run.run_id)
        if seen is None or seen.progress is None or seen.attempt != run.attempt:
            return  # it waits, or its worker speaks in a moment
        live = _live(seen.progress)
        await self.desk.tell(run, live)
        if run.kind is Kind.RESEARCH:
            used = live.usage
            await self.desk.book(run, Usage(used.input_tokens, used.output_tokens, used.cost_usd, used.llm_calls))

    @asynccontextmanager
    async def _session(self, run: Run) -> AsyncIterator[None]:
        """Hold the lock of a research run's session while it is out: on this machine, where the session's file is."""
        if run.kind is not Kind.RESEARCH:
            yield
            return
        while True:
            try:
                lock = await asyncio.to_thread(self.desk.session_lock, run)
                break
            except WorkspaceBusy:
                await asyncio.sleep(SESSION_POLL_S)
        try:
            yield
        finally:
            lock.release()

    async def _packed(self, run: Run) -> RunPayload:
        """Return what *run*'s worker needs of the folder."""
        terms = self.benches.terms if isinstance(self.benches, RunContextFactory) else None
        if terms is None:
            raise AssertionError("a dispatcher needs the daemon's terms")
        said = RunOptions.model_validate(dict(run.options))
        options = terms.loaded.settings.said_for(run.kind, said)
        try:
            context = Context()
            if run.kind is not Kind.CHAT:  # a plain call has no material
                roots = terms.loaded.settings.context.outside_roots
                context = await self.desk.context(run, options.context, roots)
            session = await self.desk.session(run) if run.kind is Kind.RESEARCH else None
            memory = await self.desk.memory(run)
        except RlmwatchError as error:
            return RunPayload(options.model_dump(mode="json", exclude_none=True), problem=str(error))
        return RunPayload(options.model_dump(mode="json", exclude_none=True), memory, session, context)


def _live(kept: object) -> Live:
    values = dict(kept) if isinstance(kept, dict) else {}
    return Live(
        Progress.model_validate(values["progress"]) if values.get("progress") else None,
        UsageSoFar.model_validate(values.get("usage") or {}),
        StatusCaps.model_validate(values.get("budget") or {}),
        values.get("model"),
    )


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
