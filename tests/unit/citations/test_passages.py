"""citations/passages.py: the passage of a page that bears what stands in front of its number."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.citations.check import Fetched, check, sources_document
from rlmwatch.citations.passages import MOST_CLAIMS, Passages, sentences
from rlmwatch.search.base import Page

MILL = Page(
    "The mill",
    "https://mill.example/",
    text="The town lies on the river. Water drove the Harlow mill from its opening in 1893 until 1931.\n"
    "It employed 240 people.  After the fire of 1931, the owners sold the building to the council. Trees grow there.",
)
BRIDGE = Page("Bridge", "https://bridge.example/", text="The bridge at Harlow was finished in 1902. It has 3 arches.")
PAGES = (MILL, BRIDGE)


def borne(answer: str, pages: tuple[Page, ...] = PAGES) -> list[tuple[str, int, str | None]]:
    """The claims of *answer*, with the number and the quote of each."""
    return [
        (claim.text, claim.n, claim.passage.quote if claim.passage else None) for claim in check(answer, pages).claims
    ]


def test_a_claim_has_the_passage_word_for_word_and_where_it_stands():
    """Quote and offsets are those of the page's text as it was fetched, so that a person finds it in seconds."""
    answer = "The Harlow mill opened in 1893 [1]."
    (claim,) = check(answer, PAGES).claims
    assert claim.passage is not None
    quote = "Water drove the Harlow mill from its opening in 1893 until 1931."
    assert (claim.text, claim.n, claim.passage.quote) == ("The Harlow mill opened in 1893", 1, quote)
    assert MILL.text[claim.passage.start : claim.passage.end] == quote


@pytest.mark.parametrize(
    "answer",
    [
        "The Harlow mill opened in 1894 [1].",  # another number
        "The bridge at Harlow was finished in 1902 [1].",  # another page
        "The owners painted every wall of their villa yellow [1].",  # other words
        "Yes [1].",  # nothing to look for
    ],
)
def test_what_no_passage_is_near_to_has_none(answer):
    """Only what was really found is given: no number is made up, no other page is taken, no best guess is shown."""
    assert [quote for _, _, quote in borne(answer)] == [None]


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("The mill opened in 1893 [1], the bridge in 1902 [2].", ["The mill opened in 1893", "the bridge in 1902"]),
        ("The mill opened in 1893. [1] More.", ["The mill opened in 1893"]),
        ("Both are in Harlow [1][2].", ["Both are in Harlow", "Both are in Harlow"]),
        ("Both are in Harlow [1, 2].", ["Both are in Harlow", "Both are in Harlow"]),
        ("- **The mill** of Harlow [1]\n- The bridge of Harlow [2]", ["The mill of Harlow", "The bridge of Harlow"]),
        ("Old. The mill opened in 1893 [1], it [2].", ["The mill opened in 1893", "The mill opened in 1893 , it"]),
        ("See `x[1]` and [0, 1].", []),
        ("[1]", []),
        ("The mill of Harlow [9].", []),
    ],
)
def test_a_claim_is_what_stands_in_front_of_its_number(answer, claims):
    """The part of the sentence from its beginning, or from the number before; code and dead numbers claim nothing."""
    assert [claim.text for claim in check(answer, PAGES).claims] == claims


def test_a_passage_is_as_short_as_bears_the_claim():
    """Two facts in neighbouring sentences are one passage; one fact is one sentence."""
    ((_, _, one),) = borne("It employed 240 people [1].")
    assert one == "It employed 240 people."
    ((_, _, two),) = borne("It employed 240 people before the fire of 1931 [1].")
    assert two == "It employed 240 people.  After the fire of 1931, the owners sold the building to the council."


def test_a_passage_that_only_a_highlight_has_has_no_place_in_the_text():
    """Exa picks highlights from the whole page, of which the text may be cut: the quote is given, without offsets."""
    page = Page("Long", "https://long.example/", text="It begins.", highlights=("The tower is 93 metres high.",))
    (claim,) = check('The tower has 93 metres [1], "the tower is 93 metres high".', (page,)).claims
    assert claim.passage is not None
    assert (claim.passage.quote, claim.passage.start) == ("The tower is 93 metres high.", None)


def test_the_number_of_the_page_counts_whatever_the_model_wrote():
    """Where the answer's own list numbers pages otherwise, passages come from the page that it named."""
    answer = "The bridge was finished in 1902 [1].\n\nSources:\n[1] https://bridge.example/"
    ((_, number, quote),) = borne(answer)
    assert (number, quote) == (2, "The bridge at Harlow was finished in 1902.")


def test_a_page_that_was_fetched_twice_is_looked_at_as_each_query_found_it():
    """Of two fetches of one page the one that has the passage is named by its query."""
    short = Page("The mill", "https://mill.example/", text="The town lies on the river.")
    fetched = [Fetched(short, "town", "now"), Fetched(MILL, "mill", "now")]
    checked = check("The Harlow mill opened in 1893 [1].", [short, MILL])
    (row,) = json.loads(sources_document(fetched, checked))["claims"]
    assert (row["n"], row["query"]) == (1, "mill")
    assert MILL.text[row["start"] : row["end"]] == row["quote"]


@given(st.text(max_size=1500))
def test_sentences_cover_a_text_and_never_overlap(text):
    """Nothing but white space and closing signs lies between them, and each is where it says."""
    end = 0
    for start, behind in sentences(text):
        assert start >= end
        assert behind > start
        end = behind


def test_a_hostile_answer_costs_bounded_work():
    """Of thousands of citations only so many are looked up."""
    page = Page("Long", "https://long.example/", text="The mill of Harlow opened then. " * 3000)
    answer = " ".join(f"The mill number {n} of Harlow opened [1]." for n in range(5000))
    assert len(check(answer, (page,)).claims) == MOST_CLAIMS


def test_nothing_is_looked_up_in_no_page():
    """Where nothing was fetched there is no passage."""
    assert Passages([]).bearing("The mill opened in 1893", []) is None
