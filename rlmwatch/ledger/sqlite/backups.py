"""
Backups of the ledger's file: made while a daemon writes, and put back while none does.

1. A backup is one snapshot: what a daemon commits after the start is not in it.
2. It is made beside its place under another name, checked and synced, and takes its name in one step: there is never
   half a backup, or half a restored ledger.
3. What fails is named: the ledger, or the place of the copy.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from rlmwatch.errors import LedgerError, RlmwatchError, UsageError
from rlmwatch.ledger.sqlite.connection import BUSY_S, error_class, explain
from rlmwatch.ledger.sqlite.schema import NEWEST
from rlmwatch.ledger.sqlite.upkeep import (
    DAMAGE,
    beside_of,
    building,
    problems,
    put_in_place,
    reading,
    sync_folder,
    to_read,
)
from rlmwatch.workspace.os_errors import cannot

PROBE_BYTES = 65_536
"""Written to learn why a copy could not be: more than the slack of any file."""


def backup(path: Path, to: Path, *, force: bool) -> int:
    """
    Copy the ledger at *path*, as it is now, into the file *to*; return its bytes. Blocks; a daemon goes on meanwhile.

    Args:
        path: The ledger.
        to: A new file; only this user may read it.
        force: Write over a file that is there.

    Raises:
        UsageError: *to* is there already, or is something that no backup is put in the place of.
        WorkspaceError: *to* cannot be written; it is as it was, as in all cases.
        LedgerError: The ledger cannot be read.
    """
    try:
        _refuse(path, to, force=force)
        made = _copy(path, to, to.with_name(f".{to.name}.{os.getpid()}.tmp"))
        try:
            _give_name(made, to, force=force)
        finally:
            made.unlink(missing_ok=True)
        sync_folder(to.parent)
        return to.stat().st_size
    except OSError as error:
        raise cannot("write", to, error) from error


def _refuse(path: Path, to: Path, *, force: bool) -> None:
    """
    Return if *to* may become the backup of the ledger at *path*.

    Raises:
        UsageError, OSError: It may not, or cannot.
    """
    if os.path.realpath(to) in {os.path.realpath(each) for each in (path, *beside_of(path))}:
        raise UsageError(f"{to} is the ledger itself: name another file")
    try:
        found = to.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{to} is a folder: name the file of the backup")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{to} is not a file, but a device, a pipe or the like: name another")
    if to.samefile(path):
        raise UsageError(f"{to} is the ledger itself: name another file")
    if not force:
        raise _is_there(to)


def _is_there(to: Path) -> UsageError:
    return UsageError(f"{to} is there already: name another file, or write over it with --force")


def _give_name(made: Path, to: Path, *, force: bool) -> None:
    if force:
        made.replace(to)
        return
    try:
        os.link(made, to)  # fails where somebody made it meanwhile
    except FileExistsError:
        raise _is_there(to) from None
    except OSError:  # a file system without hard links, such as that of most USB sticks
        if os.path.lexists(to):
            raise _is_there(to) from None
        made.rename(to)


def restore(path: Path, copy: Path, *, now: str, adapt: Callable[[Path], object] = lambda _made: None) -> Path | None:
    """
    Put the backup *copy* in the place of the ledger at *path*; return the name that the old one has now, if any.

    Whoever calls this holds the workspace's lock. *copy* stays as it is.

    Args:
        path: The ledger.
        copy: The backup.
        now: RFC 3339.
        adapt: Is given what is to be the ledger, before it is; what it raises stops all.

    Raises:
        UsageError: *copy* is no sound ledger, or of a newer rlmwatch; nothing has changed.
        LedgerError, WorkspaceError: It cannot be put there; the old one is in its place.
    """
    wrong = not_a_ledger(copy)
    if wrong is not None:
        raise UsageError(f"{copy} cannot be restored: {wrong}")
    made = building(path)
    try:
        if path.exists() and copy.samefile(path):
            raise UsageError(f"{copy} is the ledger itself: name a backup of it")
        _copy(copy, path, made)
        adapt(made)
        return put_in_place(path, made, "before-restore", now=now)
    except OSError as error:
        raise cannot("write", path, error) from error
    finally:
        made.unlink(missing_ok=True)


def not_a_ledger(copy: Path) -> str | None:
    """Return why the file *copy* is no ledger that this program can use; None where it is one."""
    try:
        copy.stat()
        if found := problems(copy, whole=True):
            return f"it is damaged ({found[0]})"
        with reading(copy) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (LedgerError, OSError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not {"runs", "calls", "inputs"} <= tables or version < 1:
        return "it is no ledger of rlmwatch"
    if version > NEWEST:
        return f"a newer rlmwatch wrote it (version {version}, this one knows up to {NEWEST}): upgrade first"
    return None


def _copy(source: Path, to: Path, made: Path) -> Path:
    """
    Return *made*, now a synced, checked copy of *source* in one file; it is to be *to*, which lies beside it.

    Raises:
        OSError, WorkspaceError: It cannot be written; the first says nothing of *to*.
        LedgerError: *source* cannot be read.
    """
    made.unlink(missing_ok=True)
    os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        _fill(made, source, to)
    except BaseException:
        for each in (made, *beside_of(made)):
            with suppress(OSError):
                each.unlink(missing_ok=True)
        raise
    return made


def _fill(made: Path, source: Path, to: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(to_read(source), uri=True, timeout=BUSY_S)) as db,
            closing(sqlite3.connect(made)) as copy,
        ):
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise _of_which(error, source, to, made) from error
    with made.open("r+b") as file:
        os.fsync(file.fileno())
    if found := problems(made):
        raise LedgerError(f"{source} is damaged, and was not copied: {found[0]}")


def _of_which(error: sqlite3.Error, source: Path, to: Path, made: Path) -> RlmwatchError:
    """Return *error* in words, of *source* or of *to*: SQLite does not say which of the two files failed."""
    code = error_class(error)
    if code == sqlite3.SQLITE_FULL:
        return cannot("write", to, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if code not in DAMAGE:
        try:
            with made.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as why:
            return cannot("write", to, why)
    return explain(error, source)
