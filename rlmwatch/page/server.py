"""
The page's server: who may ask, and for what. What is answered is made in `facts.py` and `content.py`.

1. It listens on a loopback address alone.
2. A request must name that address in `Host`: another name leads a browser here for a site of somebody else
   (DNS rebinding).
3. Every path begins with a token that is new at each start: other users of the machine can connect, and do not know it.
4. It answers GET and HEAD, and reads no body.
5. Connections, streams and the time for each reply are limited; beyond that one is closed, and the daemon goes on.
6. Nothing is read or looked at while nobody asks.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import structlog
from aiohttp import web

from rlmwatch import clock
from rlmwatch.page import content, facts
from rlmwatch.page.content import PageContent
from rlmwatch.page.facts import Sources, WorkspaceAt
from rlmwatch.page.markup import Redact
from rlmwatch.page.model import CeilingView, WorkspaceView
from rlmwatch.page.readers import Busy, Readers
from rlmwatch.page.shell import HEADERS, document

MAX_CONNECTIONS = 32
"""A browser has six to one address."""
MAX_STREAMS = 12
AT_ONCE = 4
"""Workspaces that are read side by side: a disk that hangs holds up its own alone."""
IDLE_S = 20.0
"""A connection without a request is closed after this."""
REPLY_S = 30.0
"""A client that takes longer to take a page is given up."""
LOOK_S = 1.0
"""Between two looks whether something has changed, while somebody watches: as often as a status file is rewritten."""
ANYWAY_S = 30.0
"""A page that nothing has happened on is made anew as often: a daemon that was killed leaves no trace in a file."""
STREAM_S = 3600.0
"""A browser asks anew by itself."""
STOP_S = 0.5
MAX_LINE = 2048
"""Bytes of a request's first line, and of each header."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PageAddress:
    """
    Where the page is to be served.

    Attributes:
        host: `127.0.0.1` or `::1`.
        port: 0 lets the system choose.
    """

    host: str
    port: int


