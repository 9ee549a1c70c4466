"""The ledger in one SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.connection import File
from rlmwatch.ledger.writer import Writer


class SqliteLedger(Ledger[sqlite3.Connection]):
    """The runs of one workspace, in a file of its own."""

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
