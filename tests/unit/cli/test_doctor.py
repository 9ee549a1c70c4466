"""What `rlmwatch doctor` says of the sandbox, and what it says first."""

from __future__ import annotations

import asyncio
import sqlite3
import sys

import pytest
from rich.cells import cell_len

from rlmwatch.cli.checks.machine import HELD, sandbox_lines
from rlmwatch.cli.doctor import doctor
from rlmwatch.cli.report import Line
from rlmwatch.cli.status import status
from rlmwatch.daemon.credentials import KEYS
from rlmwatch.sandbox.base import Report, ReportLine
from rlmwatch.sandbox.host.process import ProcessSandbox

ON = ReportLine("seccomp", "on", "196 instructions")


def test_a_layer_that_holds_is_well():
    """Each layer is a line of its own, with what was found."""
    assert sandbox_lines(Report((ON,))) == [Line("ok", "sandbox, seccomp", "196 instructions")]


def test_a_layer_that_is_missing_is_a_warning():
    """A sandbox that goes without a layer works, and the person knows."""
    (line,) = sandbox_lines(Report((ReportLine("landlock", "missing", "the kernel has no Landlock", "boot with it"),)))
    assert line == Line("warning", "sandbox, landlock", "the kernel has no Landlock", "boot with it")


def test_a_layer_that_was_left_out_is_well():
    """Nobody is warned of what the program itself leaves out."""
    (line,) = sandbox_lines(Report((ReportLine("namespaces", "off", "left out"),)))
    assert line.mark == "ok"


def test_a_refused_layer_is_wrong_and_says_what_waits_and_what_does_not():
    """Where there is no sandbox the person reads why, what to do, which runs wait, and that chats do not."""
    lines = sandbox_lines(Report((ON, ReportLine("identity", "refused", "still real root", "Run as a user."))))
    assert [line.mark for line in lines] == ["ok", "wrong"]
    assert lines[1].found == "still real root"
    assert lines[1].todo == f"Run as a user. {HELD}"
    assert "chats need no sandbox" in HELD


def test_a_probe_without_a_word_is_wrong():
    """Silence is not taken for a sandbox."""
    assert [line.mark for line in sandbox_lines(Report(()))] == ["wrong"]


@pytest.mark.skipif(sys.platform != "linux", reason="the process sandbox is Linux's")
def test_this_machine_is_told_of_layer_by_layer():
    """The lines are of a real probe, with every layer of the design in it."""
    lines = sandbox_lines(asyncio.run(ProcessSandbox().probe()))
    named = {line.what for line in lines}
    wanted = ("process", "identity", "namespaces", "limits", "landlock", "seccomp")
    assert named >= {f"sandbox, {name}" for name in wanted} or "wrong" in {line.mark for line in lines}


# What is wrong comes first


def said(home, capsys, *, config="", folder="notes"):
    (home / "config/rlmwatch").mkdir(exist_ok=True)
    (home / "config/rlmwatch/config.toml").write_text(config)
    doctor(home / folder)
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RLMWATCH_MODELS__DETECT_LOCAL", "false")


@pytest.mark.usefixtures("workspace", "no_keys")
def test_without_a_key_it_says_whose_is_missing_and_what_asks_for_it(home, terminal, capsys):
    """The verdict and the first line name the provider and its key; `rlmwatch setup` is the first cure."""
    terminal(80)
    lines = said(home, capsys, config='provider = "openai"\n')
    assert lines[0].startswith("1 thing wrong: provider")
    text = " ".join(" ".join(lines).split())
    assert "wrong provider: none: provider = openai" in text
    assert "OPENAI_API_KEY has no value" in text
    assert "`rlmwatch setup` asks for a provider" in text
    assert all(cell_len(line) <= 80 for line in lines if str(home) not in line)  # a path is not broken


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize(
    ("files", "rest"),
    [(5, []), (6, ["1 other file"]), (9, ["4 other files"]), (300, ["95 or more other files"])],
)
def test_of_many_files_that_are_not_asked_five_are_named_and_the_others_counted(home, workspace, capsys, files, rest):
    """Whoever reads the report knows how many are left out, and which verb lists them."""
    for number in range(files):
        (workspace / f"chat_input ({number}).txt").write_text("one")
    lines = [line.split("not asked: ")[1] for line in said(home, capsys) if " not asked: " in line]
    assert (len(lines[:5]), lines[5:]) == (5, rest)


@pytest.mark.usefixtures("workspace", "no_keys")
@pytest.mark.parametrize(
    ("config", "words"),
    [("[chat]\ntokns = 3\n", "tokns: no such setting; did you mean tokens? (line 2)"), ("workers = \n", "line 1")],
)
def test_a_broken_file_is_named_with_its_line_and_the_folder_is_looked_at_all_the_same(
    home, terminal, capsys, config, words
):
    """A wrong setting is the first line, with file and line; what needs no settings is still told."""
    terminal(80)
    lines = said(home, capsys, config=config)
    assert lines[0] == "1 thing wrong: settings"
    text = " ".join(" ".join(lines).split())
    assert words in text
    assert "can be written to" in text


@pytest.mark.usefixtures("home", "no_keys")
def test_a_folder_that_is_missing_is_told_once(home, capsys):
    """The way to make the folder stands there once, not in two sentences."""
    lines = said(home, capsys, folder="nowhere")
    (line,) = [each for each in lines if "rlmwatch init" in each]
    assert "no such folder" in line


@pytest.mark.usefixtures("home", "no_keys")
@pytest.mark.parametrize("verb", [doctor, lambda folder: status(workspace=folder)], ids=["doctor", "status"])
def test_the_ledger_is_opened_once(workspace, monkeypatch, verb):
    """Doctor and status read what was asked, what waits and what the ceilings leave from one ledger, opened once."""
    opened = []
    connect = sqlite3.connect

    def counting(path, *args, **kwargs):
        opened.append(str(path))
        return connect(path, *args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", counting)
    verb(workspace)
    assert len([path for path in opened if path.endswith("ledger.sqlite3")]) == 1
