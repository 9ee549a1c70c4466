"""
A provider on loopback that speaks the OpenAI chat protocol, and can fail in every way.

    with OpenAIServer(["first reply", Fault.status(503), Reply("second", usage=False)]) as server:
        ...                       # base URL: server.url
        server.wait_for_calls(3)

It runs in a thread of its own, so that synchronous and asynchronous tests (and other processes) can use it. Like a
real provider it keeps to `max_tokens` (four characters each), sends usage only when asked, and stops when the client
hangs up. One connection carries one call.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from servers.wire import Wire

from rlmwatch import clock

CHARS_PER_TOKEN = 4
UNTIL_POLL_S = 0.01
DEADLINE_S = 20.0
"""Seconds after which a wait gives up: the thing did not happen."""

MODELS = ("test-model",)


@dataclass(frozen=True)
class Reply:
    """
    A good reply.

    Attributes:
        text: Sent word by word.
        finish_reason: None for what the limit makes of it (`stop` or `length`).
        usage: False sends none; a mapping is sent as it is.
        cost: `usage.cost` in US dollars.
        reasoning: Sent before the text, as `reasoning_content`.
        model: Name in the reply; None repeats the request's.
        chars: Sent in pieces of that many characters, in place of words.
        ends: False says no `finish_reason`.
        done: False sends no `[DONE]`.
        noise: Raw bytes between the chunks: comments, empty frames, unknown fields and events.
        repeats: The whole text again in the last chunk: as a `message`, or as another `delta`.
        kind: Content-Type of the answer; None for the right one.
        gap_s: Seconds between two words.
        stream: False answers with one JSON document, as a server does that cannot stream.
        keep_open: Send everything but the end of the stream, then stall.
        until: Say nothing before this is set.
    """

    text: str = "ok"
    finish_reason: str | None = None
    usage: bool | dict[str, Any] = True
    cost: float | None = None
    reasoning: str = ""
    model: str | None = None
    chars: int = 0
    ends: bool = True
    done: bool = True
    noise: bytes = b""
    repeats: Literal["message", "delta"] | None = None
    kind: str | None = None
    gap_s: float = 0.0
    stream: bool = True
    keep_open: bool = False
    until: threading.Event | None = None


@dataclass(frozen=True)
class Fault:
    """A failure; made by its class methods."""

    kind: str
    status_code: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: str = ""

    @classmethod
    def status(cls, code: int, body: Any = None, headers: dict[str, str] | None = None) -> Fault:
        """Answer with HTTP status *code*; *body* is JSON values, or text for anything else."""
        body = body if body is not None else {"error": {"message": f"scripted {code}", "type": "scripted"}}
        return cls("status", code, body, headers or {})

    @classmethod
    def stall(cls, after: str | None = None) -> Fault:
        """Say nothing more: before the headers, or *after* some text."""
        return cls("stall") if after is None else cls("stall_in_stream", after=after)

    @classmethod
    def cut_off(cls, after: str = "", *, clean: bool = False) -> Fault:
        """Break the connection *after* some text; *clean* ends the stream properly, but with no finish reason."""
        return cls("end_in_stream" if clean else "cut_off", after=after)

    @classmethod
    def hang_up(cls) -> Fault:
        """Break the connection before any answer."""
        return cls("hang_up")

    @classmethod
    def garbage(cls, body: str = "<html><body>Welcome to the hotel</body></html>", kind: str = "text/html") -> Fault:
        """Answer with status 200 and something that is not the protocol."""
        return cls("status", 200, body, {"Content-Type": kind})

    @classmethod
    def garbage_in_stream(cls, after: str = "") -> Fault:
        """Send a chunk that is no JSON, *after* some text."""
        return cls("garbage_in_stream", after=after)

    @classmethod
    def empty_stream(cls) -> Fault:
        """Answer with a stream that holds nothing but its end."""
        return cls("end_in_stream")

    @classmethod
    def error_in_stream(cls, error: Any, after: str = "") -> Fault:
        """Send *error* as a chunk of a stream with status 200, *after* some text."""
        return cls("error_in_stream", body=error, after=after)


@dataclass(frozen=True)
class Frames:
    """
    A stream, frame by frame.

    Attributes:
        frames: JSON values are sent as events, bytes as they are.
        kind: Content-Type.
    """

    frames: tuple[Any, ...]
    kind: str = "text/event-stream"


Answer = str | Reply | Fault | Frames
Script = Iterable[Answer] | Callable[[dict[str, Any]], Answer]


@dataclass
class Call:
    """
    One call.

    Attributes:
        path: Of the request.
        headers: With lower-case names.
        body: JSON values.
        at: When it had come in whole (`clock.monotonic`).
        hung_up_at: When the client closed before the answer was whole; None where it did not.
        answered: Whether the whole answer was sent.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    hung_up_at: float | None = None
    answered: bool = False


