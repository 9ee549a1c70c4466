"""
The connections to one endpoint: chat requests out, the events of its answers in.

aiohttp, whose parser is written in C: a call takes a third of the processor time that it takes through httpx2, and a
sixth of what the openai package takes (`benchmarks/engine.py`), and a batch of sub-calls is mostly that. It is loaded
by the first call. What goes wrong leaves here as `Broken`, which knows nothing of the request: aiohttp's own errors
carry its headers, and with them the key.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rlmwatch.addresses import proxy_to
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.stream import Events
from rlmwatch.version import __version__

if TYPE_CHECKING:
    import aiohttp

KEPT_IDLE_S = 5.0
"""A kept connection that was idle longer is closed: many proxies and servers close theirs after some more seconds."""
_DRAIN_S = 0.1
_CLOSERS = ("llama.cpp", "llamafile")
"""Servers that promise to keep a connection and then close it, just as the next request may be on its way."""
_DONE = b"[DONE]"
_AT_ONCE = 1 << 20
"""Bytes of a body that are written in one go; a longer one is written in pieces, so that others get their turn."""
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
        import aiohttp

        self._url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        self._proxy = proxy_to(self._url)
        self._headers = _headers(endpoint)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=idle_s)
        self._kept = self._session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_IDLE_S))
        self._unkept: aiohttp.ClientSession | None = None

    async def post(self, body: Mapping[str, Any]) -> Response:
        """
        Send *body*, and return the answer with its content still to be read.

        Raises:
            Broken: No answer.
        """
        # Half a surrogate pair may stand in a text of a model's own code; no server takes one.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        data = content if len(content) <= _AT_ONCE else io.BytesIO(content)
        failure = None
        try:
            session = self._unkept or self._kept
            return self._heard(Response(await session.post(self._url, data=data, proxy=self._proxy)))
        except Exception as error:  # noqa: BLE001 (ValueError, too: what cannot be sent)
            failure = _broken(error)
        raise failure

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._kept.close()
        if self._unkept is not None:
            await self._unkept.close()

    def _heard(self, response: Response) -> Response:
        """From the first answer of a server that closes what it promised to keep, use a connection for each call."""
        if self._unkept is None and response.headers.get("server", "").startswith(_CLOSERS):
            import aiohttp

            self._unkept = self._session(aiohttp.TCPConnector(limit=0, force_close=True))
        return response

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
        )


class Response:
    """
    An answer whose content is still to be read.

    Attributes:
        status: HTTP status.
        headers: By name, in any case.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def text(self) -> str:
        """
        Return the whole content.

        Raises:
            Broken: It did not come whole.
        """
        failure = None
        try:
            return (await self._response.read()).decode("utf-8", "replace")
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
        while piece := await self._piece():
            for data in found.feed(piece):
                if data.startswith(_DONE):
                    await self._drain()
                    return
                yield json.loads(data)

    def close(self) -> None:
        """Close the connection, unless all was read: then it is kept. Idempotent."""
        self._response.close()

    async def _piece(self) -> bytes:
        """Return what has come, as soon as something has; nothing at the end."""
        failure = None
        try:
            return await self._response.content.readany()
        except Exception as error:  # noqa: BLE001
            failure = _broken(error)
        raise failure

    async def _drain(self) -> None:
        """Read what is left, if it comes at once: a connection with an answer that was not read whole is closed."""
        if self._response.content.at_eof():
            return
        with suppress(TimeoutError, Broken):
            async with asyncio.timeout(_DRAIN_S):
                while await self._piece():
                    pass


def _broken(error: Exception) -> Broken:
    import aiohttp

    if isinstance(error, aiohttp.SocketTimeoutError):
        return Broken("silence", sent=True, silent=True)
    unsent = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
        ValueError,
    )
    return Broken(_words(error), sent=not isinstance(error, unsent))


def _words(error: Exception) -> str:
    """Return what went wrong, for a person: what the system says, without aiohttp's wrapping."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "User-Agent": f"rlmwatch/{__version__}",
        **endpoint.own_headers,
    }
    if endpoint.provider == "openai":
        headers |= {name: os.environ[key] for name, key in _WHOSE.items() if os.environ.get(key)}
    return headers
