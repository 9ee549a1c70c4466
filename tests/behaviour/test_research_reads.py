"""Research reads, and its citations can be checked: a small version of `benchmarks/research.py`."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import pytest


@pytest.fixture
def research(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("research")


def measured(research, **options):
    return asyncio.run(research.measure(each=1, seed=3, **options))


def test_a_careful_reader_is_right_and_each_citation_has_its_passage(research):
    """Facts in one, two and three places, contradictions, an outdated and an injected page: all right, all shown."""
    tally = measured(research, highlights=True)
    assert tally.wrong == []
    assert tally.right == 6
    assert tally.cited == tally.bear == tally.shown_bearing == 10


def test_highlights_cost_fewer_tokens_than_pages_and_lose_nothing(research):
    """What a printed page costs is its highlights; the same reader is no less right than with whole pages."""
    picked, whole = (measured(research, highlights=each, page_by_page=not each) for each in (True, False))
    assert picked.tokens * 5 < whole.tokens
    assert picked.right >= whole.right


@pytest.mark.parametrize("spoil", ["other_page", "other_number"])
def test_a_careless_reader_gets_no_passage(research, spoil):
    """A citation of the wrong page, or behind another number, is shown without a passage."""
    tally = measured(research, highlights=True, spoil=getattr(research, spoil))
    assert tally.cited > tally.bear
    assert tally.shown_not == 0
