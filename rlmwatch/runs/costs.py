"""
What was spent, summed as people ask for it: by day, week, month, kind, model, conversation, workspace. Pure.

Money counts on the UTC day on which a call was begun, as it does against the ceilings, at what it cost or, where that
never came, at what was reserved. Tokens and searches are those that providers reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class CostsBy(StrEnum):
    """What a sum is of."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    KIND = "kind"
    MODEL = "model"
    CONVERSATION = "conversation"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class CallCost:
    """
    One paid call.

    Attributes:
        day: UTC, such as 2026-11-28.
        model: Model, or name of the search provider.
        workspace: Its folder; `""` where only one is asked.
        llm_calls: 1 for a call of a model, 0 for a search.
    """

    day: str
    kind: str
    model: str
    conversation: str
    run_id: str
    usd: float
    llm_calls: int = 0
    searches: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class CostSum:
    """
    What all calls of one group took.

    Attributes:
        group: The day, the week (2026-W48), the month, the kind, …
        runs: How many runs paid for a call.
    """

    group: str
    usd: float = 0.0
    runs: int = 0
    llm_calls: int = 0
    searches: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Spared:
    """
    What was not asked again, since its reply was there.

    Attributes:
        saves: Saves of bytes that were answered: a second Ctrl+S, a sync tool's copy, a touched file.
        replies: Paid replies that another attempt of their run took from the journal: after a crash, a restart, a wait.
        usd: What these have cost when they were asked.
    """

    saves: int = 0
    replies: int = 0
    usd: float = 0.0

    def __add__(self, other: Spared) -> Spared:
        return Spared(self.saves + other.saves, self.replies + other.replies, self.usd + other.usd)


def summed(calls: Iterable[CallCost], by: CostsBy) -> list[CostSum]:
    """Return the sums of *calls* by *by*: periods newest first, all else the dearest first."""
    groups: dict[str, list[CallCost]] = {}
    for call in calls:
        groups.setdefault(_group(call, by), []).append(call)
    sums = [total(members, group) for group, members in groups.items()]
    if by in (CostsBy.DAY, CostsBy.WEEK, CostsBy.MONTH):
        return sorted(sums, key=lambda each: each.group, reverse=True)
    return sorted(sums, key=lambda each: (-each.usd, -each.llm_calls, each.group))


def total(calls: Iterable[CallCost], group: str = "") -> CostSum:
    """Return the sum of *calls*."""
    members = list(calls)
    return CostSum(
        group,
        round(sum(call.usd for call in members), 9),
        len({call.run_id for call in members}),
        sum(call.llm_calls for call in members),
        sum(call.searches for call in members),
        sum(call.input_tokens for call in members),
        sum(call.output_tokens for call in members),
    )


def _group(call: CallCost, by: CostsBy) -> str:
    match by:
        case CostsBy.WEEK:
            year, week, _ = date.fromisoformat(call.day).isocalendar()
            return f"{year}-W{week:02d}"
        case CostsBy.MONTH:
            return call.day[: len("2026-11")]
        case _:
            return str(getattr(call, by.value))
