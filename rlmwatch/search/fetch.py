"""
Fetch one page by its address, from the public internet alone.

1. http and https, without a login in the address. Each redirect is looked at like the first address; at most
   `MAX_REDIRECTS`, and none from https to http.
2. Every address to which the host's name resolves must be public, and the connection is made to one of these very
   addresses: what the name resolves to afterwards (DNS rebinding) does not matter. It is looked at once more where the
   socket is made. No proxy is used: it would look up the name itself.
3. `MAX_SECONDS` for all of it, `MAX_BYTES` of content (unpacked), and only kinds of content that become text.
4. No cookies, no credentials, nothing of the question.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from rlmwatch.addresses import is_http, is_public, shown
from rlmwatch.errors import InputError
from rlmwatch.version import __version__

if TYPE_CHECKING:
    import aiohttp

MAX_BYTES = 10_000_000
"""Of a page, as of an input; a long article has 0.3 MB, a report as PDF 5."""
MAX_SECONDS = 30.0
"""For a page with its redirects; slow ones take five."""
MAX_REDIRECTS = 5
"""A shortener, from http to https, to the host with www, and two to spare."""
CONTENT_TYPES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
}
"""Kind of content → the ending of a file like it."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """
    A page as it came.

    Attributes:
        raw: Its content, unpacked.
        suffix: The ending of a file with such content.
        charset: Of a text; None where the server does not say.
    """

    raw: bytes
    suffix: str
    charset: str | None = None


class _Private(OSError):
    """An address that is not public was to be connected to."""


async def fetch(url: str, *, may_connect: Callable[[str], bool] = is_public) -> FetchedPage:
    """
    Return the page at *url*.

    Args:
        url: As a person wrote it.
        may_connect: Whether an IP address may be connected to.

    Raises:
        InputError: It is not fetched, or cannot be; why, without what may be secret in the address.
    """
    import aiohttp

    connector = aiohttp.TCPConnector(
        resolver=_resolver(may_connect), socket_factory=lambda info: _socket(info, may_connect), force_close=True
    )
    try:
        async with (
            asyncio.timeout(MAX_SECONDS),
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            return await _followed(session, url)
    except TimeoutError:
        raise _cannot(url, f"it takes longer than {MAX_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _cannot(url, _reason(error)) from None


async def _followed(session: aiohttp.ClientSession, url: str) -> FetchedPage:
    """Return the page to which *url* leads."""
    at = url
    for _ in range(MAX_REDIRECTS + 1):
        if (why := _refusal(at)) is not None:
            raise _cannot(url, why if at == url else f"it leads to {shown(at)[:200]}: {why}")
        headers = {"User-Agent": f"rlmwatch/{__version__}", "Accept": ", ".join(CONTENT_TYPES)}
        async with session.get(at, headers=headers, allow_redirects=False, proxy=None) as response:
            to = response.headers.get("Location")
            if response.status not in _REDIRECTS or to is None:
                return await _content(response, url)
            before, at = at, urljoin(at, to)
        if before.lower().startswith("https:") and at.lower().startswith("http:"):
            raise _cannot(url, f"it leads from https to {shown(at)[:200]}, which is not encrypted")
    raise _cannot(url, f"it leads from one address to the next, more than {MAX_REDIRECTS} times")


async def _content(response: aiohttp.ClientResponse, url: str) -> FetchedPage:
    if response.status != HTTPStatus.OK:
        raise _cannot(url, f"the server answers with HTTP {response.status}")
    suffix = CONTENT_TYPES.get(response.content_type)
    if suffix is None:
        raise _cannot(url, f"it is {response.content_type[:100]}, which is not read: only {', '.join(CONTENT_TYPES)}")
    raw = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        raw += piece
        if len(raw) > MAX_BYTES:
            raise _cannot(url, f"it is larger than {MAX_BYTES // 1_000_000} MB")
    return FetchedPage(bytes(raw), suffix, response.charset)


def _refusal(url: str) -> str | None:
    """Return why *url* is not asked, whatever its host is; None where it may be."""
    if not is_http(url):
        return "it is no http or https address"
    if "@" in urlsplit(url).netloc:
        return "it holds a login"
    return None


def _resolver(may_connect: Callable[[str], bool]) -> aiohttp.abc.AbstractResolver:
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.resolver import ThreadedResolver

    class PublicResolver(AbstractResolver):
        """Resolves names, and refuses one that leads to any address that is not public."""

        def __init__(self) -> None:
            self._resolver = ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await self._resolver.resolve(host, port, family)
            for each in found:
                if not may_connect(each["host"]):
                    raise _Private(f"{host} is not a host of the public internet")
            return found

        async def close(self) -> None:
            await self._resolver.close()

    return PublicResolver()


def _socket(info: Any, may_connect: Callable[[str], bool]) -> socket.socket:  # noqa: ANN401 (aiohttp's, not typed)
    family, kind, protocol, _, address = info
    if not may_connect(str(address[0])):
        raise _Private(f"{address[0]} is not an address of the public internet")
    return socket.socket(family, kind, protocol)


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _Private):
            return str(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__ or cause.__context__
    strerror = getattr(error, "strerror", None)
    return f"no connection: {strerror or type(error).__name__}"


def _cannot(url: str, why: str) -> InputError:
    return InputError(f"the page {shown(url)[:300]} cannot be read: {why}. To ask once more: rlmwatch again FILE")
