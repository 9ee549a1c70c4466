"""
Values to columns and back.

What has a shape of its own (options, results, usage, requests, replies) is JSON
in ASCII, so that whatever a provider sent can be stored, half of a surrogate
pair included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import ROUND_CEILING, Decimal
from typing import Any

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.statement import Row
from rlmwatch.runs.model import CallState, JournalEntry, Outcome, PaidCall, Result, Run, RunStatus, Signature, Usage
from rlmwatch.runs.queue import Known

NANO_PER_USD = 1_000_000_000

MAX_USD = 1e6
"""No call or ceiling is larger; a day of 9,000 such calls still fits SQLite's 64 bits."""


def to_nano(usd: float) -> int:
    """
    Return *usd* in nanodollars, never below it: a ceiling holds to the last digit.

    Exact in what a person wrote: 0.57 is 570,000,000.

    Raises:
        ValueError: It is not an amount of money (negative, not a number, a million dollars or more).
    """
    if not 0 <= usd < MAX_USD:
        raise ValueError(f"not an amount in US dollars: {usd}")
    return int((Decimal(str(usd)) * NANO_PER_USD).to_integral_value(ROUND_CEILING))


def cost_nano(usage: Usage | None) -> int | None:
    """
    Return what *usage* says was paid, in nanodollars; None where it says nothing that can be true.

    A reply that was paid is stored whatever cost it reports; without a believable one its reservation counts.
    """
    if usage is None or usage.cost_usd is None or not 0 <= usage.cost_usd < MAX_USD:
        return None
    return to_nano(usage.cost_usd)


def to_json(value: Mapping[str, Any]) -> str:
    """Return *value* as compact JSON in ASCII."""
    return json.dumps(dict(value), separators=(",", ":"))


def json_value(stored: str) -> dict[str, Any]:
    """Return what `to_json` was given."""
    value: dict[str, Any] = json.loads(stored)
    return value


def result_json(result: Result) -> str:
    """Return *result* as the `runs` table stores it."""
    return to_json(asdict(result))


def usage_json(usage: Usage | None) -> str | None:
    """Return *usage* as the `calls` table stores it."""
    return None if usage is None else to_json(asdict(usage))


def signature_json(signature: Signature | None) -> str | None:
    """Return *signature* as the `inputs` table stores it; inode numbers of network mounts exceed SQLite's integers."""
    return None if signature is None else to_json(asdict(signature))


def run_of(row: Row) -> Run:
    """Return the run in a row of `runs`."""
    return Run(
        run_id=row["run_id"],
        seq=row["seq"],
        path=row["path"],
        kind=Kind(row["kind"]),
        conversation=row["conversation"],
        prompt=row["prompt"],
        options=json_value(row["options"]),
        digest=row["digest"],
        status=RunStatus(row["status"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        attempt=row["attempt"],
        frozen=None if row["pinned"] is None else json_value(row["pinned"]),
        held_for=row["held_for"],
        result=None if row["result"] is None else _result_of(json_value(row["result"])),
        published=bool(row["published"]),
        enclosed={} if row["enclosed"] is None else json_value(row["enclosed"]),
        number=row["number"],
        after=row["number_before"],
    )


def entry_of(row: Row) -> JournalEntry:
    """Return the journal entry in a row of `calls`."""
    return JournalEntry(
        call=PaidCall(
            key=row["key"],
            what=row["what"],
            model=row["model"],
            request=json_value(row["request"]),
            reserved_tokens=row["reserved_tokens"],
            reserved_usd=row["reserved_usd"],
        ),
        state=CallState(row["state"]),
        attempt=row["attempt"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        reply=None if row["reply"] is None else json_value(row["reply"]),
        usage=None if row["usage"] is None else Usage(**json_value(row["usage"])),
    )


def known_of(row: Row) -> Known:
    """Return what a row of `inputs` knows."""
    signature = row["signature"]
    return Known(row["digest"], None if signature is None else Signature(**json_value(signature)))


def _result_of(stored: dict[str, Any]) -> Result:
    return Result(
        status=RunStatus(stored["status"]),
        outcome=Outcome(stored["outcome"]),
        answer=stored["answer"],
        partial=stored["partial"],
        error=stored["error"],
        usage=Usage(**stored["usage"]),
        notes=tuple(stored["notes"]),
        model=stored["model"],
        sources=stored["sources"],
    )
