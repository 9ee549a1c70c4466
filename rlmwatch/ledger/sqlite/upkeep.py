"""
The ledger's file, kept for years: checked, compacted, copied, put back, and set aside where it is damaged.

1. `backup` is one snapshot: a daemon may write meanwhile, and what it commits after the start is not in it.
2. A copy is made beside its destination under another name, checked and synced, and takes its name in one step: there
   is never half a backup, or half a restored ledger.
3. Nothing is deleted: what makes way is renamed, with the time in its name.
4. That a file is damaged is remembered beside it (`mark_damaged`), so that the next start looks, however large it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from rlmwatch.contract.documents import second
from rlmwatch.errors import LedgerError, UsageError
from rlmwatch.ledger.sqlite.connection import BUSY_S, MARK, error_class, explain
from rlmwatch.ledger.sqlite.schema import NEWEST

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file, without which the file is another one."""
SMALL_BYTES = 16_000_000
"""Up to this size a ledger is checked at every start; it takes some 20 ms."""
SALVAGED = ("inputs", "spending", "spared")
"""Tables that stand on their own, small, and worth most: what was asked, and what was spent."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WHOLE, _QUICK = "integrity_check", "quick_check"


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold *path* open, to read; its errors become `LedgerError`."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)) as db:
            yield db
    except sqlite3.Error as error:
        raise explain(error, path) from error


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
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)) as db:
            found = [str(row[0]) for row in db.execute(f"PRAGMA {_WHOLE if whole else _QUICK}")]
            if found == ["ok"] and whole:
                found = [f"{row[0]} refers to a missing {row[2]}" for row in db.execute("PRAGMA foreign_key_check")]
    except sqlite3.Error as error:
        if error_class(error) in _DAMAGE:
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
        for beside in BESIDE:
            left = path.with_name(path.name + beside)
            if left.exists():
                left.rename(aside.with_name(aside.name + beside))
        return path.rename(aside)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be set aside: {error.strerror}. Make its folder writable for this user"
        ) from error


def salvage(damaged: Path, db: sqlite3.Connection) -> dict[str, int]:
    """
    Copy into the new ledger *db* what can still be read of `SALVAGED`; return how many rows of each.

    Rows are taken up to the first page that cannot be read. Of the inputs only those whose last run ended and was
    published: the others were not answered, or the folder says that they were.
    """
    copied = dict.fromkeys(SALVAGED, 0)
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{quote(str(damaged))}?mode=ro", uri=True)) as old:
        for table in SALVAGED:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            marks = ", ".join("?" * len(columns))
            with suppress(sqlite3.Error):
                for row in old.execute(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608 (our own names)
                    values = list(row)
                    if table == "inputs":
                        last = columns.index("last_run")
                        if not _was_published(old, values[last]):
                            continue
                        values[last] = ""  # its predecessor is not in the new ledger
                    insert = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 (as above)
                    copied[table] += db.execute(insert, values).rowcount
    return copied


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
        before = _bytes(path)
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, _bytes(path)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _bytes(path: Path) -> int:
    return sum(
        each.stat().st_size for each in (path, *(path.with_name(path.name + b) for b in BESIDE)) if each.exists()
    )


def backup(path: Path, to: Path, *, force: bool) -> int:
    """
    Copy the ledger at *path*, as it is now, into the file *to*; return its bytes. Blocks; a daemon goes on meanwhile.

    Args:
        path: The ledger.
        to: A new file; only this user may read it.
        force: Write over a file that is there.

    Raises:
        UsageError: *to* is there already, or cannot be a file.
        LedgerError: The ledger cannot be read, or the copy cannot be written; *to* is as it was.
    """
    if to.is_dir():
        raise UsageError(f"{to} is a folder: name the file of the backup")
    if to.exists() and (not force or to.samefile(path)):
        cure = "name another file" if to.samefile(path) else "name another file, or write over it with --force"
        raise UsageError(f"{to} is there already: {cure}")
    made = _copy(path, to)
    try:
        if force:
            made.replace(to)
        else:
            os.link(made, to)  # fails where somebody made it meanwhile
            made.unlink()
    except FileExistsError:
        made.unlink(missing_ok=True)
        raise UsageError(f"{to} is there already: name another file, or write over it with --force") from None
    except OSError as error:
        made.unlink(missing_ok=True)
        raise LedgerError(f"{to} cannot be written: {error.strerror}. Name a file on another disk") from error
    _sync_folder(to.parent)
    return to.stat().st_size


def restore(path: Path, copy: Path, *, now: str) -> Path | None:
    """
    Put the backup *copy* in the place of the ledger at *path*; return the name that the old one has now, if any.

    Whoever calls this holds the workspace's lock. *copy* stays as it is.

    Raises:
        UsageError: *copy* is no sound ledger, or of a newer rlmwatch; nothing has changed.
        LedgerError: It cannot be put there; the old one is in its place.
    """
    if not copy.is_file():
        raise UsageError(f"{copy}: no such file")
    wrong = not_a_ledger(copy)
    if wrong is not None:
        raise UsageError(f"{copy} cannot be restored: {wrong}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and copy.samefile(path):
        raise UsageError(f"{copy} is the ledger itself: name a backup of it")
    made = _copy(copy, path)
    # A log that is left without its file would be taken for that of the new one.
    aside = set_aside(path, "before-restore", now=now) if path.exists() else None
    for beside in BESIDE:
        path.with_name(path.name + beside).unlink(missing_ok=True)
    made.replace(path)
    _sync_folder(path.parent)
    unmark(path)
    return aside


def not_a_ledger(copy: Path) -> str | None:
    """Return why the file *copy* is no ledger that this program can use; None where it is one."""
    try:
        found = problems(copy, whole=True)
        if found:
            return f"it is damaged ({found[0]})"
        with _reading(copy) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except LedgerError as error:
        return str(error)
    if not {"runs", "calls", "inputs"} <= tables or version < 1:
        return "it is no ledger of rlmwatch"
    if version > NEWEST:
        return f"a newer rlmwatch wrote it (version {version}, this one knows up to {NEWEST}): upgrade first"
    return None


def _copy(source: Path, to: Path) -> Path:
    """Return a synced, checked copy of *source* beside *to*, in one file."""
    made = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with _reading(source) as db, closing(sqlite3.connect(made)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        for beside in BESIDE:
            made.with_name(made.name + beside).unlink(missing_ok=True)
        fd = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        found = problems(made)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise LedgerError(f"{made} cannot be written: {error.strerror}. Look at its folder and the disk") from error
    except LedgerError:
        made.unlink(missing_ok=True)
        raise
    if found:
        made.unlink(missing_ok=True)
        raise LedgerError(f"{source} is damaged, and was not copied: {found[0]}")
    return made


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
