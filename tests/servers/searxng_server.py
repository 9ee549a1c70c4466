"""
SearXNG on loopback: what its webapp (August 2026) answers at `GET /search?format=json`, and every way to fail.

    with SearxngServer([hit("https://a.example/")]) as server:
        ...                       # searxng_url: server.url
        server.wait_for_calls(2)

Like SearXNG it refuses a format that is not switched on with 403 and a page, and a search for nothing with 400 and
JSON. Where it differs: it finds what its script says, whatever the query. Calls, hang-ups and waiting are those of
`OpenAIServer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from servers.openai_server import Call, Fault, OpenAIServer
from servers.wire import Wire

__all__ = ["NO_JSON", "Call", "Fault", "Hits", "SearxngServer", "hit"]

FORBIDDEN_PAGE = "<!doctype html>\n<html lang=en>\n<title>403 Forbidden</title>\n<h1>Forbidden</h1>\n<p>No.</p>\n"
NO_JSON = Fault.status(403, FORBIDDEN_PAGE, {"Content-Type": "text/html"})
"""SearXNG as it is shipped: only `html` stands under `search: formats:`."""
TOO_MANY = Fault.status(429, "Too Many Requests", {"Retry-After": "7"})
"""Its limiter."""


@dataclass(frozen=True)
class Hits:
    """
    A good answer.

    Attributes:
        results: As SearXNG sends them (see `hit`).
        unresponsive: Engines that did not answer, each with its reason.
        more: Further keys of the answer, or other values of the usual ones.
        gap_s: Seconds after each byte of it; None sends it at once.
    """

    results: Sequence[Any] = ()
    unresponsive: Sequence[Any] = ()
    more: dict[str, Any] = field(default_factory=dict)
    gap_s: float | None = None


def hit(url: Any, title: Any = "A page", content: Any = "Some text.", **more: Any) -> dict[str, Any]:
    """Return one result with the keys that SearXNG sends."""
    return {
        "template": "default.html",
        "url": url,
        "title": title,
        "content": content,
        "engine": "duckduckgo",
        "engines": ["duckduckgo"],
        "positions": [1],
        "score": 1.0,
        "category": "general",
        "publishedDate": None,
        "thumbnail": "",
        **more,
    }


class SearxngServer(OpenAIServer):
    """
    SearXNG; a context manager.

    Its script is answers in the order of the calls (the last one is repeated), or a function of the parameters. An
    answer is a list of results, `Hits`, or a `Fault` (of which those inside a stream cut or stall the document).
    """

    asked_by_get = True

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    async def _answer_call(self, call: Call, wire: Wire) -> None:
        if call.path != "/search":
            await wire.document(404, "<title>404 Not Found</title>", {"Content-Type": "text/html"})
            return
        if call.body.get("format") != "json":
            await wire.document(200, "<!DOCTYPE html><title>SearXNG</title>", {"Content-Type": "text/html"})
            return
        answer: Any = self._answer(call.body)
        if isinstance(answer, Fault):
            await _fail(answer, wire)
        elif not call.body.get("q"):
            await wire.document(400, {"error": "No query"})
        else:
            await _found(answer if isinstance(answer, Hits) else Hits(answer), call.body["q"], wire)


def _document(hits: Hits, query: str) -> dict[str, Any]:
    return {
        "query": query,
        "results": list(hits.results),
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": list(hits.unresponsive),
        **hits.more,
    }


async def _found(hits: Hits, query: str, wire: Wire) -> None:
    document = _document(hits, query)
    if hits.gap_s is None:
        await wire.document(200, document)
    else:
        await wire.part(200, document, 1000, gap_s=hits.gap_s)


async def _fail(fault: Fault, wire: Wire) -> None:
    if fault.kind == "status":
        await wire.document(fault.status_code, fault.body, fault.headers)
    elif fault.kind in ("stall", "stall_in_stream"):
        if fault.kind == "stall_in_stream":
            await wire.part(200, _document(Hits([hit("https://a.example/")]), "q"), 40)
        await asyncio.Event().wait()
    else:
        if fault.kind != "hang_up":
            await wire.part(200, _document(Hits([hit("https://a.example/")]), "q"), 40)
        wire.break_off()
