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
from rlmwatch.ledger.sqlite.connection import File
from rlmwatch.ledger.statement import Db
from rlmwatch.ledger.writer import Writer

AGAIN_S = 0.5
"""Between two tries to store what is kept in memory meanwhile; a failed one costs a millisecond."""

T = TypeVar("T")

log = structlog.get_logger()


class SqliteLedger(Ledger[sqlite3.Connection]):
    """The runs of one workspace, in a file of its own."""

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
    def open(cls, path: Path) -> Self:
        """
        Open the ledger at *path*, making it where it is missing. Synchronous: a few milliseconds of disk.

        Any number of processes may have it open; only `reclaim` is for the one that holds the workspace.

        Raises:
            LedgerError: It cannot be used: a newer schema, a damaged file, no room, no permission; the text says
                what to do.
        """
        writer = Writer(File(path))
        writer.start()
        return cls(writer)
