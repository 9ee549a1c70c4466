"""
What others wrote reaches nobody's terminal as it is, and a terminal that takes nothing stops nobody.

The control shows that each text would have moved the terminal: it holds the sequence raw.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from system.daemon import DEADLINE_S
from system.forkserver import PROGRAM
from system.harness import Brain, Home
from system.terminal import terminal

ATTACK = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b5mfree\u202egnp.exe"
MOVES = ("\x1b]52", "\x1b[2J", "\x9b5m", "\u202e")
"""Sets the clipboard, clears the screen, blinks, and turns the direction of reading."""
PYTHON = sys.executable


def raw(home: Home, *arguments: str) -> str:
    """Return all that a command writes to a terminal of its own."""
    with terminal(PYTHON, "-m", "rlmwatch", *arguments, cwd=PROGRAM, env=home.environ()) as term:
        term.end()
        return term._raw.decode(errors="replace")


def lawful(shown: str) -> bool:
    return not any(move in shown for move in MOVES)


@pytest.fixture
def hostile(home: Home, brain: Brain) -> Home:
    """A workspace with an answered question, all of whose texts are attacks: question, answer and file name."""
    brain.on("attack", f"answered {ATTACK}")
    home.save(f"{ATTACK}_input.txt", f"attack {ATTACK}")
    home.save("bad_input.txt", f"---\nmodel: 'x{ATTACK.encode('unicode_escape').decode()}'\n---\nhello")
    return home


def test_no_verb_passes_on_what_a_question_an_answer_or_a_name_holds(hostile: Home):
    """run, jobs, status, show, answer and --dry-run write no sequence of a name, question or answer to a terminal."""
    assert not lawful(ATTACK), "the control: raw, it would have moved the terminal"
    shown = {"dry run": raw(hostile, "run", "--dry-run", str(hostile.workspace))}
    shown["run"] = raw(hostile, "run", "--once", str(hostile.workspace))
    assert "answered" in hostile.read(f"{ATTACK}_output.txt")
    (run,) = [each["job_id"] for each in hostile.statuses() if each["status"] == "complete" and "52" in each["input"]]
    where = ("--workspace", str(hostile.workspace))
    shown["jobs"] = raw(hostile, "jobs", str(hostile.workspace))
    shown["jobs --json"] = raw(hostile, "jobs", str(hostile.workspace), "--json")
    shown["status"] = raw(hostile, "status", run, *where)
    shown["show"] = raw(hostile, "show", run, *where, "--calls")
    shown["show --json"] = raw(hostile, "show", run, *where, "--json")
    shown["again"] = raw(hostile, "again", f"{hostile.workspace}/{ATTACK}_input.txt")
    assert {name for name, text in shown.items() if not lawful(text)} == set()
    for name in ("jobs", "status", "show", "dry run"):
        assert "\\x1b]52" in shown[name], f"{name} shows what is there"
    read = json.loads(hostile.cli("jobs", str(hostile.workspace), "--json").stdout)
    assert ATTACK in {each["input"].removesuffix("_input.txt") for each in read}, "a program gets it as it is"


def test_an_answer_is_harmless_on_a_terminal_and_as_it_is_in_a_pipe(home: Home, brain: Brain):
    """`answer` escapes what moves a terminal; piped on, the bytes are the answer's."""
    brain.on("attack", f"answered {ATTACK}")
    home.save("chat_input.txt", "attack")
    shown = raw(home, "answer", f"{home.workspace}/chat_input.txt")
    assert "\\x1b]52" in shown
    assert lawful(shown)
    home.save("pipe_input.txt", "attack")
    assert home.cli("answer", f"{home.workspace}/pipe_input.txt").stdout == f"answered {ATTACK}\n"


def test_standard_output_that_is_not_utf_8_gets_escapes(home: Home, brain: Brain):
    """`jobs` and `answer` where the locale is ASCII: escaped, no UnicodeEncodeError."""
    brain.on("naïve", "→ 日本")
    home.save("naïve_input.txt", "naïve")
    home.variables, home.fresh = {"PYTHONIOENCODING": "ascii"}, True
    done = home.cli("answer", f"{home.workspace}/naïve_input.txt")
    assert (done.returncode, done.stdout) == (0, "\\u2192 \\u65e5\\u672c\n")
    listed = home.cli("jobs", str(home.workspace))
    assert (listed.returncode, "na\\xefve" in listed.stdout) == (0, True)


def test_a_terminal_that_takes_nothing_stops_nobody(home: Home, brain: Brain):
    """With the log's pipe full and unread, saves are answered, and SIGTERM ends the daemon cleanly."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    program = ("-m", "rlmwatch", "run", str(home.workspace))
    process = subprocess.Popen([PYTHON, *program], env=home.environ(), cwd=home.root, stdout=writer, stderr=writer)
    try:
        home.save("chat_input.txt", "is anybody there")
        assert "anybody" in home.appears("chat_output.txt", "anybody")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
