"""
The ledger in a Postgres database that machines and workspaces share.

Every verb raises `LedgerError` where the database cannot be used; the next one
tries again, so the ledger works as soon as the server does. Those that keep what
was paid for, and how a run ended, raise none: they try again until the server
takes it, for a paid reply that is lost is paid again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self, TypeVar

import structlog

from rlmwatch.errors import LedgerError
from rlmwatch.ledger import dispatches
from rlmwatch.ledger.dispatches import Dispatch, Seen, Unsent
from rlmwatch.ledger.ledger import Verbs
from rlmwatch.ledger.postgres.connection import Server, SharedDb
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.model import Result, Run, Usage

AGAIN_S = 1.0
"""Between two tries of what must not be lost."""

T = TypeVar("T")

log = structlog.get_logger()


class PostgresLedger(Verbs[SharedDb]):
    """The runs of one workspace among others, and, for workers, those of all of them by their ids."""

    @classmethod
    def open(cls, url: str, workspace: str | None = None) -> Self:
        """
        Connect, and bring the schema up to date. Blocks for some round trips.

        Args:
            url: A libpq connection string or URL.
            workspace: Whose runs and inputs; None for a worker, which asks by run ids alone.

        Raises:
            LedgerError: It cannot be reached, or a newer rlmwatch wrote it; the text says what to do.
            ConfigError: *url* is no connection string.
        """
        writer = Writer(Server(url, workspace))
        writer.start()
        return cls(writer)

    # What must not be lost

    async def record(self, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
        """See `Journal.record`. Waits for the server."""
        await self._insist(lambda: Verbs.record(self, run_id, key, reply, usage, now=now))

    async def release(self, run_id: str, key: str, *, now: str) -> None:
        """See `Journal.release`. Waits for the server."""
        await self._insist(lambda: Verbs.release(self, run_id, key, now=now))

    async def lose(self, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
        """See `Journal.lose`. Waits for the server."""
        await self._insist(lambda: Verbs.lose(self, run_id, key, usage=usage, now=now))

    async def finish(self, run_id: str, attempt: int, result: Result, *, now: str) -> Run | None:
        """See `Queue.finish`. Waits for the server; None also where it had happened when the connection broke."""
        return await self._insist(lambda: Verbs.finish(self, run_id, attempt, result, now=now))

    async def hold(self, run_id: str, attempt: int, reason: str, *, now: str) -> Run | None:
        """See `Queue.hold`. Waits for the server; None also where it had happened when the connection broke."""
        return await self._insist(lambda: Verbs.hold(self, run_id, attempt, reason, now=now))

    async def give_back(self, run_id: str, attempt: int) -> None:
        """See `dispatches.give_back`. Waits for the server."""
        await self._insist(lambda: self._writer.do(lambda db: dispatches.give_back(db, run_id, attempt)))

    async def _insist(self, verb: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await verb()
            except LedgerError as error:
                log.warning("ledger.unavailable", why=str(error))
            await asyncio.sleep(AGAIN_S)

    # Runs that are handed out

    async def hand_out(self, run_id: str, parcel: bytes) -> None:
        """See `dispatches.hand_out`."""
        await self._writer.do(lambda db: dispatches.hand_out(db, run_id, parcel))

    async def is_out(self, run_id: str) -> bool:
        """See `dispatches.is_out`."""
        return await self._writer.do(lambda db: dispatches.is_out(db, run_id), writes=False)

    async def errand(self, run_id: str) -> Dispatch | None:
        """See `dispatches.errand`."""
        return await self._writer.do(lambda db: dispatches.errand(db, run_id), writes=False)

    async def seen(self) -> dict[str, Seen]:
        """See `dispatches.seen`."""
        return await self._writer.do(dispatches.seen, writes=False)

    async def tell_live(self, run_id: str, attempt: int, live: str) -> None:
        """See `dispatches.tell_live`."""
        await self._writer.do(lambda db: dispatches.tell_live(db, run_id, attempt, live))

    async def live(self, run_id: str) -> Mapping[str, Any] | None:
        """See `dispatches.live`."""
        return await self._writer.do(lambda db: dispatches.live(db, run_id), writes=False)

    async def ask_cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        """See `dispatches.ask_cancel`."""
        return await self._writer.do(lambda db: dispatches.ask_cancel(db, run_id, reason, now=now))

    async def published(self, run_id: str) -> None:
        """See `Queue.published`; the run's errand is forgotten."""
        await self._writer.do(lambda db: dispatches.home(db, run_id))

    async def claim_for(self, run_id: str, worker: int, *, now: str) -> Run | None:
        """See `dispatches.claim_for`."""
        return await self._writer.do(lambda db: dispatches.claim_for(db, run_id, worker, now=now))

    async def adopt_orphans(self, lease_s: float) -> list[Run]:
        """See `dispatches.adopt_orphans`; where there are none, nothing is locked."""
        if not await self._writer.do(lambda db: dispatches.orphaned(db, lease_s), writes=False):
            return []
        return await self._writer.do(lambda db: dispatches.adopt_orphans(db, lease_s))

    async def unsent(self) -> list[Unsent]:
        """See `dispatches.unsent`."""
        return await self._writer.do(dispatches.unsent, writes=False)