class OpenAIServer:
    """
    The provider; a context manager.

    Args:
        script: Answers in the order of the calls (the last one is repeated), or a function of the request.
        models: What `GET /v1/models` lists: names, or whole entries.
    """

    asked_by_get = False
    """Whether its calls are GET requests; their parameters are the body."""

    def __init__(self, script: Script = ("ok",), *, models: Iterable[str | dict[str, Any]] = MODELS) -> None:
        self._answer = script if callable(script) else _in_order(list(script))
        self._models = tuple(models)
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-server", daemon=True)
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[Any]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    @property
    def url(self) -> str:
        """The base URL, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in the order they came; a copy of the list."""
        with self._changed:
            return list(self._calls)

    @property
    def count(self) -> int:
        """How many calls came."""
        return len(self.calls)

    def wait_for_calls(self, n: int, timeout: float = DEADLINE_S) -> list[Call]:
        """Wait until *n* calls have come in, and return all so far."""
        return self._wait(lambda: len(self._calls) >= n, f"{n} calls", timeout)

    def wait_for_hang_ups(self, n: int = 1, timeout: float = DEADLINE_S) -> list[Call]:
        """Wait until the client has hung up on *n* calls, and return those."""
        self._wait(lambda: sum(call.hung_up_at is not None for call in self._calls) >= n, f"{n} hang-ups", timeout)
        return [call for call in self.calls if call.hung_up_at is not None]

    def _wait(self, ready: Callable[[], bool], what: str, timeout: float) -> list[Call]:
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                raise AssertionError(f"waited {timeout:g} s for {what}; there were {len(self._calls)} calls")
            return list(self._calls)

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await self._one_call(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._busy.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _one_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        wire = Wire(writer)
        if method == "GET" and not self.asked_by_get:
            listed = [
                {"id": each, "object": "model", "owned_by": "test"} if isinstance(each, str) else each
                for each in self._models
            ]
            await wire.document(200, {"object": "list", "data": listed})
            return
        where, _, asked = path.partition("?")
        body = dict(parse_qsl(asked)) if method == "GET" else json.loads(raw)
        call = Call(where, headers, body, clock.monotonic())
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        answering = asyncio.ensure_future(self._answer_call(call, wire))
        listening = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answering, listening), return_when=asyncio.FIRST_COMPLETED)
            with self._changed:
                call.answered = answering.done() and answering.exception() is None
                if not call.answered:
                    call.hung_up_at = clock.monotonic()
                self._changed.notify_all()
        finally:
            answering.cancel()
            listening.cancel()
            await asyncio.gather(answering, listening, return_exceptions=True)

    async def _answer_call(self, call: Call, wire: Wire) -> None:
        if call.path != "/v1/chat/completions":
            await wire.document(404, {"error": {"message": f"no route {call.path}", "type": "not_found_error"}})
            return
        answer = self._answer(call.body)
        if isinstance(answer, Fault):
            await _fail(answer, call.body, wire)
        elif isinstance(answer, Frames):
            await wire.stream(answer.kind)
            for frame in answer.frames:
                await (wire.raw(frame) if isinstance(frame, bytes) else wire.event(frame))
            await wire.end()
        else:
            await _reply(answer if isinstance(answer, Reply) else Reply(answer), call.body, wire)


