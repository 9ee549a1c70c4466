"""
The connections to one endpoint: chat requests out, the events of its answers in.

The openai package's client on its aiohttp transport; its answers are taken raw and parsed by `stream.Events`. Which
parser and why, and the traps that this file goes around: docs/decisions/model-client.md. What goes wrong leaves here as
`Broken`, which knows nothing of the request: the packages' own errors carry its headers, and with them the key.

Loading this module loads the packages, which takes 0.35 s: it is imported where a first call is near, in a thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

import aiohttp
import httpx2
import openai

from rlmwatch.addresses import UnusableProxy, hide_secrets, is_http, proxy_to, redirected, shown, without_login
from rlmwatch.connecting import lasting
from rlmwatch.models.openai.address import chat_address
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.stream import DONE, Events, value
from rlmwatch.version import __version__

KEPT_IDLE_S = 5.0
"""A kept connection that was idle longer is closed: many proxies and servers close theirs after some more seconds."""
_NOT_KEPT_S = 1e-9
_DRAIN_S = 0.1
_CLOSERS = ("llama.cpp", "llamafile")
"""Servers that promise to keep a connection and then close it, just as the next request may be on its way."""
_AT_ONCE = 1 << 20
"""Bytes of a body that are written in one go; a longer one is written in pieces, so that others get their turn."""
_PIECE = 1 << 16

BYTES_OF_AN_ANSWER = 1 << 20
BYTES_PER_TOKEN = 4096
"""
An answer holds at most the sum of the first and as many of the second as tokens were asked for, decompressed: a chunk
of one token with all its names takes some 300 bytes, with its reasoning twice and its probabilities some 2,000.
"""
BYTES_OF_AN_EVENT = 2 << 20
"""One event, or what comes between two; the largest in use repeats a whole answer."""
BYTES_OF_A_REFUSAL = 1 << 20
REFUSAL_S = 10.0
"""What has come of a refusal's body after that many bytes or seconds is what it says."""

_PROXY_MAY_RECOVER = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROXY_LOGIN = 407
# Who is billed, where a key belongs to more than one; OpenAI's own variables.
_WHOSE = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


class Broken(Exception):
    """
    There is no connection, or it broke, or fell silent, or brought more than it may.

    Attributes:
        sent: Whether the request, or some of it, may have arrived.
        silent: Whether it was given up after too long a silence.
        lasting: Whether it stays so until a person changes something; the text says what.
        too_long: Whether more came than the tokens that were asked for can take.
    """

    def __init__(
        self, words: str, *, sent: bool, silent: bool = False, lasting: bool = False, too_long: bool = False
    ) -> None:
        super().__init__(words)
        self.sent = sent
        self.silent = silent
        self.lasting = lasting
        self.too_long = too_long


