"""
Answers dispatched runs, on a machine that need not have the folder.

What it holds to, beside what each attempt promises (`execution/attempt.py`):

1. A run is claimed for this worker before anything is paid; where another was
   first, nothing happens.
2. How a run ended is committed, and that is all: the daemon that has the folder
   publishes it. While the ledger cannot be reached, what was paid for is kept
   here and committed as soon as it can (`PostgresLedger`).
3. A worker that stops, or whose ledger fails in the middle of a run, gives the
   run back; what was paid for is in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from rlmwatch.cluster.job_queue import GRACE_S
from rlmwatch.cluster.run_payload import RunPayload, live_to_json, unpack
from rlmwatch.contract.session import SessionState
from rlmwatch.errors import LedgerError, RlmwatchError, RunCancelled
from rlmwatch.execution.attempt import Attempt, AttemptDeps
from rlmwatch.execution.run_context import PreparedRun, PrepareRun
from rlmwatch.execution.streaming import Stream
from rlmwatch.ledger.postgres.ledger import PostgresLedger
from rlmwatch.runs.attached import Attached
from rlmwatch.runs.model import Run, Usage
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.status import Live

EVERY_S = 1.0
"""Between two reports of how far a run is: as often as its status file may be rewritten."""
log = structlog.get_logger()


class _NoLock:
    """In place of a session's lock: the daemon that has its file holds it."""

    def release(self) -> None:
        """Nothing to give back."""


@dataclass(slots=True)
class PayloadStorage:
    """
    In place of the folder: what came with the runs that are answered here (port `RunStorage`).

    Attributes:
        ledger: Where it is reported how far they are.
    """

    ledger: PostgresLedger
    _payloads: dict[str, RunPayload] = field(default_factory=dict)
    _unreported: dict[str, tuple[int, Live]] = field(default_factory=dict)
    _reporting: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def open(self, run: Run, packed: bytes) -> Run:
        """
        Take in the payload of *run*; return the run with the options that came with it.

        Raises:
            RlmwatchError: Another version packed it.
        """
        payload = self._payloads[run.run_id] = unpack(packed)
        return replace(run, options=payload.options)

    def close(self, run_id: str) -> None:
        """Forget the payload of a run."""
        self._payloads.pop(run_id, None)
        self._unreported.pop(run_id, None)
        if (reporting := self._reporting.pop(run_id, None)) is not None:
            reporting.cancel()

    async def memory(self, run: Run) -> Remembered:
        """Return the conversation's memory, as it was when the run was dispatched."""
        return self._payloads[run.run_id].checked().memory

    async def context(self, run: Run, _paths: Sequence[str] | None, _outside_roots: Sequence[Path]) -> Context:
        """Return the material, as it was when the run was dispatched."""
        return self._payloads[run.run_id].checked().context

    async def attached(self, run: Run) -> Attached:
        """Return what the question mentions, as it was made ready when the run was dispatched."""
        return self._payloads[run.run_id].checked().attached

    async def session(self, run: Run) -> SessionState:
        """Return the research session, as it was when the run was dispatched."""
        return self._payloads[run.run_id].checked().session or SessionState()

    def lock_session(self, _run: Run) -> _NoLock:
        """Return a lock that locks nothing."""
        return _NoLock()

    async def book_spending(self, run: Run, used: Usage) -> None:
        """Nothing: the daemon books what the ledger says."""

    def book_spending_soon(self, run: Run, used: Usage) -> None:
        """Nothing: the daemon books what `report_progress` reports."""

    async def report_start(self, run: Run, live: Live) -> None:
        """Report that an attempt begins, beside the work: the daemon writes the status."""
        self.report_progress(run, live)

    def report_progress(self, run: Run, live: Live) -> None:
        """Report how far *run* is, beside the work, at most once in `EVERY_S`; the latest report counts."""
        self._unreported[run.run_id] = (run.attempt, live)
        if run.run_id not in self._reporting and run.run_id in self._payloads:
            self._reporting[run.run_id] = asyncio.create_task(self._report(run.run_id))

    def stream(self, _run: Run) -> Stream | None:
        """Nothing: the file would be on another machine."""
        return None

    def notes(self) -> None:
        """Nothing: the folder is on another machine."""

    async def _report(self, run_id: str) -> None:
        while (latest := self._unreported.pop(run_id, None)) is not None:
            attempt, live = latest
            with suppress(LedgerError):  # the next report says it, or how the run ended
                await self.ledger.report_progress(run_id, attempt, live_to_json(live))
            await asyncio.sleep(EVERY_S)
        self._reporting.pop(run_id, None)


@dataclass(frozen=True, slots=True)
class PrepareDispatched:
    """
    Sets up what a handler works with, for a dispatched run (port `PrepareRun`).

    Attributes:
        prepare: Does so once the payload is there.
    """

    ledger: PostgresLedger
    storage: PayloadStorage
    prepare: PrepareRun

    async def __call__(self, run: Run) -> PreparedRun:
        """
        Take in the payload of *run*, and return what its attempt works with.

        Raises:
            RunCancelled: Somebody asked for it to end while it waited.
            RlmwatchError: It has no payload, or one of another version; or as *prepare* raises.
        """
        dispatch = await self.ledger.dispatched(run.run_id)
        if dispatch is None:
            raise RlmwatchError("this run came without what its worker needs; ask again")
        if dispatch.cancel_for is not None:
            raise RunCancelled(dispatch.cancel_for)
        return await self.prepare(self.storage.open(run, dispatch.payload))


@dataclass(slots=True, kw_only=True)
class RunWorker:
    """
    Answers one run after the other, or several at once (port `AnswerRun`).

    Attributes:
        storage: What came with the runs.
        attempts: What their attempts have in common.
        utc: Asks the wall clock.
    """

    ledger: PostgresLedger
    storage: PayloadStorage
    attempts: AttemptDeps
    utc: Callable[[], str]

    async def __call__(self, run_id: str, worker: int, cancelled: Callable[[], bool]) -> None:
        """Answer *run_id* as *worker*, as `AnswerRun` says."""

        async def claim() -> Run | None:
            return await self.ledger.claim_for(run_id, worker, now=self.utc())

        async def why_cancelled() -> str | None:
            if not cancelled():
                return None
            dispatch = await self.ledger.dispatched(run_id)
            return dispatch.cancel_for if dispatch and dispatch.cancel_for else "it was cancelled"

        with Attempt(deps=self.attempts, claim=claim, why_cancelled=why_cancelled) as attempt:
            try:
                committed = await attempt.carry_out()
                if committed is not None:
                    log.info("run.answered", run=run_id, path=committed.path, status=str(committed.status))
            except LedgerError as error:
                await self._give_back(attempt.run, run_id, why=str(error))
            except asyncio.CancelledError:
                await self._give_back(attempt.run, run_id, why="this worker stops", within_s=GRACE_S)
                raise
            finally:
                self.storage.close(run_id)

    async def _give_back(self, run: Run | None, run_id: str, *, why: str, within_s: float | None = None) -> None:
        """Let another worker go on with *run*. Where that takes too long, it does once this worker is missed."""
        if run is None:
            log.warning("run.not_claimed", run=run_id, why=why)
            return  # it waits, and is sent again
        log.warning("run.given_back", run=run.run_id, attempt=run.attempt, why=why)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.ledger.give_back(run.run_id, run.attempt)
