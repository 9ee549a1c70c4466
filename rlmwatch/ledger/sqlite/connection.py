"""
One connection to the ledger's file, and what its failures mean for a person.

Guarantees

1. The folder is made private (0700) and so is the file (0600, and SQLite gives
   its `-wal` and `-shm` the same); what exists already keeps its mode.
2. What is committed is on the disk: write-ahead log, `synchronous=FULL`, and the
   folder's entry for a new file is synced too.
3. Another process (`rlmwatch again`) may write at the same time; each waits for
   the other, `BUSY_S` at most.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from typing_extensions import override

from rlmwatch import clock
from rlmwatch.errors import LedgerDiskError, LedgerError
from rlmwatch.ledger.sqlite.private import make_private
from rlmwatch.ledger.sqlite.schema import migrate
from rlmwatch.ledger.writer import Store

BUSY_S = 5.0
"""Seconds to wait for another process: its transactions take milliseconds, a checkpoint of a large log a second."""

SWITCH_PAUSE_S = 0.01
"""Between two attempts to switch a new file to its write-ahead log, which takes a few milliseconds."""

WAL_LIMIT_BYTES = 64_000_000
"""After a checkpoint the log is cut to this, so that one large day does not hold the disk forever."""

MARK = ".damaged"
"""A file of this ending beside the ledger says that it was found damaged; the next start looks (`upkeep.py`)."""

REBUILT = (
    "Start rlmwatch again: it sets PATH aside and begins a new one. What was answered is known from the workspace too "
    "and is not answered again; a backup is put back by `rlmwatch ledger restore`"
)
"""What to do about a damaged ledger of a workspace."""

MOVED_BY_HAND = (
    "End the programs that use it, and move PATH, PATH-wal and PATH-shm to another folder: the next program begins a "
    "new one. What these programs spent before does not count any more under your ceilings"
)
"""What to do about a damaged ledger that several programs share, so that none of them may set it aside."""

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables; RETURNING came with 3.35."""


@dataclass(frozen=True, slots=True)
class File(Store[sqlite3.Connection]):
    """
    The ledger's file, as the writer asks for it.

    Attributes:
        if_damaged: What to do then.
    """

    path: Path
    if_damaged: str = REBUILT

    @property
    @override
    def name(self) -> str:
        return str(self.path)

    @property
    @override
    def failures(self) -> type[Exception]:
        return sqlite3.Error

    @override
    def open(self, *, create: bool) -> sqlite3.Connection:
        return connect(self.path, create=create, if_damaged=self.if_damaged)

    @override
    def begin(self, db: sqlite3.Connection, *, writes: bool) -> None:
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    @override
    def close(self, db: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):  # what was committed is safe, and what failed was reported
            db.close()

    @override
    def is_busy(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.Error) and error_class(error) == sqlite3.SQLITE_BUSY

    @override
    def is_lost(self, error: Exception, db: sqlite3.Connection | None) -> bool:
        return False  # a file has no connection that breaks

    @override
    def explain(self, error: Exception) -> Exception:
        ours = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError)
        return explain(error, self.path, self.if_damaged) if isinstance(error, sqlite3.Error) and not ours else error


def connect(path: Path, *, create: bool, if_damaged: str = REBUILT) -> sqlite3.Connection:
    """
    Open the ledger at *path* with the newest schema; make folder and file where *create* says so.

    The connection begins no transaction by itself, and may be handed to one other thread.

    Raises:
        LedgerError: It cannot be used; the text names the file and the cure.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise LedgerError(
            f"this Python brings SQLite {sqlite3.sqlite_version}; the ledger needs {needed} or newer. "
            "Install a newer Python or SQLite"
        )
    try:
        make_private(path, create=create)
    except OSError as error:
        raise LedgerError(
            f"cannot open the ledger {path}: {error.strerror}. See that its folder is there and can be "
            "written, or set RLMWATCH_STATE_DIR to another one"
        ) from error
    try:
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise explain(error, path, if_damaged) from error
    try:
        _prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        raise explain(error, path, if_damaged) from error
    except LedgerError:
        db.close()
        raise
    return db


def error_class(error: sqlite3.Error) -> int:
    """Return SQLite's primary error code, the low byte; its own faults (a wrong call) are SQLITE_ERROR."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def explain(error: sqlite3.Error, path: Path, if_damaged: str = REBUILT) -> LedgerError:
    """Say what *error* means for the ledger at *path*, and what to do; *if_damaged* where it is."""
    what, cure = _FAILURES.get(error_class(error), ("cannot be used", "Look at the disk and the folder's permissions"))
    cure = if_damaged if what is _DAMAGED else cure
    text = f"the ledger {path} {what} ({error}). {cure.replace('PATH', str(path))}"
    if what is _DAMAGED and if_damaged is REBUILT:
        with suppress(OSError):
            path.with_name(path.name + MARK).touch(mode=0o600)
    return LedgerDiskError(text) if error_class(error) in _PASSING else LedgerError(text)


_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN})
"""The last one is what a full disk says when the connection is opened anew: its log cannot be made."""

_DAMAGED = "is damaged"
_GIVE_ACCESS = "Make PATH and its folder readable and writable for this user"

_FAILURES = {
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space; rlmwatch goes on by itself"),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written",
        "Look at the disk (space, quota, the system's log); rlmwatch goes on by itself once it works",
    ),
    sqlite3.SQLITE_BUSY: (
        f"is held by another process for more than {BUSY_S:.0f} s",
        "End the program that has it open; rlmwatch goes on by itself",
    ),
    sqlite3.SQLITE_READONLY: ("cannot be written", _GIVE_ACCESS),
    sqlite3.SQLITE_PERM: ("cannot be written", _GIVE_ACCESS),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _GIVE_ACCESS),
    sqlite3.SQLITE_CORRUPT: (_DAMAGED, ""),
    sqlite3.SQLITE_NOTADB: (_DAMAGED, ""),
}


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Set what holds for this connection, and bring the schema up to date."""
    db.row_factory = sqlite3.Row
    if begin_log(db, BUSY_S) != "wal":
        raise LedgerError(
            f"the ledger {path} lies on a file system without shared memory (a network mount?), where it could "
            "be damaged. Set RLMWATCH_STATE_DIR to a folder on a local disk"
        )
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    migrate(db, path)


def begin_log(db: sqlite3.Connection, wait_s: float) -> str:
    """
    Ask for the write-ahead log; return the mode that SQLite gave, which is another where it cannot have one.

    A new file is switched once, under a lock for which SQLite does not wait: two programs that start on it at the same
    moment would fail, so the waiting is done here.
    """
    until = clock.monotonic() + wait_s
    while True:
        try:
            return str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error_class(error) != sqlite3.SQLITE_BUSY or clock.monotonic() > until:
                raise
        sleep(SWITCH_PAUSE_S)
