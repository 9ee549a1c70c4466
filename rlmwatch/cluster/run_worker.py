"""
Answers runs that were handed out, on a machine that need not have the folder.

What it holds to:

1. A run is claimed before anything is paid; where another was first, nothing
   happens. From then on every statement carries the attempt: once the run is
   another's, this one pays and writes nothing more.
2. How a run ended is committed, and that is all: the daemon that has the folder
   publishes it. While the ledger cannot be reached, what was paid for is kept
   here and committed as soon as it can (`PostgresLedger`).
3. A worker that stops, or whose ledger fails in the middle of a run, gives the
   run back; what was paid for is in the journal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import structlog

from rlmwatch import clock
from rlmwatch.cluster.job_queue import GRACE_S
from rlmwatch.cluster.run_payload import RunPayload, unpack
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.session import SessionState
from rlmwatch.errors import LedgerError, RlmwatchError, RunCancelled, RunTimeout
from rlmwatch.execution.heard import Heard
from rlmwatch.execution.outcomes import Hold, ended_by
from rlmwatch.execution.run_context import RunContextFactory, RuntimeConfig
from rlmwatch.handlers.base import Handler
from rlmwatch.ledger.postgres.ledger import Dispatch, PostgresLedger
from rlmwatch.runs.model import Result, Run, Usage
from rlmwatch.sandbox.base import Sandbox
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
class Parcels:
    """
    In place of the folder: what came with the runs that are answered here (port `RunStorage`).

    Attributes:
        ledger: Where it is told how far they are.
    """

    ledger: PostgresLedger
    _opened: dict[str, RunPayload] = field(default_factory=dict)
    _said: dict[str, tuple[int, Live]] = field(default_factory=dict)
    _telling: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def open(self, run: Run, errand: Dispatch) -> Run:
        """
        Take in what came with *run*; return it with what was set for it.

        Raises:
            RlmwatchError: Another version packed it.
        """
        parcel = self._opened[run.run_id] = unpack(errand.payload)
        return replace(run, options=parcel.options)

    def close(self, run_id: str) -> None:
        """Forget what came with a run."""
        self._opened.pop(run_id, None)
        self._said.pop(run_id, None)
        if (telling := self._telling.pop(run_id, None)) is not None:
            telling.cancel()

    async def memory(self, run: Run) -> Remembered:
        """Return the conversation's memory, as it was when the run was handed out."""
        return self._opened[run.run_id].checked().memory

    async def context(self, run: Run, _paths: Sequence[str] | None, _outside_roots: Sequence[Path]) -> Context:
        """Return the material, as it was when the run was handed out."""
        return self._opened[run.run_id].checked().context

    async def session(self, run: Run) -> SessionState:
        """Return the research session, as it was when the run was handed out."""
        return self._opened[run.run_id].checked().session or SessionState()

    async def book(self, run: Run, used: Usage) -> None:
        """Nothing: the daemon books what the ledger says."""

    def note_spending(self, run: Run, used: Usage) -> None:
        """Nothing: what is told by `note` is booked by the daemon."""

    def session_lock(self, _run: Run) -> _NoLock:
        """Return a lock that locks nothing."""
        return _NoLock()

    def note(self, run: Run, live: Live) -> None:
        """Tell how far *run* is, beside the work, at most once in `EVERY_S`; the last word counts."""
        self._said[run.run_id] = (run.attempt, live)
        if run.run_id not in self._telling and run.run_id in self._opened:
            self._telling[run.run_id] = asyncio.create_task(self._tell(run.run_id))

    async def _tell(self, run_id: str) -> None:
        while (said := self._said.pop(run_id, None)) is not None:
            attempt, live = said
            with suppress(LedgerError):  # it is told again, or how the run ended
                await self.ledger.report_progress(run_id, attempt, _as_json(live))
            await asyncio.sleep(EVERY_S)
        self._telling.pop(run_id, None)


