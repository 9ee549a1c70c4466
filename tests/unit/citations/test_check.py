"""Citations that are true, one rule at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rlmwatch.citations.check import Checked, Fetched, check, sources_document
from rlmwatch.search.base import Page

RIVER = Page(
    "The flood of 1913",
    "https://river.example/flood",
    "2026-01-02",
    "A. Writer",
    "On the night of 24 March the river rose by three metres in a few hours, and the whole lower town stood under "
    "water.[12] The mayor said: “We had no warning at all.”",
)
DAM = Page("Dams (and other walls)", "https://www.dam.example/wiki/Dam_(wall)?utm_source=x", text="Walls hold water.")
FISH = Page("Fish", "https://fish.example/", text="Fish do not mind.")
PAGES = (RIVER, DAM, FISH)
FLOOD_LINE = "[1] The flood of 1913 \u2013 https://river.example/flood"
DAM_LINE = "[2] Dams (and other walls) \u2013 https://www.dam.example/wiki/Dam_(wall)?utm_source=x"
FISH_LINE = "[3] Fish \u2013 https://fish.example/"
FLOOD_LIST = f"\n\nSources:\n{FLOOD_LINE}"


def marks(answer: str) -> Checked:
    """What was found of *answer*, without the passages, which have tests of their own (`test_passages.py`)."""
    return replace(check(answer, PAGES), claims=())


def text(answer: str) -> str:
    return check(answer, PAGES).text


@pytest.mark.parametrize(
    "link",
    [
        "https://river.example/flood",
        "http://www.river.example/flood/#part",
        "https://river.example/flood?utm_medium=mail&gclid=1",
        "see (https://dam.example/wiki/Dam_(wall)), and",
        "https://dam.example/wiki/Dam_%28wall%29.",
        "[a wall](https://dam.example/wiki/Dam_(wall) 'Dams')",
        "<https://fish.example>",
        "www.fish.example!",
        "[fish][f]\n\n[f]: https://fish.example",
        '<a href="https://fish.example">fish</a>',
        "**https://fish.example**",
        "[up](#top), [file](notes.md), <mailto:me@x.example>, [mail](mailto:me@x.example)",
        "`https://invented.example`",
        "```\nhttps://invented.example\n```",
        "~~~~ text\nhttps://invented.example\n~~~\n~~~~",
    ],
)
def test_what_was_fetched_or_is_no_link_stays_as_it_is(link):
    """A link to a fetched page is not touched, however it is written; nor is code, or what leads to no page."""
    assert marks(link) == Checked(link)


@pytest.mark.parametrize(
    ("answer", "marked"),
    [
        ("See https://no.example/a.", "See https://no.example/a (not fetched)."),
        ("(https://no.example/a)", "(https://no.example/a (not fetched))"),
        ("[a](https://no.example/x_(y)) b", "[a](https://no.example/x_(y)) (not fetched) b"),
        ("![a](https://no.example/i.png)", "![a](https://no.example/i.png) (not fetched)"),
        ("<https://no.example>", "<https://no.example> (not fetched)"),
        ("[a][b]\n\n[b]: https://no.example", "[a][b] (not fetched)\n\n[b]: https://no.example (not fetched)"),
        ("[b][]; [b]\n\n[b]: <https://no.example> 'T'",
         "[b][] (not fetched); [b] (not fetched)\n\n[b]: <https://no.example> (not fetched) 'T'"),
        ('<a href="https://no.example">a</a>.', '<a href="https://no.example">a</a> (not fetched).'),
        ("[https://fish.example](https://no.example)", "[https://fish.example](https://no.example) (not fetched)"),
        ("[https://no.example](https://fish.example)", "[https://no.example](https://fish.example) (not fetched)"),
        ("[a](javascript:alert)", "[a](javascript:alert) (not fetched)"),
        ("[a](//no.example/x)", "[a](//no.example/x) (not fetched)"),
        ("https://no.example[1]", f"https://no.example (not fetched)[1]{FLOOD_LIST}"),
        ("https://river.example/flood/other", "https://river.example/flood/other (not fetched)"),
        ("https://river.example/flood?page=2", "https://river.example/flood?page=2 (not fetched)"),
    ],
)  # fmt: skip
def test_an_invented_link_is_marked_right_behind_it(answer, marked):
    """A link to a page that was not fetched says so, and the mark breaks neither the sentence nor the link."""
    assert text(answer) == marked
    assert check(answer, PAGES).unknown_links


def test_the_report_names_each_invented_address_once():
    """The status can say how many links were invented, and the sources file which."""
    checked = check("https://no.example/a https://no.example/a, [b](https://no.example/b)", PAGES)
    assert checked.unknown_links == ("https://no.example/a", "https://no.example/b")
    assert checked.notes == ("citations: 2 links to a page that was not fetched",)


def test_an_answer_that_cites_numbers_gets_its_list():
    """Numbers without a list mean the pages in the order of fetching, and the reader is told which they are."""
    assert text("It rose [1], and fish [3].\n") == (
        "It rose [1], and fish [3].\n\n"
        "Sources:\n"
        "[1] The flood of 1913 \u2013 https://river.example/flood\n"
        "[3] Fish \u2013 https://fish.example/\n"
    )


def test_a_heading_without_its_list_is_replaced():
    """An answer that broke off at the heading of its list gets ours, and no second heading."""
    assert text("It rose [1].\n\n## Sources") == f"It rose [1].{FLOOD_LIST}"


def test_the_list_stands_outside_of_code():
    """A list that is put to an answer whose code was cut off is still read as a list."""
    assert text("It rose [1].\n```py\nx = 1").endswith(
        "x = 1\n```\n\nSources:\n[1] The flood of 1913 \u2013 https://river.example/flood"
    )


def test_a_number_without_a_page_is_marked():
    """Without a list, a number beyond the pages leads nowhere and says so."""
    checked = check("It rose [7]; and fell [1, 8] or [2-3].", PAGES)
    assert checked.text.startswith("It rose [7] (no such source); and fell [1, 8] (no such source: 8) or [2-3].")
    assert checked.dead_numbers == (7, 8)
    assert checked.notes == ("citations: 2 numbers without a source",)


@pytest.mark.parametrize("odd", ["the interval [0, 1]", "in [2024]", "[ ] todo", "[x]", r"\[9\]", "`a[9]`", "[9-2]"])
def test_not_every_bracket_is_a_citation(odd):
    """Intervals from 0, years, boxes and code are no citations."""
    assert check(odd, PAGES) == Checked(odd)


@pytest.mark.parametrize(
    "own",
    [
        "\n\nSources:\n[1] The flood, https://river.example/flood",
        "\n\n## Sources\n\n- [1]: <https://river.example/flood>",
        "\n\n**References:**\n1. [The flood](https://river.example/flood), A. Writer",
        "\n\nQuellen\n* https://river.example/flood",
        "\n\nSources: [1] https://river.example/flood.",
        "\n\n[1] The flood\n    https://river.example/flood",
        "\n\nReferences\n[1] The Flood of 1913, A. Writer",
        "\nSources:\n[1] https://river.example/flood\n[2] https://river.example/flood?utm_source=again",
    ],
)
def test_an_answers_own_list_makes_way_for_ours(own):
    """However a model writes its list, the reader gets one list, of the pages that are cited, in one form."""
    assert marks(f"It rose [1].{own}") == Checked(f"It rose [1].{FLOOD_LIST}")


def test_what_follows_an_answers_own_list_stays():
    """A remark behind the list that is taken off keeps its place before ours."""
    answer = "It rose [1].\n\nSources:\n[1] https://river.example/flood\n\nNothing else was found.\n"
    assert text(answer) == f"It rose [1].\n\nNothing else was found.{FLOOD_LIST}\n"


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        ("Fish [1] rose [2, 3].\n\nSources:\n[1] https://fish.example\n[2] https://river.example/flood\n[3] Fish",
         f"Fish [3] rose [1, 3].\n\nSources:\n{FLOOD_LINE}\n{FISH_LINE}"),
        ("Fish [^1].\n\n[^1]: https://fish.example", f"Fish [3].\n\nSources:\n{FISH_LINE}"),
        ("All [1-2].\n\n[1] https://fish.example\n[2] https://dam.example/wiki/Dam_(wall)",
         f"All [3, 2].\n\nSources:\n{DAM_LINE}\n{FISH_LINE}"),
        # A page that the list names and the text does not cite stays named; a list of bullets numbers nothing.
        ("It rose [1].\n\nSources:\n- https://fish.example\n- https://river.example/flood",
         f"It rose [1].\n\nSources:\n{FLOOD_LINE}\n{FISH_LINE}"),
    ],
)  # fmt: skip
def test_another_numbering_becomes_that_of_the_pages(answer, becomes):
    """A sentence cites the page that its author's list named, under the number of that page."""
    assert marks(answer) == Checked(becomes)


