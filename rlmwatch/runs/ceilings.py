"""
How near the user's ceilings are. Pure.

A ceiling counts as near from `NEAR` of it on, spent or reserved: the person is told while runs still go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlmwatch.runs.journal import Ceilings

NEAR = 0.8
"""Of a ceiling. What is left then still pays for some runs, and the person can raise it before one is held."""


@dataclass(frozen=True, slots=True)
class CeilingUse:
    """
    One ceiling, and what counts against it.

    Attributes:
        period: Of UTC.
        spent_usd: Spent and reserved in it.
        left_usd: What calls may still cost.
        near: Whether `NEAR` of it is spent.
        reached: Whether nothing is left.
    """

    period: Literal["day", "month"]
    limit_usd: float
    spent_usd: float
    left_usd: float
    near: bool
    reached: bool

    @classmethod
    def of(cls, period: Literal["day", "month"], limit_usd: float, spent_usd: float) -> CeilingUse:
        """Return the ceiling *limit_usd* where *spent_usd* counts against it."""
        left = max(0.0, round(limit_usd - spent_usd, 9))
        return cls(period, limit_usd, spent_usd, left, spent_usd >= NEAR * limit_usd, left == 0)


def uses(ceilings: Ceilings, spent_usd: tuple[float, float]) -> tuple[CeilingUse, ...]:
    """Return the ceilings that there are, the day's first, with what was spent on the day and in the month."""
    both: tuple[tuple[Literal["day", "month"], float | None, float], ...]
    both = (("day", ceilings.per_day_usd, spent_usd[0]), ("month", ceilings.per_month_usd, spent_usd[1]))
    return tuple(CeilingUse.of(period, limit, spent) for period, limit, spent in both if limit is not None)
