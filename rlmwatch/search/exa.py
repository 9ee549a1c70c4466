"""
Web search by Exa, through its own SDK.

What the SDK (2.28) does, and what is done about it here:

| the SDK                                                    | here                                                  |
| ---------------------------------------------------------- | ----------------------------------------------------- |
| turns an HTTP error into a ValueError without the headers  | a response hook takes status, headers and body first  |
| waits 600 s, and for each piece of data anew               | `TIMEOUT_S` for the whole search                      |
| takes proxies from the environment, for loopback too       | its HTTP client is ours (`AsyncExa.client`)           |
| reads a body of any length                                 | not compressed, and at most `BODY_LIMIT` bytes        |
| issues what the API warns about as Python warnings         | they go to the log                                    |
| hands out JSON values as they came                         | each is looked at; what is not Exa's is an error      |
| follows no redirect, retries nothing, closes when cancelled | wanted                                               |
"""

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import structlog
from pydantic import SecretStr

from rlmwatch import clock
from rlmwatch.addresses import UnusableProxy, hide_secrets, is_http, proxy_to, shown
from rlmwatch.connecting import lasting
from rlmwatch.errors import ProviderError, ProviderRefused, ProviderUnavailable, ProviderUnreachable, WrongKey
from rlmwatch.runs.model import Usage
from rlmwatch.search.base import Page, SearchQuery, SearchReply
from rlmwatch.search.exa_errors import ADDRESS_NAME, KEY_NAME, Answered, ExaFailures
from rlmwatch.search.pages import clean, tidy, without_unread
from rlmwatch.search.urls import is_web

if TYPE_CHECKING:
    import httpx
    from exa_py import AsyncExa
    from exa_py.api import Result, SearchResponse

MOST_USD = 1e6
"""A report of more for one search is not a sound one."""

log = structlog.get_logger()

BASE_URL = "https://api.exa.ai"

TIMEOUT_S = 60.0
"""For one whole search. Exa answers in a few seconds, with pages that it must fetch first in some ten more."""

CONNECT_TIMEOUT_S = 10.0
"""A host that cannot be reached in this time is down, or behind a firewall that drops."""

USD_PER_SEARCH = 0.007
USD_PER_FURTHER_RESULT = 0.001
RESULTS_INCLUDED = 10
"""
Exa's list price of one search of type `auto` with text and highlights of its pages: 7 dollars per 1,000 searches with
up to 10 results each, 1 dollar per 1,000 results beyond (exa.ai/docs/admin/pricing, as of November 2026; the SDK has no
prices). Free credit and contracts only lower it, and what Exa reports as `costDollars` is what is booked.
"""

BODY_LIMIT = 32 << 20
"""Bytes of one answer: a hundred pages of 100,000 characters are some 15 MB."""

REFUSAL_LIMIT = 1 << 20
"""Bytes of what is not a success; the rest is not read."""

_PROXY_LOGIN = "407"
_BEFORE_SENDING = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")