class Connections:
    """
    Connections to *endpoint*, made when they are needed and kept for the next call.

    Belongs to the event loop that it is made in.
    """

    def __init__(self, endpoint: Endpoint, *, connect_s: float, idle_s: float) -> None:
        """
        Prepare; nothing is connected.

        Args:
            endpoint: Who is asked.
            connect_s: Until there is a connection.
            idle_s: Silence that is borne.

        Raises:
            Broken: Nobody can be asked with this address, key, proxy or certificates.
        """
        if not is_http(endpoint.base_url):
            raise _never(f"base_url {shown(endpoint.base_url)} is not an http or https address")
        self._url, login = without_login(chat_address(endpoint.base_url))
        self._headers = _headers(endpoint, login)
        try:
            self._proxy = proxy_to(self._url)
            self._tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        except (OSError, UnusableProxy) as error:
            why = str(error) if isinstance(error, UnusableProxy) else f"SSL_CERT_FILE or SSL_CERT_DIR: {error}"
            raise _never(why) from None
        self._timeout = httpx2.Timeout(connect=connect_s, read=idle_s, write=None, pool=connect_s)
        self._kept = self._client(KEPT_IDLE_S)
        self._unkept: openai.AsyncOpenAI | None = None

    async def post(self, body: Mapping[str, Any]) -> Response:
        """
        Send *body*, and return the answer with its content still to be read.

        Raises:
            Broken: No answer, or one that only sends elsewhere.
        """
        # Half a surrogate pair may stand in a text of a model's own code; no server takes one.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        tokens = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        failure: Broken
        try:
            raw: object = await (self._unkept or self._kept).post(
                self._url,
                cast_to=httpx2.Response,
                content=content if len(content) <= _AT_ONCE else _in_pieces(content),
                options={"headers": {**self._headers, "Content-Length": str(len(content))}},
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            )
            response = Response(cast("httpx2.Response", raw), BYTES_OF_AN_ANSWER + tokens * BYTES_PER_TOKEN)
        except _Refused as refused:
            if (elsewhere := self._elsewhere(refused.response)) is None:
                return self._received(refused.response)
            failure = elsewhere
        except Exception as error:  # noqa: BLE001 (ValueError, too: what cannot be sent)
            failure = self._broken(error)
        else:
            return self._received(response)
        raise failure

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._kept.close()
        if self._unkept is not None:
            await self._unkept.close()

    def _received(self, response: Response) -> Response:
        """From the first answer of a server that closes what it promised to keep, use a connection for each call."""
        if self._unkept is None and response.headers.get("server", "").startswith(_CLOSERS):
            self._unkept = self._client(_NOT_KEPT_S)
        return response

    def _client(self, kept_idle_s: float) -> openai.AsyncOpenAI:
        proxy, headers = None, {}
        if self._proxy is not None:
            address, login = without_login(self._proxy)
            if login is not None and self._url.startswith("https:"):
                headers = {"Proxy-Authorization": login}  # of the CONNECT alone
            elif login is not None:
                self._headers["Proxy-Authorization"] = login
            proxy = httpx2.Proxy(address, headers=headers)
        http = openai.DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=0, keepalive_expiry=kept_idle_s),  # 0: no limit; None would be 100
            timeout=self._timeout,
            proxy=proxy,
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            event_hooks={"response": [_stop_unless_success]},
        )
        return _BareClient(api_key="unused", base_url=self._url, http_client=http, max_retries=0)

    def _elsewhere(self, response: Response) -> Broken | None:
        """Return the failure that *response* is where it comes from a proxy, or only points at another address."""
        if response.status == _PROXY_LOGIN:
            return self._of_proxy(response.status, "Proxy Authentication Required")
        if response.status >= 400:  # noqa: PLR2004
            return None
        return _never(redirected(response.status, self._url, response.headers.get("location")))

    def _broken(self, error: Exception) -> Broken:
        """Return *error*, of a request that got no answer, in our terms."""
        cause = _behind(error)
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return self._of_proxy(cause.status, cause.message)
        if isinstance(cause, aiohttp.ClientConnectorError) and (why := lasting(cause)) is not None:
            return _never(f"no connection to {cause.host}:{cause.port}: {why}")
        if isinstance(cause, aiohttp.ClientProxyConnectionError) and self._proxy is not None:
            return Broken(f"the proxy {shown(self._proxy)}: {_words(cause)}", sent=False)
        return _broken(error)

    def _of_proxy(self, status: int, words: str) -> Broken:
        proxy = f"the proxy {shown(self._proxy or '')} answers HTTP {status} {words}".rstrip()
        if status in _PROXY_MAY_RECOVER:
            return Broken(proxy, sent=False)
        cure = "check its login" if status == _PROXY_LOGIN else "it may not lead there"
        return _never(f"{proxy}: {cure} (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)")


