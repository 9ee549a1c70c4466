"""
The verbs of runs that are handed out to other machines, as functions of a connection inside a transaction.

An errand is a run on its way: what the folder holds for it (the parcel), how far
its worker is, and whether somebody wants it to end. Who works on a run stands in
the run's own row, beside the attempt, so a worker that died and the run that is
taken from it cannot be confused with the next attempt.

Workers are known by the engine's table `procrastinate_workers`, which is read
here and never written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlmwatch.ledger import runs
from rlmwatch.ledger.calls import first
from rlmwatch.ledger.rows import run_of
from rlmwatch.ledger.statement import Db, Statement
from rlmwatch.runs.model import Run, RunStatus

_HAND_OUT = Statement("""
    INSERT INTO errands (run_id, parcel) VALUES (:run_id, :parcel) ON CONFLICT (run_id) DO NOTHING
""")

_ERRAND = Statement("SELECT parcel, cancel_for FROM errands WHERE run_id = :run_id")

_IS_OUT = Statement("SELECT run_id FROM errands WHERE run_id = :run_id")

_MOVED = Statement("""
    SELECT run_id, status, attempt, live FROM errands JOIN runs USING (run_id) WHERE {mine}TRUE
""")

_LIVE_OF = Statement("SELECT live FROM errands WHERE run_id = :run_id")

_LIVE = Statement("""
    UPDATE errands SET live = :live FROM runs
    WHERE errands.run_id = :run_id AND runs.run_id = :run_id AND runs.status = 'running' AND runs.attempt = :attempt
""")

_CANCEL_FOR = Statement("UPDATE errands SET cancel_for = :reason WHERE run_id = :run_id")

_HOME = Statement("DELETE FROM errands WHERE run_id = :run_id")

_OWN = Statement(
    "UPDATE runs SET worker = :worker WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt"
)

_GIVE_BACK = Statement("""
    UPDATE runs SET status = 'pending' WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
""")

_OF_NO_LIVING_WORKER = """
    completed_at IS NULL AND status = 'running'
    AND NOT EXISTS (
        SELECT 1 FROM procrastinate_workers
        WHERE id = runs.worker AND last_heartbeat >= NOW() - :lease_s * INTERVAL '1 second'
    )
"""

_ORPHANED = Statement(f"SELECT run_id FROM runs WHERE {_OF_NO_LIVING_WORKER} LIMIT 1")  # noqa: S608 (our own text)

_ADOPT_ORPHANS = Statement(f"UPDATE runs SET status = 'pending' WHERE {_OF_NO_LIVING_WORKER} RETURNING *")  # noqa: S608

_UNSENT = Statement("""
    SELECT run_id, workspace, conversation FROM errands JOIN runs USING (run_id)
    WHERE runs.completed_at IS NULL AND runs.status = 'pending' AND NOT EXISTS (
        SELECT 1 FROM procrastinate_jobs
        WHERE queueing_lock = run_id AND procrastinate_jobs.status IN ('todo', 'doing')
    )
    ORDER BY seq
""")


@dataclass(frozen=True, slots=True)
class Dispatch:
    """
    A run on its way.

    Attributes:
        parcel: What its worker needs of the folder.
        cancel_for: Why it is to end; None where it is not.
    """

    parcel: bytes
    cancel_for: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """
    Where a run is that was handed out.

    Attributes:
        live: What its worker last said of how far it is; None before.
    """

    status: RunStatus
    attempt: int
    live: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """A run that was handed out and waits, and that no job is about: the engine is to be told of it."""

    run_id: str
    workspace: str
    conversation: str


def hand_out(db: Db, run_id: str, parcel: bytes) -> None:
    """Keep what a worker needs of the folder. The first parcel stays: a later attempt works on the same material."""
    db.execute(_HAND_OUT, {"run_id": run_id, "parcel": parcel})


def is_out(db: Db, run_id: str) -> bool:
    """Whether the run has a parcel already."""
    return first(db, _IS_OUT, {"run_id": run_id}) is not None


def errand(db: Db, run_id: str) -> Dispatch | None:
    """Return the parcel of a run, and whether it is to end."""
    row = first(db, _ERRAND, {"run_id": run_id})
    return None if row is None else Dispatch(bytes(row["parcel"]), row["cancel_for"])


def seen(db: Db) -> dict[str, Seen]:
    """Return where each run of this workspace is that was handed out and is not published yet."""
    return {
        row["run_id"]: Seen(
            RunStatus(row["status"]), row["attempt"], None if row["live"] is None else json.loads(row["live"])
        )
        for row in db.execute(_MOVED, {}).fetchall()
    }


def tell_live(db: Db, run_id: str, attempt: int, live: str) -> None:
    """Keep how far *attempt* is; of one that no longer owns its run, nothing."""
    db.execute(_LIVE, {"run_id": run_id, "attempt": attempt, "live": live})


def live(db: Db, run_id: str) -> Mapping[str, Any] | None:
    """Return what was last said of how far a run is."""
    row = first(db, _LIVE_OF, {"run_id": run_id})
    return None if row is None or row["live"] is None else dict(json.loads(row["live"]))


def ask_cancel(db: Db, run_id: str, reason: str, *, now: str) -> Run | None:
    """End a run that waits; of one that works, note that it is to end. The ended run, or None."""
    db.execute(_CANCEL_FOR, {"run_id": run_id, "reason": reason})
    return runs.cancel(db, run_id, reason, now=now)


def home(db: Db, run_id: str) -> None:
    """Note that a run is published, and forget its errand."""
    runs.published(db, run_id)
    db.execute(_HOME, {"run_id": run_id})


def claim_for(db: Db, run_id: str, worker: int, *, now: str) -> Run | None:
    """Take a pending run for *worker*, as `Queue.claim` does."""
    run = runs.claim(db, run_id, now=now)
    if run is not None:
        db.execute(_OWN, {"run_id": run_id, "attempt": run.attempt, "worker": worker})
    return run


def give_back(db: Db, run_id: str, attempt: int) -> None:
    """Make a run pending again that its own worker cannot go on with; of another attempt's, nothing."""
    db.execute(_GIVE_BACK, {"run_id": run_id, "attempt": attempt})


def orphaned(db: Db, lease_s: float) -> bool:
    """Whether a run is RUNNING whose worker has not been heard of for *lease_s* seconds. Takes no lock."""
    return first(db, _ORPHANED, {"lease_s": lease_s}) is not None


def adopt_orphans(db: Db, lease_s: float) -> list[Run]:
    """
    Make every RUNNING run pending again whose worker has not been heard of for *lease_s* seconds, in any workspace.

    `attempt` stays, and is raised by the next claim: what the worker still does, if it only was slow, comes to nothing.
    """
    rows = db.execute(_ADOPT_ORPHANS, {"lease_s": lease_s}).fetchall()
    return sorted((run_of(row) for row in rows), key=lambda run: run.seq)


def unsent(db: Db) -> list[Unsent]:
    """Return the runs of all workspaces that were handed out, wait, and have no job, in order of admission."""
    return [Unsent(row["run_id"], row["workspace"], row["conversation"]) for row in db.execute(_UNSENT, {}).fetchall()]
