"""
The ledger in a Postgres database that machines and workspaces share.

Beside the verbs of every ledger it has those of runs that are dispatched to other machines. A dispatched run has a row
in `errands`: what its worker needs of the folder (the payload), how far the worker is, and whether the run is to end.
Who works on a run stands in the run's own row, beside the attempt, so a worker that died cannot be confused with the
worker of the next attempt.

Workers are known by procrastinate's table `procrastinate_workers`, which is read here and never written.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import structlog
from typing_extensions import override

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.postgres.connection import Server, SharedDb
from rlmwatch.ledger.statement import Db, Statement
from rlmwatch.ledger.transactions import all_runs, first, one_run
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.model import Outcome, Run, RunStatus

AGAIN_S = 1.0
"""Between two tries of what must not be lost."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """
    A run that was dispatched and is not published yet.

    Attributes:
        payload: What its worker needs of the folder.
        cancel_for: Why it is to end; None where it is not.
    """

    payload: bytes
    cancel_for: str | None = None


@dataclass(frozen=True, slots=True)
class DispatchState:
    """
    Where a run is that was dispatched.

    Attributes:
        progress: What its worker reported last; None before.
    """

    status: RunStatus
    attempt: int
    progress: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """A run that was dispatched and waits, and that no job of procrastinate is about: one is to be made."""

    run_id: str
    workspace: str
    conversation: str


class PostgresLedger(Ledger[SharedDb]):
    """
    The runs of one workspace among others, and, for workers, those of all of them by their ids.

    Verbs that store what was paid for, or how a run ended, raise no `LedgerError`: they try again until the server
    takes them, for a paid reply that is lost is paid again. `finish` and `hold` also return None where they had
    happened when the connection broke.
    """

    @classmethod
    def open(cls, url: str, workspace: str | None = None) -> Self:
        """
        Connect, and bring the schema up to date. Blocks for some round trips.

        Args:
            url: A libpq connection string or URL.
            workspace: Whose runs and inputs; None for a worker, which asks by run ids alone.

        Raises:
            LedgerError: It cannot be reached, or a newer rlmwatch wrote it; the text says what to do.
            ConfigError: *url* is not a connection string.
        """
        writer = Writer(Server(url, workspace))
        writer.start()
        return cls(writer)

    @override
    async def _insist(self, work: Callable[[Db], T]) -> T:
        while True:
            try:
                return await self._write(work)
            except LedgerError as error:
                log.warning("ledger.unavailable", why=str(error))
            await asyncio.sleep(AGAIN_S)

    # The daemon that has the folder

    _DISPATCH = Statement("""
        INSERT INTO errands (run_id, parcel) VALUES (:run_id, :payload) ON CONFLICT (run_id) DO NOTHING
    """)

    async def dispatch(self, run_id: str, payload: bytes) -> None:
        """
        Store what a worker needs of the folder. Idempotent.

        The first payload stays: a later attempt works on the same material.
        """
        await self._write(lambda db: db.execute(self._DISPATCH, {"run_id": run_id, "payload": payload}))

    _IS_DISPATCHED = Statement("SELECT run_id FROM errands WHERE run_id = :run_id")

    async def is_dispatched(self, run_id: str) -> bool:
        """Whether the run has a payload already."""
        return await self._read(lambda db: first(db, self._IS_DISPATCHED, {"run_id": run_id}) is not None)

    _DISPATCH_STATES = Statement("""
        SELECT run_id, status, attempt, live FROM errands JOIN runs USING (run_id) WHERE {mine}TRUE
    """)

    async def dispatch_states(self) -> dict[str, DispatchState]:
        """Return where each run of this workspace is that was dispatched and is not published yet."""
        rows = await self._read(lambda db: db.execute(self._DISPATCH_STATES).fetchall())
        return {
            row["run_id"]: DispatchState(
                RunStatus(row["status"]), row["attempt"], None if row["live"] is None else json.loads(row["live"])
            )
            for row in rows
        }

    _PROGRESS = Statement("SELECT live FROM errands WHERE run_id = :run_id")

    async def progress(self, run_id: str) -> Mapping[str, Any] | None:
        """Return what the worker of a run reported last; None where there is nothing."""
        row = await self._read(lambda db: first(db, self._PROGRESS, {"run_id": run_id}))
        return None if row is None or row["live"] is None else dict(json.loads(row["live"]))

    _REQUEST_CANCEL = Statement("UPDATE errands SET cancel_for = :reason WHERE run_id = :run_id")

    async def request_cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        """End a run that waits and return it; of one that a worker has, note that it is to end, and return None."""

        def request_cancel(db: Db) -> Run | None:
            db.execute(self._REQUEST_CANCEL, {"run_id": run_id, "reason": reason})
            return self._end_waiting(db, run_id, Outcome.CANCELLED, error=reason, now=now)

        return await self._write(request_cancel)

    _COMPLETE = Statement("DELETE FROM errands WHERE run_id = :run_id")

    @override
    async def published(self, run_id: str) -> None:
        """As the port says; nothing of its dispatch is left."""

        def published(db: Db) -> None:
            db.execute(self._PUBLISHED, {"run_id": run_id})
            db.execute(self._COMPLETE, {"run_id": run_id})

        await self._write(published)

    # Its worker

    _DISPATCHED = Statement("SELECT parcel, cancel_for FROM errands WHERE run_id = :run_id")

    async def dispatched(self, run_id: str) -> Dispatch | None:
        """Return the payload of a run, and whether it is to end; None where it was published or never dispatched."""
        row = await self._read(lambda db: first(db, self._DISPATCHED, {"run_id": run_id}))
        return None if row is None else Dispatch(bytes(row["parcel"]), row["cancel_for"])

    _OWN = Statement(
        "UPDATE runs SET worker = :worker WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt"
    )

    async def claim_for(self, run_id: str, worker: int, *, now: str) -> Run | None:
        """Take a pending run for *worker*, as `Queue.claim` does; None if another was first."""

        def claim_for(db: Db) -> Run | None:
            run = one_run(db, self._CLAIM, {"run_id": run_id, "now": now})
            if run is not None:
                db.execute(self._OWN, {"run_id": run_id, "attempt": run.attempt, "worker": worker})
            return run

        return await self._write(claim_for)

    _REPORT_PROGRESS = Statement("""
        UPDATE errands SET live = :progress FROM runs
        WHERE errands.run_id = :run_id AND runs.run_id = :run_id AND runs.status = 'running' AND runs.attempt = :attempt
    """)

    async def report_progress(self, run_id: str, attempt: int, progress: str) -> None:
        """Store how far *attempt* is, as JSON; nothing where it no longer owns its run."""
        values = {"run_id": run_id, "attempt": attempt, "progress": progress}
        await self._write(lambda db: db.execute(self._REPORT_PROGRESS, values))

    _GIVE_BACK = Statement("""
        UPDATE runs SET status = 'pending' WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    """)

    async def give_back(self, run_id: str, attempt: int) -> None:
        """Make a run pending again that its own worker cannot go on with; nothing where it is another attempt's."""
        await self._insist(lambda db: db.execute(self._GIVE_BACK, {"run_id": run_id, "attempt": attempt}))

    # Everybody, once a second

    _OF_NO_LIVING_WORKER = """
        completed_at IS NULL AND status = 'running'
        AND NOT EXISTS (
            SELECT 1 FROM procrastinate_workers
            WHERE id = runs.worker AND last_heartbeat >= NOW() - :lease_s * INTERVAL '1 second'
        )
    """
    _ORPHANED = Statement(f"SELECT run_id FROM runs WHERE {_OF_NO_LIVING_WORKER} LIMIT 1")  # noqa: S608 (our own text)
    _RECLAIM_ORPHANS = Statement(f"UPDATE runs SET status = 'pending' WHERE {_OF_NO_LIVING_WORKER} RETURNING *")  # noqa: S608

    async def reclaim_orphans(self, lease_s: float) -> list[Run]:
        """
        Make every RUNNING run of any workspace pending again whose worker gave no heartbeat for *lease_s* seconds.

        `attempt` stays, and is raised by the next claim: what the worker still does, if it only was slow, comes to
        nothing. Where there are none, nothing is locked.
        """
        values = {"lease_s": lease_s}
        if await self._read(lambda db: first(db, self._ORPHANED, values)) is None:
            return []
        runs = await self._write(lambda db: all_runs(db, self._RECLAIM_ORPHANS, values))
        return sorted(runs, key=lambda run: run.seq)

    _UNSENT = Statement("""
        SELECT run_id, workspace, conversation FROM errands JOIN runs USING (run_id)
        WHERE runs.completed_at IS NULL AND runs.status = 'pending' AND NOT EXISTS (
            SELECT 1 FROM procrastinate_jobs
            WHERE queueing_lock = run_id AND procrastinate_jobs.status IN ('todo', 'doing')
        )
        ORDER BY seq
    """)

    async def unsent(self) -> list[Unsent]:
        """Return the runs of all workspaces that were dispatched, wait, and have no job, in order of admission."""
        rows = await self._read(lambda db: db.execute(self._UNSENT).fetchall())
        return [Unsent(row["run_id"], row["workspace"], row["conversation"]) for row in rows]
