"""What is sent to SearXNG, and what becomes of every way in which it can fail."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from datetime import date, timedelta
from typing import Any

import aiohttp  # noqa: F401 (the time that it takes to load belongs to no time limit here)
import pytest
from servers.raw_server import RawServer, Talk, answer, endless
from servers.searxng_server import NO_JSON, TOO_MANY, Fault, Hits, SearxngServer, hit

from rlmwatch import clock
from rlmwatch.errors import (
    InputError,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    WrongKey,
)
from rlmwatch.search.base import SearchQuery, SearchReply
from rlmwatch.search.searxng import EXCERPTS, SearxngSearch

QUERY = SearchQuery("why is the sky blue")
GOOD = [hit("https://a.example/")]


def search(url: str, query: SearchQuery = QUERY, **options: Any) -> SearchReply:
    async def one() -> SearchReply:
        searxng = SearxngSearch(url, **{"timeout_s": 20.0, **options})
        try:
            return await searxng.search(query)
        finally:
            await searxng.aclose()

    return asyncio.run(one())


def failure(url: str, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        search(url, **options)
    return caught.value


def test_what_is_sent_is_what_searxng_reads():
    """One request: the words, the format, the range of time that holds the days, and the domains in the query."""
    query = SearchQuery("q\ud800 café", max_results=7, days=30, domains=("nature.com", "who.int"))
    with SearxngServer([GOOD]) as server:
        search(server.url + "/", query)
        (call,) = server.calls
        assert call.path == "/search"
        assert call.body == {
            "q": "q café (site:nature.com OR site:who.int)",
            "format": "json",
            "time_range": "month",
        }
        assert "authorization" not in call.headers


@pytest.mark.parametrize(
    ("days", "sent"), [(1, "day"), (7, "week"), (8, "month"), (300, "year"), (400, None), (None, None)]
)
def test_days_become_the_shortest_range_that_holds_them(days, sent):
    """SearXNG knows day, week, month and year; beyond, all times are searched."""
    with SearxngServer([GOOD]) as server:
        search(server.url, SearchQuery("q", days=days))
        assert server.calls[0].body.get("time_range") == sent


@pytest.mark.parametrize("words", ["!!g secret plans", "!images cats", "?? q", "a !!ddg b"])
def test_no_word_of_a_query_sends_it_elsewhere(words):
    """A query of the model's is searched here: what SearXNG takes for an order to leave (`!!g`) is taken off."""
    with SearxngServer([GOOD]) as server:
        search(server.url, SearchQuery(words))
        assert "!" not in server.calls[0].body["q"]
        assert "?" not in server.calls[0].body["q"]


def test_results_are_pages_with_an_excerpt_and_cost_nothing():
    """Title, address, day and excerpt of each result are there; the search is counted, and nothing is paid."""
    found = [
        hit("https://a.example/", "One", "It is so.", publishedDate="2026-11-02T10:00:00"),
        hit("https://b.example/"),
    ]
    with SearxngServer([found]) as server:
        reply = search(server.url)
    one, two = reply.pages
    assert (one.title, one.url, one.date, one.text, one.excerpt) == (
        "One",
        "https://a.example/",
        "2026-11-02",
        "It is so.",
        True,
    )
    assert two.date is None
    assert (reply.usage.searches, reply.usage.cost_usd) == (1, 0.0)
    assert reply.notices == (EXCERPTS,)


def test_what_was_not_asked_for_is_left_out():
    """Engines take domains and dates for advice; here they hold. A page of unknown date stays."""
    today = date.fromisoformat(clock.utc()[:10])
    found = [
        hit("https://www.nature.com/x", publishedDate=str(today)),
        hit("https://notnature.com/"),
        hit("https://news.nature.com/old", publishedDate=str(today - timedelta(days=20))),
        hit("https://nature.com/undated"),
        hit("https://nature.com/odd", publishedDate="last week"),
    ]
    with SearxngServer([found]) as server:
        pages = search(server.url, SearchQuery("q", days=7, domains=("nature.com",))).pages
    assert [page.url for page in pages] == [
        "https://www.nature.com/x", "https://nature.com/undated", "https://nature.com/odd",
    ]  # fmt: skip


def test_engines_that_fail_are_named_and_the_rest_counts():
    """Of many engines some always fail: what the others found is there, and a notice says who failed."""
    hits = Hits(GOOD, [["google", "Suspended: CAPTCHA"], ["brave", "timeout"], ["odd"], "strange", [], [1, 2]])
    with SearxngServer([hits]) as server:
        reply = search(server.url)
    assert len(reply.pages) == 1
    assert "google (Suspended: CAPTCHA), brave (timeout), odd, 1 (2)" in reply.notices[0]