class PageServer:
    """
    Serves the page. An asynchronous context manager: entering listens.

    Attributes:
        url: With the token, once it listens: who has it can read everything on the page.
    """

    url: str

    def __init__(
        self, address: PageAddress, sources: Sources, ceiling: Callable[[], CeilingView], redact: Redact
    ) -> None:
        """
        Prepare.

        Args:
            address: Where to listen.
            sources: Where to read.
            ceiling: What may be spent, as it holds now.
            redact: Takes secrets out of a text.
        """
        self.token = secrets.token_urlsafe(24)
        self._address = address
        self._sources = sources
        self._ceiling = ceiling
        self._redact = redact
        self._readers = Readers()
        self._streams = 0
        self._hosts: frozenset[str] = frozenset()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        """
        Listen.

        Raises:
            OSError: The address cannot be used, for instance since another program has it.
        """
        self._http = _Counting(
            self._answer,
            access_log=None,
            logger=_unheard(),
            keepalive_timeout=IDLE_S,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            lingering_time=0,
            handler_cancellation=True,
        )
        family = socket.AF_INET6 if ":" in self._address.host else socket.AF_INET
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, self._address.host, self._address.port, family=family
        )
        port = self._server.sockets[0].getsockname()[1]
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = frozenset(f"{name}:{port}" for name in names)
        host = f"[{self._address.host}]" if family == socket.AF_INET6 else self._address.host
        self.place = f"http://{host}:{port}/"
        self.url = f"{self.place}{self.token}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.close()
        self._http.pre_shutdown()
        await self._http.shutdown(STOP_S)
        self._http.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._server.wait_closed()

    def _connection(self) -> asyncio.Protocol:
        return _Refusal() if self._http.open_now >= MAX_CONNECTIONS else self._http()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is; never raises but for a client that is gone."""
        try:
            async with asyncio.timeout(None if self._is_stream(request) else REPLY_S):
                reply = await self._reply(request)
                if not reply.prepared:
                    await reply.prepare(request)
                    await reply.write_eof()
                return reply
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("too slow") from None
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("page.fault")
            return _plain(500, "A fault of rlmwatch; its log says more.")

    def _is_stream(self, request: web.BaseRequest) -> bool:
        return request.path.endswith("/events")

    async def _reply(self, request: web.BaseRequest) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        rest = request.path.removeprefix(f"/{self.token}/")
        if rest == "events":
            return await self._stream(request)
        if rest:
            return _plain(404, "There is no such page.")
        try:
            found, status = await self._page(request.query.get("workspace"), request.query.get("run"))
        except Busy:
            return _plain(503, "Reading takes too long just now. Try again.", Retry_After="5")
        rendered = partial(document, found, self._redact, now=clock.utc())
        body = await self._readers.read(object(), rendered)
        return web.Response(status=status, body=body, headers=HEADERS, content_type="text/html", charset="utf-8")

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to who may not ask, or not so; None where they may."""
        if [value.lower() for value in request.headers.getall("Host", [])] not in [[host] for host in self._hosts]:
            return _plain(421, f"This page is at {self.place} alone.")
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "This page can be read, and nothing else.", Allow="GET, HEAD")
        token, slash, _ = request.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            return _plain(403, "The address lacks its token. `rlmwatch status` shows the whole address.")
        return None

    async def _page(self, workspace: str | None, run: str | None) -> tuple[PageContent, int]:
        now = clock.utc()
        places = await self._places()
        if workspace is None:
            at_once = asyncio.Semaphore(AT_ONCE)

            async def look(at: WorkspaceAt) -> WorkspaceView | None:
                async with at_once:
                    return await self._look(at, now)

            views = [view for view in await asyncio.gather(*map(look, places)) if view is not None]
            return content.overview(self._sources.each_dollar_once(views), self._ceiling(), now=now), 200
        at = next((at for at in places if at.name == workspace), None)
        if at is None:
            return content.nothing("There is no such folder."), 404
        if run is None:
            view = await self._look(at, now)
            if view is None:
                return content.nothing("This folder is gone."), 404
            return content.workspace(view, self._ceiling(), now=now), 200
        reading = partial(facts.look_at_run, at, run, self._sources, now=now)
        found = await self._readers.read(("run", at, run), reading)
        if found is None:
            return content.nothing("There is no such run; status files and runs of a lost ledger go with time."), 404
        return content.run(found, now=now), 200

    async def _places(self) -> list[WorkspaceAt]:
        return await self._readers.read("places", partial(facts.workspaces, self._sources.states))

    async def _look(self, at: WorkspaceAt, now: str) -> WorkspaceView | None:
        """Return one workspace; where it cannot be read in time, its name and that."""
        try:
            return await self._readers.read(("look", at), partial(facts.look, at, self._sources, now=now))
        except Busy:
            title = at.root.name if at.root else at.name
            return WorkspaceView(at.name, title, str(at.root), problem="cannot be read just now: its disk is slow")

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say that something has changed, each time; what it is, the page itself says."""
        if self._streams >= MAX_STREAMS:
            return _plain(503, "Too many windows show this page already.", Retry_After="30")
        reply = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"})
        self._streams += 1
        try:
            await reply.prepare(request)
            if request.method == "GET":
                await self._tell(reply)
        finally:
            self._streams -= 1
        return reply

    async def _tell(self, reply: web.StreamResponse) -> None:
        await _write(reply, b"retry: 3000\n\n")
        begun = told = clock.monotonic()
        known, changed = await self._changes(()), False
        while not await _within(self._stopping, LOOK_S):
            now, before = clock.monotonic(), changed
            if now - begun > STREAM_S:
                return
            found = await self._changes(known)
            changed, known = found != known, found
            # Once more after the last change: a file system's clock has steps, so one may have been missed.
            if changed or before or now - told >= ANYWAY_S:
                told = now
                await _write(reply, b"data: changed\n\n")

    async def _changes(self, known: object) -> object:
        def look() -> object:
            return tuple((at, facts.changes(at)) for at in facts.workspaces(self._sources.states))

        try:
            return await self._readers.read("changes", look)
        except Busy:
            return known


def _unheard() -> logging.Logger:
    """Return a log that keeps nothing: aiohttp tells each broken request, and who sends them must not fill our log."""
    logger = logging.getLogger(f"{__name__}.http")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


class _Counting(web.Server):
    """Knows its connections, those that were accepted in this turn of the loop too."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **how: Any) -> None:  # noqa: ANN401 (aiohttp names them)
        super().__init__(handler, **how)
        self.open_now = 0
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def __call__(self) -> web.RequestHandler:
        self.open_now += 1
        return super().__call__()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self._transports[handler] = transport
        super().connection_made(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self.open_now -= 1
        self._transports.pop(handler, None)
        super().connection_lost(handler, exc)

    def abort(self) -> None:
        """Close what is open still, whatever was not sent: a client that reads nothing must not hold up a stop."""
        for transport in self._transports.values():
            transport.abort()


class _Refusal(asyncio.Protocol):
    """A connection too many: it is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


def _plain(status: int, words: str, **headers: str) -> web.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=f"{words}\n", headers={**HEADERS, **more})


async def _write(reply: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(REPLY_S):
        await reply.write(data)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait; True as soon as *event* is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
