"""The ledger's file, checked, copied and set aside; and what an earlier version makes of it."""

import sqlite3
from contextlib import closing

import pytest

from rlmwatch.daemon.ledger_upkeep import CHECKED, check_if_due, oldest_kept
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import LedgerError, UsageError
from rlmwatch.ledger.sqlite import schema, upkeep
from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.ledger.sqlite.schema import MIGRATIONS, NEWEST, migrate

NOW = "2026-11-24T10:00:00.000Z"


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    connect(path, create=True).close()
    return path


def stored(path, version):
    """Make the file that a release with so many migrations left, with one question."""
    with closing(sqlite3.connect(path)) as db:
        for step in MIGRATIONS[:version]:
            for statement in step.statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("INSERT INTO inputs (path, digest) VALUES ('a_input.txt', 'sha256:a')")
        db.commit()
    return path


def inputs(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT path, digest FROM inputs").fetchall()


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_ledger_of_each_version_is_upgraded_and_goes_back_by_its_backup(tmp_path, monkeypatch, version):
    """
    This program upgrades it in place; the older one then refuses it, untouched, and takes the backup made before.

    The older program is this one with the migrations of its time.
    """
    path, copy = stored(tmp_path / "ledger.sqlite3", version), tmp_path / "copy.sqlite3"
    upkeep.backup(path, copy, force=False)
    connect(path, create=False).close()
    assert upkeep.problems(path, whole=True) == []
    assert inputs(path) == [("a_input.txt", "sha256:a")]
    upgraded = path.read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[:version])
    monkeypatch.setattr(schema, "NEWEST", version)
    if version < NEWEST:
        with closing(sqlite3.connect(path)) as db, pytest.raises(LedgerError, match="written by a newer rlmwatch"):
            migrate(db, path)
        assert path.read_bytes() == upgraded
    upkeep.restore(path, copy, now=NOW)
    with closing(sqlite3.connect(path)) as db:
        migrate(db, path)
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
    assert inputs(path) == [("a_input.txt", "sha256:a")]


def test_a_backup_of_a_newer_version_is_not_restored(tmp_path, ledger):
    """Putting back what a newer program wrote says to upgrade first, and changes nothing."""
    copy = tmp_path / "copy"
    upkeep.backup(ledger, copy, force=False)
    with closing(sqlite3.connect(copy)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    before = ledger.read_bytes()
    with pytest.raises(UsageError, match="upgrade first"):
        upkeep.restore(ledger, copy, now=NOW)
    assert ledger.read_bytes() == before


def test_a_backup_has_what_stands_in_the_log_only(tmp_path, ledger):
    """What was committed a moment ago, and lies in the write-ahead log, is in the copy, which is one file."""
    copy = tmp_path / "copy"
    with closing(connect(ledger, create=False)) as db:
        db.execute("INSERT INTO inputs (path, digest) VALUES ('a_input.txt', 'sha256:a')")
        assert upkeep.backup(ledger, copy, force=False) == copy.stat().st_size
    assert inputs(copy) == [("a_input.txt", "sha256:a")]
    assert sorted(each.name for each in tmp_path.glob("*copy*")) == ["copy"]


def test_a_backup_that_cannot_be_made_leaves_the_one_before(tmp_path, ledger):
    """Of a damaged ledger no backup is made, with `--force` neither; the good one before it stays."""
    copy = tmp_path / "copy"
    upkeep.backup(ledger, copy, force=False)
    good = copy.read_bytes()
    ledger.write_bytes(b"not a ledger" * 1000)
    with pytest.raises(LedgerError):
        upkeep.backup(ledger, copy, force=True)
    assert copy.read_bytes() == good
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(UsageError, match="name another file"):
        upkeep.backup(ledger, ledger, force=True)


def test_two_ledgers_that_are_set_aside_in_one_second_have_two_names(ledger):
    """A name that is taken is never written over."""
    first = upkeep.set_aside(ledger, "damaged", now=NOW)
    connect(ledger, create=True).close()
    second = upkeep.set_aside(ledger, "damaged", now=NOW)
    assert (first.name, second.name) == (
        "ledger.sqlite3.damaged-20261124T100000Z",
        "ledger.sqlite3.damaged-20261124T100000Z-2",
    )


@pytest.mark.parametrize(
    ("now", "days", "before"),
    [
        ("2026-11-24T10:00:00.000Z", 30, "2026-10-25T10:00:00"),
        ("2026-11-24T10:00:00.000Z", 1, "2026-11-01T00:00:00"),
        ("2026-11-01T00:00:01.000Z", 1, "2026-10-31T00:00:01"),
    ],
)
def test_nothing_of_the_current_month_is_let_go(now, days, before):
    """However few days are kept, the calls of the month whose ceiling counts stay, to be listed by `costs`."""
    assert oldest_kept(now, days) == before


def test_the_check_is_made_once_a_week_and_remembered(tmp_path, ledger):
    """A second start within the week does not read the whole file; a clock that was set back does."""
    paths = WorkspacePaths(tmp_path, tmp_path, tmp_path)
    check_if_due(paths, now=NOW)
    first = (tmp_path / CHECKED).read_text()
    assert NOW in first
    for now in ("2026-11-24T11:00:00.000Z", "2026-12-01T09:59:59.000Z"):
        check_if_due(paths, now=now)
        assert (tmp_path / CHECKED).read_text() == first
    for now in ("2026-12-01T10:00:00.000Z", NOW):
        check_if_due(paths, now=now)
        assert now in (tmp_path / CHECKED).read_text()


def test_damage_that_the_weekly_check_finds_is_looked_at_by_the_next_start(tmp_path, ledger):
    """However large the ledger is, what was found damaged is remembered beside it."""
    with ledger.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 40_000)
    check_if_due(WorkspacePaths(tmp_path, tmp_path, tmp_path), now=NOW)
    assert upkeep.is_marked(ledger)
