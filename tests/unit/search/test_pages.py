"""Pages made fit to be shown and kept, and the values of the port."""

from __future__ import annotations

import pytest

from rlmwatch.search.base import MOST_RESULTS, Page, SearchQuery
from rlmwatch.search.pages import LINE_CHARS, day, tidy

QUERY = SearchQuery("q")


@pytest.mark.parametrize(
    "values",
    [
        {"query": " "},
        {"query": "q", "max_results": 0},
        {"query": "q", "max_results": MOST_RESULTS + 1},
        {"query": "q", "days": 0},
        {"query": "q", "text_chars": 0},
        {"query": "q", "domains": ("a.example", " ")},
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(values):
    """A value out of its range is told before anything is paid."""
    with pytest.raises(ValueError, match=r"query|max_results|days|text_chars|domains"):
        SearchQuery(**values)


def test_what_is_not_seen_is_taken_out():
    """Control characters, halves of characters, changes of direction and hidden letters are not text."""
    hidden = "a\x00b\x1b[0m\x07c\u202ed\u200be\ufefff\U000e0041g\ud800h\x85i\u2028j\r\nk\tl"
    (page,) = tidy([Page("t", "https://a.example", text=hidden)], QUERY)
    assert page.text == "ab[0mcdefgh\ni\nj\nk\tl"
    page.text.encode()


def test_joined_letters_and_signs_stay():
    """What some scripts need to be written right is not taken for hidden."""
    text = "\u0645\u06cc\u200c\u062e\u0648 \U0001f468\u200d\U0001f469\u200d\U0001f467 naïve ﬁ"
    assert tidy([Page("t", "https://a.example", text=text)], QUERY)[0].text == text


def test_a_title_is_one_line():
    """A title or author with line ends or without end cannot fill a list."""
    (page,) = tidy([Page("a\nb " + "x" * 1000, "https://a.example", author="\n")], QUERY)
    assert page.title.startswith("a b xxx")
    assert len(page.title) == LINE_CHARS
    assert page.author is None


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("2026-11-02T10:00:00.000Z", "2026-11-02"),
        ("2026-11-02", "2026-11-02"),
        ("2026-11-02 10:00 odd", "2026-11-02"),
        ("2026-13-45", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_is_a_day_or_unknown(told, meant):
    """Dates are ISO 8601; what is none is not passed on."""
    assert day(told) == meant
