"""The ledger's file, checked, copied and set aside; and what an earlier version makes of it."""

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from rlmwatch.daemon.ledger_upkeep import CHECKED, check_if_due, oldest_kept, restore
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import LedgerError, UsageError, WorkspaceError
from rlmwatch.ledger.sqlite import backups, schema, upkeep
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
    backups.backup(path, copy, force=False)
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
    backups.restore(path, copy, now=NOW)
    with closing(sqlite3.connect(path)) as db:
        migrate(db, path)
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
    assert inputs(path) == [("a_input.txt", "sha256:a")]


def test_a_backup_of_a_newer_version_is_not_restored(tmp_path, ledger):
    """Putting back what a newer program wrote says to upgrade first, and changes nothing."""
    copy = tmp_path / "copy"
    backups.backup(ledger, copy, force=False)
    with closing(sqlite3.connect(copy)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    before = ledger.read_bytes()
    with pytest.raises(UsageError, match="upgrade first"):
        backups.restore(ledger, copy, now=NOW)
    assert ledger.read_bytes() == before


def test_a_backup_has_what_stands_in_the_log_only(tmp_path, ledger):
    """What was committed a moment ago, and lies in the write-ahead log, is in the copy, which is one file."""
    copy = tmp_path / "copy"
    with closing(connect(ledger, create=False)) as db:
        db.execute("INSERT INTO inputs (path, digest) VALUES ('a_input.txt', 'sha256:a')")
        assert backups.backup(ledger, copy, force=False) == copy.stat().st_size
    assert inputs(copy) == [("a_input.txt", "sha256:a")]
    assert sorted(each.name for each in tmp_path.glob("*copy*")) == ["copy"]


def test_a_backup_that_cannot_be_made_leaves_the_one_before(tmp_path, ledger):
    """Of a damaged ledger no backup is made, with `--force` neither; the good one before it stays."""
    copy = tmp_path / "copy"
    backups.backup(ledger, copy, force=False)
    good = copy.read_bytes()
    ledger.write_bytes(b"not a ledger" * 1000)
    with pytest.raises(LedgerError):
        backups.backup(ledger, copy, force=True)
    assert copy.read_bytes() == good
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(UsageError, match="name another file"):
        backups.backup(ledger, ledger, force=True)


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


# A backup whose place is at fault


@contextmanager
def files_of_at_most(n_bytes):
    """A file system that takes no more, as a full one or a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_backup_for_which_there_is_no_room_names_its_place(tmp_path, ledger):
    """Where the copy cannot be written, the text names the copy and why, not the ledger; nothing is left of it."""
    to = tmp_path / "elsewhere" / "copy"
    to.parent.mkdir()
    upkeep.problems(ledger)
    with files_of_at_most(40_000), pytest.raises(WorkspaceError) as caught:
        backups.backup(ledger, to, force=False)
    assert f"cannot write {to}: " in str(caught.value)
    assert "larger than this user may write" in str(caught.value)
    assert str(ledger) not in str(caught.value)
    assert list(to.parent.iterdir()) == []
    assert not upkeep.is_marked(ledger)


def full_disk(folder):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False).returncode:
        pytest.skip("nothing can be mounted here")


def test_a_backup_to_a_full_disk_says_that_it_is_full(tmp_path, ledger):
    """A full disk is called full, by the name of the backup; there is nothing of it, and no ledger is blamed."""
    to = tmp_path / "disk" / "copy"
    to.parent.mkdir()
    full_disk(to.parent)
    try:
        with pytest.raises(WorkspaceError) as caught:
            backups.backup(ledger, to, force=False)
        left = list(to.parent.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(to.parent)], check=True)
    assert f"cannot write {to}: the disk is full" in str(caught.value)
    assert str(ledger) not in str(caught.value)
    assert left == []


@pytest.mark.parametrize(
    ("to", "kind", "words"),
    [
        (".", UsageError, "is a folder"),
        ("ledger.sqlite3", UsageError, "is the ledger itself"),
        ("ledger.sqlite3-wal", UsageError, "is the ledger itself"),
        ("link", UsageError, "is the ledger itself"),
        ("missing/copy", WorkspaceError, "there is no such folder"),
        ("file/copy", WorkspaceError, "a file stands where a folder belongs"),
        ("pipe", UsageError, "is not a file"),
        ("x" * 300, WorkspaceError, "the name is too long"),
    ],
)
def test_a_place_that_can_hold_no_backup_is_named(tmp_path, ledger, to, kind, words):
    """Also with `--force`: what cannot be the file of a backup is named, and the ledger stays as it is."""
    (tmp_path / "file").write_text("a text")
    (tmp_path / "link").symlink_to(ledger)
    os.mkfifo(tmp_path / "pipe")
    before, names = ledger.read_bytes(), sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=words) as caught:
        backups.backup(ledger, tmp_path / to, force=True)
    assert str(tmp_path / to) in str(caught.value)
    assert (ledger.read_bytes(), sorted(tmp_path.iterdir())) == (before, names)


# A rebuild, and a restore, that are interrupted

KILLED_AT_EACH_STEP = """
import os, shutil, sys
from pathlib import Path
from rlmwatch.daemon.ledger_upkeep import open_sound, restore
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.ledger.sqlite.connection import connect

import structlog
structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
start, work, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
NOW = "2026-11-24T10:00:00.000Z"

def act(paths):
    if what == "restore":
        restore(paths, start / "state" / "backup", now=NOW)
    else:
        open_sound(paths, now=NOW)

for step in range(1, 200):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    paths = WorkspacePaths(work / "root", work / "state", work)
    pid = os.fork()
    if pid == 0:
        left = [step]
        def hook(event, _args):
            if event in ("os.rename", "os.remove", "os.link", "sqlite3.connect", "open"):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), 9)
        sys.addaudithook(hook)
        act(paths)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    open_sound(paths, now=NOW)
    db = connect(paths.ledger, create=False)
    inputs = [tuple(row) for row in db.execute("SELECT path, digest FROM inputs")]
    spent = db.execute("SELECT SUM(nano) FROM spending").fetchone()[0]
    db.close()
    print(step, inputs, spent, flush=True)
    if status == 0:
        break
