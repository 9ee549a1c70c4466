"""What `rlmwatch status` lists, one line each: runs that wait, and questions without a whole answer."""

from __future__ import annotations

from dataclasses import dataclass

from rlmwatch.cli.layout import Column, age
from rlmwatch.contract.state_words import STYLES, state_word
from rlmwatch.runs.unanswered import UnansweredRun
from rlmwatch.workspace.status import job_id

WAITING = (
    Column("id", most=16),
    Column("age", right=True),
    Column("status", styles=STYLES),
    Column("input", most=24, keep="end"),
    Column("why", grows=True),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    A run or submission that waits, or has no whole answer, and why.

    Attributes:
        outcome, partial: As in its status file.
    """

    job_id: str
    status: str
    input: str
    why: str
    since: str = ""
    outcome: str | None = None
    partial: bool = False


def waiting_row(each: Waiting, shown_id: str, now: str) -> dict[str, str]:
    """Return the line of *each* in the table, as it stands at *now*."""
    word = state_word(each.status, outcome=each.outcome, partial=each.partial)
    since = age(each.since or None, now)
    return {"id": shown_id, "age": since, "status": word, "input": each.input, "why": each.why}


def without_answer(found: UnansweredRun) -> Waiting:
    """Return how a question is listed that has no whole answer."""
    run, result = found.run, found.run.result
    return Waiting(
        job_id(run),
        run.status.value,
        run.path,
        found.why,
        run.completed_at or run.created_at,
        None if result is None else result.outcome.value,
        result is not None and result.partial,
    )
