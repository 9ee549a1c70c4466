"""
The port to the journal: every paid call, before and after.

A paid call's life: `intend` commits the intent with its reservation → the
request is sent → `record` commits the reply. After a kill, replies that were
committed are returned again by `intend`; an intent without a reply was in
flight: its reservation stays spent, and it is called again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rlmwatch.runs.model import JournalEntry, PaidCall, Usage


@dataclass(frozen=True, slots=True)
class Ceilings:
    """
    The user's ceilings across all runs, in US dollars per UTC day and month; None means no ceiling.

    Attributes:
        of_user: Whether the runs of all workspaces of the user on this machine count, or those of this ledger alone.
    """

    per_day_usd: float | None = 1.00
    per_month_usd: float | None = None
    of_user: bool = False


class Journal(Protocol):
    """Every paid call of every run. All verbs are durable when they return."""

    async def intend(
        self, run_id: str, attempt: int, call: PaidCall, *, ceilings: Ceilings, now: str
    ) -> JournalEntry | None:
        """
        Commit the intent to make *call*; or return the DONE entry of an earlier attempt under the same key.

        One transaction. An INTENT of an earlier attempt under this key becomes LOST (its reservation stays
        spent), and so does one of this attempt (a retry after a cut-off). LOST and RELEASED entries stay;
        a new entry is made beside them.

        Raises:
            Fenced: The run is not `running` in this *attempt* (taken over, cancelled or ended).
            CeilingReached: What was spent and reserved today or this month, with this reservation, exceeds a ceiling.
            CeilingUnknown: What other workspaces have spent cannot be known now.
        """
        ...

    async def record(self, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
        """
        Store the reply of the open intent under *key*: it is DONE.

        Stores it in any case, also when the run was cancelled or taken over meanwhile: it was paid. Idempotent.
        """
        ...

    async def release(self, run_id: str, key: str, *, now: str) -> None:
        """Give back the reservation of the open intent under *key*: the provider refused before any work."""
        ...

    async def lose(self, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
        """
        Mark the open intent under *key* as LOST: it was cut off, and may be billed.

        What counts as spent is *usage* where it is known, else the reservation.
        """
        ...

    async def entries(self, run_id: str) -> list[JournalEntry]:
        """Return the journal of one run, oldest first."""
        ...

    async def spent_usd(self, *, now: str, of_user: bool = False) -> tuple[float, float]:
        """
        Return what was spent and is reserved on the UTC day and in the UTC month of *now*, in US dollars.

        Args:
            now: The time.
            of_user: Also what other workspaces of the user spent, where the ledger knows of them.

        Raises:
            CeilingUnknown: That cannot be known now.
        """
        ...