@pytest.mark.parametrize(
    ("own", "unknown"),
    [
        ("[1] https://no.example/a", ("https://no.example/a",)),
        ("[1] A book that nobody fetched", ()),
    ],
)
def test_a_number_that_its_list_gives_to_no_fetched_page_is_marked(own, unknown):
    """What a model cites without having fetched it is not passed off as the page that has that number."""
    checked = check(f"It fell [1].\n\nSources:\n{own}", PAGES)
    assert checked.text == "It fell [1] (no such source)."
    assert checked.dead_numbers == (1,)
    assert checked.unknown_links == unknown


@pytest.mark.parametrize(
    "answer",
    [
        "## Sources\n\n- Coal\n- Wind",
        "[1] https://river.example/flood says that it rose\n",
        "Sources:\n[1] Fish, https://fish.example/\n[2] The flood, https://river.example/flood",
    ],
)
def test_what_is_the_answer_itself_is_no_list_of_sources(answer):
    """A section that only has a list's name, a sentence that begins with a number, an answer that is a list, stay."""
    assert text(answer).startswith(answer.strip())


@pytest.mark.parametrize("marks", ["“{}”", "„{}“", "„{}”", "«{}»", "« {} »", "»{}«", '"{}"', '("{}")', '*"{}"*'])
def test_a_quotation_that_no_page_says_is_marked(marks):
    """Whatever quotation marks are used, more than eight words must stand in the fetched text."""
    true = "the river rose by three metres in a few hours"
    false = "the river rose by nine metres in a few hours"
    quoted = marks.format(false)
    closing = len(quoted.rstrip(")*"))
    assert check(f"It says {marks.format(true)}.", PAGES).unquoted == ()
    checked = check(f"It says {quoted}.", PAGES)
    assert checked.unquoted == (false,)
    assert checked.text == f"It says {quoted[:closing]} (not found in the sources){quoted[closing:]}."
    assert checked.notes == ("citations: 1 quotation not found in the sources",)


