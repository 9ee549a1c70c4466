"""Notes of the folder are cited as pages of the web are: by number, checked, with path and passage."""

from __future__ import annotations

import json

import pytest

from rlmwatch.citations.check import Fetched, check, sources_document
from rlmwatch.search.base import Page

BEES = Page(
    "The bees", "", "2026-05-01", None, "We moved the bees to the south meadow on 3 May.", path="garden/bees.md"
)
HONEY = Page("honey", "", text="Eleven jars of honey.", path="honey [2026].txt")
WEB = Page("Bees", "https://bees.example/", text="Bees fly.")
PAGES = (BEES, WEB, HONEY)


def test_numbers_mean_notes_and_pages_in_one_row():
    """`[n]` is the n-th source of the run, note or page; the list under the answer names each by path or address."""
    found = check("The bees were moved to the south meadow on 3 May [1]. There were eleven jars of honey [3].", PAGES)
    assert found.text.endswith("Sources:\n[1] The bees \u2013 garden/bees.md\n[3] honey \u2013 `honey [2026].txt`")
    assert found.dead_numbers == ()
    assert [(claim.n, claim.passage and claim.passage.quote) for claim in found.claims] == [
        (1, BEES.text),
        (3, HONEY.text),
    ]


def test_a_number_without_a_note_and_a_quotation_that_no_note_has_are_marked():
    """The checks are those of web pages."""
    said = 'They were moved [7]. It says "we carried all the bees over to the north side of the hill".'
    found = check(said, PAGES)
    assert "[7] (no such source)" in found.text
    assert 'hill" (not found in the sources)' in found.text


@pytest.mark.parametrize(
    "own",
    [
        "Sources:\n[1] garden/bees.md\n[2] honey [2026].txt",
        "## Sources\n[1] The bees - garden/bees.md\n[2] honey",
        "Sources:\n[1] [The bees](garden/bees.md)\n[2] `honey [2026].txt`",
    ],
)
def test_the_models_own_list_makes_way_and_its_numbers_become_ours(own):
    """A list that the model wrote is taken off, and what it called [2] is the third source, by its path or title."""
    found = check(f"Moved on 3 May [1]; eleven jars [2].\n\n{own}", PAGES)
    assert "eleven jars [3]." in found.text
    assert found.text.count("Sources:") == 1
    assert found.unknown_links == ()


@pytest.mark.parametrize(
    ("own", "number"),
    [
        ("a", 1), ("ab", 2), ("notes/a", 3), ("./a", 1), ("`ab`", 2), ("_ab_", 2), ("(a)", 1), ("see a.", 1),
        ("b c.md", 4), ("abc", None), ("a/b", None), ("other/ab", None), ("a-b", None), ("c_a", None), ("a.bak", None),
        ("~a", None), ("ab_old", None), ("other/a.md", None),
    ],
)  # fmt: skip
def test_a_path_is_named_as_a_whole(own, number):
    """An entry of the model's list names the note with that path, and none whose path is a part of it."""
    pages = [Page(f"title {path}", "", text="It is so.", path=path) for path in ("a", "ab", "notes/a", "b c.md")]
    found = check(f"It is so [7].\n\nSources:\n[7] {own}\n", pages)
    assert (found.dead_numbers == ()) is (number is not None)
    if number is not None:
        assert found.text.startswith(f"It is so [{number}].")


def test_a_title_is_named_as_a_whole():
    """Of titles of which one is a part of another the longer one is named, and none by words of another's path."""
    pages = [Page("Bees", "", text="x", path="x.md"), Page("Bees of Europe", "", text="x", path="y.md")]
    assert check("So it is [7].\n\nSources:\n[7] Bees of Europe\n", pages).text.startswith("So it is [2].")
    assert check("So it is [7].\n\nSources:\n[7] Bees\n", pages).text.startswith("So it is [1].")
    assert check("So it is [7].\n\nSources:\n[7] garden/bees.md\n", pages).dead_numbers == (7,)


def test_sources_have_the_path_in_place_of_an_address():
    """`…_sources.json` says where each source is from: `path` of a note, `url` of a page; an excerpt is named so."""
    web = Page("Bees", "https://bees.example/", text="Bees fly.", excerpt=True)
    fetched = [Fetched(BEES, "bees", "2026-11-28T10:00:00Z"), Fetched(web, "bees", "2026-11-28T10:00:01Z")]
    checked = check("We moved the bees to the south meadow [1].", [one.page for one in fetched])
    document = json.loads(sources_document(fetched, checked))
    note, page = document["pages"]
    assert (note["n"], note["path"], "url" in note, "excerpt" in note) == (1, "garden/bees.md", False, False)
    assert (page["n"], page["url"], "path" in page, page["excerpt"]) == (2, "https://bees.example/", False, True)
    (claim,) = document["claims"]
    assert BEES.text[claim["start"] : claim["end"]] == claim["quote"]


def test_a_note_found_twice_is_one_source():
    """The same path found by two searches has one number, also where the note was changed in between."""
    later = Page("The bees", "", text="We moved them again.", path="garden/bees.md")
    fetched = [Fetched(BEES, "bees", "t"), Fetched(later, "moved", "t")]
    assert [row["n"] for row in json.loads(sources_document(fetched))["pages"]] == [1, 1]
    assert check("They were moved again [1].", [BEES, later]).claims[0].n == 1


@pytest.mark.parametrize("path", ["a](https://evil.example).md", "<b>.md", "a`b`.md", "*x*.md", "[3].md"])
def test_a_paths_signs_are_no_markup(path):
    """Whatever a file is called, its entry in the list is no link and no number of another source."""
    page = Page("x", "", text="It is so.", path=path)
    listed = check("It is so [1].", [page]).text.rpartition("\n")[2]
    assert listed.startswith("[1] x \u2013 `")
    assert check(f"{listed}.", [page]).unknown_links == ()
