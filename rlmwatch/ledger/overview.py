"""
What a page shows of a ledger: verbs that only read, for somebody who looks on beside the daemon.

Each is a function of a connection inside a transaction that reads; it returns so much at most, in rows and in
characters, and a text that is longer is cut or left out. So nobody who looks makes a daemon large or slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlmwatch.ledger.rows import NANO_PER_USD, json_value
from rlmwatch.ledger.statement import Db, Row, Statement
from rlmwatch.runs.model import RunStatus, Usage
from rlmwatch.runs.trajectory import StepRecord

MAX_ROWS = 50
"""Of each list."""
MAX_STEPS = 200
MAX_CALLS = 20
MAX_PROMPT = 400
"""Characters of a question in a list."""
MAX_RESULT = 100_000
"""Characters of a result, with its answer, that a list reads."""
MAX_WHOLE = 1_000_000
"""Characters of one text where a single run is shown."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """
    One run, as far as a list shows it.

    Attributes:
        prompt: How the question begins.
        result: How it ended, as JSON values; None before, and where it is too large for a list.
    """

    run_id: str
    path: str
    kind: str
    conversation: str
    status: RunStatus
    attempt: int
    created_at: str
    started_at: str | None
    completed_at: str | None
    held_for: str | None
    prompt: str
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CallSummary:
    """
    One paid call.

    Attributes:
        request: As JSON values; None where it is too large to be shown.
        reply: Likewise; None too while there is none.
    """

    what: str
    model: str
    state: str
    started_at: str
    usage: Usage
    request: dict[str, Any] | None
    reply: dict[str, Any] | None


_COLUMNS = """
    run_id, path, kind, conversation, status, attempt, created_at, started_at, completed_at, held_for,
    substr(prompt, 1, :prompt_chars) AS prompt,
    CASE WHEN length(result) <= :result_chars THEN result END AS result
"""
_LOOKED_AT_OPEN = Statement(f"""
    SELECT {_COLUMNS} FROM runs
    WHERE {{mine}}completed_at IS NULL AND status = :status ORDER BY seq LIMIT :limit
""")  # noqa: S608 (its parts are constants)
_LOOKED_AT_NEWEST = Statement(f"SELECT {_COLUMNS} FROM runs{{ours}} ORDER BY seq DESC LIMIT :limit")  # noqa: S608
_LOOKED_AT_RUN = Statement(f"SELECT {_COLUMNS} FROM runs WHERE {{mine}}run_id = :run_id")  # noqa: S608
_LOOKED_AT_JOB = Statement(f"""
    SELECT {_COLUMNS} FROM runs WHERE seq = (SELECT MAX(seq) FROM runs WHERE {{mine}}path = :path)
""")  # noqa: S608
_LOOKED_AT_COUNT = Statement("SELECT status, runs FROM tally{ours}")
_LOOKED_AT_DAYS = Statement("SELECT day, nano FROM spending WHERE day >= :since")
_LOOKED_AT_STEPS = Statement("""
    SELECT path, step, CASE WHEN length(record) <= :chars THEN record END AS record
    FROM steps INDEXED BY steps_of WHERE run_id = :run_id ORDER BY id DESC LIMIT :limit
""")
_LOOKED_AT_STEP_COUNT = Statement("SELECT COUNT(*) AS n FROM steps INDEXED BY steps_of WHERE run_id = :run_id")
_LOOKED_AT_CALLS = Statement("""
    SELECT what, model, state, started_at, usage,
           CASE WHEN length(request) <= :chars THEN request END AS request,
           CASE WHEN length(reply) <= :chars THEN reply END AS reply
    FROM calls WHERE run_id = :run_id ORDER BY id DESC LIMIT :limit
""")


def open_summaries(db: Db, status: RunStatus) -> list[RunSummary]:
    """Return the first `MAX_ROWS` runs that wait, run or are held, by *status*, in order of admission."""
    values = {"status": status.value, "limit": MAX_ROWS, "prompt_chars": MAX_PROMPT, "result_chars": MAX_RESULT}
    return [_summary(row) for row in db.execute(_LOOKED_AT_OPEN, values).fetchall()]


def newest_summaries(db: Db) -> list[RunSummary]:
    """Return the `MAX_ROWS` runs that were admitted last, newest first."""
    values = {"limit": MAX_ROWS, "prompt_chars": MAX_PROMPT, "result_chars": MAX_RESULT}
    return [_summary(row) for row in db.execute(_LOOKED_AT_NEWEST, values).fetchall()]


def one_summary(db: Db, job_id: str, job_file: str) -> RunSummary | None:
    """Return the run *job_id*, or the newest one of the file *job_file*; its texts up to `MAX_WHOLE`."""
    values = {"run_id": job_id, "path": job_file, "prompt_chars": MAX_WHOLE, "result_chars": MAX_WHOLE}
    row = db.execute(_LOOKED_AT_RUN, values).fetchone() or db.execute(_LOOKED_AT_JOB, values).fetchone()
    return None if row is None else _summary(row)


def counts(db: Db) -> dict[str, int]:
    """Return how many runs are in each status."""
    return {row["status"]: row["runs"] for row in db.execute(_LOOKED_AT_COUNT).fetchall()}


def spent_by_day(db: Db, since: str) -> dict[str, float]:
    """Return what was spent or is reserved, in US dollars by UTC day, from the day *since* on."""
    rows = db.execute(_LOOKED_AT_DAYS, {"since": since}).fetchall()
    return {row["day"]: row["nano"] / NANO_PER_USD for row in rows}


def newest_steps(db: Db, run_id: str) -> tuple[int, list[StepRecord]]:
    """Return how many steps the run has, and the last `MAX_STEPS`, oldest first; of one too large its place alone."""
    values = {"run_id": run_id, "limit": MAX_STEPS, "chars": MAX_WHOLE}
    rows = db.execute(_LOOKED_AT_STEPS, values).fetchall()
    count = db.execute(_LOOKED_AT_STEP_COUNT, {"run_id": run_id}).fetchone()["n"]
    return count, [_step(row) for row in reversed(rows)]


def newest_calls(db: Db, run_id: str) -> list[CallSummary]:
    """Return the last `MAX_CALLS` paid calls of the run, oldest first."""
    values = {"run_id": run_id, "limit": MAX_CALLS, "chars": MAX_WHOLE}
    rows = db.execute(_LOOKED_AT_CALLS, values).fetchall()
    return [
        CallSummary(
            what=row["what"],
            model=row["model"],
            state=row["state"],
            started_at=row["started_at"],
            usage=Usage() if row["usage"] is None else Usage(**json_value(row["usage"])),
            request=None if row["request"] is None else json_value(row["request"]),
            reply=None if row["reply"] is None else json_value(row["reply"]),
        )
        for row in reversed(rows)
    ]


def _summary(row: Row) -> RunSummary:
    return RunSummary(
        run_id=row["run_id"],
        path=row["path"],
        kind=row["kind"],
        conversation=row["conversation"],
        status=RunStatus(row["status"]),
        attempt=row["attempt"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        held_for=row["held_for"],
        prompt=row["prompt"],
        result=None if row["result"] is None else json_value(row["result"]),
    )


def _step(row: Row) -> StepRecord:
    if row["record"] is None:
        return StepRecord(row["path"], row["step"], 0, None, "too large to be shown here", "ok")
    record = json_value(row["record"])
    return StepRecord(**{**record, "usage": Usage(**record["usage"])})