def _in_order(answers: list[Answer]) -> Callable[[dict[str, Any]], Answer]:
    def following(_body: dict[str, Any]) -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return following


def _chunk(body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "model": body.get("model"), "choices": [choice]}


async def _reply(reply: Reply, body: dict[str, Any], wire: Wire) -> None:
    while reply.until is not None and not reply.until.is_set():  # noqa: ASYNC110 (set by another thread)
        await asyncio.sleep(UNTIL_POLL_S)
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    whole = limit is None or math.ceil(len(reply.text) / CHARS_PER_TOKEN) <= limit
    text = reply.text if whole else reply.text[: limit * CHARS_PER_TOKEN]
    finish = reply.finish_reason or ("stop" if whole else "length")
    body = body if reply.model is None else {**body, "model": reply.model}
    usage = _usage(replace(reply, text=text), body)
    message = {"role": "assistant", "content": text}
    if not reply.stream or not body.get("stream"):
        choice = {"index": 0, "message": message, **({"finish_reason": finish} if reply.ends else {})}
        whole_reply = {"object": "chat.completion", "model": body["model"], "choices": [choice], **usage}
        await wire.document(200, whole_reply, {"Content-Type": reply.kind} if reply.kind else None)
        return
    await wire.stream(reply.kind or "text/event-stream")
    if reply.reasoning:
        await wire.event(_chunk(body, {"reasoning_content": reply.reasoning}))
    for piece in _pieces(text, reply.chars):
        await wire.raw(reply.noise)
        await wire.event(_chunk(body, {"content": piece}))
        if reply.gap_s:
            await asyncio.sleep(reply.gap_s)
    await wire.raw(reply.noise)
    last = _chunk(body, {"content": text} if reply.repeats == "delta" else {}, finish if reply.ends else None)
    if reply.repeats == "message":
        last["choices"][0]["message"] = message
    await wire.event(last)
    asked = body.get("stream_options", {}).get("include_usage") or body.get("usage", {}).get("include")
    if usage and asked:
        await wire.event({**_chunk(body, {}), "choices": [], **usage})
    if reply.keep_open:
        await asyncio.Event().wait()
    if reply.done:
        await wire.event("[DONE]")
    await wire.end()


def _pieces(text: str, chars: int) -> list[str]:
    if chars:
        return [text[at : at + chars] for at in range(0, len(text), chars)]
    return [f" {word}" if number else word for number, word in enumerate(text.split(" "))]


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a request's message, also where that comes in parts."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    if reply.usage is False:
        return {}
    if isinstance(reply.usage, dict):
        return {"usage": reply.usage}
    sent = sum(len(text_of(message)) for message in body["messages"])
    into = math.ceil(sent / CHARS_PER_TOKEN)
    out = math.ceil((len(reply.text) + len(reply.reasoning)) / CHARS_PER_TOKEN)
    counted: dict[str, Any] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
    return {"usage": counted if reply.cost is None else {**counted, "cost": reply.cost}}


async def _fail(fault: Fault, body: dict[str, Any], wire: Wire) -> None:
    if fault.kind == "status":
        await wire.document(fault.status_code, fault.body, fault.headers)
    elif fault.kind == "hang_up":
        wire.break_off()
    elif fault.kind == "stall":
        await asyncio.Event().wait()
    else:
        await _fail_in_stream(fault, body, wire)


async def _fail_in_stream(fault: Fault, body: dict[str, Any], wire: Wire) -> None:
    await wire.stream()
    if fault.after:
        await wire.event(_chunk(body, {"content": fault.after}))
    if fault.kind == "stall_in_stream":
        await asyncio.Event().wait()
    elif fault.kind == "cut_off":
        wire.break_off()
    else:
        if fault.kind == "garbage_in_stream":
            await wire.event("{this is no JSON")
        elif fault.kind == "error_in_stream":
            await wire.event({**_chunk(body, {}), "error": fault.body})
        await wire.end()
