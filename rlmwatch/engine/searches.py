"""
The searches of one run, and the functions `research` (the web) and `files` (the folder's notes) that a cell calls.

A search goes the way of a model call: reserved, journalled, made, recorded,
settled; tried again where it may work later; handed out from the journal after a
kill. Its pages are kept with their source, for the check of the answer. A search
of the notes costs nothing and goes the same way: notes change, and a replay must
find what was found.

Pages and notes are numbered over the whole run, in the order in which the searches were
asked for, however they come back: a replay numbers them as the first time.

Who searches may bill more than its list says: until a first search has ended, and
while a few of the dearest seen would use up what is left, searches go one at a time.

A search that fails for good raises in the code that asked, with the provider's
words; what a person must fix (a wrong key) ends the run instead.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlmwatch.budget import Reservation
from rlmwatch.citations.check import Fetched
from rlmwatch.citations.sources import numbered
from rlmwatch.contract.text import is_unseen
from rlmwatch.engine.call_site import CallSite
from rlmwatch.engine.calls import UNSTORED, Calls
from rlmwatch.engine.costs import NEAR_CALLS
from rlmwatch.engine.tools import Tool, reason
from rlmwatch.errors import BudgetExceeded, ProviderError, ProviderUnavailable
from rlmwatch.runs.model import PaidCall, Usage
from rlmwatch.sandbox.base import CellError, HostFunction, JsonValue, Parameter
from rlmwatch.search.base import Page, Search, SearchQuery, SearchReply

TRIES = 4
"""Of one search: over some 4 s, or as long as Exa asks. After that the code is told, which can go on without it."""
URLS_SHOWN = 5
"""Addresses in a note."""
NOTE_CHARS = 8_000
"""Of a note's text that a search hands out, where the code says nothing: most notes are shorter."""
NOTICES_SHOWN = 5
AT_ONCE = 8
"""Searches of a run in flight together: Exa's default limit is 10 a second (exa.ai/docs, November 2026)."""


