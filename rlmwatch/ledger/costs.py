"""
What was spent, call by call, and what was not asked again.

`spared` holds sums by UTC day: how many saves of known bytes came, how many replies were taken from the journal, and
what these had cost. They are added in the transaction that finds it out.
"""

from __future__ import annotations

from rlmwatch.ledger.rows import NANO_PER_USD, json_value
from rlmwatch.ledger.statement import Db, Row, Statement
from rlmwatch.ledger.transactions import D, Transactions, first
from rlmwatch.runs.costs import CallCost, Spared

SAVE, REPLY = "save", "reply"
_DAY = len("2026-11-24")

_SPARE = Statement("""
    INSERT INTO spared ({whose}day, what, times, nano)
    SELECT {whose}:day, :what, 1, :nano FROM runs WHERE run_id = :run_id
    ON CONFLICT ({whose}day, what) DO UPDATE SET times = spared.times + 1, nano = spared.nano + excluded.nano
""")


def spare(db: Db, what: str, run_id: str, nano: int, *, now: str) -> None:
    """Count, inside a transaction, that *what* of a run was not asked again, which had cost *nano* nanodollars."""
    db.execute(_SPARE, {"run_id": run_id, "day": now[:_DAY], "what": what, "nano": nano})


class CostVerbs(Transactions[D]):
    """What people ask about money. Reads alone, but for `spare_save`."""

    _CALL_COSTS = Statement("""
        SELECT calls.day, runs.kind, calls.model, runs.conversation, calls.run_id, calls.spent_nano, calls.what,
               calls.usage
        FROM calls INDEXED BY calls_on JOIN runs ON runs.run_id = calls.run_id
        WHERE {mine}calls.day >= :since AND calls.state != 'released'
    """)

    async def call_costs(self, *, since: str) -> list[CallCost]:
        """Return every call that was begun on the UTC day *since* or later, in no order; reads them all."""
        return await self._read(
            lambda db: [_call_cost(row) for row in db.execute(self._CALL_COSTS, {"since": since}).fetchall()]
        )

    _LAST = Statement("SELECT last_run FROM inputs WHERE {mine}path = :path")
    _COST_OF = Statement("""
        SELECT COALESCE(SUM(spent_nano), 0) AS nano FROM calls INDEXED BY calls_of WHERE run_id = :run_id
    """)

    async def spare_save(self, path: str, *, now: str) -> None:
        """Count that the bytes of the input *path* came again and were not asked. Not idempotent: once per save."""

        def spare_save(db: Db) -> None:
            last = first(db, self._LAST, {"path": path})
            if last is not None and last["last_run"]:
                row = db.execute(self._COST_OF, {"run_id": last["last_run"]}).fetchone()
                spare(db, SAVE, last["last_run"], int(row["nano"]), now=now)

        await self._write(spare_save)

    _SPARED = Statement("""
        SELECT COALESCE(SUM(CASE WHEN what = :save THEN times END), 0) AS saves,
               COALESCE(SUM(CASE WHEN what = :reply THEN times END), 0) AS replies, COALESCE(SUM(nano), 0) AS nano
        FROM spared WHERE {mine}day >= :since
    """)

    async def spared(self, *, since: str) -> Spared:
        """Return what was not asked again since the UTC day *since*."""
        asked = {"since": since, "save": SAVE, "reply": REPLY}
        row = await self._read(lambda db: db.execute(self._SPARED, asked).fetchone())
        return Spared(int(row["saves"]), int(row["replies"]), int(row["nano"]) / NANO_PER_USD)


def _call_cost(row: Row) -> CallCost:
    usage = {} if row["usage"] is None else json_value(row["usage"])
    return CallCost(
        row["day"],
        row["kind"],
        row["model"],
        row["conversation"],
        row["run_id"],
        row["spent_nano"] / NANO_PER_USD,
        int(row["what"] == "llm"),
        int(row["what"] == "search"),
        int(usage.get("input_tokens", 0)),
        int(usage.get("output_tokens", 0)),
    )