class ExaSearch:
    """
    Exa (port `Search`).

    Belongs to the event loop of its first search. The exa_py package is loaded by that search.

    Attributes:
        provider: `exa`.
    """

    def __init__(self, api_key: SecretStr, base_url: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """
        Search as the owner of *api_key*.

        Args:
            api_key: Sent as `x-api-key` to *base_url* and nowhere else.
            base_url: Where Exa is; None for its own address.
            timeout_s: For one whole search.
        """
        self.provider = "exa"
        self._base_url = (base_url or BASE_URL).rstrip("/")
        self._timeout_s = timeout_s
        self._caller = ExaFailures(self._base_url, api_key.get_secret_value().strip())
        self._exa: AsyncExa | None = None

    def max_usd(self, query: SearchQuery) -> float:
        """Return Exa's list price of *query*."""
        return USD_PER_SEARCH + USD_PER_FURTHER_RESULT * max(0, query.max_results - RESULTS_INCLUDED)

    async def search(self, query: SearchQuery) -> SearchReply:
        """
        Make one search, with the text of its pages. See the port for the errors.

        A search that broke after it was sent may be billed.
        """
        answer = self._unfit() or await self._asked(query)
        if isinstance(answer, ProviderError):
            raise answer
        for warning in answer.warnings or ():
            log.warning("search.warned", provider=self.provider, code=warning.code, path=warning.path)
        try:
            pages = tidy([_page(result) for result in answer.results], query)
        except TypeError as error:
            raise self._not_exa(str(error)) from None
        usage = Usage(cost_usd=_reported(answer, otherwise=self.max_usd(query)), searches=1)
        return SearchReply(pages, usage, tuple(clean(notice.message) for notice in answer.notices or ()))

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        exa, self._exa = self._exa, None
        if exa is not None:
            await exa.aclose()

    def _unfit(self) -> ProviderRefused | None:
        """Return why nobody can be asked with this key at this address; None where that can be tried."""
        if not (self._caller.key.isascii() and self._caller.key.isprintable() and self._caller.key):
            return WrongKey(f"exa: the key is empty or holds characters that no key has (check {KEY_NAME})")
        if not (is_web(self._base_url) and is_http(self._base_url)):
            return ProviderRefused(f"exa: {shown(self._base_url)!r} is not an address (check {ADDRESS_NAME})")
        return None

    async def _asked(self, query: SearchQuery) -> SearchResponse[Result] | ProviderError:
        """Return the SDK's answer, or its failure in our terms: raised from the SDK's own, it could show the key."""
        # It loads the openai package too, for a second or more: not in the loop, where others wait.
        await asyncio.to_thread(importlib.import_module, "exa_py")
        import httpx

        try:
            exa = self._connected()
        except (UnusableProxy, OSError) as error:
            names = "" if isinstance(error, UnusableProxy) else "SSL_CERT_FILE or SSL_CERT_DIR: "
            return ProviderUnreachable(f"exa: {names}{error}")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await exa.search(
                    clean(query.query),
                    type="auto",
                    num_results=query.max_results,
                    start_published_date=_start(query.days),
                    include_domains=[clean(domain) for domain in query.domains] if query.domains else None,
                    contents={"text": {"max_characters": query.text_chars}, "highlights": True},
                )
        except Answered as answered:
            return self._caller.failure(answered, now=datetime.fromisoformat(clock.utc()))
        except (TimeoutError, httpx.TransportError, httpx.InvalidURL) as error:
            return self._unreachable(error)
        except (httpx.DecodingError, ValueError, LookupError, TypeError, AttributeError) as error:
            return self._not_exa(str(error))

    def _unreachable(self, error: TimeoutError | httpx.TransportError | httpx.InvalidURL) -> ProviderError:
        """Return the error for a connection that was not made, broke, or fell silent."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "InvalidURL" in kinds:
            return ProviderRefused(f"exa: {shown(self._base_url)!r} is not an address (check {ADDRESS_NAME})")
        if (why := lasting(error)) is not None:
            return ProviderUnreachable(self._caller.text(f"no connection to {shown(self._base_url)}: {why}"))
        if "ProxyError" in kinds and str(error).startswith(_PROXY_LOGIN):
            words = f"the proxy answers HTTP {error}: check its login (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)"
            return ProviderUnreachable(self._caller.text(words))
        if isinstance(error, TimeoutError) or "ReadTimeout" in kinds:
            words = f"no answer in {self._timeout_s:g} s"
        else:
            words = f"no connection to {shown(self._base_url)}: {hide_secrets(str(error)) or type(error).__name__}"
        return ProviderUnavailable(self._caller.text(words), may_be_billed=kinds.isdisjoint(_BEFORE_SENDING))

    def _not_exa(self, words: str) -> ProviderUnavailable:
        return ProviderUnavailable(self._caller.text(f"the answer is not Exa's: {words}"), may_be_billed=True)

    def _connected(self) -> AsyncExa:
        """
        Return the client, made at the first search.

        Raises:
            UnusableProxy, OSError: There is a proxy or a file of certificates that cannot be used.
        """
        if self._exa is None:
            import httpx
            from exa_py import AsyncExa, ExaWarning

            warnings.filterwarnings("ignore", category=ExaWarning)  # they come with the answer, and go to the log
            http = httpx.AsyncClient(
                headers={"Accept-Encoding": "identity"},
                timeout=httpx.Timeout(self._timeout_s, connect=min(CONNECT_TIMEOUT_S, self._timeout_s)),
                event_hooks={"response": [_take]},
                proxy=proxy_to(self._base_url),
                verify=httpx.create_ssl_context(),
                trust_env=False,
            )

            class Exa(AsyncExa):
                """The SDK on our HTTP client: it has no other way to a hook, a connect timeout and our proxy."""

                @property
                def client(self) -> httpx.AsyncClient:
                    return http

                async def async_request(self, *args: Any, **options: Any) -> object:  # noqa: ANN401 (the SDK's)
                    return without_unread(await super().async_request(*args, **options))  # it drops `statuses`

                async def aclose(self) -> None:
                    await http.aclose()

            self._exa = Exa(self._caller.key, self._base_url)
        return self._exa


async def _take(response: httpx.Response) -> None:
    """
    Read *response* before the SDK does, which reads on however long it is.

    Raises:
        Answered: It is not a success.
        ValueError: It is too long, or compressed.
    """
    import httpx

    content = bytearray()
    plain = response.headers.get("content-encoding", "identity") == "identity"
    limit = BODY_LIMIT if response.is_success else REFUSAL_LIMIT
    stream = cast("httpx.AsyncByteStream", response.stream)
    async for piece in stream:
        content += piece if plain else b""
        if len(content) > limit or not plain:
            break
    await stream.aclose()
    if not response.is_success:
        headers = {name.lower(): value for name, value in response.headers.items()}
        raise Answered(response.status_code, headers, content.decode("utf-8", "replace"))
    if not plain:
        raise ValueError("it is compressed, which was not asked for")
    if len(content) > limit:
        raise ValueError(f"it is longer than {BODY_LIMIT >> 20} MB")
    response.stream = httpx.ByteStream(bytes(content))


def _start(days: int | None) -> str | None:
    """Return the first day of the last *days*, as Exa takes it."""
    if days is None:
        return None
    try:
        return (datetime.fromisoformat(clock.utc()) - timedelta(days=days)).date().isoformat()
    except OverflowError:  # more days than there are in our calendar
        return None


def _page(result: Result) -> Page:
    """
    Return *result* as a page.

    Raises:
        TypeError: One of its values is of a type that Exa does not send.
    """
    fields: Mapping[str, Any] = {
        "url": result.url,
        "title": result.title,
        "publishedDate": result.published_date,
        "author": result.author,
        "text": result.text,
    }
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} of a result is a {type(value).__name__}")
    highlights: object = result.highlights or []
    if not (isinstance(highlights, list) and all(isinstance(highlight, str) for highlight in highlights)):
        raise TypeError("highlights of a result are not a list of texts")
    return Page(
        result.title or "",
        result.url or "",
        result.published_date,
        result.author,
        result.text or "",
        tuple(highlights),
    )


def _reported(answer: SearchResponse[Result], *, otherwise: float) -> float:
    """Return what Exa says that it cost, in US dollars; *otherwise* where it says nothing that can be believed."""
    total: object = answer.cost_dollars.total if answer.cost_dollars is not None else None
    if isinstance(total, (int, float)) and not isinstance(total, bool) and 0 <= total <= MOST_USD:
        return float(total)
    return otherwise
