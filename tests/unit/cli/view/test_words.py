"""cli/view/words.py: what the log says, in plain words."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from rlmwatch.cli.view.words import OVER, SILENT, WORDS, in_words

PACKAGE = Path(__file__).resolve().parents[4] / "rlmwatch"


def logged() -> dict[str, set[str]]:
    """Return the facts of every event that the package logs: those that are there wherever it does; `*` for any."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                facts = {each.arg or "*" for each in node.keywords}
                name = str(node.args[0].value)
                found[name] = found[name] & facts if name in found else facts
    return found


LOGGED = logged()


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_words_of_an_event_use_facts_that_it_has(name):
    """Each event in the table is one of ours, and each fact in its words is given where it is logged."""
    facts = {field for _, field, _, _ in string.Formatter().parse(WORDS[name]) if field}
    assert facts - {"fault"} - LOGGED[name] == set() or "*" in LOGGED[name], "`fault` is added to what has a traceback"


def test_events_that_end_others_are_logged():
    """Each event that says that something is over is one of ours."""
    ends = {*OVER, *SILENT, *(name for names in OVER.values() for name in names)}
    assert ends - LOGGED.keys() == set()


def test_a_fault_names_its_error():
    """A fault of rlmwatch is said with its error, on one line."""
    notice = in_words({"event": "run.internal_error", "level": "error", "fault": "ValueError: two\nlines"}, at="1")
    assert notice is not None
    assert notice.what == "A fault in rlmwatch, please report it: ValueError: two lines"


def test_a_warning_that_is_not_known_is_said_by_its_sentences():
    """An event without words is said by why, and what to do; without facts by its name. Ids are never shown."""
    event = {"event": "new.trouble", "level": "warning", "run": "2026-chat-7f", "why": "It broke.", "cure": "mend it"}
    notice = in_words(event, at="1")
    assert notice is not None
    assert notice.what == "It broke. Mend it"
    notice = in_words({"event": "new.big_trouble", "level": "error", "run": "2026-chat-7f"}, at="1")
    assert notice is not None
    assert (notice.what, notice.serious) == ("new big trouble", True)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_is_no_warning_is_not_said(level):
    """The view is no log."""
    assert in_words({"event": "watch.walked", "level": level, "why": "x"}, at="1") is None


def test_a_fact_that_is_missing_or_strange_harms_nothing():
    """Words are made of whatever an event holds: braces, numbers, nothing."""
    for name in WORDS:
        for facts in ({}, {"why": "{why} {0} %s", "path": 7, "reason": None}):
            notice = in_words({"event": name, "level": "warning", **facts}, at="1")
            assert notice is not None
            assert notice.what


def test_who_saved_and_is_not_asked_is_told_why():
    """Nothing happens, and the view says why: once for each, until the next save is taken."""
    event = {"event": "save.skipped", "level": "info", "path": "a_input.txt", "reason": "blank", "cure": "write it"}
    notice = in_words(event, at="1")
    assert notice is not None
    assert (notice.what, notice.serious) == ("a_input.txt is not asked: blank. Write it", False)


def test_an_event_without_a_cure_ends_with_its_sentence():
    """`settings.wrong` of a folder that is only watched has nothing more to say, and no `?`."""
    notice = in_words({"event": "settings.wrong", "level": "error", "why": "tokns: no such setting"}, at="1")
    assert notice is not None
    assert notice.what.rstrip(".") == "tokns: no such setting"
