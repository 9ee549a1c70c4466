"""
Says once that a ceiling is near, while runs still go on.

It looks when a run has ended and every few seconds. `uses` is what it saw last: the view at the terminal shows that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from rlmwatch import clock
from rlmwatch.errors import CeilingUnknown, LedgerError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.runs.journal import Ceilings

log = structlog.get_logger()


@dataclass(slots=True)
class CeilingWatch:
    """
    Watches what counts against the user's ceilings.

    Attributes:
        ceilings: Those that hold now.
        uses: How they stood at the last look; empty before, and where there is none.
    """

    ledger: Ledger[Any]
    ceilings: Callable[[], Ceilings]
    utc: Callable[[], str] = field(default=clock.utc)
    uses: tuple[CeilingUse, ...] = ()
    _told: set[tuple[str, str, float]] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        """Have it look soon: something was spent."""
        self._wake.set()

    async def run(self, stop: asyncio.Event, *, every_s: float) -> None:
        """Look until *stop*, at once when notified, else every *every_s* seconds."""
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _task: self._wake.set())
        while not stop.is_set():
            await self.look()
            try:
                async with asyncio.timeout(every_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
        await self.look()

    async def look(self) -> None:
        """Log each ceiling that is near, once per day or month (and again where it was changed)."""
        ceilings, now = self.ceilings(), self.utc()
        try:
            spent = await self.ledger.spent_usd(now=now, of_user=ceilings.of_user)
        except (CeilingUnknown, LedgerError):  # whoever makes a call says so
            return
        self.uses = uses(ceilings, spent)
        for use in self.uses:
            told = (use.period, now[: len("2026-11-28" if use.period == "day" else "2026-11")], use.limit_usd)
            if use.near and told not in self._told:
                self._told.add(told)
                log.warning(
                    "ceiling.near",
                    period=use.period,
                    spent_usd=use.spent_usd,
                    ceiling_usd=use.limit_usd,
                    left_usd=use.left_usd,
                    cure=f"max_cost_usd_per_{use.period} under [ceilings] in your own config.toml raises it",
                )
