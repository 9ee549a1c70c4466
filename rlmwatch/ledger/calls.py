"""
The journal's verbs, as functions of a connection inside a transaction.

What a caller may rely on stands in the port, `runs/journal.py`; here stands how
it is kept. What counts against the ceilings is `calls.spent_nano`: the
reservation from the intent on, the cost once it is known, nothing once released.
It counts on the UTC day of the intent, whenever the reply comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlmwatch.errors import CeilingReached, Fenced
from rlmwatch.ledger import statements
from rlmwatch.ledger.rows import NANO_PER_USD, cost_nano, entry_of, json_value, to_json, to_nano, usage_json
from rlmwatch.ledger.statement import Db, Row
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, JournalEntry, PaidCall, RunStatus, Usage

DAY = len("2026-11-24")
MONTH = len("2026-11")


def first(db: Db, statement: str, values: Mapping[str, Any]) -> Row | None:
    """Carry out *statement* to its end and return its first row, if any."""
    rows: list[Row] = db.execute(statement, values).fetchall()
    return rows[0] if rows else None


def intend(db: Db, run_id: str, attempt: int, call: PaidCall, *, ceilings: Ceilings, now: str) -> JournalEntry | None:
    """
    See `Journal.intend`.

    The insert itself checks fence, earlier entries and ceilings. Mostly it is all that there is to do; what stood
    against it is looked for after it.
    """
    reserved_nano = 0 if call.reserved_usd is None else to_nano(call.reserved_usd)
    values = {
        "run_id": run_id,
        "attempt": attempt,
        "key": call.key,
        "what": call.what,
        "model": call.model,
        "request": to_json(call.request),
        "reserved_tokens": call.reserved_tokens,
        "reserved_usd": call.reserved_usd,
        "nano": reserved_nano,
        "per_day": None if ceilings.per_day_usd is None else to_nano(ceilings.per_day_usd),
        "per_month": None if ceilings.per_month_usd is None else to_nano(ceilings.per_month_usd),
        "day": now[:DAY],
        "month": now[:MONTH],
        "now": now,
    }
    if first(db, statements.INTEND, values) is not None:
        return None
    if first(db, statements.LOSE_EARLIER, values) is not None and first(db, statements.INTEND, values) is not None:
        return None
    run = first(db, statements.GET, values)
    if run is None or run["status"] != RunStatus.RUNNING or run["attempt"] != attempt:
        raise Fenced(f"run {run_id} is no longer attempt {attempt}'s: another has taken over, or it has ended")
    done = first(db, statements.DONE, values)
    if done is not None:
        return entry_of(done)
    raise _ceiling_reached(_spent_nano(db, now), reserved_nano, ceilings)


def record(db: Db, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
    """
    See `Journal.record`.

    Where a later attempt has given the intent up already, the lost entry takes the reply, unless there is one.
    """
    values = {
        "run_id": run_id,
        "key": key,
        "reply": to_json(reply),
        "usage": usage_json(usage),
        "nano": cost_nano(usage),
        "now": now,
    }
    if first(db, statements.RECORD, values) is None:
        db.execute(statements.RECORD_LATE, values)


def release(db: Db, run_id: str, key: str, *, now: str) -> None:
    """See `Journal.release`."""
    db.execute(statements.RELEASE, {"run_id": run_id, "key": key, "now": now})


def lose(db: Db, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
    """See `Journal.lose`. A usage without a cost leaves the reserved money spent."""
    values = {"run_id": run_id, "key": key, "usage": usage_json(usage), "nano": cost_nano(usage), "now": now}
    db.execute(statements.LOSE, values)


def entries(db: Db, run_id: str) -> list[JournalEntry]:
    """See `Journal.entries`; oldest intent first."""
    return [entry_of(row) for row in db.execute(statements.ENTRIES, {"run_id": run_id}).fetchall()]


def spent_usd(db: Db, *, now: str) -> tuple[float, float]:
    """See `Journal.spent_usd`. Reads one row per day of the month."""
    day, month = _spent_nano(db, now)
    return day / NANO_PER_USD, month / NANO_PER_USD


def usage(db: Db, run_id: str) -> Usage:
    """See `Verbs.usage`."""
    run = first(db, statements.GET, {"run_id": run_id})
    if run is None:
        return Usage()
    running = run["attempt"] if run["status"] == RunStatus.RUNNING else None
    total = Usage()
    for row in db.execute(statements.ENTRIES, {"run_id": run_id}).fetchall():
        in_flight = row["state"] == CallState.INTENT and row["attempt"] == running
        if row["state"] != CallState.RELEASED and not in_flight:
            total += _reservation(row) if row["usage"] is None else Usage(**json_value(row["usage"]))
    return total


def _reservation(row: Row) -> Usage:
    """Return what a call used, at most, of which nothing came back."""
    return Usage(
        output_tokens=row["reserved_tokens"],
        cost_usd=row["reserved_usd"],
        llm_calls=int(row["what"] == "llm"),
        searches=int(row["what"] == "search"),
    )


def _spent_nano(db: Db, now: str) -> tuple[int, int]:
    """Return what counts against the ceilings of the day and of the month of *now*."""
    row = db.execute(statements.SPENT, {"day": now[:DAY], "month": now[:MONTH]}).fetchone()
    return int(row["day_nano"]), int(row["month_nano"])


def _ceiling_reached(spent_nano: tuple[int, int], asked_nano: int, ceilings: Ceilings) -> CeilingReached:
    """Say which ceiling the call would exceed: the day's if it does, else the month's."""
    day, month = spent_nano
    of_day = ceilings.per_day_usd is not None and day + asked_nano > to_nano(ceilings.per_day_usd)
    period, used = ("day", day / NANO_PER_USD) if of_day else ("month", month / NANO_PER_USD)
    limit = (ceilings.per_day_usd if of_day else ceilings.per_month_usd) or 0.0
    cap = f"max_cost_usd_per_{period}"
    text = (
        f"the {period}'s ceiling of {limit:g} USD: {used:.6f} USD are spent or reserved, and this call may cost "
        f"{asked_nano / NANO_PER_USD:.6f} USD. Raise {cap} under [ceilings] in your own config.toml, or wait for the "
        f"next {period} (UTC)"
    )
    return CeilingReached(text, cap=cap, limit=limit, used=used)
