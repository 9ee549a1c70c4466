"""cli/layout.py: tables fit their width, whatever the language, and ages and amounts read alike in every verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rlmwatch.cli.layout import (
    Column,
    age,
    below_home,
    between,
    counted,
    cut,
    first_words,
    joined,
    pad,
    seconds,
    table,
)

COLUMNS = (
    Column("id"),
    Column("status"),
    Column("input", most=12, keep="end"),
    Column("question", grows=True),
    Column("price", right=True),
)
LONG = "What would a gardener in a wet and windy place plant first, and what would she leave for the second year?"


def lines(width, **row):
    row = {"id": "7f3a9c", "status": "complete", "input": "a_input.txt", "question": "Why?", "price": "$0.02"} | row
    return [joined(line) for line in table(COLUMNS, [row], width)]


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_is_one_line_of_exactly_the_width_where_the_question_is_long(width):
    """The question gets the room that is left, and the price stays at the edge."""
    _, row = lines(width, question=LONG * 2)
    assert cell_len(row) == width
    assert "…" in row
    assert row.endswith("  $0.02")


def test_without_a_width_nothing_is_cut():
    """What goes into a pipe is whole."""
    assert LONG in lines(None, question=LONG)[1]


@pytest.mark.parametrize("text", ["日本語の質問はどうですか、答えてください" * 4, "🌧️👨‍👩‍👧🇩🇪" * 20, "é" * 200])
@pytest.mark.parametrize("keep", ["start", "end"])
def test_wide_characters_count_double(text, keep):
    """A text of CJK, emoji or combining accents is cut to the cells that it takes, never in the middle of one."""
    for cells in (1, 2, 9, 10, 31):
        short = cut(text, cells, keep=keep)
        assert cell_len(short) <= cells
        assert short.startswith("…") if keep == "end" else short.endswith("…")
    assert cell_len(lines(80, question=text)[1]) <= 80


def test_a_path_keeps_its_end():
    """Of a deep folder the name of the file stays."""
    assert cut("garden/notes/2026/beans_input.md", 16, keep="end") == "…/beans_input.md"


def test_what_fits_stays_whole():
    """A text of just the width is not cut."""
    assert cut("日本", 4) == "日本"
    assert pad("日本", 6) == "日本  "
    assert pad("7", 3, right=True) == "  7"


@pytest.mark.parametrize("text", ["two\nlines", "tab\there", "\x1b[2Jcleared", "a\r\nb", "x\u202egnp.exe"])
def test_a_row_is_one_line_whatever_stands_in_it(text):
    """Line breaks are blanks, and what a terminal would obey is shown as an escape."""
    (_, row) = lines(80, question=text)
    assert row.isprintable()


@given(st.text(), st.text(), st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal(one, other, width):
    """Whatever is put into a table, it fits from 40 cells on."""
    for line in lines(width, question=one, input=other, status=other):
        assert cell_len(line) <= width


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ("2026-11-28T11:59:58Z", "2 s"),
        ("2026-11-28T11:55:00Z", "5 min"),
        ("2026-11-28T13:55:00+02:00", "5 min"),
        ("2026-11-28T08:30:00Z", "3 h"),
        ("2026-11-16T12:00:00Z", "12 d"),
        ("2020-11-16T12:00:00Z", "6 y"),
        ("2026-11-28T12:30:00Z", "0 s"),
        ("2026-11-28", "12 h"),
        (None, "-"),
        ("yesterday", "-"),
    ],
)
def test_ages(then, text):
    """One number and one unit; a time in the future (a clock that was set back) is just now."""
    assert age(then, "2026-11-28T12:00:00Z") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (3.21, "3.2 s"), (41.4, "41 s"), (125, "2 min 5 s"), (7500, "2 h 5 min")]
)
def test_how_long_it_took(value, text):
    """Seconds where they matter, minutes and hours where not."""
    assert seconds(value) == text


def test_seconds_between_two_times():
    """Both times are RFC 3339; what is none gives nothing."""
    assert between("2026-11-28T12:00:00Z", "2026-11-28T12:00:03.5Z") == 3.5
    assert between(None, "2026-11-28T12:00:00Z") is None


def test_small_words():
    """First words are those of the first line that says something; a home is ~; a number has its plural."""
    assert first_words("\n  \nWhy \t is it so?\nBecause.") == "Why is it so?"
    assert first_words("") == ""
    assert below_home(Path("/home/a/notes"), Path("/home/a")) == "~/notes"
    assert below_home(Path("/srv/notes"), Path("/home/a")) == "/srv/notes"
    assert [counted(1, "search"), counted(2, "search"), counted(1200, "token")] == [
        "1 search",
        "2 searches",
        "1,200 tokens",
    ]