def test_nothing_found_is_an_answer_also_where_an_engine_failed():
    """Some engine of many always fails, and SearXNG does not say how many it asked: that it failed is a notice."""
    with SearxngServer([Hits([], [["google", "access denied"]])]) as server:
        reply = search(server.url)
    assert reply.pages == ()
    (notice,) = reply.notices
    assert "nothing was found" in notice
    assert "google (access denied)" in notice
    with SearxngServer([Hits([])]) as server:
        assert search(server.url) == SearchReply((), reply.usage)


def test_where_json_is_switched_off_the_error_names_the_setting():
    """SearXNG as it is shipped answers 403: the person reads which setting of it to change, and the run waits."""
    with SearxngServer([NO_JSON]) as server:
        error = failure(server.url)
    assert type(error) is ProviderUnreachable
    for word in ("settings.yml", "`json`", "search: formats:", server.url):
        assert word in str(error)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.status(400, {"error": "Invalid value for parameter time_range"}), ProviderRefused, "Invalid value"),
        (Fault.status(401, "no"), WrongKey, "searxng_url"),
        (Fault.status(404, "<h1>not here</h1>"), ProviderUnreachable, "searxng_url"),
        (Fault.status(302, "", {"Location": "https://elsewhere.example/x"}), ProviderUnreachable, "elsewhere.example"),
        (Fault.status(302, "", {"Location": "http://169.254.169.254/meta"}), ProviderUnreachable, "not followed"),
        (TOO_MANY, ProviderUnavailable, "limiter"),
        (Fault.status(500, {"error": "search error"}), ProviderUnavailable, "search error"),
        (Fault.status(502, "<html><h1>Bad Gateway</h1></html>"), ProviderUnavailable, "Bad Gateway"),
        (Fault.garbage(), ProviderUnavailable, "is not SearXNG's"),
        (Fault.status(200, ""), ProviderUnavailable, "is not SearXNG's"),
        (Fault.status(200, [1, 2]), ProviderUnavailable, "is not SearXNG's"),
        (Fault.status(200, {"answers": []}), ProviderUnavailable, "is not SearXNG's"),
        (Fault.status(200, {"error": "No query"}), ProviderUnavailable, "No query"),
        (Fault.status(200, "no gzip", {"Content-Encoding": "gzip"}), ProviderUnavailable, "compressed"),
        (Fault.status(200, "[" * 100_000), ProviderUnavailable, "is not SearXNG's"),
        (Fault.hang_up(), ProviderUnavailable, "no connection"),
        (Fault.cut_off("x"), ProviderUnavailable, "no connection"),
    ],
)  # fmt: skip
def test_each_failure_has_its_class_and_its_words(fault, kind, words):
    """What a person must change holds the run, what may pass is tried again; one request each, and no markup."""
    with SearxngServer([fault]) as server:
        error = failure(server.url)
        assert type(error) is kind
        assert words in str(error)
        assert "<" not in str(error)
        assert server.count == (2 if fault == Fault.hang_up() else 1)  # aiohttp takes it for a connection that was idle


def test_a_rate_limit_says_when_to_come_back():
    """Retry-After reaches the caller."""
    with SearxngServer([TOO_MANY]) as server:
        error = failure(server.url)
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after_s == 7.0


def test_a_redirect_is_not_followed():
    """Nobody is asked but the address that the person set, wherever it sends."""
    with SearxngServer([GOOD]) as elsewhere:
        with SearxngServer([Fault.status(307, "", {"Location": elsewhere.url})]) as server:
            failure(server.url)
        assert elsewhere.count == 0


@pytest.mark.parametrize(
    "result",
    [
        "no object", None, hit(17), hit(None), hit("javascript:alert(1)"), hit("http://[::1"), hit("https://a b/"),
    ],
)  # fmt: skip
def test_a_result_that_is_none_is_left_out(result):
    """What has no address of the web is no page; the others are there."""
    with SearxngServer([[result, *GOOD]]) as server:
        assert [page.url for page in search(server.url).pages] == ["https://a.example/"]


@pytest.mark.parametrize("field", ["title", "content", "author", "publishedDate"])
@pytest.mark.parametrize("value", [None, 17, ["a"], {"a": 1}, True])
def test_a_value_of_another_shape_counts_as_missing(field, value):
    """A result's field that is no text breaks nothing."""
    with SearxngServer([[hit("https://a.example/", **{field: value})]]) as server:
        (page,) = search(server.url).pages
    assert page.url == "https://a.example/"


