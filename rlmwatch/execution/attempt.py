"""
One attempt of one run, for every program that answers: the daemon, a cluster's worker, the Python API.

    claim → context → handler within its time → outcome → hold or finish

What an attempt promises:

1. Nothing is set up or paid before the run is claimed. Where another was first, nothing happens.
2. Every later statement to the ledger carries the number of the attempt. Once the run is another attempt's, this one
   pays nothing more and writes nothing more.
3. The time limit (`max_seconds`) is the handler's. Waiting for a session that another run uses does not count, nor
   does waiting until the ledger can store what was paid for, or an intent to pay.
4. Whatever is raised in between, the run ends in words, as `outcomes.py` says. Two things go through to the caller,
   and leave the run as it is: the cancellation of this task where nobody asked for the run to end (the program stops),
   and a failing ledger where another worker may go on with the run (`can_be_given_back`).
5. A run that is to end (`why_cancelled`) ends as cancelled, whether it is asked for while the run is claimed, set up
   or answered; the text so far is kept.
6. What the handler used is closed, and what it spent is booked, before the end is committed.
7. How it ended is committed once, before any file is written. Publishing is the caller's, inside the `with` block: a
   session's lock is held until that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import structlog

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import LedgerError, RunCancelled, RunTimeout
from rlmwatch.execution.outcomes import Hold, ended_by, failed_by
from rlmwatch.execution.run_context import PreparedRun, PrepareRun
from rlmwatch.handlers.base import Handler
from rlmwatch.runs.model import Result, Run
from rlmwatch.runs.queue import Queue

log = structlog.get_logger()


async def _not_cancelled() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDeps:
    """
    What the attempts of one program have in common.

    Attributes:
        ledger: Where the end of a run is committed.
        handlers: One per kind that this program can answer.
        prepare: Sets up what a handler works with.
        utc: Asks the wall clock.
        crash_at: Is told the named points at which a crash must lose nothing.
        can_be_held: Whether somebody releases a held run later. A call of the Python API has no later: there, what
            would hold its run fails it.
        can_be_given_back: Whether another worker may go on with a run whose ledger cannot be reached from here. Where
            none may, the run fails.
    """

    ledger: Queue
    handlers: Mapping[Kind, Handler]
    prepare: PrepareRun
    utc: Callable[[], str]
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    can_be_held: bool = True
    can_be_given_back: bool = False


@dataclass(slots=True, kw_only=True)
class Attempt:
    """
    One attempt of one run, which knows how far it came. A context manager: leaving it gives back a session's lock.

    Attributes:
        claim: Takes the run; returns None where another was first.
        why_cancelled: Returns why somebody asked for the run to end; None where nobody did.
        run: The run as it was claimed, then as its end was committed; None before.
        prepared: What its handler works with; None before, and where that could not be set up.
        error: What ended it; None where its handler returned a result.
        end: What becomes of it; None before, and where another attempt owns it.
    """

    deps: AttemptDeps
    claim: Callable[[], Awaitable[Run | None]]
    why_cancelled: Callable[[], Awaitable[str | None]] = _not_cancelled
    run: Run | None = None
    prepared: PreparedRun | None = None
    error: Exception | None = None
    end: Result | Hold | None = None
    _answering: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.prepared is not None:
            self.prepared.until_published.close()

    def interrupt(self) -> None:
        """Close the connection of a handler that works; `why_cancelled` says why. Else `carry_out` asks that itself."""
        if self._answering is not None:
            self._answering.cancel()

    async def carry_out(self) -> Run | None:
        """
        Return the run as it was committed, ended or held; None where another attempt owns it. To be called once.

        Raises:
            LedgerError: It could not be claimed (`run` is None), its end not committed, or see `can_be_given_back`.
        """
        run = self.run = await self.claim()
        if run is None:
            return None
        log.info("run.started", run=run.run_id, path=run.path, attempt=run.attempt)
        self.deps.crash_at("run.claimed")
        self.end = await self._outcome(run)
        if self.end is None:
            return None
        committed = await self._commit(run, self.end)
        if committed is None:
            log.warning("run.fenced", run=run.run_id, attempt=run.attempt)
            return None
        self.run = committed
        if committed.status.ended:
            self.deps.crash_at("run.finished")
        return committed

    async def _outcome(self, run: Run) -> Result | Hold | None:
        """Have the handler answer; return what becomes of the run. None leaves it to the attempt that owns it."""
        try:
            if (reason := await self.why_cancelled()) is not None:
                return self._ended_by(RunCancelled(reason))
            self._answering = asyncio.current_task()
            self.prepared = await self.deps.prepare(run)
            return await self._answer(self.prepared)
        except asyncio.CancelledError:
            if (reason := await self.why_cancelled()) is None:
                raise
            return self._ended_by(RunCancelled(reason))
        except LedgerError as error:
            if self.deps.can_be_given_back:
                raise
            return self._ended_by(error)
        except Exception as error:  # noqa: BLE001 (each run ends in words, whatever went wrong in it)
            return self._ended_by(error)
        finally:
            self._answering = None
            if self.prepared is not None:
                await self.prepared.closing.aclose()

    async def _answer(self, prepared: PreparedRun) -> Result:
        """
        Have the handler answer within its time.

        Raises:
            RunTimeout: It took longer.
            Exception: Whatever the handler raises.
        """
        seconds = prepared.context.options.max_seconds
        try:
            async with prepared.context.calls.time.limit(seconds):
                return await self.deps.handlers[prepared.run.kind](prepared.run, prepared.context)
        except TimeoutError:  # of this limit, or of a wait below that ends with it
            if seconds is None:
                raise
            raise RunTimeout(f"no answer within {seconds:g} seconds (max_seconds)") from None

    def _ended_by(self, error: Exception) -> Result | Hold | None:
        self.error = error
        context = self.prepared.context if self.prepared else None
        end = ended_by(error, context)
        if isinstance(end, Hold) and not self.deps.can_be_held:
            return failed_by(error, context)
        return end

    async def _commit(self, run: Run, end: Result | Hold) -> Run | None:
        now = self.deps.utc()
        if isinstance(end, Hold):
            return await self.deps.ledger.hold(run.run_id, run.attempt, end.reason, now=now)
        return await self.deps.ledger.finish(run.run_id, run.attempt, end, now=now)