@pytest.mark.parametrize(
    "quotation",
    [
        "The  RIVER rose by\nthree metres in a few hours,",
        "On the night … rose by three metres in a few hours",
        "[T]he river rose by three metres [...] whole lower town stood under water",
        "the **river** rose by [three](https://river.example/flood) metres in a few hours [1]",
        "the whole lower town stood under water. The mayor said: 'We had no warning at all'",
        "nobody said these eight words or fewer, ever",
    ],
)
def test_a_true_quotation_is_left_alone(quotation):
    """White space, case, marks, markup, omissions and the source's own references do not make a quotation false."""
    assert check(f"“{quotation}”\n\n[1] https://river.example/flood", PAGES).unquoted == ()


@pytest.mark.parametrize(
    "quotation",
    [
        "in a few hours the river rose by three metres and more",
        "The river rose by three metres … and nobody knew of it at all",
        "the whole lower town stood under water … the river rose by three metres",
        "We had no warning at all Dams and other walls Walls hold water",
        "On the … river … in … a … town … under … water … The mayor … at all",
        "The river rose by three metres … the whole lower town … nobody",
    ],
)
def test_words_in_another_order_or_from_two_pages_are_no_quotation(quotation):
    """Every part must be there, in its order, in one page."""
    assert check(f"“{quotation}”", PAGES).unquoted == (quotation,)


def test_a_quotation_ends_with_its_paragraph():
    """Inches, and a mark that nobody closed, do not swallow the rest of the answer."""
    answer = 'A 5" pipe and a 6" pipe, “open\n\nand many more words that nobody said, ever, at all, here ” end'
    assert marks(answer) == Checked(answer)


def test_the_title_of_a_link_is_no_quotation():
    """What stands inside of a link's brackets is not marked there: it would be no link any more."""
    answer = '[x](https://fish.example "a title of more than eight words that no page says")'
    assert marks(answer) == Checked(answer)


def test_a_point_at_the_end_of_an_address_may_belong_to_it():
    """An address that was fetched with a point at its end is known with it."""
    answer = "See https://t.example/Some_Inc. and https://t.example/Some_Inc.."
    assert check(answer, [Page("t", "https://t.example/Some_Inc.")]).text == answer


def test_marks_that_come_with_the_answer_are_ours_to_set():
    """A model (or a page that it obeys) can neither blacken a true source nor bring its own marks."""
    assert text("https://fish.example (not fetched) [1] (no such source)") == (
        "https://fish.example [1]\n\nSources:\n[1] The flood of 1913 \u2013 https://river.example/flood"
    )
    assert text("`x (not fetched)`") == "`x (not fetched)`"


def test_a_strangers_title_is_a_title_in_the_list():
    """A page whose title holds links, numbers and code puts none of them into the answer."""
    page = Page("[9] `x` <b> https://evil.example/a\nwww.evil.example", "https://t.example/a b", text="")
    checked = check("a [1]", [page])
    assert checked.text == "a [1]\n\nSources:\n[1] 9 x b evil.example/a evil.example \u2013 https://t.example/a%20b"
    assert (checked.unknown_links, checked.dead_numbers) == ((), ())


def test_the_same_page_twice_is_one_number():
    """Pages that several searches found count once, so that numbers stay what they were."""
    again = Page("Flood", "http://river.example/flood/")
    assert "[2] Fish" in check("a [2]", [RIVER, again, FISH]).text


def test_the_sources_document_holds_what_was_fetched_and_what_was_not():
    """`…_sources.json` lists each page for each query that found it, and the links that were invented."""
    fetched = [Fetched(RIVER, "flood", "T1"), Fetched(FISH, "flood", "T1"), Fetched(RIVER, "river", "T2")]
    document = json.loads(sources_document(fetched, check("https://no.example [8]", [RIVER, FISH])))
    assert [(page["n"], page["url"], page["query"], page["fetched_at"]) for page in document["pages"]] == [
        (1, RIVER.url, "flood", "T1"),
        (2, FISH.url, "flood", "T1"),
        (1, RIVER.url, "river", "T2"),
    ]
    assert document["pages"][0]["title"] == RIVER.title
    assert document["pages"][0]["date"] == "2026-01-02"
    assert document["not_fetched"] == ["https://no.example"]
    assert document["no_such_source"] == [8]
    assert document["schema_version"] == 1
    assert json.loads(sources_document([]))["pages"] == []
