"""One suite over every search."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr
from servers.exa_server import ExaServer, Fault, Found, exa_fault, result
from servers.searxng_server import SearxngServer, hit

from rlmwatch.errors import ProviderRefused, ProviderUnavailable, WrongKey
from rlmwatch.search.base import Page, Search, SearchQuery, SearchReply
from rlmwatch.search.exa import ExaSearch
from rlmwatch.search.scripted import Scripted, ScriptedSearch
from rlmwatch.search.searxng import SearxngSearch

SLOW = "something that takes for ever"
ODD = "pages of all kinds"
LONG = "x" * 9000
ERRORS = {"wrong key": WrongKey, "no credit": ProviderRefused, "too many": ProviderUnavailable}

PAGES = [
    result("https://a.example/one?utm_source=feed#top", "One\n\x1b[31mred", f"Hi\r\nthere\x00 {LONG}", author=" A\tB "),
    result("http://www.a.example/one/", "One again", "the same page"),
    result("https://b.example/", None, "  no title\u202e\U000e0041 ", publishedDate="2026-11-02T10:00:00.000Z"),
    result("javascript:alert(1)", "No page", "no"),
    result("https://c.example/three", "Three", None, publishedDate="yesterday"),
]


@dataclass
class Subject:
    """A search under test, and how to know that it has begun a slow one."""

    make: Callable[[Subject], Search]
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def run(self, test: Callable[[Search], Awaitable[None]]) -> None:
        async def whole() -> None:
            search = self.make(self)
            try:
                await test(search)
            finally:
                await search.aclose()
                await search.aclose()

        asyncio.run(whole())


def _server_answers(subject: Subject) -> Callable[[dict[str, Any]], Any]:
    faults = {
        "wrong key": exa_fault(401, "Invalid API key", "INVALID_API_KEY"),
        "no credit": exa_fault(402, "No more credits", "NO_MORE_CREDITS"),
        "too many": exa_fault(429, "Slow down", "RATE_LIMIT", Retry_After="7"),
    }

    def answer(body: dict[str, Any]) -> Any:
        if body["query"] == SLOW:
            return Fault.stall()
        return faults.get(body["query"], Found(PAGES))

    return answer


def _searxng_answers(asked: dict[str, str]) -> Any:
    faults = {
        "wrong key": Fault.status(401, "Invalid API key"),
        "no credit": Fault.status(400, {"error": "No more credits"}),
        "too many": Fault.status(429, "Slow down", {"Retry-After": "7"}),
    }
    hits = [
        hit(one["url"], one["title"], one["text"], author=one.get("author"), publishedDate=one.get("publishedDate"))
        for one in PAGES
    ]
    return Fault.stall() if asked["q"] == SLOW else faults.get(asked["q"], hits)


def _scripted(subject: Subject) -> ScriptedSearch:
    found = [
        Page(one["title"] or "", one["url"], one.get("publishedDate"), one.get("author"), one["text"] or "")
        for one in PAGES
    ]
    errors = {
        "wrong key": WrongKey("Invalid API key", status=401),
        "no credit": ProviderRefused("No more credits", status=402),
        "too many": ProviderUnavailable("Slow down", status=429, retry_after_s=7.0),
    }

    async def answer(query: SearchQuery) -> Scripted:
        if query.query == SLOW:
            subject.begun.set()
            await asyncio.Event().wait()
        return errors.get(query.query, found)

    return ScriptedSearch(answer, usd_per_search=0.007)


@pytest.fixture(params=["exa", "searxng", "scripted"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "exa":
        made = Subject(lambda _: ExaSearch(SecretStr("exa-0123456789"), server.url))
        with ExaServer(_server_answers(made)) as server:
            yield made
    elif request.param == "searxng":
        with SearxngServer(_searxng_answers) as searxng:
            yield Subject(lambda _: SearxngSearch(searxng.url))
    else:
        yield Subject(_scripted)


def test_pages_are_told_apart_cleaned_and_cut(subject):
    """A search gives distinct pages with an address of the web, readable on any terminal, as long as was asked for."""

    async def test(search: Search) -> None:
        one, two, three = (await search.search(SearchQuery(ODD, text_chars=100))).pages
        assert one.url == "https://a.example/one?utm_source=feed#top"
        assert (one.title, one.author) == ("One [31mred", "A B")
        assert one.text.startswith("Hi\nthere x")
        assert len(one.text) <= 100
        assert (two.title, two.date, two.text) == ("https://b.example/", "2026-11-02", "no title")
        assert (three.title, three.date, three.text) == ("Three", None, "")

    subject.run(test)


def test_no_more_pages_than_asked_for(subject):
    """`max_results` holds."""

    async def test(search: Search) -> None:
        assert len((await search.search(SearchQuery(ODD, max_results=1))).pages) == 1

    subject.run(test)


def test_a_search_is_counted_and_costs_no_more_than_was_reserved(subject):
    """Every reply says that it was one search and what it cost, within the bound that was told before."""

    async def test(search: Search) -> None:
        query = SearchQuery(ODD)
        usage = (await search.search(query)).usage
        assert (usage.searches, usage.llm_calls, usage.output_tokens) == (1, 0, 0)
        assert usage.cost_usd is not None
        assert 0 <= usage.cost_usd <= search.max_usd(query)

    subject.run(test)


@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_classed_by_what_the_caller_may_do(subject, what):
    """A wrong key, no credit and a rate limit are told apart, in the provider's words."""

    async def test(search: Search) -> None:
        with pytest.raises(ERRORS[what]) as caught:
            await search.search(SearchQuery(what))
        assert type(caught.value) is ERRORS[what]
        assert any(words in str(caught.value) for words in ("Invalid API key", "No more credits", "Slow down"))
        if isinstance(caught.value, ProviderUnavailable):
            assert caught.value.retry_after_s == 7.0

    subject.run(test)


def test_many_searches_run_side_by_side(subject):
    """Searches do not wait for each other, and each gets its own pages."""

    async def test(search: Search) -> None:
        slow = asyncio.create_task(search.search(SearchQuery(SLOW)))
        replies = await asyncio.gather(*(search.search(SearchQuery(ODD, max_results=n)) for n in (1, 5, 1)))
        assert [len(reply.pages) for reply in replies] == [1, 3, 1]
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    subject.run(test)


def test_a_reply_survives_the_journal(subject):
    """A reply that went through JSON is the same reply."""

    async def test(search: Search) -> None:
        reply = await search.search(SearchQuery(ODD))
        assert SearchReply.kept(json.loads(json.dumps(asdict(reply)))) == reply

    subject.run(test)


def test_a_page_that_exa_could_not_read_has_no_text():
    """A result whose status is an error counts as a page without text, whatever stands in it."""
    more = {"statuses": [{"id": "https://a.example/", "status": "error", "error": {"tag": "CRAWL_TIMEOUT"}}]}
    with ExaServer(
        [Found([result("https://a.example/", text="Just a moment..."), result("https://b.example/")], more=more)]
    ) as server:

        async def pages():
            exa = ExaSearch(SecretStr("exa-0123456789"), server.url)
            try:
                return (await exa.search(SearchQuery("q"))).pages
            finally:
                await exa.aclose()

        assert [bool(page.text) for page in asyncio.run(pages())] == [False, True]
