"""Opening the ledger's file, and what its failures say."""

import shutil
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.sqlite.connection import MARK, connect, explain


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failure(path: Path, *, create: bool = True) -> str:
    with pytest.raises(LedgerError) as refused:
        connect(path, create=create)
    return str(refused.value)


def test_the_ledger_is_private(tmp_path):
    """Nobody else on the machine can read what was asked and answered."""
    path = tmp_path / "state" / "ledger.db"
    db = connect(path, create=True)
    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) == 3  # with -wal and -shm
    db.close()


def test_what_is_committed_is_on_the_disk(tmp_path):
    """Every commit is synced: a power cut after an answer was paid does not lose it."""
    db = connect(tmp_path / "ledger.db", create=True)
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert db.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    db.close()


def test_many_may_open_a_new_ledger_at_once(tmp_path):
    """Programs that start on a new workspace at the same moment all get their ledger."""

    def start(path: Path) -> None:
        together.wait(30)
        connect(path, create=True).close()

    together = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(20):
            list(pool.map(start, [tmp_path / str(round_) / "ledger.db"] * 8))


@pytest.mark.parametrize("damaged", [slice(0, 100), slice(100, 4096)], ids=["header", "table of tables"])
def test_a_damaged_ledger_says_what_to_do(tmp_path, damaged):
    """A damaged file is named, with what to move aside and why nothing is lost by it."""
    path = tmp_path / "ledger.db"
    connect(path, create=True).close()
    data = bytearray(path.read_bytes())
    data[damaged] = b"\xff" * len(data[damaged])
    path.write_bytes(data)
    text = failure(path)
    assert f"the ledger {path} is damaged" in text
    assert f"Start rlmwatch again: it sets {path} aside" in text
    assert path.with_name(path.name + MARK).exists()
    assert "not answered again" in text
    assert path.read_bytes() == data
    shutil.move(path, tmp_path / "aside")
    connect(path, create=True).close()


def test_a_folder_in_its_place_is_named(tmp_path):
    """A path that cannot be a ledger is named with the reason and a way out."""
    text = failure(tmp_path)
    assert f"cannot open the ledger {tmp_path}" in text
    assert "RLMWATCH_STATE_DIR" in text


def test_a_ledger_that_vanished_is_not_made_anew(tmp_path):
    """A ledger that is gone is an error where it must be there, never silently an empty one."""
    assert "No such file" in failure(tmp_path / "ledger.db", create=False)
    assert not (tmp_path / "ledger.db").exists()


def test_a_full_disk_says_so(tmp_path):
    """A full disk is called that, and that freeing some space is enough."""
    db = connect(tmp_path / "ledger.db", create=True)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError) as full:
        db.execute("INSERT INTO inputs (path, digest) VALUES (?, '')", ("x" * 100_000,))
    db.close()
    text = str(explain(full.value, tmp_path / "ledger.db"))
    assert "the disk is full" in text
    assert "Free some space" in text


def test_another_program_in_the_way_is_said(tmp_path):
    """A ledger that another program holds for too long says so."""
    holder = connect(tmp_path / "ledger.db", create=True)
    holder.execute("BEGIN IMMEDIATE")
    waiter = connect(tmp_path / "ledger.db", create=True)
    waiter.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(sqlite3.OperationalError) as busy:
        waiter.execute("BEGIN IMMEDIATE")
    waiter.close()
    holder.close()
    assert "held by another process" in str(explain(busy.value, tmp_path / "ledger.db"))


def test_an_old_sqlite_is_named(tmp_path, monkeypatch):
    """A Python whose SQLite is too old says which one is needed."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert "needs 3.37.0" in failure(tmp_path / "ledger.db")


def test_a_file_system_without_a_write_ahead_log_is_refused(tmp_path):
    """A folder where SQLite cannot share memory is refused before anything is written to it."""
    # An in-memory database has no write-ahead log either, and answers the same way.
    from rlmwatch.ledger.sqlite.connection import _prepare

    db = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(LedgerError, match="network mount"):
        _prepare(db, tmp_path / "ledger.db")
    db.close()