"""


def rows(path, digest, nano):
    """Put an input that was answered, and what it cost, into the ledger at *path*."""
    with closing(connect(path, create=True)) as db:
        db.execute("BEGIN")
        db.execute(
            "INSERT INTO runs (run_id, path, kind, conversation, predecessor, prompt, options, digest, status, "
            "created_at, completed_at, published) "
            "VALUES ('r', 'a_input.txt', 'chat', 'a', '', 'one', '{}', ?, 'complete', ?, ?, 1)",
            (digest, NOW, NOW),
        )
        db.execute("INSERT INTO inputs (path, digest, last_run) VALUES ('a_input.txt', ?, 'r')", (digest,))
        db.execute("INSERT INTO spending (day, nano) VALUES ('2026-11-24', ?)", (nano,))
        db.execute("COMMIT")


def outcomes(tmp_path, what):
    """Return what the ledger holds after *what* was killed at each of its steps, and the next start."""
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path / "start"), str(tmp_path / "work"), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    found = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert len(found) > 5
    return found


def test_a_rebuild_that_is_killed_loses_nothing_that_could_be_salvaged(tmp_path):
    """Killed at whichever step, the rebuild of a damaged ledger is done by the next start, with all that it had."""
    state = tmp_path / "start" / "state"
    (tmp_path / "start" / "root").mkdir(parents=True)
    rows(state / "ledger.sqlite3", "sha256:a", 7)
    with closing(sqlite3.connect(state / "ledger.sqlite3")) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'steps'").fetchone()[0]
    with (state / "ledger.sqlite3").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    assert upkeep.problems(state / "ledger.sqlite3")
    assert set(outcomes(tmp_path, "rebuild")) == {"[('a_input.txt', 'sha256:a')] 7"}


def test_a_restore_that_is_killed_leaves_the_old_ledger_or_the_new_one(tmp_path):
    """Killed at whichever step, `restore` has put the backup there or changed nothing; there is always a ledger."""
    state = tmp_path / "start" / "state"
    (tmp_path / "start" / "root").mkdir(parents=True)
    rows(state / "backup", "sha256:old", 1)
    rows(state / "ledger.sqlite3", "sha256:new", 2)
    found = outcomes(tmp_path, "restore")
    old, new = "[('a_input.txt', 'sha256:new')] 2", "[('a_input.txt', 'sha256:old')] 1"
    assert found == sorted(found, key=lambda each: each != old)
    assert set(found) == {old, new}


def test_a_restore_that_cannot_follow_the_folder_changes_nothing(tmp_path):
    """Where what the folder shows cannot be known, the ledger is the one before, and nothing lies beside it."""
    root, state = tmp_path / "root", tmp_path / "state"
    (root / "jobs").mkdir(parents=True)
    rows(state / "ledger.sqlite3", "sha256:new", 2)
    rows(tmp_path / "copy", "sha256:old", 1)
    (state.parent / "spending.sqlite3").mkdir()
    before = (state / "ledger.sqlite3").read_bytes()
    paths = WorkspacePaths(root, state, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy")) as db:
        db.execute("UPDATE runs SET completed_at = NULL, status = 'running', published = 0")
        db.execute("CREATE TRIGGER no BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'no'); END")
        db.commit()
    with pytest.raises(LedgerError):
        restore(paths, tmp_path / "copy", now=NOW)
    assert [each.name for each in state.iterdir()] == ["ledger.sqlite3"]
    assert (state / "ledger.sqlite3").read_bytes() == before
