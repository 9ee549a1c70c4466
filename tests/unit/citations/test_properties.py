"""What holds for every answer, however odd."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from rlmwatch.citations.check import NO_SOURCE, NOT_FETCHED, NOT_SAID, check
from rlmwatch.citations.markdown import read
from rlmwatch.citations.sources import own_list
from rlmwatch.contract.code_masks import mask
from rlmwatch.search.base import Page
from rlmwatch.search.urls import same

PIECES = st.sampled_from(
    [
        "[1]", "[2]", "[3]", "[9]", "[^2]", "[1, 9]", "[1-3]", "[0, 1]", "[1](https://a.example/a)", "[1]: ", "[x]: ",
        "[x]", "[text][x]", "[text](", "![i](", "<", ">", "(", ")", "[", "]", "`", "``", "```\n", "~~~\n", "\\",
        "https://a.example/a", "https://b.example/b_(c)", "http://evil.example/?q=[1]", "www.c.example", "https://",
        "<https://evil.example>", '<a href="https://evil.example">', "</a>", "mailto:me@example.org",
        '"', "“", "”", "„", "«", "»", "the river rose by three metres in a single night and more ",
        "not ", "…", "[...]",
        "\n", "\n\n", "Sources:", "## Sources\n", "Sources: ", "\n- ", "\n1. ", "\n2) ", "\n[1] ", "\n[2] ", "\n> ",
        "Alpha report", " \u2013 ", ".", ",", ":", "*", "_", " ", "word", "\x00", "\x01", "\ud800", "ü",
        f" {NOT_FETCHED}", f" {NO_SOURCE}", f" {NOT_SAID}", " (no such source: 9)", " (not", " fetched)",
    ]
)  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=25).map("".join)
PAGES = st.lists(
    st.builds(
        Page,
        title=st.sampled_from(["Alpha report", "", "[9] https://evil.example `x", "“Odd” www.c.example", "A\nB <x>"]),
        url=st.sampled_from(
            ["https://a.example/a", "https://b.example/b_(c)", "https://www.c.example/", "https://d.example/x).", "no"]
        ),
        text=st.sampled_from(["", "The river rose by three metres in a single night and more of it."]),
    ),
    max_size=4,
)


@given(ANSWERS, PAGES)
def test_checking_twice_is_checking_once(answer, pages):
    """An answer that was checked, and brought no list along, is not changed by another check."""
    assume(own_list(read(answer, lambda _url: False)) is None)
    once = check(answer, pages)
    twice = check(once.text, pages)
    assert twice.text == once.text
    assert (twice.unknown_links, twice.dead_numbers) == (once.unknown_links, once.dead_numbers)


@given(ANSWERS, PAGES)
def test_our_list_names_fetched_pages_alone(answer, pages):
    """Whatever an answer brings along, each line of the list under it is a page that was fetched, under its number."""
    text = check(answer, pages).text
    _, ours, listed = text.rpartition("\n\nSources:\n[")
    if ours and text != answer:
        urls = [re.sub(r"[<>]", "", line.rpartition(" ")[2]) for line in listed.split("\n") if line]
        assert {same(url) for url in urls} <= {same(page.url) for page in pages}


@given(ANSWERS, PAGES)
def test_an_answer_without_pages_or_with_them_keeps_its_code(answer, pages):
    """Code is never changed: the fenced block and the span at the end read as they were written."""
    code = '`[7] https://evil.example "x"`\n\n```\n[9] https://evil.example (not fetched)\n```\n'
    text = check(f"{answer}\n\nEnd.\n\n{code}", pages).text
    if not mask(f"{answer}\n\n")[1]:  # else the answer's own fence is open, and this is inside of it
        assert code.strip() in text


@given(ANSWERS)
def test_no_invented_address_stays_unmarked(words):
    """Whatever stands around it, an address on a line of its own that was not fetched is marked, unless it is code."""
    url = "https://invented.example/page"
    text = check(f"{words}\n\n{url}\n", []).text
    prose, _ = mask(text)
    for found in re.finditer(re.escape(url), prose):
        assert text.startswith(f" {NOT_FETCHED}", found.end())
    if not mask(text.rpartition(url)[0])[1]:
        assert url in prose


@given(st.text(max_size=300), PAGES)
def test_any_text_can_be_checked(answer, pages):
    """No answer makes the check fail."""
    check(check(answer, pages).text, pages)
