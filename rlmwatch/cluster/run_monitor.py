"""
Knows where the runs are that were handed out, and tells who follows them when one has moved.

It looks once a second, and at once when the database says that something moved. What it hears is only a reason to look:
a notification that is lost costs a second, no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.postgres.ledger import DispatchState, PostgresLedger
from rlmwatch.ledger.postgres.listener import listen

LOOK_S = 1.0
"""As often as a status file may be rewritten; one statement for all runs that are out."""
LEAST_S = 0.05
"""Between two looks: a hundred runs that move at once are seen with one."""

log = structlog.get_logger()


@dataclass(slots=True)
class RunMonitor:
    """
    What is heard of runs that are out.

    Attributes:
        seen: Where each of them was at the last look.
    """

    ledger: PostgresLedger
    url: str
    seen: dict[str, DispatchState] = field(default_factory=dict)
    _followed: dict[str, asyncio.Event] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def following(self, run_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever *run_id* has moved, or its worker has said how far it is."""
        news = self._followed[run_id] = asyncio.Event()
        try:
            yield news
        finally:
            del self._followed[run_id]

    async def run(self) -> None:
        """Listen and look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self.url, self._heard))
            group.create_task(self._look())

    def _heard(self, run_id: str) -> None:
        if not run_id or run_id in self._followed:
            self._wake.set()

    async def _look(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._take(await self.ledger.dispatch_states())
            except LedgerError as error:
                log.warning("ledger.not_seen", why=str(error))
            await asyncio.sleep(LEAST_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    def _take(self, seen: dict[str, DispatchState]) -> None:
        before, self.seen = self.seen, seen
        for run_id, news in self._followed.items():
            if seen.get(run_id) != before.get(run_id):
                news.set()
