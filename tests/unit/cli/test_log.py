"""`rlmwatch log`, with a journalctl of the test's."""

import json

import pytest

from rlmwatch.cli.log import log
from rlmwatch.errors import UsageError

LINE = {"event": "run.failed", "level": "error", "timestamp": "2026-11-24T09:00:00Z", "run": "r1", "why": "\x1b[31mno"}


@pytest.fixture
def journalctl(home, monkeypatch):
    """A program of that name that prints what it was given, and notes how it was called."""

    def of(*lines):
        (home / "bin").mkdir()
        (home / "lines").write_text("".join(f"{line}\n" for line in lines))
        program = home / "bin" / "journalctl"
        program.write_text(
            f'#!/bin/sh\necho "$@" > {home}/called\nwhile read -r line; do echo "$line"; done < {home}/lines\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(home / "bin"))

    return of


def test_the_lines_of_a_run_are_asked_for_by_its_field(workspace, journalctl, home, capsys):
    """`rlmwatch log RUN` shows the events of that run alone, harmless for a terminal; `--json` has them whole."""
    journalctl(json.dumps(LINE).replace("\\", "\\\\"), "what a library printed")
    run = next((workspace / "jobs").glob("*-job-*")).stem
    assert log(run[-6:], workspace=workspace) == 0
    called = (home / "called").read_text()
    assert f"RLMWATCH_WORKSPACE={workspace} RLMWATCH_RUN={run}" in called
    shown = capsys.readouterr().out
    assert "error   run.failed run=r1" in shown
    assert "what a library printed" in shown
    assert "\x1b" not in shown
    assert log(workspace=workspace, lines=7, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["event"] == "run.failed"
    called = (home / "called").read_text()
    assert "--lines=7" in called
    assert "RLMWATCH_RUN" not in called


def test_where_there_is_no_line_it_says_where_the_log_is(workspace, journalctl, capsys):
    """An empty answer of the journal is no success, and names the other places."""
    journalctl()
    assert log(workspace=workspace) == 1
    said = capsys.readouterr().err
    assert "journalctl --user -u rlmwatch" in said
    assert "2>>" in said


def test_without_a_journal_it_says_where_the_log_is(workspace, monkeypatch):
    """On a machine without systemd the log is what standard error was sent to."""
    monkeypatch.setenv("PATH", str(workspace))
    with pytest.raises(UsageError, match="no journalctl on this machine"):
        log(workspace=workspace)
