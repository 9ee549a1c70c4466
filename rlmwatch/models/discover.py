"""
Find a language model server on this machine.

A server is known by what it replies, never by an open port: anybody may listen there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from urllib.parse import urlsplit

from rlmwatch.addresses import is_loopback
from rlmwatch.models.select import LocalServer

OLLAMA_PORT = 11434
LLAMA_CPP_PORT = 8080

TIMEOUT_S = 0.3
"""For all servers together: a start must not wait for a stranger on port 8080. A server that is up takes some 5 ms."""

REPLY_LIMIT = 1 << 20
"""Bytes of a reply that are read; a list of a thousand models is below."""


async def find(
    *, ollama_port: int = OLLAMA_PORT, llama_cpp_port: int = LLAMA_CPP_PORT, timeout_s: float = TIMEOUT_S
) -> tuple[LocalServer, ...]:
    """
    Return the servers that answer within *timeout_s* seconds, Ollama before llama.cpp.

    Both are asked at the same time. Sends no key and raises nothing: a server that is not there, is slow or is
    something else is left out.
    """
    asked = await asyncio.gather(
        _within(_ollama(ollama_port), timeout_s), _within(_llama_cpp(llama_cpp_port), timeout_s)
    )
    return tuple(server for server in asked if server is not None)


async def at(name: str, base_url: str, *, timeout_s: float = TIMEOUT_S) -> LocalServer | None:
    """
    Return the server at *base_url* with what it lists; None where it is not on loopback, is silent or lists nothing.

    Sends no key and raises nothing.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "http" or not is_loopback(base_url):
        return None
    return await _within(_plain(name, base_url, parts.port or 80, f"{parts.path.rstrip('/')}/models"), timeout_s)


async def _plain(name: str, base_url: str, port: int, path: str) -> LocalServer | None:
    listed = json.loads(await _get(port, path))
    models = _names(listed.get("data") if isinstance(listed, Mapping) else None, "id")
    return LocalServer(name, base_url, models) if models else None


async def _within(asking: Awaitable[LocalServer | None], timeout_s: float) -> LocalServer | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await asking
    except (OSError, ValueError, TimeoutError):
        return None


async def _ollama(port: int) -> LocalServer | None:
    """Ollama says so at its root, and lists its models."""
    if b"Ollama is running" not in await _get(port, "/"):
        return None
    listed = json.loads(await _get(port, "/api/tags"))
    models = listed.get("models") if isinstance(listed, Mapping) else None
    return LocalServer("ollama", f"http://127.0.0.1:{port}/v1", _names(models, "name"))


async def _llama_cpp(port: int) -> LocalServer | None:
    """llama.cpp owns each model that it lists; one that asks for a key lists none, and is not ours to use."""
    listed = json.loads(await _get(port, "/v1/models"))
    models = listed.get("data") if isinstance(listed, Mapping) else None
    if not isinstance(models, list) or not all(
        isinstance(model, Mapping) and model.get("owned_by") == "llamacpp" for model in models
    ):
        return None
    return LocalServer("llama.cpp", f"http://127.0.0.1:{port}/v1", _names(models, "id"))


def _names(models: object, key: str) -> tuple[str, ...]:
    """Return the names of *models* that can chat: those for embeddings say so in their name."""
    listed = models if isinstance(models, list) else []
    names = [model.get(key) for model in listed if isinstance(model, Mapping)]
    return tuple(name for name in names if isinstance(name, str) and name and "embed" not in name.lower())


async def _get(port: int, path: str) -> bytes:
    """
    Return the body of a page on loopback.

    By hand, since the openai package takes half a second to load. HTTP/1.0: the reply comes in one piece.

    Raises:
        OSError: Nobody listens, or it closed.
        ValueError: The reply is no page with status 200, or too long.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=REPLY_LIMIT)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode("ascii"))
        await writer.drain()
        reply = bytearray()
        while piece := await reader.read(1 << 16):
            reply += piece
            if len(reply) > REPLY_LIMIT:
                raise ValueError("the reply is too long")
    finally:
        writer.close()
    head, _, body = bytes(reply).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if not status[0].startswith(b"HTTP/") or status[1:2] != [b"200"]:
        raise ValueError("no page")
    return body
