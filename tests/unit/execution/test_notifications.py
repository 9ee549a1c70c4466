"""execution/notifications.py: what is told, and what a command may take."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.execution.notifications import Notifications, argv, passed_on, words
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus
from rlmwatch.settings.model import Settings


def a_run(status: RunStatus = RunStatus.COMPLETE, *, error: str | None = None, took_s: int = 30) -> Run:
    return Run(
        run_id="20260101T000000Z-chat-0a1b2c",
        seq=1,
        path="a_input.txt",
        kind=Kind.CHAT,
        conversation="a",
        prompt="the question",
        options={},
        digest="sha256:0",
        status=status,
        created_at="2026-01-01T00:00:00Z",
        started_at="2026-01-01T00:00:00Z",
        completed_at=f"2026-01-01T00:00:{took_s:02}Z",
        result=Result(status, Outcome.SUCCESS, "the answer", error=error),
    )


def notifications(tmp_path: Path, command: list[str], **more) -> Notifications:
    settings = Settings(notify_command=tuple(command))
    return Notifications(tmp_path, lambda: settings, dict(os.environ), clock.monotonic, str, **more)


def alive(pid: int) -> bool:
    """Whether the process runs: it is there, and not only its end waits to be asked for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] not in "ZX"


async def told(notifications: Notifications, *runs: Run) -> list[dict]:
    with capture_logs() as logs:
        for run in runs:
            notifications.published(run)
        await notifications.finish()
    return logs


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    """A command that does not end in its time is killed, and its children with it."""
    script = f"(sleep 600 & echo $! > {tmp_path}/pid; wait)"
    (event,) = asyncio.run(told(notifications(tmp_path, ["/bin/sh", "-c", script], timeout_s=1.0), a_run()))
    assert event["event"] == "notify.failed"
    assert "still running" in event["why"]
    pid = int((tmp_path / "pid").read_text())
    give_up = clock.monotonic() + 30
    while alive(pid):
        assert clock.monotonic() < give_up
        time.sleep(0.01)


def test_a_command_that_prints_for_ever_is_killed_and_costs_no_memory(tmp_path):
    """Of what a command prints 2,000 bytes are kept."""
    (event,) = asyncio.run(told(notifications(tmp_path, ["yes"], timeout_s=0.5), a_run()))
    assert "still running" in event["why"]
    long = [sys.executable, "-c", "print('x' * 100_000)"]
    (event,) = asyncio.run(told(notifications(tmp_path, long), a_run()))
    assert event["printed"] == "x" * 2_000


@pytest.mark.parametrize("status", [RunStatus.CANCELLED])
def test_a_run_that_its_user_ended_is_not_told(tmp_path, status):
    """A run that was cancelled or replaced is not told, however long it took."""
    assert asyncio.run(told(notifications(tmp_path, ["true"]), a_run(status))) == []


def test_a_text_is_parted_into_words_and_no_shell_sees_it():
    """A text is a program and its arguments, quoted as in a shell; nothing in it is expanded."""
    assert argv("notify 'two words' $HOME; rm") == ["notify", "two words", "$HOME;", "rm"]
    assert argv(("sh", "-c", "echo a; echo b")) == ["sh", "-c", "echo a; echo b"]
    assert argv(None) == []


def test_a_command_sees_no_variable_but_those_of_its_desktop():
    """Of the environment only what a desktop program needs is handed on: no key, whatever it is called."""
    given = {"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "x", "MY_TOKEN": "x", "RLMWATCH_CHAT__TOKENS": "1"}
    assert passed_on(given) == {"PATH": "/bin", "LC_ALL": "C"}


def test_the_words_of_a_notification_are_plain_and_hold_no_question():
    """File, outcome and time are told, on one line; neither question nor answer is."""
    assert words(a_run()) == ("a_input.txt", "answered after 30 s")
    title, body = words(a_run(RunStatus.FAILED, error="wrong key\nmore"))
    assert (title, body) == ("a_input.txt", "no answer: wrong key")


@pytest.mark.parametrize("command", ["", "  ", "an 'open quote"])
def test_a_command_that_is_none_is_an_error_of_the_settings(command):
    """A command without a word, or that cannot be parted into words, is refused when the settings are read."""
    with pytest.raises(ValueError, match="notify_command"):
        Settings(notify_command=command)


def test_a_stop_does_not_wait_for_a_command(tmp_path):
    """A stop gives commands a moment, and then ends them."""

    async def stopped() -> bool:
        told = notifications(tmp_path, ["sleep", "600"])
        told.published(a_run())
        await asyncio.sleep(0)
        await told.finish(0.2)
        return not told._under_way

    assert asyncio.run(stopped())
