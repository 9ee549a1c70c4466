"""The ledger's migrations."""

import sqlite3
from pathlib import Path

import pytest

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.sqlite import schema
from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.ledger.sqlite.schema import MIGRATIONS, NEWEST, Migration, migrate


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_migrations_are_numbered_without_a_gap():
    """Each migration's number is one more than the one before, so that none is passed over."""
    assert [step.number for step in MIGRATIONS] == list(range(1, NEWEST + 1))


def test_a_new_ledger_has_every_table(tmp_path):
    """An empty file becomes a ledger, and migrating it again changes nothing."""
    db = opened(tmp_path / "ledger.db")
    for _ in range(2):
        migrate(db, tmp_path / "ledger.db")
        assert {"runs", "calls", "inputs", "spending", "tally"} <= tables(db)
        assert db.execute("PRAGMA user_version").fetchone() == (NEWEST,)
        assert not db.in_transaction
    db.close()


def test_a_migration_that_fails_has_not_happened(tmp_path, monkeypatch):
    """A migration that breaks in its middle leaves the version before it, whole."""
    db = opened(tmp_path / "ledger.db")
    broken = Migration(NEWEST + 1, ("CREATE TABLE half (a)", "CREATE TABLE runs (b)"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, broken))
    monkeypatch.setattr(schema, "NEWEST", NEWEST + 1)
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, tmp_path / "ledger.db")
    assert "half" not in tables(db)
    assert db.execute("PRAGMA user_version").fetchone() == (NEWEST,)
    db.close()


def test_an_older_program_refuses_a_newer_ledger(tmp_path):
    """A ledger of a newer rlmwatch is refused with both versions and what to do, and is left as it is."""
    path = tmp_path / "ledger.db"
    db = connect(path, create=True)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError) as refused:
        connect(path, create=True)
    text = str(refused.value)
    assert str(path) in text
    assert "version 99" in text
    assert f"up to {NEWEST}" in text
    assert "Upgrade rlmwatch" in text
    assert path.read_bytes() == before


def test_money_and_counts_are_summed_whichever_statement_changes_them(tmp_path):
    """The sums per day and per status follow every row, also one that is changed by hand."""
    db = connect(tmp_path / "ledger.db", create=True)
    db.execute(
        "INSERT INTO runs (run_id, path, kind, conversation, digest, predecessor, status, created_at, options, prompt) "
        "VALUES ('r', 'p', 'chat', 'c', 'd', '', 'pending', 't', '{}', '')"
    )
    call = (
        "INSERT INTO calls (run_id, key, what, model, state, attempt, day, spent_nano, reserved_tokens, started_at, "
        "request) VALUES ('r', ?, 'llm', 'm', 'intent', 1, ?, ?, 0, 't', '{}')"
    )
    db.executemany(call, [("a", "2026-11-24", 5), ("b", "2026-11-24", 7), ("c", "2026-11-25", 1)])
    db.execute("UPDATE calls SET spent_nano = 2 WHERE key = 'a'")
    db.execute("UPDATE runs SET status = 'running'")
    assert {tuple(row) for row in db.execute("SELECT * FROM spending")} == {("2026-11-24", 9), ("2026-11-25", 1)}
    assert {tuple(row) for row in db.execute("SELECT * FROM tally")} == {("pending", 0), ("running", 1)}
    db.close()
