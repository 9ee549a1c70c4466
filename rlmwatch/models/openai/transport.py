"""
The connections to one endpoint: chat requests out, the events of its answers in.

The openai package's client on its aiohttp transport; its answers are taken raw and parsed by `stream.Events`. Which
parser and why, and what this file works around: docs/decisions/model-client.md. What goes wrong leaves here as
`Broken`, which knows nothing of the request: the packages' own errors carry its headers, and with them the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from rlmwatch.addresses import proxy_to
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.stream import Events
from rlmwatch.version import __version__

if TYPE_CHECKING:
    import httpx2
    import openai

KEPT_IDLE_S = 5.0
"""A kept connection that was idle longer is closed: many proxies and servers close theirs after some more seconds."""
NOT_KEPT_S = 1e-9
_DRAIN_S = 0.1
_CLOSERS = ("llama.cpp", "llamafile")
"""Servers that promise to keep a connection and then close it, just as the next request may be on its way."""
_DONE = b"[DONE]"
_AT_ONCE = 1 << 20
"""Bytes of a body that are written in one go; a longer one is written in pieces, so that others get their turn."""
_PIECE = 1 << 16
# Who is billed, where a key belongs to more than one; OpenAI's own variables.
_WHOSE = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


class Broken(Exception):
    """
    There is no connection, or it broke, or fell silent.

    Attributes:
        sent: Whether the request, or some of it, may have arrived.
        silent: Whether it was given up after too long a silence.
    """

    def __init__(self, words: str, *, sent: bool, silent: bool = False) -> None:
        super().__init__(words)
        self.sent = sent
        self.silent = silent


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
        """
        import httpx2

        self._url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        self._proxy = proxy_to(self._url)
        self._headers = _headers(endpoint)
        self._timeout = httpx2.Timeout(connect=connect_s, read=idle_s, write=None, pool=connect_s)
        self._kept = self._client(KEPT_IDLE_S)
        self._unkept: openai.AsyncOpenAI | None = None

    async def post(self, body: Mapping[str, Any]) -> Response:
        """
        Send *body*, and return the answer with its content still to be read.

        Raises:
            Broken: No answer.
        """
        import httpx2
        import openai

        # Half a surrogate pair may stand in a text of a model's own code; no server takes one.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        headers: dict[str, Any] = {**self._headers, "Content-Length": str(len(content))}
        client = self._unkept or self._kept
        failure: Broken
        try:
            raw: object = await client.post(
                self._url,
                cast_to=httpx2.Response,
                content=content if len(content) <= _AT_ONCE else _in_pieces(content),
                options={"headers": headers},
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            )
        except openai.APIStatusError as error:
            return self._heard(Response(error.response))
        except Exception as error:  # noqa: BLE001 (ValueError, too: what cannot be sent)
            failure = _broken(error)
        else:
            return self._heard(Response(cast("httpx2.Response", raw)))
        raise failure

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._kept.close()
        if self._unkept is not None:
            await self._unkept.close()

    def _heard(self, response: Response) -> Response:
        """From the first answer of a server that closes what it promised to keep, use a connection for each call."""
        if self._unkept is None and response.headers.get("server", "").startswith(_CLOSERS):
            self._unkept = self._client(NOT_KEPT_S)
        return response

    def _client(self, kept_idle_s: float) -> openai.AsyncOpenAI:
        import httpx2
        import openai

        http = openai.DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=0, keepalive_expiry=kept_idle_s),  # 0: no limit; None would be 100
            timeout=self._timeout,
            proxy=self._proxy,
            verify=_tls(),
            trust_env=False,
            follow_redirects=False,
        )
        return _bare_client()(api_key="unused", base_url=self._url, http_client=http, max_retries=0)


class Response:
    """
    An answer whose content is still to be read.

    Attributes:
        status: HTTP status.
        headers: By name, in any case.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def text(self) -> str:
        """
        Return the whole content.

        Raises:
            Broken: It did not come whole.
        """
        failure = None
        try:
            return (await self._response.aread()).decode("utf-8", "replace")
        except Exception as error:  # noqa: BLE001
            failure = _broken(error)
        raise failure

    async def events(self) -> AsyncIterator[object]:
        """
        Yield the JSON values of a streamed answer, as they come, until the stream says that it is done or ends.

        Raises:
            Broken: The connection broke or fell silent.
            ValueError: What came is no JSON, or no UTF-8.
        """
        found = Events()
        pieces = self._response.aiter_bytes()
        while piece := await self._piece(pieces):
            for data in found.feed(piece):
                if data.startswith(_DONE):
                    await self._drain(pieces)
                    return
                yield json.loads(data)

    async def aclose(self) -> None:
        """Close the connection, unless all was read: then it is kept. Idempotent."""
        await self._response.aclose()

    async def _piece(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return what has come, as soon as something has; nothing at the end."""
        failure = None
        try:
            return await anext(pieces, b"")
        except Exception as error:  # noqa: BLE001
            failure = _broken(error)
        raise failure

    async def _drain(self, pieces: AsyncIterator[bytes]) -> None:
        """Read what is left, if it comes at once: a connection with an answer that was not read whole is closed."""
        with suppress(TimeoutError, Broken):
            async with asyncio.timeout(_DRAIN_S):
                while await self._piece(pieces):
                    pass


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), _PIECE):
        yield content[at : at + _PIECE]


@cache
def _bare_client() -> type[openai.AsyncOpenAI]:
    """Return openai's client without the headers that it takes from the environment and adds about the machine."""
    import openai

    class BareClient(openai.AsyncOpenAI):
        @property
        def default_headers(self) -> dict[str, str | openai.Omit]:
            return {}

    return BareClient


@cache
def _tls() -> ssl.SSLContext:
    """Return the certificates of this machine, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name."""
    import httpx2

    return httpx2.create_ssl_context()


def _broken(error: Exception) -> Broken:
    """Return *error* in our terms. The transport's own classes mix up what aiohttp keeps apart: look behind them."""
    import aiohttp

    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    if isinstance(cause, aiohttp.SocketTimeoutError):
        return Broken("silence", sent=True, silent=True)
    unsent = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
        ValueError,
    )
    return Broken(_words(cause), sent=not isinstance(cause, unsent))


def _words(error: BaseException) -> str:
    """Return what went wrong, for a person: what the system says, without aiohttp's wrapping."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__


def _headers(endpoint: Endpoint) -> dict[str, Any]:
    import openai

    headers: dict[str, Any] = {
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "gzip, deflate",
        "Content-Type": "application/json",
        "User-Agent": f"rlmwatch/{__version__}",
        "Authorization": openai.Omit(),
        "X-Stainless-Retry-Count": openai.Omit(),
        "X-Stainless-Read-Timeout": openai.Omit(),
    }
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key.get_secret_value()}"
    if endpoint.provider == "openai":
        headers |= {name: os.environ[key] for name, key in _WHOSE.items() if os.environ.get(key)}
    return headers
