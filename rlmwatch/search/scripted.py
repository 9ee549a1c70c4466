"""
A search that follows a script: the shipped fake for tests, demonstrations and dry runs.

Where it differs from a real provider: what it finds is known beforehand and does not depend on dates and domains; a
search costs what `usd_per_search` says. Everything else is the port's: pages are cleaned, told apart by address and
cut as any provider's, errors, cancelling.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence

from rlmwatch.errors import ProviderError
from rlmwatch.runs.model import Usage
from rlmwatch.search.base import Page, SearchQuery, SearchReply
from rlmwatch.search.pages import tidy

Scripted = Sequence[Page] | SearchReply | ProviderError
"""One entry of a script: the pages found, a whole reply, or the error to raise."""

Script = Iterable[Scripted] | Callable[[SearchQuery], Scripted | Awaitable[Scripted]]
"""Entries in the order of the searches, or a function of the query; it may wait, which is how a delay is scripted."""


class ScriptedSearch:
    """
    A search that follows a script (port `Search`).

    Attributes:
        provider: `scripted`.
        queries: Every query, in the order of the searches.
        cancelled: How many searches were cancelled while they waited.
        closed: Whether `aclose` was called.
    """

    def __init__(self, script: Script, *, usd_per_search: float = 0.0) -> None:
        self.provider = "scripted"
        self.queries: list[SearchQuery] = []
        self.cancelled = 0
        self.closed = False
        self._next = script if callable(script) else _in_order(script)
        self._usd_per_search = usd_per_search

    def max_usd(self, query: SearchQuery) -> float:  # noqa: ARG002 (the port's)
        """Return what the script costs."""
        return self._usd_per_search

    async def search(self, query: SearchQuery) -> SearchReply:
        """
        Return what the script finds next.

        Raises:
            ProviderError: The one that the script says.
        """
        self.queries.append(query)
        entry = self._next(query)
        if inspect.isawaitable(entry):
            try:
                entry = await entry
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(entry, ProviderError):
            raise entry
        if isinstance(entry, SearchReply):
            return entry
        return SearchReply(tidy(entry, query), Usage(cost_usd=self._usd_per_search, searches=1))

    async def aclose(self) -> None:
        """Note that it was closed. Idempotent."""
        self.closed = True


def _in_order(script: Iterable[Scripted]) -> Callable[[SearchQuery], Scripted]:
    entries = iter(script)

    def following(_query: SearchQuery) -> Scripted:
        entry = next(entries, None)
        if entry is None:
            raise AssertionError("the script has no search left: more were made than it foresees")
        return entry

    return following
