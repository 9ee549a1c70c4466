"""
The ledger's file, kept for years: checked, compacted, and set aside where it is damaged or makes way for another.

1. What is to be the ledger is whole before it is named so (`NEW`), and whoever comes next goes on where putting it in
   place was interrupted (`go_on`): there is always the old ledger or the new one.
2. Nothing is deleted: what makes way is renamed, with the time in its name.
3. That a file is damaged is remembered beside it (`mark_damaged`), so that the next start looks, however large it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from rlmwatch.contract.documents import second
from rlmwatch.errors import LedgerError
from rlmwatch.ledger.sqlite.connection import BUSY_S, MARK, connect, error_class, explain
from rlmwatch.workspace import safe_open

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file, without which the file is another one."""
NEW = ".new"
"""Ending of what is whole and is to be the ledger; while it is made it ends in `BUILDING`, and may be removed."""
BUILDING = ".building"
SMALL_BYTES = 16_000_000
"""Up to this size a ledger is checked at every start; it takes some 20 ms."""
SALVAGED = ("inputs", "spending", "spared")
"""Tables that stand on their own, small, and worth most: what was asked, and what was spent."""
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WHOLE, _QUICK = "integrity_check", "quick_check"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold *path* open, to read; its errors become `LedgerError`."""
    try:
        with closing(sqlite3.connect(to_read(path), uri=True, timeout=BUSY_S)) as db:
            yield db
    except sqlite3.Error as error:
        raise explain(error, path) from error


def to_read(path: Path) -> str:
    """Return the address under which SQLite opens *path* and writes nothing into it."""
    return f"file:{quote(str(path))}?mode=ro"


def problems(path: Path, *, whole: bool = False) -> list[str]:
    """
    Return what is wrong with the ledger at *path*; nothing where it is sound or missing. Blocks; keeps nobody waiting.

    Args:
        path: The file.
        whole: Compare indexes with their tables too, which takes several times as long.

    Raises:
        LedgerError: It cannot be read now, which says nothing of its content.
    """
    if path.is_dir() and not path.is_symlink():
        return ["a folder is in its place"]
    try:
        size = path.stat().st_size
        log_size = path.with_name(path.name + "-wal").stat().st_size if size == 0 else 0
    except FileNotFoundError:
        return [] if not path.exists() else ["it is empty"]
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error.strerror}. Look at its permissions") from error
    if size == 0 and log_size == 0:
        return ["it is empty"]
    try:
        with closing(sqlite3.connect(to_read(path), uri=True, timeout=BUSY_S)) as db:
            found = [str(row[0]) for row in db.execute(f"PRAGMA {_WHOLE if whole else _QUICK}")]
            if found == ["ok"] and whole:
                found = [f"{row[0]} refers to a missing {row[2]}" for row in db.execute("PRAGMA foreign_key_check")]
    except sqlite3.Error as error:
        if error_class(error) in DAMAGE:
            return [str(error)]
        raise explain(error, path) from error
    return [] if found == ["ok"] else found


def is_marked(path: Path) -> bool:
    """Whether the ledger at *path* was found damaged, and nobody has looked since."""
    return path.with_name(path.name + MARK).exists()


def mark_damaged(path: Path) -> None:
    """Remember, if that is possible now, that *path* was found damaged."""
    with suppress(OSError):
        path.with_name(path.name + MARK).touch(mode=0o600)


def unmark(path: Path) -> None:
    """Forget that *path* was found damaged."""
    with suppress(OSError):
        path.with_name(path.name + MARK).unlink(missing_ok=True)


def set_aside(path: Path, why: str, *, now: str) -> Path:
    """
    Give what is at *path* another name, and what SQLite keeps beside it too; return the new name.

    Whoever calls this holds the workspace's lock.

    Raises:
        LedgerError: It cannot be renamed.
    """
    aside = base = path.with_name(f"{path.name}.{why}-{second(now)}Z")
    for number in range(2, 1000):
        if not aside.exists():
            break
        aside = base.with_name(f"{base.name}-{number}")
    try:
        for left, beside in zip(beside_of(path), beside_of(aside), strict=True):
            if left.exists():
                left.rename(beside)
        return path.rename(aside)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be set aside: {error.strerror}. Make its folder writable for this user"
        ) from error


def building(path: Path) -> Path:
    """Return under which name what is to be the ledger at *path* is made; what a killed program left there is gone."""
    made = path.with_name(path.name + BUILDING)
    for each in (made, *beside_of(made)):
        each.unlink(missing_ok=True)
    return made


@contextmanager
def in_one_file(made: Path, path: Path) -> Iterator[sqlite3.Connection]:
    """
    Hold *made*, which is to be the ledger at *path*, open in one transaction; then it is committed, and one file.

    Raises:
        LedgerError: It cannot be used; nothing was committed.
    """
    try:
        with closing(connect(made, create=True)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise explain(error, path) from error


def put_in_place(path: Path, made: Path, why: str, *, now: str) -> Path | None:
    """
    Put *made*, whole and in one file, in the place of the ledger at *path*; return the name that the old one has now.

    Whoever calls this holds the workspace's lock. Killed on the way, it is carried on by `go_on`.

    Raises:
        LedgerError: It cannot be renamed.
    """
    try:
        made.replace(path.with_name(path.name + NEW))
    except OSError as error:
        raise _not_renamed(path, error) from error
    sync_folder(path.parent)
    return go_on(path, why, now=now)


def go_on(path: Path, why: str = "replaced", *, now: str) -> Path | None:
    """
    Put the new ledger in place where that was decided and not done; return the name that the old one has now, if any.

    Whoever calls this holds the workspace's lock.

    Raises:
        LedgerError: It cannot be renamed.
    """
    new = path.with_name(path.name + NEW)
    if not new.exists():
        return None
    aside = set_aside(path, why, now=now) if os.path.lexists(path) else None
    try:
        for beside in beside_of(path):  # a log that is left without its file would be taken for that of the new one
            beside.unlink(missing_ok=True)
        new.replace(path)
    except OSError as error:
        raise _not_renamed(path, error) from error
    sync_folder(path.parent)
    unmark(path)
    return aside


def _not_renamed(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"the ledger {path} cannot be replaced: {error.strerror}. Make its folder writable for this user"
    )


def salvage(damaged: Path, db: sqlite3.Connection) -> dict[str, int]:
    """
    Copy into the new ledger *db* what can still be read of `SALVAGED`; return how many rows of each.

    Rows are taken up to the first page that cannot be read. Of the inputs only those whose last run ended and was
    published: the others were not answered, or the folder says that they were.

    Raises:
        sqlite3.Error: The new one cannot take them.
    """
    copied = dict.fromkeys(SALVAGED, 0)
    for table in SALVAGED:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        insert = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 (our own names)
        for values in _readable(damaged, table, columns):
            copied[table] += db.execute(insert, values).rowcount
    return copied


def _readable(damaged: Path, table: str, columns: list[str]) -> Iterator[list[object]]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(to_read(damaged), uri=True)) as old:
        for row in old.execute(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608 (our own names)
            values = list(row)
            if table == "inputs":
                last = columns.index("last_run")
                if not _was_published(old, values[last]):
                    continue
                values[last] = ""  # its predecessor is not in the new ledger
            yield values


def _was_published(old: sqlite3.Connection, run_id: str) -> bool:
    asked = "SELECT digest FROM runs WHERE run_id = ? AND completed_at IS NOT NULL AND published = 1"
    with suppress(sqlite3.Error):
        return old.execute(asked, (run_id,)).fetchone() is not None
    return False


def vacuum(path: Path) -> tuple[int, int]:
    """
    Give the room of what was removed back to the disk; return the bytes before and after. Blocks.

    Whoever calls this holds the workspace's lock. It needs as much free space as the ledger has.

    Raises:
        LedgerError: It cannot be used.
    """
    try:
        before = bytes_of(path)
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, bytes_of(path)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def bytes_of(path: Path) -> int:
    """Return how many bytes the ledger at *path* takes on the disk, with what lies beside it."""
    return sum(each.stat().st_size for each in (path, *beside_of(path)) if each.exists())


def beside_of(path: Path) -> list[Path]:
    """Return what SQLite may keep beside *path*."""
    return [path.with_name(path.name + each) for each in BESIDE]


def sync_folder(folder: Path) -> None:
    """Make new names in *folder* last, where its file system can."""
    with safe_open.folder(folder) as fd:
        safe_open.sync(fd)
