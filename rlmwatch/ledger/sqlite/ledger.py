"""The ledger in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import structlog
from typing_extensions import override

from rlmwatch.errors import LedgerDiskError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.connection import REBUILT, File
from rlmwatch.ledger.sqlite.spending import SharedSpending
from rlmwatch.ledger.statement import Db
from rlmwatch.ledger.writer import Writer

AGAIN_S = 0.5
"""Between two tries to store what is kept in memory meanwhile; a failed one costs a millisecond."""

T = TypeVar("T")

log = structlog.get_logger()


class SqliteLedger(Ledger[sqlite3.Connection]):
    """The runs of one workspace, in a file of its own; and the user's file of what all workspaces have spent."""

    def __init__(self, writer: Writer[sqlite3.Connection], shared: SharedSpending | None = None) -> None:
        super().__init__(writer)
        self.shared = self._file = shared

    @override
    async def _insist(self, work: Callable[[Db], T]) -> T:
        waits = False
        while True:
            try:
                result = await self._write(work)
                break
            except LedgerDiskError as error:
                if not waits:
                    log.warning("ledger.waiting", why=str(error), done="kept in memory, and stored when there is space")
                waits = True
            await asyncio.sleep(AGAIN_S)
        if waits:
            log.info("ledger.stored", done="what was kept in memory is in the ledger")
        return result

    @override
    async def _within_run(self, work: Callable[[Db], T]) -> T:
        return await self._insist(work)  # nobody else could go on with the run

    @classmethod
    def open(cls, path: Path, *, shared: SharedSpending | None = None, if_damaged: str = REBUILT) -> Self:
        """
        Open the ledger at *path*, making it where it is missing. Synchronous: a few milliseconds of disk.

        Without *shared* the ceilings are those of this ledger alone. Errors say *if_damaged* of a damaged file.

        Any number of processes may have it open; only `reclaim` is for the one that holds the workspace.

        Raises:
            LedgerError: It cannot be used: a newer schema, a damaged file, no room, no permission; the text says
                what to do.
        """
        writer = Writer(File(path, if_damaged))
        writer.start()
        return cls(writer, shared)

    @override
    async def aclose(self) -> None:
        await super().aclose()
        if self._file is not None:
            self._file.close()

    async def tell_spending(self, *, now: str) -> None:
        """Write what this workspace spent in the month of *now* into the user's file, if that is possible now."""
        await self._read(lambda db: self._tell(db, now))
