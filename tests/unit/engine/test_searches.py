"""Pages that came without text: shown to the model, never cited, told to the person."""

import asyncio
import json
from contextlib import suppress

from fakes.memory import MemoryJournal

from rlmwatch import clock
from rlmwatch.budget import Budget, Caps
from rlmwatch.engine.call_site import ROOT, AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.searches import Searches
from rlmwatch.errors import BudgetExceeded
from rlmwatch.handlers.rlm import _with_sources
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, Result, RunStatus
from rlmwatch.search.base import Page
from rlmwatch.search.scripted import ScriptedSearch
from rlmwatch.workspace.context import Context

READ = Page("Read", "https://read.example/", text="Water boils at 100 degrees.")
EMPTY = Page("Empty", "https://empty.example/")
UNSEEN = Page("Unseen", "https://unseen.example/", text="\u200b \n")


def searched(*found):
    """Search once for each of *found*; return the searches, and what the code was given."""

    async def run():
        scope = AttemptScope("r", 1, Ceilings(None), clock.monotonic() + 60, clock.monotonic, clock.utc)
        calls = Calls(scope, MemoryJournal(), ScriptedModel([]), Budget("run"))
        searches = Searches(calls, ScriptedSearch(found))
        research = searches.tools()["research"](lambda: ROOT)
        return searches, [await research.call(**research.checked({"query": f"q{n}"})) for n in range(len(found))]

    return asyncio.run(run())


def result(answer):
    return Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer)


def test_a_page_without_text_has_no_number_and_cannot_be_cited():
    """What the model cites of a page without text is marked as not fetched; the list of sources leaves it out."""
    searches, ((empty, read, unseen),) = searched([EMPTY, READ, UNSEEN])
    assert (empty["n"], read["n"], unseen["n"]) == (None, 1, None)
    told = _with_sources(
        result("It boils [1]. Also https://empty.example/ says so."), searches, Context(), answered=True
    )
    assert "https://empty.example/ (not fetched)" in told.answer
    assert [page["url"] for page in json.loads(told.sources)["pages"]] == [READ.url]
    assert "searches: 2 pages came without text and cannot be cited: https://empty.example/, https://unseen" in str(
        told.notes
    )


def test_where_no_page_has_text_every_link_is_marked():
    """A run whose searches gave only pages without text has nothing to cite, and its answer is checked against that."""
    searches, _ = searched([EMPTY])
    told = _with_sources(result("See https://empty.example/."), searches, Context(), answered=True)
    assert "(not fetched)" in told.answer
    assert len(told.notes) >= 2


def test_a_page_whose_text_came_with_another_search_counts():
    """The same page, once without text and once with it, is a source, and no note is made."""
    searches, _ = searched([EMPTY], [Page("Full", EMPTY.url, text="Here it is.")])
    assert [page.url for page in searches.pages] == [EMPTY.url]
    assert searches.notes() == ()


def test_searches_that_the_budget_refused_are_told():
    """An answer that was made after refused searches says how many, and which cap: it rests on fewer pages."""

    async def run():
        scope = AttemptScope("r", 1, Ceilings(None), clock.monotonic() + 60, clock.monotonic, clock.utc)
        calls = Calls(scope, MemoryJournal(), ScriptedModel([]), Budget("run", Caps(max_searches=1)))
        searches = Searches(calls, ScriptedSearch([[READ]]))
        research = searches.tools()["research"](lambda: ROOT)
        for n in range(3):
            with suppress(BudgetExceeded):
                await research.call(**research.checked({"query": f"q{n}"}))
        return searches

    told = _with_sources(result("It boils [1]."), asyncio.run(run()), Context(), answered=True)
    assert told.notes == ("2 searches refused: the budget is spent (max_searches)",)