def test_text_comes_clean_in_whatever_script():
    """Any script comes whole; control characters, and what is not seen, are taken out."""
    text = "空が青い理由 \u202e하늘\x1b[31m Größe 👩\u200d🔬\U000e0041 null\x00"
    with SearxngServer([[hit("https://日本.example/空", "Übér\n空", text)]]) as server:
        (page,) = search(server.url, SearchQuery("空 небо \U0001f52d")).pages
        assert server.calls[0].body["q"] == "空 небо \U0001f52d"
    assert page.title == "Übér 空"
    assert "空が青い理由 하늘[31m Größe" in page.text
    assert page.text.endswith("null")


@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall("x"), Hits(GOOD, gap_s=0.05)])
def test_silence_ends_after_the_time_limit(fault):
    """A search that says nothing more, or a letter now and then, is given up, and its connection closed."""
    with SearxngServer([fault]) as server:
        error = failure(server.url, timeout_s=0.3)
        assert type(error) is ProviderUnavailable
        assert "no answer in 0.3 s" in str(error)
        assert not error.may_be_billed
        server.wait_for_hang_ups()


def test_a_cancelled_search_closes_its_connection():
    """Cancelling ends the request at once."""

    async def test(server: SearxngServer) -> None:
        searxng = SearxngSearch(server.url)
        task = asyncio.create_task(searxng.search(QUERY))
        await asyncio.to_thread(server.wait_for_calls, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_for_hang_ups)
        await searxng.aclose()

    with SearxngServer([Fault.stall()]) as server:
        asyncio.run(test(server))


def test_nobody_there_may_come_back():
    """A port where nobody listens is an outage; a name that does not exist waits for a person."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert type(error) is ProviderUnavailable
    assert "no connection" in str(error)


def asked_by(talk: Talk, *, tls: bool = False) -> ProviderError:
    """Return how a search fails at a server that says *talk*."""

    async def one() -> ProviderError:
        async with RawServer(talk, tls=tls) as server:
            searxng = SearxngSearch(server.url.removesuffix("/v1"), timeout_s=20)
            try:
                await searxng.search(QUERY)
            except ProviderError as error:
                return error
            finally:
                await searxng.aclose()
        raise AssertionError("it did not fail")

    return asyncio.run(one())


@pytest.mark.parametrize(
    "talk",
    [
        endless(b" " * 1_000_000, "application/json"),
        answer(200, b'{"results": [' + b" " * 10_000_000 + b"]}", "application/json"),
        endless(b"no " * 300_000, "text/plain", 503),
    ],
    ids=["endless", "10 MB", "endless refusal"],
)
def test_no_body_is_read_beyond_its_limit(talk):
    """An answer of 10 MB, or without end, is not read: it is none of SearXNG's."""
    tracemalloc.start()
    try:
        error = asked_by(talk)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()
    assert type(error) is ProviderUnavailable
    assert "longer than 8 MB" in str(error)


def test_a_certificate_that_is_not_accepted_waits_for_a_person():
    """A self-signed certificate is none the next time either."""
    error = asked_by(answer(), tls=True)
    assert type(error) is ProviderUnreachable
    assert "self-signed" in str(error)


def test_a_login_is_sent_and_never_shown():
    """The login in the address goes to SearXNG alone, and stands in no error."""
    with SearxngServer([Fault.status(500, {"error": "down"})]) as server:
        error = failure(server.url.replace("http://", "http://me:very-private@"))
        assert server.calls[0].headers["authorization"].startswith("Basic ")
    assert "very-private" not in str(error)


@pytest.mark.parametrize(("answer_", "fine"), [(GOOD, True), (NO_JSON, False), (Fault.garbage(), False)])
def test_a_probe_says_whether_a_search_would_be_answered(answer_, fine):
    """`doctor` learns whether JSON is switched on, without a search."""

    async def probe(url: str) -> None:
        searxng = SearxngSearch(url)
        try:
            await searxng.probe()
        finally:
            await searxng.aclose()

    with SearxngServer([answer_]) as server:
        if fine:
            asyncio.run(probe(server.url))
        else:
            with pytest.raises(ProviderError):
                asyncio.run(probe(server.url))
        assert "q" not in server.calls[0].body


def test_where_pages_may_be_read_their_text_takes_the_excerpts_place():
    """With a reader of pages the text is the page's own, the excerpt a highlight; one that cannot be read keeps it."""

    async def read_page(url: str) -> str:
        if "closed" in url:
            raise InputError("no")
        return f"The whole of {url}.\x00"

    found = [hit("https://a.example/", content="An excerpt."), hit("https://closed.example/", content="Closed.")]
    with SearxngServer([found]) as server:
        reply = search(server.url, SearchQuery("q", text_chars=12), read_page=read_page)
    one, two = reply.pages
    assert (one.text, one.highlights, one.excerpt) == ("The whole of", ("An excerpt.",), False)
    assert (two.text, two.excerpt) == ("Closed.", True)
    assert reply.notices == (EXCERPTS,)
