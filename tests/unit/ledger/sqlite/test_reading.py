"""A connection that only reads."""

import sqlite3

import pytest

from rlmwatch.errors import LedgerError
from rlmwatch.ledger import overview
from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.ledger.sqlite.reading import read_only


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "a ledger? 100% #1.sqlite3"
    connect(path, create=True).close()
    return path


def test_it_changes_nothing(ledger):
    """A statement that writes is refused."""
    with pytest.raises(LedgerError, match="cannot be written"), read_only(ledger) as db:
        db.execute("DELETE FROM runs")


def test_it_keeps_nobody_from_writing(ledger):
    """While somebody looks on, the daemon commits; who looks on sees the ledger as it was."""
    daemon = connect(ledger, create=False)
    with read_only(ledger) as db:
        assert overview.counts(db) == {}
        daemon.execute("INSERT INTO tally (status, runs) VALUES ('pending', 1)")
        assert overview.counts(db) == {}
    daemon.close()
    with read_only(ledger) as db:
        assert overview.counts(db) == {"pending": 1}


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but long enough to look like one" * 40])
def test_what_is_no_ledger_is_an_error_in_words(tmp_path, content):
    """A file that is missing, empty or damaged is an error that names it, and is not made."""
    path = tmp_path / "ledger.sqlite3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3"), read_only(path):
        pass
    assert path.exists() == (content is not None)


def test_one_of_a_newer_version_is_refused(ledger):
    """A ledger that a newer rlmwatch wrote is not guessed at."""
    db = sqlite3.connect(ledger)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="newer rlmwatch"), read_only(ledger):
        pass
