"""Ceilings are the user's: they hold over all workspaces on the machine, whatever happens to one of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from servers.openai_server import Fault, OpenAIServer
from system.harness import MODEL, Brain, Home, asked

ONE_CALL = f"""
[ceilings]
max_cost_usd_per_day = 0.45
per = "%s"
[prices."{MODEL}"]
input = 0
output = 1000
"""
"""A chat reserves 300 tokens, 0.30 dollars: one call fits under the day's ceiling, two do not."""


@contextmanager
def second_workspace(home: Home):
    """Run the daemon of another workspace of the same user; yields its folder and the daemon."""
    folder = home.root / "second"
    folder.mkdir(exist_ok=True)
    with home.daemon(program=["-m", "rlmwatch", "run", str(folder), "--log-format", "json"]) as daemon:
        yield folder, daemon


def spending(home: Home) -> Path:
    return home.states / "rlmwatch" / "spending.sqlite3"


@pytest.mark.parametrize("per", ["user", "workspace"])
def test_two_daemons_of_one_user_share_the_days_ceiling(home: Home, provider: OpenAIServer, brain: Brain, per: str):
    """What one has reserved, the other cannot spend, also after a kill -9; with `per = "workspace"` it can."""
    home.set(ONE_CALL % per)
    brain.on("first", Fault.stall("slowly "))
    with home.daemon() as daemon, second_workspace(home) as (folder, other):
        home.save("chat_input.txt", "first")
        provider.wait_for_calls(1)
        (folder / "chat_input.txt").write_text("second", encoding="utf-8")
        if per == "workspace":  # the control: the attack works
            other.answered("chat_output.txt")
            return
        other.wait("run.held", why=lambda why: "for all your workspaces together" in why)
        daemon.kill()
        other.hup()
        other.wait("run.held", 2)
    assert asked(provider, "second") == []
    assert (spending(home).stat().st_mode & 0o077) == 0


def test_a_ceiling_that_another_workspace_holds_passes_with_it(home: Home, provider: OpenAIServer, brain: Brain):
    """What the other had reserved and did not use is there again: the held save goes on, and nobody asks again."""
    home.set(ONE_CALL % "user")
    brain.on("first", Fault.stall("slowly "))
    with home.daemon() as daemon, second_workspace(home) as (folder, other):
        home.save("chat_input.txt", "first")
        provider.wait_for_calls(1)
        (folder / "chat_input.txt").write_text("second", encoding="utf-8")
        other.wait("run.held")
        home.save(f"jobs/{home.status_of('chat_input.txt')['job_id']}.cancel", "")
        daemon.wait("cancel.removed")
        other.answered("chat_output.txt")
    assert len(asked(provider, "second")) == 1


@pytest.mark.parametrize("trouble", ["damaged", "locked"])
def test_no_call_is_made_while_nobody_knows_what_was_spent(home: Home, provider: OpenAIServer, trouble: str):
    """Where the file of all spending cannot be used, the save is held with its name, and goes on afterwards."""
    home.set(ONE_CALL % "user")
    file = spending(home)
    with home.daemon() as daemon:
        home.save("before_input.txt", "before")
        daemon.answered("before_output.txt")
    lock = None
    if trouble == "damaged":
        file.with_name(f"{file.name}-wal").unlink(missing_ok=True)
        file.write_bytes(b"no database " * 1_000)
    else:
        lock = sqlite3.connect(file, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    with home.daemon() as daemon:
        home.save("chat_input.txt", "asked later")
        held = daemon.wait("run.held")
        assert str(file) in held["why"]
        assert asked(provider, "asked later") == []
        if lock is None:
            for each in file.parent.glob("spending.sqlite3*"):
                each.unlink()
        else:
            lock.close()
        daemon.hup()
        daemon.answered("chat_output.txt")
    with closing(sqlite3.connect(file)) as db:  # a lost file has this workspace's sums again
        ((total,),) = db.execute("SELECT SUM(nano) FROM spending").fetchall()
    (ledger,) = file.parent.glob("*/ledger.sqlite3")
    with closing(sqlite3.connect(ledger)) as db:
        assert db.execute("SELECT SUM(nano) FROM spending").fetchone() == (total,)
