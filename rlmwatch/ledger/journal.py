"""
The verbs of the journal (port `Journal`).

What counts against the ceilings is `calls.spent_nano`: the reservation from the intent on, the cost once it is known,
nothing once released. It counts on the UTC day of the intent, whenever the reply comes.

`state IN ('intent', 'done')` looks redundant beside a condition on the state; it is what lets SQLite use the partial
index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from rlmwatch.errors import CeilingReached, Fenced
from rlmwatch.ledger.costs import REPLY, spare
from rlmwatch.ledger.rows import NANO_PER_USD, cost_nano, entry_of, json_value, to_json, to_nano, usage_json
from rlmwatch.ledger.spending import Claim, Sharing, Sums
from rlmwatch.ledger.statement import Db, Row, Statement
from rlmwatch.ledger.transactions import D, Transactions, first
from rlmwatch.money import dollars
from rlmwatch.runs.journal import Ceilings, Journal
from rlmwatch.runs.model import CallState, JournalEntry, PaidCall, RunStatus, Usage

_DAY = len("2026-11-24")
_MONTH = len("2026-11")

_ATTEMPT = Statement("SELECT status, attempt FROM runs WHERE run_id = :run_id")
_ENTRIES = Statement("SELECT * FROM calls WHERE run_id = :run_id ORDER BY id")
_OUTLINE = Statement("""
    SELECT key, what, model, state, attempt, started_at, ended_at, usage, reserved_tokens, reserved_usd
    FROM calls WHERE run_id = :run_id ORDER BY id
