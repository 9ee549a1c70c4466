"""Runs, journal, trajectory and webhooks behind their ports, whatever the store."""

from __future__ import annotations

from dataclasses import asdict

from typing_extensions import override

from rlmwatch.ledger.costs import CostVerbs
from rlmwatch.ledger.journal import JournalVerbs
from rlmwatch.ledger.queue import QueueVerbs
from rlmwatch.ledger.retention import RetentionVerbs
from rlmwatch.ledger.rows import json_value, to_json
from rlmwatch.ledger.statement import Statement
from rlmwatch.ledger.transactions import D
from rlmwatch.runs.deliveries import Deliveries, Delivery
from rlmwatch.runs.model import Usage
from rlmwatch.runs.trajectory import StepRecord, Trajectory


class Ledger(QueueVerbs[D], JournalVerbs[D], CostVerbs[D], RetentionVerbs[D], Trajectory, Deliveries):
    """
    Implements the ports `Queue`, `Journal`, `Trajectory` and `Deliveries`: the port says what each verb promises.

    Those of the two small ports stand here.
    """

    # The trajectory

    _STEP = Statement("""
        INSERT INTO steps (run_id, path, step, record) VALUES (:run_id, :path, :step, :record)
        ON CONFLICT (run_id, path, step) DO UPDATE SET record = excluded.record
    """)

    @override
    async def step(self, run_id: str, record: StepRecord) -> None:
        values = {"run_id": run_id, "path": record.path, "step": record.step, "record": to_json(asdict(record))}
        await self._within_run(lambda db: db.execute(self._STEP, values))

    _STEPS = Statement("SELECT path, step, record FROM steps INDEXED BY steps_of WHERE run_id = :run_id ORDER BY id")

    @override
    async def steps(self, run_id: str) -> list[StepRecord]:
        rows = await self._read(lambda db: db.execute(self._STEPS, {"run_id": run_id}).fetchall())
        records = [json_value(row["record"]) for row in rows]
        return [StepRecord(**{**record, "usage": Usage(**record["usage"])}) for record in records]

    # Webhooks

    _DELIVERIES = Statement("""
        SELECT deliveries.* FROM deliveries INDEXED BY deliveries_open JOIN runs USING (run_id)
        WHERE {mine}ended_at IS NULL AND due_at >= '' AND published = 1
        ORDER BY due_at
    """)

    @override
    async def deliveries(self) -> list[Delivery]:
        rows = await self._read(lambda db: db.execute(self._DELIVERIES).fetchall())
        return [Delivery(row["run_id"], row["url"], row["attempts"], row["due_at"]) for row in rows]

    _TRIED = Statement("""
        UPDATE deliveries SET attempts = attempts + 1, due_at = COALESCE(:due_at, due_at), said = :report,
                              ended_at = CASE WHEN :due_at IS NULL THEN :now END
        WHERE run_id = :run_id AND ended_at IS NULL
    """)

    @override
    async def tried(self, run_id: str, report: str, *, due_at: str | None, now: str) -> None:
        values = {"run_id": run_id, "report": report, "due_at": due_at, "now": now}
        await self._write(lambda db: db.execute(self._TRIED, values))
