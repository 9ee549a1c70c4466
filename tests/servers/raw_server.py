r"""
Servers on loopback that say exactly what a test wants, and write down all that they are told.

    async with RawServer(answer(200, STREAM)) as server:              # server.url, server.heads, server.bodies
    async with RawServer(..., tls=True) as server:                    # with the certificate in `CERTIFICATE`
    async with ProxyServer(server.port) as proxy:                     # every way leads to that port; proxy.heads
    async with ProxyServer(refuses=b"HTTP/1.1 407 No\r\n\r\n") as proxy:

Both live in the loop of the test. The certificate is for `provider.example` and this machine, signed by itself; its
key is for tests and secret to nobody.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

CERTIFICATE = Path(__file__).parent / "tls" / "certificate.pem"

CHUNKS = [
    {"choices": [{"delta": {"content": "hi"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
]
STREAM = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS) + b"data: [DONE]\n\n"

Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, content: bytes = STREAM, kind: str = "text/event-stream", **headers: str) -> Talk:
    """Return what sends one whole answer."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        lines = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + content)
        await writer.drain()

    return talk


def endless(piece: bytes, kind: str = "text/event-stream", status: int = 200, **headers: str) -> Talk:
    """Return what sends *piece* again and again, until the client has gone."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n{head}\r\n".encode())
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return talk


class _Server:
    def __init__(self, tls: bool = False) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._tls = tls
        self._busy: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_name("key.pem"))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            while True:
                await self._one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._busy.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _head(self, reader: asyncio.StreamReader) -> str:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        return self.heads[-1]

    def headers(self, n: int = -1) -> dict[str, str]:
        """Return the headers of the *n*th request, with lower-case names."""
        lines = (line.partition(": ") for line in self.heads[n].split("\r\n")[1:] if line)
        return {name.lower(): value for name, _, value in lines}


class RawServer(_Server):
    """Answers each request with *talk*."""

    def __init__(self, talk: Talk | None = None, *, tls: bool = False) -> None:
        super().__init__(tls)
        self.talk = talk or answer()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._head(reader)
        self.bodies.append(await reader.readexactly(int(self.headers().get("content-length", 0))))
        await self.talk(writer)

    @property
    def asked(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]


class ProxyServer(_Server):
    """A proxy that leads everybody to *port*, or says *refuses*."""

    def __init__(self, port: int = 0, *, refuses: bytes = b"") -> None:
        super().__init__()
        self._to = port
        self._refuses = refuses

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await self._head(reader)
        if self._refuses:
            writer.write(self._refuses)
            await writer.drain()
            raise ConnectionResetError
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            back.write(head.encode("latin-1"))
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.transport.abort()
        raise ConnectionResetError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
