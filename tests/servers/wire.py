"""HTTP/1.1 by hand, so that a test server can break it where it wants."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Wire:
    """Writes HTTP/1.1."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def document(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        await self._head(status, {"Content-Type": kind, "Content-Length": str(len(raw)), **(headers or {})})
        await self._send(raw)

    async def part(self, status: int, body: Any, bytes_sent: int, *, gap_s: float = 0.0) -> None:
        """Send a document's head and its first bytes, *gap_s* seconds after each; the rest never comes."""
        raw = json.dumps(body).encode()
        await self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(raw))})
        for at in range(bytes_sent):
            await self._send(raw[at : at + 1])
            await asyncio.sleep(gap_s)

    async def stream(self, kind: str = "text/event-stream") -> None:
        await self._head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})

    async def event(self, data: Any) -> None:
        await self.raw(b"data: " + (data.encode() if isinstance(data, str) else json.dumps(data).encode()) + b"\n\n")

    async def raw(self, data: bytes) -> None:
        """Send *data* as a part of the stream."""
        if data:
            await self._send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._send(b"0\r\n\r\n")

    def break_off(self) -> None:
        self._writer.transport.abort()

    async def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", "Connection: close", *(f"{k}: {v}" for k, v in headers.items())]
        await self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def _send(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()
