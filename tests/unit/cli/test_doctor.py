"""What `rlmwatch doctor` says of the sandbox."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rlmwatch.cli.checks.machine import HELD, sandbox_lines
from rlmwatch.cli.report import Line
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
