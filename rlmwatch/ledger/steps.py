"""
The trajectory's verbs, as functions of a connection inside a transaction.

A step that is run again by a later attempt takes the place of the earlier one,
and keeps its place in the order.
"""

from __future__ import annotations

from dataclasses import asdict

from rlmwatch.ledger import statements
from rlmwatch.ledger.rows import json_value, to_json
from rlmwatch.ledger.statement import Db
from rlmwatch.runs.model import Usage
from rlmwatch.runs.trajectory import StepRecord


def step(db: Db, run_id: str, record: StepRecord) -> None:
    """See `Trajectory.step`."""
    values = {"run_id": run_id, "path": record.path, "step": record.step, "record": to_json(asdict(record))}
    db.execute(statements.STEP, values)


def steps(db: Db, run_id: str) -> list[StepRecord]:
    """See `Trajectory.steps`."""
    return [_record_of(row["record"]) for row in db.execute(statements.STEPS, {"run_id": run_id}).fetchall()]


def _record_of(kept: str) -> StepRecord:
    values = json_value(kept)
    return StepRecord(**{**values, "usage": Usage(**values["usage"])})
