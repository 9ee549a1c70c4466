"""
A provider on loopback that answers at once: what is measured is who asks.

    python benchmarks/engines/server.py          prints its port, ends with its standard input

Speaks the chat protocol, streamed or whole, on connections that are kept. `PUT /script` with
`{"roots": [...], "sub_s": SECONDS}` sets what the next run is answered: requests that hold `SUB` are sub-calls and get
`fine` after that delay, all others get the roots in order. `GET /script` returns how many requests came since, their
bytes, and how many were answered side by side at most.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

SUB = "q7f3a"
"""In the prompt of each sub-call; in code it is put together, so that no root's request holds it."""
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Script:
    """What is answered, and what was asked."""

    def __init__(self) -> None:
        self.roots: list[str] = []
        self.sub_s = 0.0
        self.requests = self.sent = self.at_once = self.most = 0

    def begin(self, said: dict[str, Any]) -> None:
        self.__init__()
        self.roots, self.sub_s = list(said["roots"]), said["sub_s"]

    def told(self) -> dict[str, int]:
        return {"requests": self.requests, "bytes": self.sent, "at_once": self.most, "left": len(self.roots)}


class Connection(asyncio.Protocol):
    """One client; requests on it come one after another."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._data) < end + 4 + length:
                return
            body = bytes(self._data[end + 4 : end + 4 + length])
            del self._data[: end + 4 + length]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"put"):
            self._script.begin(json.loads(body))
            self._send(b"application/json", b"{}")
        elif head.startswith(b"get"):
            self._send(b"application/json", json.dumps(self._script.told()).encode())
        elif SUB.encode() in body:
            self._count(body)
            if self._script.sub_s:
                asyncio.get_running_loop().call_later(self._script.sub_s, self._reply, body, "fine")
            else:
                self._reply(body, "fine")
        else:
            self._count(body)
            self._reply(body, self._script.roots.pop(0) if self._script.roots else "There is no more to say.")

    def _count(self, body: bytes) -> None:
        script = self._script
        script.requests += 1
        script.sent += len(body)
        script.at_once += 1
        script.most = max(script.most, script.at_once)

    def _reply(self, body: bytes, text: str) -> None:
        self._script.at_once -= 1
        if b'"stream":true' not in body.replace(b" ", b"", body.count(b" ") if len(body) < 100_000 else 0):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            self._send(b"application/json", json.dumps(whole | {"usage": USAGE}).encode())
            return
        chunks = [_chunk({"role": "assistant", "content": text}, None), _chunk({}, "stop")]
        chunks.append({**_chunk({}, None), "choices": [], "usage": USAGE})
        events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        self._send(b"text/event-stream", events + b"data: [DONE]\n\n")

    def _send(self, kind: bytes, data: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: " + str(len(data)).encode()
        self._transport.write(head + b"\r\n\r\n" + data)


def _chunk(delta: dict[str, str], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    script = Script()
    server = await loop.create_server(lambda: Connection(script), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
