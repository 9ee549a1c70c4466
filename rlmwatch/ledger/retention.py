"""
Letting go of the content of runs that ended long ago.

What goes: questions, answers, requests, replies, steps, what a job file enclosed, and the list of paid calls.
What stays: one short row a run with its path, digest, number, outcome and usage, so that an old file is not asked again
and counts are right; the digest of its material; the sums of what was spent, which no removal of a call changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlmwatch.ledger.rows import json_value, to_json
from rlmwatch.ledger.statement import Db, Row, Statement
from rlmwatch.ledger.transactions import D, Transactions
from rlmwatch.runs.model import Run

FORGOTTEN = "its content is no longer kept (keep_ledger_days)"
RESTORED = "the ledger was restored from a backup that was made before this run ended"
"""Among the notes of a result whose answer the ledger does not have; it says "" in its place."""


def answer_lost(run: Run | None) -> str | None:
    """Return why the ledger does not have the answer of *run*, which it has or had; None where it does, or had none."""
    if run is None or run.result is None or run.result.answer is None:
        return None
    return next((note for note in run.result.notes if note in (FORGOTTEN, RESTORED)), None)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """
    What `forget` did.

    Attributes:
        runs: How many runs.
        last: The order of admission of the last of them.
    """

    runs: int
    last: int


class RetentionVerbs(Transactions[D]):
    """What retention asks of the ledger."""

    _OLD = Statement("""
        SELECT run_id, seq, pinned, result FROM runs
        WHERE {mine}published = 1 AND completed_at < :before AND seq > :after AND (prompt != '' OR enclosed IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM deliveries
                            WHERE deliveries.run_id = runs.run_id AND deliveries.ended_at IS NULL)
        ORDER BY seq LIMIT :at_most
    """)
    _NO_STEPS = Statement("DELETE FROM steps WHERE run_id = :run_id")
    _NO_CALLS = Statement("DELETE FROM calls WHERE run_id = :run_id")
    _NO_DELIVERY = Statement("DELETE FROM deliveries WHERE run_id = :run_id")
    _EMPTY = Statement(
        "UPDATE runs SET prompt = '', enclosed = NULL, pinned = :pinned, result = :result WHERE run_id = :run_id"
    )

    async def forget(self, before: str, *, after: int, at_most: int) -> Forgotten:
        """
        Let go of the content of *at_most* published runs that ended before *before*, of those admitted after *after*.

        Destructive, idempotent. A run whose webhook is still to be delivered keeps its content.
        """
        values = {"before": before, "after": after, "at_most": at_most}

        def forget(db: Db) -> Forgotten:
            rows = db.execute(self._OLD, values).fetchall()
            for row in rows:
                one = {"run_id": row["run_id"]}
                for statement in (self._NO_STEPS, self._NO_CALLS, self._NO_DELIVERY):
                    db.execute(statement, one)
                db.execute(self._EMPTY, one | _emptied(row))
            return Forgotten(len(rows), rows[-1]["seq"] if rows else after)

        return await self._write(forget)


def _emptied(row: Row) -> dict[str, Any]:
    """Return what stays of how a run was frozen and how it ended: what tells a changed material, and the outcome."""
    pinned = None if row["pinned"] is None else json_value(row["pinned"])
    if pinned is not None:
        kept = {"material": pinned["material"]} if "material" in pinned else {}
        pinned = kept | ({"messages": []} if "messages" in pinned else {})
    result = None if row["result"] is None else json_value(row["result"])
    if result is not None:
        result |= {"answer": None if result["answer"] is None else "", "sources": None, "notes": [FORGOTTEN]}
    return {
        "pinned": None if pinned is None else to_json(pinned),
        "result": None if result is None else to_json(result),
    }
