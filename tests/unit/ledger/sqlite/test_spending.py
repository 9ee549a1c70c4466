"""ledger/sqlite/spending.py: the rules at its top."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from rlmwatch.errors import CeilingUnknown
from rlmwatch.ledger.spending import Claim
from rlmwatch.ledger.sqlite import spending
from rlmwatch.ledger.sqlite.spending import SharedSpending

DAY = "2026-11-24"


def asks(nano, per_day=100, per_month=None):
    return Claim(DAY, nano, per_day, per_month)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "spending.sqlite3"


@pytest.fixture
def opened():
    """Open the spending of a file as a workspace sees it; it is closed after the test."""
    with ExitStack() as stack:
        yield lambda file, workspace: stack.enter_context(closing(SharedSpending(file, workspace)))


def test_1_a_file_that_was_lost_has_the_sums_again_with_the_next_call(opened, file):
    """Whoever calls writes what its ledger has of the month, also where the file was removed under it."""
    mine, theirs = opened(file, "mine"), opened(file, "theirs")
    mine.tell({DAY: 10})
    theirs.tell({DAY: 5, "2026-11-01": 7, "2026-10-31": 90})
    assert mine.others(DAY) == (5, 12)
    for each in file.parent.iterdir():
        each.unlink()
    assert mine.claim({DAY: 10, "2026-11-02": 3}, asks(20)) == (0, 0)
    assert theirs.others(DAY) == (30, 33)


def test_2_nobody_takes_the_last_dollar_twice(opened, file):
    """Of many programs that ask at the same moment only so many go through as fit."""

    def ask(n):
        shared = opened(file, f"workspace {n}")
        others, _ = shared.claim({}, asks(30))
        shared.close()
        return others + 30 <= 100

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 3


def test_2_what_does_not_fit_reserves_nothing(opened, file):
    """A refused call leaves room for a smaller one of another workspace; the month's ceiling holds likewise."""
    mine, theirs = opened(file, "mine"), opened(file, "theirs")
    assert mine.claim({DAY: 60}, asks(50)) == (0, 0)
    assert theirs.others(DAY) == (60, 60)
    assert mine.claim({DAY: 0, "2026-11-01": 60}, asks(50, None, 100)) == (0, 0)
    assert theirs.others(DAY) == (0, 0)
    mine.tell({DAY: 0, "2026-11-01": 60})
    assert theirs.others(DAY) == (0, 60)


def test_3_and_4_who_finds_it_locked_waits_once_and_says_so(opened, file, monkeypatch):
    """A file that another program holds costs one wait and no more for the calls behind it; then it works again."""
    monkeypatch.setattr(spending, "CLAIM_S", 0.05)
    mine = opened(file, "mine")
    mine.tell({DAY: 1})
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CeilingUnknown, match=r"locked.*spending\.sqlite3.*per = "):
        mine.claim({}, asks(1))
    other.close()
    monkeypatch.setattr(spending, "PAUSE_S", 3_600)
    with pytest.raises(CeilingUnknown, match="locked"):
        mine.claim({}, asks(1))
    mine.tell({DAY: 1})  # raises nothing
    monkeypatch.setattr(spending, "PAUSE_S", 0)
    assert mine.claim({}, asks(1)) == (0, 0)


@pytest.mark.parametrize("damage", ["text", "version", "folder"])
def test_3_what_is_no_such_file_is_named(opened, file, damage):
    """A damaged file, one of a newer version, and a folder in its place are told with the way out."""
    if damage == "text":
        file.write_bytes(b"no database " * 1_000)
    elif damage == "folder":
        file.mkdir()
    else:
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA user_version = 99")
    with pytest.raises(CeilingUnknown, match=r"spending\.sqlite3"):
        opened(file, "mine").claim({}, asks(1))
