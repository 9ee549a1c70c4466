"""
Web search by a SearXNG, a search engine that people run themselves: it needs no account and costs nothing.

Asked is `GET /search?q=…&format=json` (docs.searxng.org/dev/search_api.html, as of August 2026):

| what SearXNG does                                          | here                                                 |
| ---------------------------------------------------------- | ---------------------------------------------------- |
| gives JSON only where its settings say so; 403 otherwise   | an error that names the setting; the run waits       |
| its limiter refuses programs with 429                      | tried again later, with the setting's name           |
| asks many engines, of which some fail                      | the rest counts; which failed is a notice            |
| gives lines of a page and not its text                     | an excerpt, marked as such; the page is read where   |
|                                                            | the user's configuration allows that                 |
| knows no domains, and times only as day, week, month, year | `site:` in the query, and what came is looked at     |
| takes `!!` in a query as "send the browser to that engine" | a query has no such words                            |
| gives some 10 to 30 results, however many are wanted       | that is what there is                                |

Its answer is a stranger's: one redirect is none, at most `BODY_LIMIT` bytes are read, each value is looked at.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from rlmwatch import clock
from rlmwatch.addresses import UnusableProxy, hide_secrets, proxy_to, redirected, shown, without_login
from rlmwatch.connecting import lasting
from rlmwatch.errors import (
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    RlmwatchError,
    WrongKey,
)
from rlmwatch.runs.model import Usage
from rlmwatch.search.base import Page, SearchQuery, SearchReply
from rlmwatch.search.exa_errors import wait_asked, words_of
from rlmwatch.search.pages import clean, line, tidy
from rlmwatch.version import __version__

if TYPE_CHECKING:
    import aiohttp

SETTING = "searxng_url"
TIMEOUT_S = 30.0
"""For one whole search. SearXNG gives its engines 3 s as it is shipped, and few instances more than 15."""
CONNECT_TIMEOUT_S = 10.0
BODY_LIMIT = 8 << 20
"""Bytes of an answer: 30 results are some 50 KB."""
WORDS_LIMIT = 400
"""Characters of SearXNG's words that are shown; a proxy before it may send a whole page."""
ENGINES_SHOWN = 8
PAGES_AT_ONCE = 4
EXCERPTS = (
    "the pages' texts are excerpts, as the search engine shows them; the pages themselves were not read, so a citation "
    "is checked against the excerpt alone"
)
NO_JSON = (
    "SearXNG gives no JSON: in its settings.yml write `json` under `search: formats:` beside `html`, and restart it. "
    "(Where JSON is switched on, something before it refuses programs: its bot detection, or a proxy)"
)
LIMITER = (
    "its limiter refuses programs: in SearXNG's settings.yml set `server: limiter: false`, or let this machine pass in "
    "its limiter.toml (`[botdetection.ip_lists] pass_ip`)"
)
_RANGES = ((1, "day"), (7, "week"), (31, "month"), (366, "year"))
"""Days up to which each `time_range` of SearXNG holds what is wanted."""
_BANG = re.compile(r"(?:^|(?<=\s))[!?]+")
_RETRYABLE = frozenset({408, 425, 429})

ReadPage = Callable[[str], Awaitable[str]]
"""Returns the text of the page at an address; raises an RlmwatchError where it cannot be read."""


