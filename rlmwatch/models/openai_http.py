"""
The connections to one endpoint: chat requests out, the events of its answers in.

httpx2 itself, without the openai package on top of it: that costs as much processor time again for each call, a third
of a second and 25 MB to load, and gives nothing that is used here (`benchmarks/engine.py`). httpx2 is loaded by the
first call.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rlmwatch.models.openai_dialect import Endpoint
from rlmwatch.models.openai_stream import Events
from rlmwatch.models.prices import is_loopback

if TYPE_CHECKING:
    import httpx2

KEPT_IDLE_S = 5.0
"""A kept connection that was idle longer is closed: many proxies and servers close theirs after some more seconds."""
KEPT = 100
_DRAIN_S = 0.1
_CLOSERS = ("llama.cpp", "llamafile")
"""Servers that promise to keep a connection and then close it, just as the next request may be on its way."""
_DONE = b"[DONE]"
# Who is billed, where a key belongs to more than one; OpenAI's own variables.
_WHOSE = {b"OpenAI-Organization": "OPENAI_ORG_ID", b"OpenAI-Project": "OPENAI_PROJECT_ID"}


class Connections:
    """
    Connections to *endpoint*, made when they are needed and kept for the next call.

    Belongs to one event loop.
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

        local = is_loopback(endpoint.base_url)
        timeout = httpx2.Timeout(idle_s, connect=connect_s)
        # A request that the client builds itself is merged from its defaults each time, which takes as long again.
        self._request = httpx2.Request
        self._url = httpx2.URL(f"{endpoint.base_url.rstrip('/')}/chat/completions")
        self._headers = _headers(endpoint)
        self._patience = {"timeout": timeout.as_dict()}
        self._client = httpx2.AsyncClient(
            timeout=timeout,
            follow_redirects=True,
            # A proxy from the environment has no way back to this machine's own loopback.
            trust_env=not local,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT, keepalive_expiry=KEPT_IDLE_S),
        )

    async def post(self, body: Mapping[str, Any]) -> httpx2.Response:
        """
        Send *body*, and return the answer with its content still to be read, by `events` or `aread`.

        Raises:
            httpx2.HTTPError, httpx2.InvalidURL: No answer.
        """
        # Half a surrogate pair may stand in a text of a model's own code; no server takes one.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        request = self._request("POST", self._url, headers=self._headers, content=content, extensions=self._patience)
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._client.aclose()


async def events(response: httpx2.Response) -> AsyncIterator[object]:
    """
    Yield the JSON values of a streamed answer, as they come, until the stream says that it is done or ends.

    Raises:
        httpx2.HTTPError: The connection broke or fell silent.
        ValueError: What came is no JSON, or no UTF-8.
    """
    found = Events()
    pieces = response.aiter_bytes()
    async for piece in pieces:
        for data in found.feed(piece):
            if data.startswith(_DONE):
                if not response.headers.get("server", "").startswith(_CLOSERS):
                    await _drain(pieces)
                return
            yield json.loads(data)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what is left, if it comes at once: the connection of an answer that was not read whole is not used again."""
    import httpx2

    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass


def _headers(endpoint: Endpoint) -> dict[bytes, bytes]:
    headers = {
        b"Accept": b"application/json, text/event-stream",
        b"Content-Type": b"application/json",
        b"User-Agent": f"rlmwatch/{version('rlmwatch')}".encode(),
    }
    if endpoint.api_key is not None:
        headers[b"Authorization"] = f"Bearer {endpoint.api_key.get_secret_value()}".encode()
    if endpoint.provider == "openai":
        headers |= {name: os.environ[key].encode() for name, key in _WHOSE.items() if os.environ.get(key)}
    return headers
