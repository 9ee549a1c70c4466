"""Finding a language model server on this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from rlmwatch import clock
from rlmwatch.models.discover import REPLY_LIMIT, find
from rlmwatch.models.select import LocalServer

OLLAMA = {"/": "Ollama is running", "/api/tags": {"models": [{"name": "nomic-embed-text"}, {"name": "llama3.2:1b"}]}}
LLAMA_CPP = {"/v1/models": {"object": "list", "data": [{"id": "some.gguf", "owned_by": "llamacpp"}]}}
SILENT: dict[str, object] = {"silent": True}


@asynccontextmanager
async def serving(pages: dict[str, object]) -> AsyncIterator[int]:
    """Serve *pages* on a port of the kernel's choice; SILENT accepts and says nothing."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        if pages is SILENT:
            await gone.wait()
        page = pages.get(path)
        body = page if isinstance(page, str) else json.dumps(page)
        status = "404 Not Found" if page is None else "200 OK"
        writer.write(f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n{body}".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        gone.set()
        server.close()


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def found(ollama: dict[str, object] | None, llama_cpp: dict[str, object] | None) -> tuple[LocalServer, ...]:
    """Return what is found where these serve (None: nobody listens), without their ports."""

    async def look() -> tuple[LocalServer, ...]:
        async with AsyncExitStack() as stack:
            ports = [
                closed_port() if pages is None else await stack.enter_async_context(serving(pages))
                for pages in (ollama, llama_cpp)
            ]
            servers = await find(ollama_port=ports[0], llama_cpp_port=ports[1])
            for server in servers:
                port = ports[0] if server.name == "ollama" else ports[1]
                assert server.base_url == f"http://127.0.0.1:{port}/v1"
            return servers

    return asyncio.run(look())


def test_ollama_is_found_with_the_models_that_can_chat():
    """A running Ollama is found; models that only embed are not offered."""
    (server,) = found(OLLAMA, None)
    assert (server.name, server.models) == ("ollama", ("llama3.2:1b",))


def test_a_llama_cpp_server_is_found_with_its_model():
    """A running llama.cpp server is found, with the model that it has loaded."""
    (server,) = found(None, LLAMA_CPP)
    assert (server.name, server.models) == ("llama.cpp", ("some.gguf",))


def test_both_are_found_ollama_first():
    """With both, Ollama comes first."""
    assert [server.name for server in found(OLLAMA, LLAMA_CPP)] == ["ollama", "llama.cpp"]


def test_nobody_listening_is_nothing_found():
    """Without servers nothing is found, and nothing raises."""
    assert found(None, None) == ()


@pytest.mark.parametrize(
    "stranger",
    [
        {},
        {"/": "It works!", "/v1/models": {"data": [{"id": "x", "owned_by": "somebody"}]}, "/api/tags": {"models": []}},
        {"/": "Jenkins", "/v1/models": "<html></html>"},
        {"/": "Jenkins", "/v1/models": ["x"]},
        {"/": "Jenkins", "/v1/models": "x" * (REPLY_LIMIT + 1)},
        {"/": "Ollama is running", "/api/tags": "not json", "/v1/models": {"data": 7}},
    ],
)
def test_an_open_port_is_no_server(stranger):
    """Another program on the same port is never taken for a model: it is known by what it replies."""
    assert found(stranger, stranger) == ()


def test_a_silent_stranger_does_not_hide_the_other_nor_hold_up_the_start():
    """A program that accepts and says nothing costs no more than the time limit, once."""
    began = clock.monotonic()
    assert [server.name for server in found(OLLAMA, SILENT)] == ["ollama"]
    assert found(SILENT, SILENT) == ()
    assert clock.monotonic() - began < 5  # two looks of 0.3 s; without the limit they would never end
