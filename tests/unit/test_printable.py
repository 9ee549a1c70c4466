"""printable.py: nothing of a text moves a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202ecod.exe", "a\\u202ecod.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("half \udcff", "half \\udcff"),
        ("back\rover", "back\\rover"),
        ("two\nlines", "two\\nlines"),
        ("line\u2028end", "line\\u2028end"),
        ("hidden \U000e0041\U000e0042", "hidden \\U000e0041\\U000e0042"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
    ],
)
def test_what_a_terminal_obeys_or_does_not_show_is_escaped(text: str, shown: str):
    """Controls, C1, direction marks, half surrogates, line separators and invisible characters are written out."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Grüße",
        "日本語",
        "עברית",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d👩\u200d👧",
        "a\\x1b",
    ],
)
def test_ordinary_text_of_any_language_stays(text: str):
    """Letters, joined emoji and joiners that a script needs are no attack."""
    assert printable(text) == text


def test_lines_are_kept_where_they_are_wanted():
    """A text of several lines keeps its breaks and tabs, and nothing else that moves the cursor."""
    assert printable("a\n\tb\r\x1b[2J", lines=True) == "a\n\tb\\r\\x1b[2J"


@given(st.text())
def test_nothing_that_controls_is_left(text: str):
    """Whatever comes in, no control character, surrogate or direction mark comes out."""
    left = {unicodedata.category(char) for char in printable(text)}
    assert not left & {"Cc", "Cs", "Zl", "Zp", "Cn", "Co"}
