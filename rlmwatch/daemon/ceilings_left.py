"""What the user's ceilings still allow, for a command beside a daemon."""

from __future__ import annotations

from typing import Any

from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.runs.journal import Ceilings
from rlmwatch.settings.model import CeilingSettings


def ceilings_of(settings: CeilingSettings) -> Ceilings:
    """Return *settings* as the ledger takes them."""
    of_user = settings.per == "user"
    return Ceilings(settings.max_cost_usd_per_day, settings.max_cost_usd_per_month, of_user=of_user)


async def ceilings_left(ledger: Ledger[Any], settings: CeilingSettings, *, now: str) -> tuple[CeilingUse, ...]:
    """
    Return each ceiling and what counts against it.

    Raises:
        CeilingUnknown, LedgerError: That cannot be known now.
    """
    ceilings = ceilings_of(settings)
    return uses(ceilings, await ledger.spent_usd(now=now, of_user=ceilings.of_user))
