"""cli/output.py: what is said breaks between words at a terminal, and stays one line elsewhere."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rlmwatch.cli.layout import wrapped
from rlmwatch.cli.output import ask, put, put_wrapped, say

LONG = (
    "rlmwatch: which workspace? /tmp/somewhere has no rlmwatch.toml. Name the folder, set RLMWATCH_WORKSPACE, or make "
    "one with `rlmwatch init WORKSPACE`"
)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_what_is_said_at_a_terminal_breaks_between_words(monkeypatch, capsys, columns):
    """No line is wider than the terminal, and every word is whole, for results, facts and messages alike."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for stream, tell in (("out", put), ("out", put_wrapped), ("err", say)):
        monkeypatch.setattr(getattr(sys, f"std{stream}"), "isatty", lambda: True)
        tell(LONG)
        lines = getattr(capsys.readouterr(), stream).splitlines()
        assert max(map(cell_len, lines)) <= columns
        assert " ".join(lines) == LONG


def test_what_is_said_into_a_pipe_is_one_line(monkeypatch, capsys):
    """Whoever reads it by line gets the whole."""
    monkeypatch.setenv("COLUMNS", "40")
    say(LONG)
    put(LONG)
    said = capsys.readouterr()
    assert (said.err, said.out) == (f"{LONG}\n", f"{LONG}\n")


def test_a_path_stays_whole_and_a_line_keeps_its_indent():
    """What is wider than a line can still be copied; what goes on begins below its line's first word."""
    path = "/a" * 30
    assert wrapped(f"Make it with: rlmwatch init {path} or not", 40) == ["Make it with: rlmwatch init", path, "or not"]
    assert wrapped("Next:\n  one two three", 10) == ["Next:", "  one two", "  three"]
    assert wrapped("", 10) == [""]


def test_a_sentence_without_blanks_is_broken_where_a_line_is_full():
    """Japanese has none."""
    assert [cell_len(line) for line in wrapped("日本語の質問です。" * 4, 20)] == [20, 20, 20, 12]


@given(st.text(alphabet="ab 日\n", max_size=60), st.integers(4, 30))
def test_nothing_is_lost_and_nothing_added(text, cells):
    """Whatever is broken holds the same letters in the same order, within the width where its words allow that."""
    lines = wrapped(text, cells)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= cells or " " not in line.strip() for line in lines)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_question_at_a_terminal_breaks_between_words(monkeypatch, capsys, columns):
    """No line of what a person is asked is wider than the terminal; into a pipe it is one line."""
    for is_terminal in (True, False):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
        assert ask(LONG, "yes") == "yes"
        lines = capsys.readouterr().err.split("\n")
        assert " ".join(lines) == f"{LONG} [yes]: "
        assert (max(map(cell_len, lines)) <= columns) is is_terminal