class Response:
    """
    An answer whose content is still to be read.

    Attributes:
        status: HTTP status.
        headers: By name, in any case.
    """

    def __init__(self, response: httpx2.Response, limit: int, refusal: str | None = None) -> None:
        """
        Take *response*.

        Args:
            response: As the client gives it.
            limit: Bytes that its content may hold, decompressed.
            refusal: Its content, where it was read already.
        """
        self._response = response
        self._limit = limit
        self._refusal = refusal
        self._pieces = response.aiter_bytes()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def text(self) -> str:
        """
        Return the whole content.

        Raises:
            Broken: It did not come whole, or is too long.
        """
        if self._refusal is not None:
            return self._refusal
        content = bytearray()
        while piece := await self._piece():
            content += piece
        return content.decode("utf-8", "replace")

    async def events(self) -> AsyncIterator[object]:
        """
        Yield the JSON values of an answer, as they come, until it says that it is done (`DONE`) or ends.

        Raises:
            Broken: The connection broke or fell silent, or brought too much.
            NotTheProtocol: What came is not JSON, or not UTF-8.
        """
        found = Events()
        since_event = 0
        while piece := await self._piece():
            events = found.feed(piece)
            since_event = 0 if events else since_event + len(piece)
            if since_event > BYTES_OF_AN_EVENT:
                raise Broken(f"one event of more than {BYTES_OF_AN_EVENT >> 20} MB", sent=True, too_long=True)
            for data in events:
                yield (chunk := value(data))
                if chunk is DONE:
                    await self._drain()
                    return
        for data in found.end():
            yield value(data)

    async def aclose(self) -> None:
        """Close the connection, unless all was read: then it is kept. Idempotent."""
        await self._response.aclose()

    async def _piece(self) -> bytes:
        """Return what has come, as soon as something has; nothing at the end."""
        failure = None
        try:
            piece = await anext(self._pieces, b"")
        except Exception as error:  # noqa: BLE001
            failure = _broken(error)
        else:
            self._limit -= len(piece)
            if self._limit >= 0:
                return piece
            failure = Broken("more came than the tokens that were asked for can take", sent=True, too_long=True)
        raise failure

    async def _drain(self) -> None:
        """Read what is left, if it comes at once: a connection with an answer that was not read whole is closed."""
        with suppress(TimeoutError, Broken):
            async with asyncio.timeout(_DRAIN_S):
                while await self._piece():
                    pass


class _BareClient(openai.AsyncOpenAI):
    """openai's client without the headers that it takes from the environment, and adds about the machine."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return {}


class _Refused(Exception):
    """An answer that is not a success, on its way past the client, which would read it however long it is."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


async def _stop_unless_success(response: httpx2.Response) -> None:
    if response.is_success:
        return
    content = bytearray()
    with suppress(TimeoutError, httpx2.RequestError, aiohttp.ClientError, ssl.SSLError):
        async with asyncio.timeout(REFUSAL_S):
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > BYTES_OF_A_REFUSAL:
                    break
    raise _Refused(Response(response, 0, content.decode("utf-8", "replace")))


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), _PIECE):
        yield content[at : at + _PIECE]


@lru_cache(maxsize=1)
def _tls(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return the certificates of this machine, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name: takes 20 ms."""
    return httpx2.create_ssl_context()


def _never(words: str) -> Broken:
    return Broken(words, sent=False, lasting=True)


def _behind(error: BaseException) -> BaseException:
    """Return aiohttp's error behind *error*: the transport's own classes mix up what aiohttp keeps apart."""
    cause = error
    while cause.__cause__ is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return cause


def _broken(error: Exception) -> Broken:
    """Return *error* in our terms."""
    cause = _behind(error)
    if isinstance(cause, aiohttp.SocketTimeoutError):
        return Broken("silence", sent=True, silent=True)
    unsent = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, ValueError)
    return Broken(_words(cause), sent=not isinstance(cause, unsent))


def _words(error: BaseException) -> str:
    """Return what went wrong, for a person: what the system says, without aiohttp's wrapping."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return "not made in time"
    if isinstance(cause, aiohttp.ClientResponseError):  # its text holds the address
        return f"no HTTP: {cause.message}"
    return hide_secrets(str(cause)) or type(cause).__name__


def _headers(endpoint: Endpoint, login: str | None) -> dict[str, Any]:
    """
    Return all headers of a request but its length and those of HTTP itself.

    Raises:
        Broken: The key cannot be sent.
    """
    headers: dict[str, Any] = {
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "gzip, deflate",
        "Content-Type": "application/json",
        "User-Agent": f"rlmwatch/{__version__}",
        "Authorization": login or openai.Omit(),
        "X-Stainless-Retry-Count": openai.Omit(),
        "X-Stainless-Read-Timeout": openai.Omit(),
    }
    if endpoint.api_key is not None:
        key = endpoint.api_key.get_secret_value()
        name = endpoint.key_name or "the key"
        if login is not None:
            raise _never(f"base_url holds a login, and {name} is set: only one of them can be sent. Remove one")
        if not (key.isascii() and key.isprintable()):
            raise _never(f"{name} holds characters that no key has: check it")
    headers |= endpoint.own_headers
    if endpoint.provider == "openai":
        headers |= {name: os.environ[key] for name, key in _WHOSE.items() if os.environ.get(key)}
    return headers
