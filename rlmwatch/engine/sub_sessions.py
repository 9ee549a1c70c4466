"""
How many sub-engines have a session of their own at once; the rest wait.

Each session is a process with a handful of descriptors and up to its memory limit; a cell with sixty threads that call
`rlm_query` must not take all that a machine has. A sub-engine waits inside the one above it, which keeps its own
session meanwhile, so each level is counted by itself: else all places could be held by those that wait.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PER_RUN = 8
"""Of one run, at each level. More at once gain nothing: their calls share the 16 of the run."""
OVER_ALL = 32
"""Of all runs of a program, at each level: some 200 descriptors and, at 1 GB each, what a machine for many runs has."""


def _places(at_most: int) -> defaultdict[int, asyncio.Semaphore]:
    return defaultdict(lambda: asyncio.Semaphore(at_most))


@dataclass(slots=True)
class SubSessions:
    """The places of all runs; belongs to one event loop."""

    _over_all: defaultdict[int, asyncio.Semaphore] = field(default_factory=lambda: _places(OVER_ALL))
    _of_run: defaultdict[int, asyncio.Semaphore] = field(default_factory=lambda: _places(PER_RUN))

    def of_run(self) -> SubSessions:
        """Return the places of one more run."""
        return SubSessions(self._over_all)

    @asynccontextmanager
    async def place(self, depth: int) -> AsyncIterator[None]:
        """Wait for a place at the level *depth*, and hold it."""
        async with self._of_run[depth], self._over_all[depth]:
            yield
