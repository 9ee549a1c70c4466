"""
Knows where dispatched runs are, and wakes who follows them when one has moved.

It looks once a second, and at once when the database notifies. A notification is only a reason to look: one that is
lost costs a second, no more.
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
"""As often as a status file may be rewritten; one statement for all dispatched runs."""
LEAST_S = 0.05
"""Between two looks: a hundred runs that move at once are seen with one."""

log = structlog.get_logger()


@dataclass(slots=True)
class RunMonitor:
    """
    Where dispatched runs are.

    Attributes:
        positions: Where each of them was at the last look.
    """

    ledger: PostgresLedger
    url: str
    positions: dict[str, DispatchState] = field(default_factory=dict)
    _followed: dict[str, asyncio.Event] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def following(self, run_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever *run_id* has moved, or its worker has reported how far it is."""
        moved = self._followed[run_id] = asyncio.Event()
        try:
            yield moved
        finally:
            del self._followed[run_id]

    async def run(self) -> None:
        """Listen and look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self.url, self._notified))
            group.create_task(self._look())

    def _notified(self, run_id: str) -> None:
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

    def _take(self, positions: dict[str, DispatchState]) -> None:
        before, self.positions = self.positions, positions
        for run_id, moved in self._followed.items():
            if positions.get(run_id) != before.get(run_id):
                moved.set()