class SearxngSearch:
    """
    SearXNG (port `Search`).

    Belongs to the event loop of its first search. aiohttp is loaded by that search.

    Attributes:
        provider: `searxng`.
    """

    def __init__(self, base_url: str, *, read_page: ReadPage | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """
        Search at *base_url*.

        Args:
            base_url: Where SearXNG is; a login in it is sent, and never shown.
            read_page: Reads the pages that were found; None where the user's configuration does not allow it.
            timeout_s: For one whole search, without the reading of pages.
        """
        self.provider = "searxng"
        self._base_url, self._login = without_login(base_url.rstrip("/"))
        self._read_page = read_page
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    def max_usd(self, query: SearchQuery) -> float:  # noqa: ARG002 (the port's)
        """Return 0: nobody is paid."""
        return 0.0

    async def search(self, query: SearchQuery) -> SearchReply:
        """Make one search. See the port for the errors."""
        today = date.fromisoformat(clock.utc()[:10])
        asked = {"q": _words(query), "format": "json", **_time_range(query.days)}
        status, headers, body = await self._get(asked)
        if status != HTTPStatus.OK:
            raise self._failure(status, headers, body)
        document = self._document(body)
        notices = tuple(_unresponsive(document))
        found = [self._page(result) for result in document["results"] if isinstance(result, Mapping)]
        pages = tidy([page for page in found if _fits(page, query, today)], query)
        if not found:  # how many engines were asked is not told: one that failed says nothing of the others
            notices = tuple(f"nothing was found, and {failed}" for failed in notices)
        if self._read_page is not None:
            pages = await self._with_texts(pages, query.text_chars, self._read_page)
        if any(page.excerpt for page in pages):
            notices = (*notices, EXCERPTS)
        return SearchReply(pages, Usage(cost_usd=0.0, searches=1), notices)

    async def probe(self) -> None:
        """
        Ask for nothing, which shows whether a search would be answered, without one.

        Raises:
            ProviderError: It would not.
        """
        status, headers, body = await self._get({"format": "json"})
        if status != HTTPStatus.BAD_REQUEST or not isinstance(_json(body), Mapping):
            raise self._failure(status, headers, body)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _get(self, asked: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers (with lower-case names) and body of the answer to *asked*."""
        import aiohttp

        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"rlmwatch/{__version__}"}
        if self._login is not None:
            headers["Authorization"] = self._login
        url = f"{self._base_url}/search?{urlencode(asked)}"
        try:
            if self._session is None:
                timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)
                self._session = aiohttp.ClientSession(
                    timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                )
            getting = self._session.get(url, headers=headers, proxy=proxy_to(url), allow_redirects=False)
            async with asyncio.timeout(self._timeout_s), getting as response:
                body = await self._body(response)
                return response.status, {name.lower(): value for name, value in response.headers.items()}, body
        except TimeoutError:
            raise ProviderUnavailable(self._text(f"no answer in {self._timeout_s:g} s")) from None
        except UnusableProxy as error:
            raise ProviderUnreachable(self._text(str(error))) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unreachable(error) from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ProviderUnavailable(self._text("the answer is compressed, though that was not asked for"))
        body = bytearray()
        async for piece in response.content.iter_chunked(1 << 16):
            body += piece
            if len(body) > BODY_LIMIT:
                raise ProviderUnavailable(
                    self._text(f"the answer is longer than {BODY_LIMIT >> 20} MB, and is not read")
                )
        return bytes(body)

    def _failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Return the error that an answer stands for which is not a success."""
        words = words_of(body[: WORDS_LIMIT * 16].decode("utf-8", "replace"))
        said = self._text(f"HTTP {status}: {words}", WORDS_LIMIT)
        if (lasting_failure := self._setting(status, said, headers.get("location"))) is not None:
            return lasting_failure
        if status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            more = f" ({LIMITER})" if status == HTTPStatus.TOO_MANY_REQUESTS else ""
            wait = wait_asked(headers, datetime.fromisoformat(clock.utc()))
            return ProviderUnavailable(said + more, status=status, retry_after_s=wait)
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return self._not_searxng("it is not JSON")
        return ProviderRefused(said, status=status)

    def _setting(self, status: int, said: str, location: str | None) -> ProviderError | None:
        """Return the error of a setting that a person must change, here or of SearXNG; None where it is another."""
        if status == HTTPStatus.UNAUTHORIZED:
            return WrongKey(f"{said} (write the login into {SETTING}: https://name:password@host)", status=status)
        where = shown(self._base_url)
        if status == HTTPStatus.FORBIDDEN:
            return ProviderUnreachable(f"searxng: HTTP {status} from {where}: {NO_JSON}", status=status)
        if status == HTTPStatus.NOT_FOUND:
            return ProviderUnreachable(f"{said} (is {where} a SearXNG? check {SETTING})", status=status)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return ProviderUnreachable(self._text(redirected(status, self._base_url, location, SETTING)), status=status)
        return None

    def _document(self, body: bytes) -> Mapping[str, Any]:
        document = _json(body)
        if not isinstance(document, Mapping):
            raise self._not_searxng("it is not a JSON object")
        if document.get("error"):
            raise ProviderUnavailable(self._text(f"it says: {document['error']}", WORDS_LIMIT))
        if not isinstance(document.get("results"), list):
            raise self._not_searxng("it has no results")
        return document

    def _page(self, result: Mapping[str, Any]) -> Page:
        """
        Return one result as a page; what is not text counts as missing, and one without an address is left out later.

        Of `publishedDate`, which engines write in many ways, what is not a date is unknown.
        """
        text = _text_of(result, "content").strip()
        title, url = _text_of(result, "title"), _text_of(result, "url")
        published = _text_of(result, "publishedDate") or None
        return Page(title, url, published, _text_of(result, "author") or None, text, excerpt=bool(text))

    async def _with_texts(self, pages: tuple[Page, ...], chars: int, read_page: ReadPage) -> tuple[Page, ...]:
        """Return *pages* with their own texts, where they can be read; the excerpt is a highlight then."""
        slots = asyncio.Semaphore(PAGES_AT_ONCE)

        async def read(page: Page) -> Page:
            try:
                async with slots:
                    text = clean(await read_page(page.url)).strip()
            except RlmwatchError:
                return page
            if not text:
                return page
            return replace(page, text=text[:chars], highlights=(page.text,) if page.text else (), excerpt=False)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(page)) for page in pages]
        return tuple(task.result() for task in tasks)

    def _unreachable(self, error: Exception) -> ProviderError:
        if (why := lasting(error)) is not None:
            return ProviderUnreachable(self._text(f"no connection to {shown(self._base_url)}: {why}"))
        cause = getattr(error, "os_error", None) or error
        words = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(error).__name__
        return ProviderUnavailable(self._text(f"no connection to {shown(self._base_url)}: {words}"))

    def _not_searxng(self, words: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            self._text(f"the answer is not SearXNG's: {words} (is {shown(self._base_url)} a SearXNG? check {SETTING})")
        )

    def _text(self, words: str, most: int = 4 * WORDS_LIMIT) -> str:
        """Return *words* on one line, cut, with the provider's name in front and without logins."""
        said = " ".join(clean(hide_secrets(words)).split())
        return "searxng: " + (said if len(said) <= most else said[:most] + " …")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text_of(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _words(query: SearchQuery) -> str:
    """Return what SearXNG is asked: the query without its bangs, and the domains in the way that engines take them."""
    words = _BANG.sub("", clean(query.query)).strip() or query.query.strip("!? ")
    sites = " OR ".join(f"site:{clean(domain).strip()}" for domain in query.domains or ())
    return f"{words} ({sites})" if sites and " OR " in sites else f"{words} {sites}".strip()


def _time_range(days: int | None) -> dict[str, str]:
    """Return the shortest range of time that holds the last *days*; none where no range does."""
    word = None if days is None else next((word for most, word in _RANGES if days <= most), None)
    return {} if word is None else {"time_range": word}


def _fits(page: Page, query: SearchQuery, today: date) -> bool:
    """Whether *page* is one that was asked for; engines take dates and domains for advice. An unknown date fits."""
    if query.domains is not None:
        try:
            host = (urlsplit(page.url).hostname or "").lower()
        except ValueError:
            return False
        wanted = [domain.strip().lower().removeprefix("www.") for domain in query.domains]
        if not any(host == each or host.endswith(f".{each}") for each in wanted):
            return False
    if query.days is None or page.date is None:
        return True
    try:
        published = date.fromisoformat(page.date[:10])
    except ValueError:
        return True
    return published >= today - timedelta(days=min(query.days, (today - date.min).days))


def _unresponsive(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield, in words, which engines did not answer: `unresponsive_engines` is a list of [name, why]."""
    entries = document.get("unresponsive_engines")
    named = [
        f"{line(str(entry[0]))} ({line(str(entry[1]))})" if len(entry) > 1 else line(str(entry[0]))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, list) and entry
    ]
    if named:
        more = f" and {len(named) - ENGINES_SHOWN} more" if len(named) > ENGINES_SHOWN else ""
        yield f"these engines of SearXNG did not answer: {', '.join(named[:ENGINES_SHOWN])}{more}"
