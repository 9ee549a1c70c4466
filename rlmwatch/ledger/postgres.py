"""
The ledger in a Postgres database that machines and workspaces share.

Every verb raises `LedgerError` where the database cannot be used; the next one
tries again, so the ledger works as soon as the server does.
"""

from __future__ import annotations

from typing import Self

from rlmwatch.ledger import errands
from rlmwatch.ledger.errands import Errand, Seen, Unsent
from rlmwatch.ledger.pg_connection import Server, SharedDb
from rlmwatch.ledger.verbs import Verbs
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.model import Run


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

    # Runs that are handed out

    async def hand_out(self, run_id: str, parcel: bytes) -> None:
        """See `errands.hand_out`."""
        await self._writer.do(lambda db: errands.hand_out(db, run_id, parcel))

    async def is_out(self, run_id: str) -> bool:
        """See `errands.is_out`."""
        return await self._writer.do(lambda db: errands.is_out(db, run_id), writes=False)

    async def errand(self, run_id: str) -> Errand | None:
        """See `errands.errand`."""
        return await self._writer.do(lambda db: errands.errand(db, run_id), writes=False)

    async def seen(self) -> dict[str, Seen]:
        """See `errands.seen`."""
        return await self._writer.do(errands.seen, writes=False)

    async def tell_live(self, run_id: str, attempt: int, live: str) -> None:
        """See `errands.tell_live`."""
        await self._writer.do(lambda db: errands.tell_live(db, run_id, attempt, live))

    async def ask_cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        """See `errands.ask_cancel`."""
        return await self._writer.do(lambda db: errands.ask_cancel(db, run_id, reason, now=now))

    async def published(self, run_id: str) -> None:
        """See `Queue.published`; the run's errand is forgotten."""
        await self._writer.do(lambda db: errands.home(db, run_id))

    async def claim_for(self, run_id: str, worker: int, *, now: str) -> Run | None:
        """See `errands.claim_for`."""
        return await self._writer.do(lambda db: errands.claim_for(db, run_id, worker, now=now))

    async def give_back(self, run_id: str, attempt: int) -> None:
        """See `errands.give_back`."""
        await self._writer.do(lambda db: errands.give_back(db, run_id, attempt))

    async def adopt_orphans(self, lease_s: float) -> list[Run]:
        """See `errands.adopt_orphans`; where there are none, nothing is locked."""
        if not await self._writer.do(lambda db: errands.orphaned(db, lease_s), writes=False):
            return []
        return await self._writer.do(lambda db: errands.adopt_orphans(db, lease_s))

    async def unsent(self) -> list[Unsent]:
        """See `errands.unsent`."""
        return await self._writer.do(errands.unsent, writes=False)
