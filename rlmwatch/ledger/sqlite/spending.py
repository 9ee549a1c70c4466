"""
What all workspaces of a user have spent: one small file in the private state folder, beside their ledgers.

    spending    per workspace and UTC day: what its calls have cost or reserve, in nanodollars

1. A workspace writes its own sums alone, always as its ledger has them: what is missing or late heals with the next
   call, and at the next start for the month.
2. Before a call is intended, its reservation is added to the workspace's own sum and the sums of the others are read,
   in one transaction. So two programs never take the last dollar both. A program that is killed then has reserved too
   much until its workspace is answered in again, never too little.
3. Where the file cannot be used no call is made (`CeilingUnknown`). A reply that was paid for is stored in any case:
   the ledger does not depend on this file.
4. Nobody waits here for longer than `CLAIM_S`, and not again within `PAUSE_S`.

The file is not synced at each call (`synchronous=NORMAL`): a power failure may lose the last of it, which rule 1 heals.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from rlmwatch import clock
from rlmwatch.errors import CeilingUnknown
from rlmwatch.ledger.spending import Claim, Sharing, Sums
from rlmwatch.ledger.sqlite.connection import begin_log
from rlmwatch.ledger.sqlite.private import make_private

CLAIM_S = 2.0
"""Seconds to wait for another program before a call; its transactions take less than a millisecond."""
TELL_S = 0.1
"""Seconds to wait where nothing depends on it: what is not told now is told with the next call."""
PAUSE_S = 1.0
"""After a failure: calls that wait behind it fail at once, so that the ledger's other verbs get their turn."""
VERSION = 1

_TABLE = """
    CREATE TABLE IF NOT EXISTS spending (
        workspace TEXT NOT NULL, day TEXT NOT NULL, nano INTEGER NOT NULL, PRIMARY KEY (day, workspace)
    ) STRICT, WITHOUT ROWID
"""
_TELL = """
    INSERT INTO spending (workspace, day, nano) VALUES (?, ?, ?)
        ON CONFLICT (day, workspace) DO UPDATE SET nano = excluded.nano
"""
_OTHERS = """
    SELECT COALESCE(SUM(CASE WHEN day = :day THEN nano END), 0), COALESCE(SUM(nano), 0)
    FROM spending WHERE day BETWEEN :month AND :month || '~' AND workspace != :workspace
"""


@dataclass(slots=True)
class SharedSpending(Sharing):
    """
    The file at *path*, as one workspace uses it: from one thread at a time.

    Attributes:
        workspace: By which name its own sums are known.
    """

    path: Path
    workspace: str
    _db: sqlite3.Connection | None = None
    _file: tuple[int, int] = (0, 0)
    _failed: tuple[float, str] = field(default=(float("-inf"), ""))

    @override
    def claim(self, own: Sums, claim: Claim) -> tuple[int, int]:
        db = self._usable(own, CLAIM_S)
        try:
            db.execute("BEGIN IMMEDIATE")
            others = self._others(db, claim.day)
            mine = own.get(claim.day, 0), sum(own.values())
            limits = claim.per_day, claim.per_month
            fits = all(
                limit is None or limit >= theirs + ours + claim.nano
                for limit, theirs, ours in zip(limits, others, mine, strict=True)
            )
            db.execute(_TELL, (self.workspace, claim.day, mine[0] + (claim.nano if fits else 0)))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._given_up(error) from error
        return others

    @override
    def tell(self, own: Sums) -> None:
        with suppress(CeilingUnknown, sqlite3.Error):
            db = self._usable({}, TELL_S)
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_TELL, [(self.workspace, day, nano) for day, nano in own.items()])
            db.execute("COMMIT")
        if self._db is not None and self._db.in_transaction:
            self.close()

    @override
    def others(self, day: str) -> tuple[int, int]:
        db = self._usable({}, CLAIM_S)
        try:
            return self._others(db, day)
        except sqlite3.Error as error:
            raise self._given_up(error) from error

    def own_sums(self) -> list[tuple[str, int]]:
        """
        Return what this workspace has spent, by day, as the file has it.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        with closing(sqlite3.connect(self.path, timeout=CLAIM_S)) as db:
            return db.execute("SELECT day, nano FROM spending WHERE workspace = ?", (self.workspace,)).fetchall()

    def close(self) -> None:
        """Close the file; it is opened again where it is needed. Idempotent."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _others(self, db: sqlite3.Connection, day: str) -> tuple[int, int]:
        values = {"day": day, "month": day[: len("2026-11")], "workspace": self.workspace}
        of_day, of_month = db.execute(_OTHERS, values).fetchone()
        return int(of_day), int(of_month)

    def _usable(self, own: Sums, wait_s: float) -> sqlite3.Connection:
        """Return the connection, to the file that lies there now; a new one is told the *own* sums."""
        failed_at, why = self._failed
        if clock.monotonic() < failed_at + PAUSE_S:
            raise self._unknown(why)
        try:
            if self._db is not None and self._file != self._there():  # it was moved aside or removed
                self.close()
            if self._db is None:
                self._open(own)
            db = self._db
            if db is None:
                raise AssertionError(self.path)
            db.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
        except (sqlite3.Error, OSError) as error:
            raise self._given_up(error) from error
        return db

    def _there(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def _open(self, own: Sums) -> None:
        make_private(self.path, create=True)
        # Another thread may close it: it is used from one thread at a time.
        db = self._db = sqlite3.connect(self.path, timeout=CLAIM_S, isolation_level=None, check_same_thread=False)
        self._file = self._there()
        if db.execute("PRAGMA user_version").fetchone()[0] > VERSION:
            raise sqlite3.NotSupportedError("written by a newer rlmwatch")
        begin_log(db, CLAIM_S)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute(_TABLE)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.executemany(_TELL, [(self.workspace, day, nano) for day, nano in own.items()])
        db.execute("COMMIT")

    def _given_up(self, error: Exception) -> CeilingUnknown:
        self.close()
        why = getattr(error, "strerror", None) or str(error)
        self._failed = clock.monotonic(), why
        return self._unknown(why)

    def _unknown(self, why: str) -> CeilingUnknown:
        return CeilingUnknown(
            f"what your workspaces have spent together cannot be read or written ({why}), so no call is made: "
            f"{self.path}. End the program that has it open, or give access to it; where it is damaged, stop rlmwatch "
            "everywhere, move it aside with its -wal and -shm, and start again: each workspace writes its own sums "
            'anew. Without it: per = "workspace" under [ceilings] in your own config.toml',
            cap="max_cost_usd_per_day",
            limit=0.0,
            used=0.0,
        )
