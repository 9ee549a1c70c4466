"""The verbs of webhooks, as functions of a connection inside a transaction."""

from __future__ import annotations

from rlmwatch.ledger import statements
from rlmwatch.ledger.statement import Db
from rlmwatch.runs.deliveries import Delivery


def deliver(db: Db, run_id: str, url: str, *, now: str) -> None:
    """Note that the end of the run is to be told at *url*."""
    db.execute(statements.DELIVER, {"run_id": run_id, "url": url, "now": now})


def deliveries(db: Db) -> list[Delivery]:
    """See `Deliveries.deliveries`."""
    return [
        Delivery(row["run_id"], row["url"], row["attempts"], row["due_at"])
        for row in db.execute(statements.DELIVERIES).fetchall()
    ]


def tried(db: Db, run_id: str, said: str, *, due_at: str | None, now: str) -> None:
    """See `Deliveries.tried`."""
    db.execute(statements.TRIED, {"run_id": run_id, "said": said, "due_at": due_at, "now": now})
