"""
Whether the parts of the daemon are alive, so that the service manager hears of one that is wedged.

A ping goes out only once every part has answered since the ping before: the loop by pinging at all, the ledger's thread
by a transaction without a statement, the worker threads by taking a task, watchdog's threads by passing a probe on, the
process that sandboxes are forked from by sending a question back, and the thread that looks at the sessions' memory by
ending its look. A failing part is not a wedged one.

Not asked, since they wait for others by nature, and nothing waits for them without a limit: the thread that writes the
log (for its reader), the one that says who holds the folder (whoever connects could keep it busy), the one that looks a
key up, and the one that waits for the zygote's end; the embedded model, documents' readers and sandboxes, which compute
for as long as their run's time limit lets them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from rlmwatch.daemon.systemd import Manager

Probe = Callable[[], Awaitable[object]]


async def worker_thread() -> None:
    """Return once a worker thread has taken a task."""
    await asyncio.to_thread(lambda: None)


@dataclass(slots=True)
class Vitals:
    """
    The signs of life of *parts*. Used on one loop.

    Attributes:
        parts: By name, what returns or raises as soon as the part shows a sign of life.
    """

    parts: Mapping[str, Probe]
    _asked: asyncio.Future[list[object]] | None = None

    def ping(self, manager: Manager) -> None:
        """Ping, if every part has answered since the last ping; then ask them all again. To be called at each tick."""
        if manager.address is None:  # nobody hears it, so nothing is woken
            return
        if self._asked is None or self._asked.done():
            manager.ping()
            self._asked = asyncio.gather(*(probe() for probe in self.parts.values()), return_exceptions=True)

    def close(self) -> None:
        """Wait for no part any more."""
        if self._asked is not None:
            self._asked.cancel()
