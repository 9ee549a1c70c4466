"""
The time of one attempt of a run: it stands still, with its limits, while the ledger is waited for.

1. A limit counts the time in which the run could work. A full disk under the ledger takes nothing of it, however long
   somebody needs to free some space, and so a reply that was paid for just before the limit is not lost to it.
2. What is waited for is told once it takes longer than `WAIT_SHOWN_S`, until it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

WAIT_SHOWN_S = 1.0
"""A wait that is shorter than this is not worth a word."""

T = TypeVar("T")


@dataclass(slots=True)
class RunTime:
    """
    Tells the time of an attempt, and limits what it does by that.

    Attributes:
        monotonic: Asks the monotonic clock.
        tell: Is given what is waited for, in words for the person; None once it is over.
    """

    monotonic: Callable[[], float]
    tell: Callable[[str | None], None]
    _waits: int = 0
    _told: list[str] = field(default_factory=list)
    _stopped_at: float = 0.0
    _stood_s: float = 0.0
    _limits: dict[asyncio.Timeout, float | None] = field(default_factory=dict)  # what was left when it stopped

    def now(self) -> float:
        """Return monotonic seconds, without those in which the time stood still."""
        return (self._stopped_at if self._waits else self.monotonic()) - self._stood_s

    @asynccontextmanager
    async def limit(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        """End what is in the block after *seconds* of this time, with `TimeoutError`; None for no limit."""
        async with asyncio.timeout(seconds) as limit:
            self._limits[limit] = None
            if self._waits:
                self._stop(limit)
            try:
                yield limit
            finally:
                del self._limits[limit]

    async def stored(self, verb: Awaitable[T], words: str) -> T:
        """Return what *verb* of the ledger returns; meanwhile the time stands still. Long waits are told in *words*."""
        told = False

        def tell() -> None:
            nonlocal told
            told = True
            self._told.append(words)
            self.tell(self._told[0])

        slow = asyncio.get_running_loop().call_later(WAIT_SHOWN_S, tell)
        self._begin()
        try:
            return await verb
        finally:
            self._end()
            slow.cancel()
            if told:
                self._told.remove(words)
                self.tell(self._told[0] if self._told else None)

    def _begin(self) -> None:
        if self._waits == 0:
            self._stopped_at = self.monotonic()
            for limit in self._limits:
                self._stop(limit)
        self._waits += 1

    def _end(self) -> None:
        self._waits -= 1
        if self._waits == 0:
            self._stood_s += self.monotonic() - self._stopped_at
            loop_now = asyncio.get_running_loop().time()
            for limit, left_s in self._limits.items():
                if left_s is not None:
                    limit.reschedule(loop_now + left_s)

    def _stop(self, limit: asyncio.Timeout) -> None:
        """Have *limit* wait, unless it has passed already."""
        when = limit.when()
        if when is None or limit.expired():
            self._limits[limit] = None
            return
        self._limits[limit] = when - asyncio.get_running_loop().time()
        limit.reschedule(None)
