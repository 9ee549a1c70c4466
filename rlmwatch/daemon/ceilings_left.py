"""What the user's ceilings still allow, for a command beside a daemon."""

from __future__ import annotations

from typing import Any

from rlmwatch.execution.runtime_config import ceilings_of
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.settings.model import CeilingSettings


async def ceilings_left(ledger: Ledger[Any], settings: CeilingSettings, *, now: str) -> tuple[CeilingUse, ...]:
    """
    Return each ceiling and what counts against it.

    Raises:
        CeilingUnknown, LedgerError: That cannot be known now.
    """
    ceilings = ceilings_of(settings)
    return uses(ceilings, await ledger.spent_usd(now=now, of_user=ceilings.of_user))
