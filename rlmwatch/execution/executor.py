"""
Carries out a run whose turn has come: the port, and the executor of this process.

The supervisor decides whose turn it is and publishes how a run ended; an executor
does what lies between. `LocalExecutor` answers the run here. `Dispatcher` (cluster)
has a worker answer it, on any machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from rlmwatch.execution.attempt import Attempt, AttemptDeps
from rlmwatch.execution.outcomes import Hold
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Queue

log = structlog.get_logger()


@dataclass(slots=True)
class ActiveRun:
    """
    A run whose turn it is, from its start until its files are written.

    Attributes:
        run: The run as it was last read from the ledger.
        on_started: To be called once the run is under way: its conversation waits no longer for the folder.
        cancelled_for: Why somebody asked for it to end; None where nobody did.
    """

    run: Run
    on_started: Callable[[], None] = field(default=lambda: None)
    cancelled_for: str | None = None


@dataclass(frozen=True, slots=True)
class Executed:
    """
    How a run went, as the ledger has it.

    Attributes:
        run: Ended or held.
        may_pass: Whether what holds it may end without a person (see `Hold`).
    """

    run: Run
    may_pass: bool = False


class Executor(Protocol):
    """Carries out runs."""

    async def recover(self) -> list[Run]:
        """
        Take over what an earlier process left. Once, at start.

        Returns:
            Runs that somebody works on now, to be carried out from where they are.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        ...

    def carry_out(self, active: ActiveRun) -> AbstractAsyncContextManager[Executed | None]:
        """
        Carry out the run of *active*. What it holds (a session's lock) is held until the block is left.

        Entering returns how the run went; None where it is another's, or is left as it is for the next start.

        Raises:
            WorkspaceError: The folder could not take the answer, so the run was not begun; nothing was paid.
            LedgerError: The ledger cannot be used.
        """
        ...

    def interrupt(self, active: ActiveRun) -> None:
        """Have the run end that is carried out, because of `active.cancelled_for`. Returns at once."""
        ...

    async def close(self) -> None:
        """Wait for nothing that goes on elsewhere. What is carried out here goes on."""
        ...


@dataclass(slots=True, kw_only=True)
class LocalExecutor:
    """
    Answers runs in this process (port `Executor`).

    Attributes:
        attempts: What its attempts have in common.
    """

    ledger: Queue
    workspace: WorkspaceGateway
    attempts: AttemptDeps
    utc: Callable[[], str]
    _under_way: dict[str, Attempt] = field(default_factory=dict)

    async def recover(self) -> list[Run]:
        """Make the runs of an earlier process pending again: it is gone, so none is under way."""
        for run in await self.ledger.reclaim(now=self.utc()):
            log.info("run.reclaimed", run=run.run_id, path=run.path, attempt=run.attempt)
        return []

    @asynccontextmanager
    async def carry_out(self, active: ActiveRun) -> AsyncIterator[Executed | None]:
        """Attempt the run, once the folder can take its answer."""
        run_id = active.run.run_id

        async def claim() -> Run | None:
            claimed = await self.ledger.claim(run_id, now=self.utc())
            if claimed is not None:
                active.on_started()
            return claimed

        async def why_cancelled() -> str | None:
            return active.cancelled_for

        await asyncio.to_thread(self.workspace.ready_for, active.run)
        with Attempt(deps=self.attempts, claim=claim, why_cancelled=why_cancelled) as attempt:
            self._under_way[run_id] = attempt
            try:
                committed = await attempt.carry_out()
            finally:
                del self._under_way[run_id]
            may_pass = isinstance(attempt.end, Hold) and attempt.end.may_pass
            yield None if committed is None else Executed(committed, may_pass)

    def interrupt(self, active: ActiveRun) -> None:
        """Close the connection of a run that is answered now."""
        attempt = self._under_way.get(active.run.run_id)
        if attempt is not None:
            attempt.interrupt()

    async def close(self) -> None:
        """Nothing goes on elsewhere."""