""")


class JournalVerbs(Transactions[D], Journal):
    """What happens to paid calls."""

    _INTEND = Statement("""
        INSERT INTO calls (run_id, key, what, model, state, attempt, day, spent_nano,
                           reserved_tokens, reserved_usd, started_at, request)
        SELECT :run_id, :key, :what, :model, 'intent', :attempt, :day, :nano,
               :reserved_tokens, :reserved_usd, :now, :request
        FROM runs
        WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
            AND NOT EXISTS (SELECT 1 FROM calls
                            WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done'))
            AND (:per_day IS NULL OR :per_day >= :nano + :others_today
                + (SELECT COALESCE(SUM(nano), 0) FROM spending WHERE day = :day))
            AND (:per_month IS NULL OR :per_month >= :nano + :others_this_month
                + (SELECT COALESCE(SUM(nano), 0) FROM spending WHERE day BETWEEN :month AND :month || '~'))
        RETURNING *
    """)
    """Checks fence, earlier entries and ceilings; mostly it is all that there is to do."""
    _LOSE_EARLIER = Statement("""
        UPDATE calls SET state = 'lost', ended_at = :now
        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
        RETURNING id
    """)
    _DONE = Statement(
        "SELECT * FROM calls WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'done'"
    )

    @override
    async def intend(
        self, run_id: str, attempt: int, call: PaidCall, *, ceilings: Ceilings, now: str
    ) -> JournalEntry | None:
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
            "day": now[:_DAY],
            "month": now[:_MONTH],
            "now": now,
        }

        def intend(db: Db) -> JournalEntry | None:
            others = self._claim(db, values, of_user=ceilings.of_user)
            if first(db, self._INTEND, values) is not None:
                return None
            if first(db, self._LOSE_EARLIER, values) is not None and first(db, self._INTEND, values) is not None:
                return None
            # It was not inserted: say what stood against it.
            self._tell(db, now)
            run = first(db, _ATTEMPT, values)
            if run is None or run["status"] != RunStatus.RUNNING or run["attempt"] != attempt:
                raise Fenced(f"run {run_id} is no longer attempt {attempt}'s: another has taken over, or it has ended")
            done = first(db, self._DONE, values)
            if done is not None:
                spare(db, REPLY, run_id, done["spent_nano"], now=now)
                return entry_of(done)
            own = self._spent_nano(db, now)
            raise _ceiling_reached((own[0] + others[0], own[1] + others[1]), reserved_nano, ceilings)

        return await self._within_run(intend)

    shared: Sharing | None = None
    """Where ledgers of one user share their ceilings; None in one that holds all workspaces, or shares with none."""

    def _claim(self, db: Db, values: dict[str, Any], *, of_user: bool) -> tuple[int, int]:
        """Reserve the call of *values* among the ledgers of the user; note and return what the others spent."""
        others = (0, 0)
        if of_user and self.shared is not None:
            claim = Claim(values["day"], values["nano"], values["per_day"], values["per_month"])
            others = self.shared.claim(self._sums(db, claim.month), claim)
        values["others_today"], values["others_this_month"] = others
        return others

    def _tell(self, db: Db, now: str) -> None:
        """Tell the other ledgers of the user what was spent here in the month of *now*, if that is possible now."""
        if self.shared is not None:
            self.shared.tell(self._sums(db, now[:_MONTH]))

    _SUMS = Statement("SELECT day, nano FROM spending WHERE day BETWEEN :month AND :month || '~'")

    def _sums(self, db: Db, month: str) -> Sums:
        return {row["day"]: row["nano"] for row in db.execute(self._SUMS, {"month": month}).fetchall()}

    _RECORD = Statement("""
        UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                         spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
        RETURNING id
    """)
    _RECORD_LATE = Statement("""
        UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                         spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
        WHERE id = (SELECT MAX(id) FROM calls WHERE run_id = :run_id AND key = :key AND state = 'lost')
            AND NOT EXISTS (SELECT 1 FROM calls
                            WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done'))
    """)
    """Where a later attempt has given the intent up already, the lost entry takes the reply, unless there is one."""

    @override
    async def record(self, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
        values = {
            "run_id": run_id,
            "key": key,
            "reply": to_json(reply),
            "usage": usage_json(usage),
            "nano": cost_nano(usage),
            "now": now,
        }

        def record(db: Db) -> None:
            if first(db, self._RECORD, values) is None:
                db.execute(self._RECORD_LATE, values)
            self._tell(db, now)

        await self._insist(record)

    _RELEASE = Statement("""
        UPDATE calls SET state = 'released', spent_nano = 0, ended_at = :now
        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
    """)

    @override
    async def release(self, run_id: str, key: str, *, now: str) -> None:
        def release(db: Db) -> None:
            db.execute(self._RELEASE, {"run_id": run_id, "key": key, "now": now})
            self._tell(db, now)

        await self._insist(release)

    _LOSE = Statement("""
        UPDATE calls SET state = 'lost', usage = :usage, spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
    """)

    @override
    async def lose(self, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
        values = {"run_id": run_id, "key": key, "usage": usage_json(usage), "nano": cost_nano(usage), "now": now}

        def lose(db: Db) -> None:
            db.execute(self._LOSE, values)
            self._tell(db, now)

        await self._insist(lose)

    @override
    async def entries(self, run_id: str) -> list[JournalEntry]:
        return await self._read(
            lambda db: [entry_of(row) for row in db.execute(_ENTRIES, {"run_id": run_id}).fetchall()]
        )

    async def outline(self, run_id: str) -> list[JournalEntry]:
        """Return the journal of one run, oldest first, without requests and replies: these may be large."""
        return await self._read(
            lambda db: [
                entry_of({**dict(row), "request": "{}", "reply": None})
                for row in db.execute(_OUTLINE, {"run_id": run_id}).fetchall()
            ]
        )

    _SPENT = Statement("""
        SELECT COALESCE(SUM(CASE WHEN day = :day THEN nano END), 0) AS day_nano, COALESCE(SUM(nano), 0) AS month_nano
        FROM spending
        WHERE day BETWEEN :month AND :month || '~'
    """)

    @override
    async def spent_usd(self, *, now: str, of_user: bool = False) -> tuple[float, float]:
        def spent(db: Db) -> tuple[float, float]:
            others = self.shared.others(now[:_DAY]) if of_user and self.shared is not None else (0, 0)
            day, month = (here + there for here, there in zip(self._spent_nano(db, now), others, strict=True))
            return day / NANO_PER_USD, month / NANO_PER_USD

        return await self._read(spent)

    def _spent_nano(self, db: Db, now: str) -> tuple[int, int]:
        """Return what counts against the ceilings of the day and of the month of *now*; reads one row per day."""
        row = db.execute(self._SPENT, {"day": now[:_DAY], "month": now[:_MONTH]}).fetchone()
        return int(row["day_nano"]), int(row["month_nano"])

    async def usage(self, run_id: str) -> Usage:
        """
        Return what the run used so far, across all attempts; nothing for a run that is not there.

        1. A reply that is stored counts with its usage.
        2. A call that was lost counts with its usage where that is known, else with its reservation; so does one that
           was in flight when its attempt ended, though nobody has called it lost yet.
        3. A call that is in flight now, or was released, counts nothing.
        """
        return await self._read(lambda db: usage_of(db, run_id))


def usage_of(db: Db, run_id: str) -> Usage:
    """Return what the run used so far, as `JournalVerbs.usage` says, inside a transaction that ends the run."""
    run = first(db, _ATTEMPT, {"run_id": run_id})
    if run is None:
        return Usage()
    running = run["attempt"] if run["status"] == RunStatus.RUNNING else None
    total = Usage()
    for row in db.execute(_ENTRIES, {"run_id": run_id}).fetchall():
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


def _ceiling_reached(spent_nano: tuple[int, int], asked_nano: int, ceilings: Ceilings) -> CeilingReached:
    """Say which ceiling the call would exceed: the day's if it does, else the month's."""
    day, month = spent_nano
    of_day = ceilings.per_day_usd is not None and day + asked_nano > to_nano(ceilings.per_day_usd)
    period, used = ("day", day / NANO_PER_USD) if of_day else ("month", month / NANO_PER_USD)
    limit = (ceilings.per_day_usd if of_day else ceilings.per_month_usd) or 0.0
    cap = f"max_cost_usd_per_{period}"
    of_all = ", for all your workspaces together" if ceilings.of_user else ""
    taken, asked = dollars(used, at_most=True), dollars(asked_nano / NANO_PER_USD, at_most=True)
    text = (
        f"the {period}'s ceiling of {dollars(limit)}{of_all}: {taken} are spent or reserved, and this call may cost "
        f"{asked}. Raise {cap} under [ceilings] in your own config.toml, or wait for the next {period} (UTC)"
    )
    return CeilingReached(text, cap=cap, limit=limit, used=used)