@dataclass(slots=True)
class Searches:
    """
    Makes the searches of one attempt of one run.

    Attributes:
        search: Searches the web; None where the run may not.
        files: Searches the folder's notes; None where the run may not.
        fetched: Every page so far whose text was read, in the order of the searches: what may be cited.
        unread: Pages that came without text.
        failed: Why searches of this attempt failed for good, in the provider's words.
        refused: The caps and ceilings that refused searches.
        notices: What who searches said beside its results, each once.
        note: Is told what is searched.
    """

    calls: Calls
    search: Search | None
    files: Search | None = None
    note: Callable[[str], None] = field(default=lambda _text: None)
    fetched: list[Fetched] = field(default_factory=list)
    unread: list[Page] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: list[BudgetExceeded] = field(default_factory=list)
    notices: dict[str, None] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _last: asyncio.Future[None] | None = None
    _in_flight: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pages(self) -> list[Page]:
        """Every page whose text was read, in the order of the searches."""
        return [each.page for each in self.fetched]

    def notes(self) -> tuple[str, ...]:
        """Return what a person should know: what was refused, what who searches said, what cannot be cited."""
        why = Counter(map(reason, self.refused))
        refused = [f"{n:,} search{'' if n == 1 else 'es'} refused: {word}" for word, n in why.items()]
        said = [f"searches: {notice}" for notice in list(self.notices)[:NOTICES_SHOWN]]
        more = len(self.notices) - len(said)
        return (*refused, *said, *([f"searches: {more} more notices"] if more else []), *self._not_cited())

    def _not_cited(self) -> tuple[str, ...]:
        read = {page.key for page in self.pages}
        unread = list(dict.fromkeys(page.source for page in self.unread if page.key not in read))
        if not unread:
            return ()
        more = f" and {len(unread) - URLS_SHOWN} more" if len(unread) > URLS_SHOWN else ""
        pages = "1 page" if len(unread) == 1 else f"{len(unread)} pages"
        return (f"searches: {pages} came without text and cannot be cited: {', '.join(unread[:URLS_SHOWN])}{more}",)

    def tools(self) -> Mapping[str, Tool]:
        """Return what is offered to the cells of this run, by name."""
        offered: dict[str, Tool] = {}
        if self.search is not None:
            filters = (Parameter("days", "int", None), Parameter("domains", "strings", None))
            words = "research(query, max_results=5, days=None, domains=None, text_chars=4000): search the web"
            offered["research"] = self._tool("research", self.search, (*filters, _chars(4000)), words)
        if self.files is not None:
            words = f"files(query, max_results=5, text_chars={NOTE_CHARS}): search the folder's notes"
            offered["files"] = self._tool("files", self.files, (_chars(NOTE_CHARS),), words)
        return offered

    def _tool(self, name: str, search: Search, more: tuple[Parameter, ...], doc: str) -> Tool:
        def offered(place: Callable[[], CallSite]) -> HostFunction:
            async def call(**given: Any) -> JsonValue:  # noqa: ANN401 (JSON)
                domains = given.get("domains")
                try:
                    query = SearchQuery(**{**given, "domains": None if domains is None else tuple(domains)})
                except ValueError as error:
                    raise CellError("ValueError", f"{name}(): {error}") from None
                return await self._asked(search, query, place())

            parameters = (Parameter("query"), Parameter("max_results", "int", 5), *more)
            return HostFunction(name, call, parameters, doc=doc, record="Page")

        return offered

    async def _asked(self, search: Search, query: SearchQuery, at: CallSite) -> JsonValue:
        before, mine = self._last, asyncio.get_running_loop().create_future()
        self._last = mine
        try:
            async with self._slots:
                self.note(f"searching: {query.query}")
                reply, when = await self._find(search, query, at)
            if before is not None:
                await asyncio.shield(before)
            self.fetched += [Fetched(page, query.query, when) for page in reply.pages if not is_unseen(page.text)]
            self.unread += [page for page in reply.pages if is_unseen(page.text)]
            self.notices.update(dict.fromkeys(reply.notices))
        except BudgetExceeded as spent:
            self.refused.append(spent)
            raise
        except ProviderError as error:
            self.failed.append(str(error))
            raise
        finally:
            _after(before, mine)
        numbers = {page.key: number for number, page in enumerate(numbered(self.pages), 1)}
        return [{"n": numbers.get(page.key), **_row(page)} for page in reply.pages]

    async def _find(self, search: Search, query: SearchQuery, at: CallSite) -> tuple[SearchReply, str]:
        """Return what was found, and when."""
        key = self.calls.name(asdict(query) | ({"in": "files"} if search is self.files else {}), at)
        if (earlier := self.calls.replay.take(key)) is not None:
            return SearchReply.kept(earlier.reply or {}), earlier.ended_at or earlier.started_at
        found = await self.calls.insist(lambda: self._once(key, search, query), search.provider, TRIES)
        self.calls.answered()
        return found

    async def _once(self, key: str, search: Search, query: SearchQuery) -> tuple[SearchReply, str]:
        """Make one try, as soon as no search in flight could leave too little for it."""
        while self._in_flight and await self._goes_alone(search, query):
            self._settled.clear()
            if self._in_flight:
                await self._settled.wait()
        self._in_flight += 1
        try:
            return await self._try(key, search, query)
        finally:
            self._in_flight -= 1
            self._settled.set()

    async def _goes_alone(self, search: Search, query: SearchQuery) -> bool:
        calls, provider, listed = self.calls, search.provider, search.max_usd(query)
        if not calls.has_limit_usd:
            return False
        if not calls.costs.is_search_known(provider):
            return True
        usd = calls.costs.search_usd(provider, listed)
        return usd > listed and await calls.left_usd() < NEAR_CALLS * usd

    async def _try(self, key: str, search: Search, query: SearchQuery) -> tuple[SearchReply, str]:
        calls, frame = self.calls, self.calls.frame
        usd = calls.costs.search_usd(search.provider, search.max_usd(query))
        held = calls.budget.reserve_search(usd)
        call = PaidCall(key, "search", search.provider, asdict(query), 0, held.usd)
        try:
            done = await calls.intend(call)
        except BaseException:
            calls.budget.release(held)
            raise
        if done is not None:
            calls.budget.release(held)
            return SearchReply.kept(done.reply or {}), done.ended_at or done.started_at
        calls.crash_at("search.intended")
        billed = 0.0
        try:
            reply = await search.search(query)
            billed = reply.usage.cost_usd or 0.0
        except asyncio.CancelledError:
            await self._lost(key, held)
            raise
        except ProviderUnavailable as error:
            await (self._lost(key, held) if error.may_be_billed else calls.give_back(key, held))
            raise
        except ProviderError:
            await calls.give_back(key, held)
            raise
        finally:
            calls.costs.learn_search(search.provider, usd, billed)
        calls.crash_at("search.replied")
        calls.book(held, reply.usage)
        now = frame.utc()
        recorded = calls.journal.record(frame.run_id, key, asdict(reply), reply.usage, now=now)
        await asyncio.shield(calls.time.stored(recorded, UNSTORED))
        calls.crash_at("search.recorded")
        return reply, now

    async def _lost(self, key: str, held: Reservation) -> None:
        """Book a search that was cut off as it could have cost."""
        used = Usage(cost_usd=held.usd, searches=1)
        self.calls.book(held, used)
        await self.calls.lose(key, used)


def _row(page: Page) -> dict[str, Any]:
    """Return *page* as a cell gets it: without what it has not, and a note with its path in place of an address."""
    row = asdict(page)
    without = {"path"} if page.path is None else {"url", "author"}
    return {key: value for key, value in row.items() if key not in without and (value or key not in _WHERE_THERE)}


_WHERE_THERE = frozenset({"highlights", "excerpt"})


def _chars(most: int) -> Parameter:
    return Parameter("text_chars", "int", most)


def _after(before: asyncio.Future[None] | None, mine: asyncio.Future[None]) -> None:
    """Let those who wait for *mine* go on: once *before* did, so that one that failed lets nobody overtake."""
    if before is None or before.done():
        mine.set_result(None)
    else:
        before.add_done_callback(lambda _before: mine.set_result(None))
