"""A web server on loopback with a few pages, each of which says exactly what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from servers.raw_server import Talk, _Server, answer


class PageServer(_Server):
    """
    Answers each path with its page, others with 404.

    Attributes:
        pages: Path → what sends its answer; may change.
    """

    def __init__(self, pages: Mapping[str, Talk] | None = None) -> None:
        super().__init__()
        self.pages = dict(pages or {})

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [head.split(" ")[1] for head in self.heads]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await self._head(reader)).split(" ")[1]
        await self.pages.get(path, answer(404, b"no", "text/plain"))(writer)


def page(text: str, kind: str = "text/html; charset=utf-8") -> Talk:
    """Return what sends the page *text*."""
    return answer(200, text.encode(), kind, Connection="close")


def redirect(to: str, status: int = 302) -> Talk:
    """Return what sends on *to* another address."""
    return answer(status, b"", "text/plain", Location=to, Connection="close")
