"""What a call asks of the user's ceilings, where these are shared by ledgers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Sums = dict[str, int]
"""Nanodollars by UTC day."""


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A call that is to be made.

    Attributes:
        day: Its UTC day; the month is in it.
        nano: Its reservation.
        per_day: The day's ceiling; None for none.
        per_month: The month's.
    """

    day: str
    nano: int
    per_day: int | None
    per_month: int | None

    @property
    def month(self) -> str:
        """The month of the day."""
        return self.day[: len("2026-11")]


class Sharing(Protocol):
    """What the ledgers of one user know of each other's spending."""

    def claim(self, own: Sums, claim: Claim) -> tuple[int, int]:
        """
        Reserve *claim*, where it fits, and return what the others spent on its day and in its month. Atomic.

        Args:
            own: What the asking ledger has of that month.
            claim: What is asked for.

        Raises:
            CeilingUnknown: What they spent cannot be known now; the text says what to do.
        """
        ...

    def tell(self, own: Sums) -> None:
        """Write the *own* sums down, if that is possible now. Idempotent."""
        ...

    def others(self, day: str) -> tuple[int, int]:
        """
        Return what the others spent or reserve on *day* and in its month.

        Raises:
            CeilingUnknown: That cannot be known now.
        """
        ...
