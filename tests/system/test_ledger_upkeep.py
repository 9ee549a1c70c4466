"""The ledger, kept for years: damage is lived with, backups are made and put back (issue 17, point 5)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
from servers.openai_server import OpenAIServer
from system.daemon import DEADLINE_S, Daemon
from system.harness import MODEL, POLL_S, Brain, Home, question

from rlmwatch import clock
from rlmwatch.daemon.ledger_upkeep import CHECKED
from rlmwatch.workspace.owner import workspace_id

PRICES = f'[prices."{MODEL}"]\ninput = 1\noutput = 1000\n'
SPENT = "SELECT COALESCE(SUM(nano), 0) FROM spending"


@pytest.fixture
def provider():
    with OpenAIServer(Brain()) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, provider: OpenAIServer) -> Home:
    made = Home(tmp_path / "home", provider)
    made.set(PRICES)
    return made


def asked(provider: OpenAIServer) -> list[str]:
    return [question(call.body).partition("\n")[0] for call in provider.calls]


def one(file: Path, statement: str) -> object:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(statement).fetchone()[0]


def ask(home: Home, daemon: Daemon, path: str, text: str, n: int = 1) -> None:
    home.save(path, text)
    daemon.answered(path.replace("_input", "_output"), n)


def garbled(file: Path) -> None:
    file.write_bytes(b"no database at all, but a text of somebody\n" * 400)


def torn(file: Path) -> None:
    """Every page but the first is what another file left on the disk."""
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xa5" * (file.stat().st_size - 4096))


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    with file.open("r+b") as pages:
        pages.truncate(3 * 4096 + 100)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "something").write_text("")


DAMAGE = (garbled, torn, emptied, truncated, a_folder)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda each: each.__name__)
def test_a_damaged_ledger_is_set_aside_and_nothing_is_asked_again(
    home: Home, provider: OpenAIServer, damage: Callable[[Path], None]
):
    """
    The daemon starts, names the damaged file's new name with its time, and asks of all saves only the new one.

    What was spent today still counts, also where the file itself tells nothing any more.
    """
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
        ask(home, daemon, "b_job_input.txt", "two")
    file, spent = home.ledger, one(home.ledger, SPENT)
    assert spent
    damage(file)
    with home.daemon() as daemon:
        told = daemon.wait("ledger.set_aside")
        assert told["aside"].startswith("ledger.sqlite3.damaged-2")
        assert (file.parent / told["aside"]).exists()
        assert one(file, SPENT) == spent
        ask(home, daemon, "c_input.txt", "three")
        home.save("a_input.txt", "one")
        daemon.wait("save.same_bytes", path="a_input.txt")
    assert asked(provider) == ["one", "two", "three"]
    with home.daemon() as daemon:
        ask(home, daemon, "d_input.txt", "four")
        assert not daemon.seen("ledger.set_aside")
    assert asked(provider) == ["one", "two", "three", "four"]


def test_a_question_that_waited_in_a_damaged_ledger_is_asked_once(home: Home, provider: OpenAIServer):
    """A save that was admitted and not answered when the ledger was damaged is asked by the new one."""
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
    home.key, key = None, home.key
    url, home.provider = home.provider, None
    home.save("b_input.txt", "waits")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="b_input.txt")
    home.key, home.provider = key, url
    torn(home.ledger)
    with home.daemon() as daemon:
        daemon.answered("b_output.txt")
    assert asked(provider) == ["one", "waits"]


def test_a_backup_is_made_beside_a_daemon_and_put_back_without_one(home: Home, provider: OpenAIServer, tmp_path: Path):
    """
    `backup` copies while the daemon answers; `restore` refuses beside it, keeps the old file, and asks nothing again.

    What was answered after the backup is known from the folder, and what it cost still counts.
    """
    copy, place = tmp_path / "copy.sqlite3", ("-w", str(home.workspace))
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
        ask(home, daemon, "b_job_input.txt", "two")
        made = home.cli("ledger", "backup", str(copy), *place)
        assert made.returncode == 0, made.stderr
        assert copy.stat().st_mode & 0o077 == 0
        again = home.cli("ledger", "backup", str(copy), *place)
        assert (again.returncode, "--force" in again.stderr) == (2, True)
        assert home.cli("ledger", "backup", str(copy), "--force", *place).returncode == 0
        ask(home, daemon, "a_input.txt", "later", 2)
        ask(home, daemon, "b_job_input.txt", "later still", 2)
        refused = home.cli("ledger", "restore", str(copy), *place)
        assert (refused.returncode, "Stop it first" in refused.stderr) == (2, True)
        assert home.cli("ledger", "vacuum", *place).returncode == 2
        assert home.cli("ledger", "check", *place).returncode == 0
    spent = one(home.ledger, SPENT)
    done = home.cli("ledger", "restore", str(copy), *place)
    assert done.returncode == 0, done.stderr
    (aside,) = home.ledger.parent.glob("ledger.sqlite3.before-restore-*Z")
    assert one(aside, "SELECT COUNT(*) FROM runs") == 4
    assert one(home.ledger, "SELECT COUNT(*) FROM runs") == 2
    assert one(home.ledger, SPENT) == spent
    with home.daemon() as daemon:
        ask(home, daemon, "c_input.txt", "new")
    assert asked(provider) == ["one", "two", "later", "later still", "new"]


def test_what_ran_at_the_time_of_a_backup_is_not_asked_again(home: Home, provider: OpenAIServer, tmp_path: Path):
    """A run that was open in the backup and was answered since has ended; one that the folder shows waiting goes on."""
    copy, place = tmp_path / "copy.sqlite3", ("-w", str(home.workspace))
    key, server = home.key, home.provider
    home.key = home.provider = None
    home.save("a_input.txt", "one")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        assert home.cli("ledger", "backup", str(copy), *place).returncode == 0
    home.key, home.provider = key, server
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert home.cli("ledger", "restore", str(copy), *place).returncode == 0
    with home.daemon() as daemon:
        ask(home, daemon, "c_input.txt", "new")
    assert asked(provider) == ["one", "new"]
    assert one(home.ledger, "SELECT COUNT(*) FROM runs WHERE completed_at IS NULL OR published = 0") == 0


def test_what_is_no_ledger_is_not_restored(home: Home, provider: OpenAIServer, tmp_path: Path):
    """A text, a damaged backup, another database and a folder are refused, and the ledger stays as it is."""
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
    before = home.ledger.read_bytes()
    text, broken, other = tmp_path / "text", tmp_path / "broken", tmp_path / "other"
    garbled(text)
    shutil.copy2(home.ledger, broken)
    torn(broken)
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE pets (name)")
    for file in (text, broken, other, tmp_path, tmp_path / "missing"):
        done = home.cli("ledger", "restore", str(file), "-w", str(home.workspace))
        assert done.returncode == 2, (file, done.stdout)
        assert str(file) in done.stderr
    assert home.ledger.read_bytes() == before
    assert len(provider.calls) == 1


def test_check_and_vacuum_say_what_they_found(home: Home, provider: OpenAIServer):
    """`vacuum` says the size before and after; `check` ends with 1 for a damaged ledger, and says what to do."""
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
    place = ("-w", str(home.workspace))
    shrunk = home.cli("ledger", "vacuum", *place)
    assert (shrunk.returncode, "MB now" in shrunk.stdout) == (0, True), shrunk.stderr
    assert "is sound" in home.cli("ledger", "check", *place).stdout
    torn(home.ledger)
    found = home.cli("ledger", "check", *place)
    assert found.returncode == 1
    assert "is damaged" in found.stderr
    assert "rlmwatch ledger restore" in found.stderr
    assert len(provider.calls) == 1


def test_old_content_is_let_go_and_its_file_is_not_asked_again(home: Home, provider: OpenAIServer):
    """With `keep_ledger_days`, a run of last year loses question and answer; its bytes and sums stay known."""
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
        ask(home, daemon, "b_job_input.txt", "two")
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("UPDATE runs SET completed_at = '2025-01-01T00:00:00.000Z' WHERE prompt LIKE 'one%'")
        db.commit()
    spent = one(home.ledger, SPENT)
    home.set("keep_ledger_days = 30\n" + PRICES)
    with home.daemon() as daemon:
        assert daemon.wait("ledger.pruned")["runs"] == 1
        home.save("a_input.txt", "one")
        daemon.wait("save.same_bytes", path="a_input.txt")
    assert one(home.ledger, "SELECT COUNT(*) FROM runs WHERE prompt = ''") == 1
    assert one(home.ledger, "SELECT COUNT(*) FROM calls") == 1
    assert one(home.ledger, SPENT) == spent
    assert asked(provider) == ["one", "two"]


def test_the_weekly_check_holds_up_nothing_and_a_stop_waits_for_it(home: Home):
    """While the ledger is checked, however long that takes, changed settings are taken up and saves answered."""
    state = home.states / "rlmwatch" / workspace_id(home.workspace)
    state.mkdir(parents=True)
    checked = json.dumps({"checked_at": clock.utc()}).encode()
    os.mkfifo(state / CHECKED)  # who looks when the last check was waits here
    with home.daemon() as daemon:
        with once_read(state / CHECKED) as pipe:
            (home.workspace / "rlmwatch.toml").write_text("name_notes = false\n")
            daemon.wait("reloaded")
            ask(home, daemon, "chat_input.txt", "hello")
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait("stop.asked")
            assert daemon.process.poll() is None
            pipe.write(checked)
        assert daemon.ended() == 0


def once_read(pipe: Path) -> BinaryIO:
    """Wait until somebody reads *pipe*, and open it for writing."""
    give_up = clock.monotonic() + DEADLINE_S
    while True:
        try:
            return open(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "wb")  # noqa: PTH123 (a descriptor)
        except OSError:
            assert clock.monotonic() < give_up, "nobody reads it"
            time.sleep(POLL_S)


def test_an_answer_that_is_no_longer_kept_is_said_to_be(home: Home, provider: OpenAIServer):
    """
    `answer` never gives an empty answer for one that was let go: it names the file where it may be, and fails.

    The conversation's own file still has it, where it is there. Beside a daemon it is the same, and nobody waits.
    """
    with home.daemon() as daemon:
        ask(home, daemon, "a_input.txt", "one")
        ask(home, daemon, "b_job_input.txt", "two")
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("UPDATE runs SET completed_at = '2025-01-01T00:00:00.000Z'")
        db.commit()
    home.set("keep_ledger_days = 30\n" + PRICES)
    with home.daemon() as daemon:
        assert daemon.wait("ledger.pruned")["runs"] == 2
        for each in home.workspace.glob("jobs/*.json"):
            each.unlink()
        (home.workspace / "b_job_state.json").unlink()
        gone = home.cli("answer", str(home.workspace / "b_job_input.txt"))
        kept = home.cli("answer", str(home.workspace / "a_input.txt"))
    for output in ("a_output.txt", "b_job_output.txt"):
        (home.workspace / output).unlink()
    for lost in (gone, home.cli("answer", str(home.workspace / "b_job_input.txt"))):
        assert (lost.returncode, lost.stdout) == (2, ""), lost.stderr
        assert "no longer kept (keep_ledger_days). Its answer may still be in b_job_output.txt" in lost.stderr
    assert not home.exists("b_job_output.txt")
    for found in (kept, home.cli("answer", str(home.workspace / "a_input.txt"))):
        assert (found.returncode, found.stdout) == (0, "re: one\n"), found.stderr
    assert home.read("a_output.txt").startswith("re: one")
    assert asked(provider) == ["one", "two"]