@dataclass(slots=True)
class RunWorker:
    """
    Answers one run after the other, or several at once (port `Answer`).

    Attributes:
        handlers: One per kind that this program can answer.
        benches: Sets up what a handler works with; its folder is *parcels*.
    """

    ledger: PostgresLedger
    handlers: Mapping[Kind, Handler]
    benches: RunContextFactory
    parcels: Parcels
    utc: Callable[[], str]

    @classmethod
    def with_parts(
        cls, ledger: PostgresLedger, terms: RuntimeConfig, sandbox: Sandbox, handlers: Mapping[Kind, Handler]
    ) -> Self:
        """Compose it of the parts that a program has anyway."""
        parcels = Parcels(ledger)
        benches = RunContextFactory(terms, ledger, parcels, sandbox, clock.monotonic, clock.utc)
        return cls(ledger, handlers, benches, parcels, clock.utc)

    async def __call__(self, run_id: str, worker: int, cancelled: Callable[[], bool]) -> None:
        """See `Answer`."""
        try:
            run = await self.ledger.claim_for(run_id, worker, now=self.utc())
        except LedgerError as error:
            log.warning("run.not_claimed", run=run_id, why=str(error))
            return  # it waits, and is sent again
        if run is None:
            return
        log.info("run.started", run=run.run_id, path=run.path, attempt=run.attempt)
        try:
            end = await self._end_of(run, cancelled)
            if end is not None:
                await self._commit(run, end)
        except (LedgerError, asyncio.CancelledError) as error:
            log.warning("run.given_back", run=run.run_id, attempt=run.attempt, why=str(error) or "this worker stops")
            stops = isinstance(error, asyncio.CancelledError)
            await self._give_back(run, within_s=GRACE_S if stops else None)
            if stops:
                raise
        finally:
            self.parcels.close(run.run_id)

    async def _end_of(self, run: Run, cancelled: Callable[[], bool]) -> Result | Hold | None:
        """Have the handler answer; return how the run ended, None where it is another's."""
        heard = Heard()
        try:
            errand = await self.ledger.dispatched(run.run_id)
            if errand is None:
                raise RlmwatchError("this run came without what its worker needs; ask again")  # noqa: TRY301 (ends in words below)
            if errand.cancel_for is not None:
                return ended_by(RunCancelled(errand.cancel_for), None)
            here = self.parcels.open(run, errand)
            bench = await self.benches(here, heard)
            if heard.live is not None:
                self.parcels.note(here, heard.live)
            async with asyncio.timeout(heard.max_seconds):
                return await self.handlers[run.kind](here, bench)
        except TimeoutError:
            return ended_by(RunTimeout(f"no answer within {heard.max_seconds:g} seconds (max_seconds)"), heard.bench)
        except asyncio.CancelledError:
            if not cancelled():
                raise
            errand = await self.ledger.dispatched(run.run_id)
            reason = errand.cancel_for if errand and errand.cancel_for else "it was cancelled"
            return ended_by(RunCancelled(reason), heard.bench)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 (each run ends in words, whatever went wrong in it)
            return ended_by(error, heard.bench)
        finally:
            await heard.closing.aclose()
            heard.until_published.close()

    async def _commit(self, run: Run, end: Result | Hold) -> None:
        if isinstance(end, Hold):
            ended = await self.ledger.hold(run.run_id, run.attempt, end.reason, now=self.utc())
        else:
            ended = await self.ledger.finish(run.run_id, run.attempt, end, now=self.utc())
        if ended is None:
            log.warning("run.fenced", run=run.run_id, attempt=run.attempt)
        else:
            log.info("run.answered", run=run.run_id, path=run.path, status=str(ended.status))

    async def _give_back(self, run: Run, *, within_s: float | None) -> None:
        """Let another worker go on with *run*. Where that takes too long, it does once this worker is missed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.ledger.give_back(run.run_id, run.attempt)


def _as_json(live: Live) -> str:
    return json.dumps(
        {
            "progress": None if live.progress is None else live.progress.model_dump(mode="json"),
            "usage": live.usage.model_dump(mode="json"),
            "budget": live.budget.model_dump(mode="json"),
            "model": live.model,
        }
    )
