"""A connection to a ledger's file that can change nothing, for somebody who looks on beside the daemon."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.sqlite.connection import explain
from rlmwatch.ledger.sqlite.schema import NEWEST
from rlmwatch.ledger.statement import Db

WAIT_S = 1.0
"""Readers wait only while a ledger is made or its log is restored."""


@contextmanager
def read_only(path: Path) -> Iterator[Db]:
    """
    Hold the ledger at *path* open inside one transaction that reads. Blocks; keeps nobody from writing.

    Raises:
        LedgerError: It cannot be read, is not there, or is a newer rlmwatch's.
    """
    try:
        with closing(_connect(path)) as db:
            yield db
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=WAIT_S, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error:
        db.close()
        raise
    if not 0 < version <= NEWEST:
        db.close()
        raise LedgerError(f"the ledger {path} is empty, or of a newer rlmwatch: upgrade this one to see what it holds")
    return db
