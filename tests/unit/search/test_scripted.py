"""The search that follows a script."""

from __future__ import annotations

import asyncio

import pytest

from rlmwatch.errors import ProviderUnavailable
from rlmwatch.runs.model import Usage
from rlmwatch.search.base import Page, SearchQuery, SearchReply
from rlmwatch.search.scripted import ScriptedSearch

QUERY = SearchQuery("q")
PAGE = Page("t", "https://a.example")


def test_a_script_is_followed_and_queries_are_kept():
    """A script is followed line by line, and what was asked can be read afterwards."""

    async def test() -> None:
        whole = SearchReply((PAGE, PAGE), Usage(searches=1), ("note",))
        search = ScriptedSearch([[PAGE, PAGE], whole, ProviderUnavailable("down")], usd_per_search=0.5)
        assert (await search.search(QUERY)) == SearchReply((PAGE,), Usage(cost_usd=0.5, searches=1))
        assert (await search.search(QUERY)) is whole
        with pytest.raises(ProviderUnavailable, match="down"):
            await search.search(QUERY)
        with pytest.raises(AssertionError, match="no search left"):
            await search.search(QUERY)
        assert search.queries == [QUERY] * 4
        await search.aclose()
        assert search.closed

    asyncio.run(test())


def test_a_cancelled_search_is_counted():
    """A test can see that a slow search was cancelled."""

    async def test() -> None:
        async def never(_query: SearchQuery) -> list[Page]:
            await asyncio.Event().wait()
            return []

        search = ScriptedSearch(never)
        task = asyncio.create_task(search.search(QUERY))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert search.cancelled == 1

    asyncio.run(test())
