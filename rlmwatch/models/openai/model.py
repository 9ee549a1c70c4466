"""
Any provider that speaks the OpenAI chat protocol.

Every call streams, where the model may: cancelling it closes the connection, which stops the bill, and what had come is
kept. Nothing is retried here but a request that the provider refused for what can be asked another way (`Dialect`).
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog

from rlmwatch import clock
from rlmwatch.addresses import shown
from rlmwatch.errors import (
    ContextTooLong,
    ProviderCutOff,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
)
from rlmwatch.models.base import Reply, Request
from rlmwatch.models.finish_reason import meaning
from rlmwatch.models.openai.dialect import Dialect, Endpoint
from rlmwatch.models.openai.error_bodies import error_in, json_in, status_of, words_of
from rlmwatch.models.openai.errors import WORDS_READ, by_status
from rlmwatch.models.openai.notes import cut_prompt, ending
from rlmwatch.models.openai.stream import Answer, NotTheProtocol
from rlmwatch.models.prices import Prices
from rlmwatch.runs.model import Usage

if TYPE_CHECKING:
    from rlmwatch.models.openai.transport import Broken, Connections, Response

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 10.0
"""A host that cannot be reached in this time is down, or behind a firewall that drops."""

IDLE_TIMEOUT_S = 120.0
"""Silence after which a provider is given up; above the longest pause that a reasoning model makes between chunks."""

LAST_CHUNK_TIMEOUT_S = 10.0
"""Wait for the usage once the text is whole: an answer is not lost because its bill does not come."""

WHOLE_TIMEOUT_S = 900.0
"""Silence that is borne where an answer comes in one piece: a reasoning model thinks for minutes before it."""

_BAD_REQUEST = (400, 422)
_NOT_ABOUT_THE_REQUEST = (401, 402, 429)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """
    How long silence is borne, in seconds.

    Attributes:
        connect_s: Until there is a connection.
        idle_s: From the request to the first byte, and from chunk to chunk.
        last_chunk_s: For the usage, once the text is whole.
        whole_s: In the place of `idle_s`, where an answer comes in one piece.
    """

    connect_s: float = CONNECT_TIMEOUT_S
    idle_s: float = IDLE_TIMEOUT_S
    last_chunk_s: float = LAST_CHUNK_TIMEOUT_S
    whole_s: float = WHOLE_TIMEOUT_S


class OpenAIModel:
    """
    A provider behind the OpenAI chat protocol (port `Model`).

    Belongs to the event loop of its first call.

    Attributes:
        provider: Short name for people.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prices: Prices | None = None,
        timeouts: Timeouts | None = None,
        on_headers: Callable[[str, Mapping[str, str]], None] = lambda _model, _headers: None,
    ) -> None:
        """
        Prepare; the first call connects.

        Args:
            endpoint: Who is asked.
            prices: What the models cost.
            timeouts: How long silence is borne.
            on_headers: Is given the model and the headers of each answer, also of a refusal, before the call ends.
        """
        self._on_headers = on_headers
        self.provider = endpoint.provider
        self._endpoint = endpoint
        self._prices = prices if prices is not None else Prices(endpoint.provider, endpoint.base_url)
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self._is_openrouter = endpoint.provider == "openrouter"
        self._dialects: dict[str, Dialect] = {}
        self._clients: dict[float, Connections] = {}

    def price(self, model: str) -> tuple[float, float] | None:
        """Return US dollars per (input token, output token) of *model*, at most; None where unknown."""
        return self._prices.price(model)

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 (the port's)
        """Return at once: nothing limits how fast it is asked."""
        return nullcontext()

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        Make one call; *on_text* is given each new piece of text as it comes.

        See the port for the errors. A connection that breaks after the text is whole does no harm: the tokens
        are then estimated.
        """
        hear = on_text or (lambda _piece: None)
        answer = Answer()
        response = await self._open(request)
        try:
            failure = await self._receive(response, request, answer, hear)
            for piece in answer.end():
                hear(piece)
        finally:
            await response.aclose()
        error = self._failed(answer, failure)
        if error is not None:
            error.usage = self._billed(request, answer, error)
            raise error
        if failure is not None:
            log.info("model.usage_missing", provider=self.provider, model=request.model, reason=str(failure))
        return self._reply(request, answer)

    def sees(self, model: str) -> bool | None:  # noqa: ARG002 (the port's)
        """Return None: the protocol's list of models does not say."""
        return None

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def _open(self, request: Request) -> Response:
        """Send the request, learning the model's dialect from refusals (they are not billed); return the answer."""
        known = dialect = self._dialects.get(request.model) or Dialect.of(self._endpoint.base_url)
        while True:
            body = dialect.body(request)
            if self._is_openrouter:
                body["usage"] = {"include": True}
            response, refusal = await self._sent(body)
            self._on_headers(request.model, response.headers)
            if dialect != known and response.status not in _BAD_REQUEST:
                known = self._dialects[request.model] = dialect
                log.info("model.dialect_learned", model=request.model, **dialect.differences())
            if refusal is None:
                return response
            error = self._by_status(response.status, refusal, response, request)
            other = None
            if response.status not in _NOT_ABOUT_THE_REQUEST and not isinstance(error, ContextTooLong):
                other = dialect.after_refusal(body, _named(refusal), status=response.status)
            if other is None:
                raise error
            dialect = other

    async def _sent(self, body: Mapping[str, Any]) -> tuple[Response, object | None]:
        """Send *body*; return the answer, and where it is a refusal what that says."""
        await load()
        from rlmwatch.models.openai.transport import Broken

        try:
            response = await self._connect(streams=body["stream"]).post(body)
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response, None
            text = await response.text()
        except Broken as broken:
            raise self._unreachable(broken) from None
        found = json_in(text)
        return response, text if found is None else found

    async def _receive(
        self, response: Response, request: Request, answer: Answer, hear: Callable[[str], None]
    ) -> ProviderError | None:
        """Fill *answer* from the stream; return what broke it off, None where it came to its end."""
        chunks = response.events()
        while True:
            chunk = await self._next(chunks, answer)
            if chunk is None or isinstance(chunk, ProviderError):
                return chunk
            error = error_in(chunk)
            if error is not None:
                return self._error_in_reply(error, response, request)
            for piece in answer.take(chunk):
                hear(piece)

    async def _next(self, chunks: AsyncIterator[object], answer: Answer) -> object:
        """Return the next chunk, None after the last, or the error that came in its place."""
        from rlmwatch.models.openai.transport import Broken

        # Once the text is whole, its usage is not waited for long.
        limit_s = None if answer.finish_reason is None else self._timeouts.last_chunk_s
        try:
            async with asyncio.timeout(limit_s):
                return await anext(chunks, None)
        except Broken as broken:
            return self._broke(broken, answer)
        except TimeoutError:
            return ProviderUnavailable("no usage came")
        except NotTheProtocol as error:
            return self._not_the_protocol(error.text)

    def _failed(self, answer: Answer, failure: ProviderError | None) -> ProviderError | None:
        """Return the error that *answer* is, all in all; None where it is of use, although something broke it off."""
        reason = meaning(answer.finish_reason or "stop")
        if not answer.ended or reason == "failed":
            if failure is None and answer.odd is not None and not answer.chars:
                return self._not_the_protocol(words_of(answer.odd))
            if failure is None:
                return self._cut_off("the stream ended before the answer did", answer)
            is_final = isinstance(failure, ProviderRefused) or not answer.pieces
            return failure if is_final else self._cut_off(str(failure), answer)
        return None

    def _not_the_protocol(self, words: str) -> ProviderError:
        said = words_of(words).strip() or "nothing"
        text = self._endpoint.caller.text(f"the answer is not JSON of the chat protocol: {said}")
        return ProviderUnavailable(text, may_be_billed=True)

    def _reply(self, request: Request, answer: Answer) -> Reply:
        """Return the finished answer, with what it used and cost."""
        usage, estimated = self._used(request, answer)
        word = self._endpoint.caller.hidden(answer.finish_reason or "stop")
        reason = meaning(word)
        notes = (ending(self.provider, word), cut_prompt(request.messages, answer.reported_input()))
        return Reply(
            text=answer.text,
            finish_reason="interrupted" if reason == "failed" else reason,
            usage=usage,
            model=answer.model or request.model,
            estimated=estimated,
            provider_reason="" if word == reason else word,
            notes=tuple(note for note in notes if note),
            reasoning_tokens=min(answer.reasoning_tokens(), usage.output_tokens),
        )

    def _used(self, request: Request, answer: Answer) -> tuple[Usage, bool]:
        """Return what *answer* used and cost, and whether some of it is our estimate."""
        tokens, estimated = answer.tokens(request.messages)
        cost = answer.reported_cost()
        if cost is None:
            cost = self._prices.cost(request.model, tokens)
        return Usage(input_tokens=tokens.input, output_tokens=tokens.output, cost_usd=cost, llm_calls=1), estimated

    def _billed(self, request: Request, answer: Answer, error: ProviderError) -> Usage | None:
        """Return what is booked of an answer that is of no use: what was reported, or what came before a refusal."""
        if answer.usage or (answer.chars and isinstance(error, ProviderRefused)):
            return self._used(request, answer)[0]
        return None

    def _broke(self, broken: Broken, answer: Answer) -> ProviderError:
        """Return the error for a stream that broke; what holds more than was asked for is cut there."""
        if broken.too_long and answer.chars and answer.finish_reason is None:
            answer.finish_reason = "length"
        return self._unreachable(broken)

    def _unreachable(self, broken: Broken) -> ProviderError:
        """Return the error for a connection that was not made, broke, fell silent, or brought too much."""
        text = self._endpoint.caller.text
        if broken.lasting:
            return ProviderUnreachable(text(str(broken)))
        if broken.too_long:
            return ProviderRefused(text(str(broken)))
        if broken.silent:
            words = f"said nothing for {self._timeouts.idle_s:g} s"
        else:
            words = f"no connection to {shown(self._endpoint.base_url)}: {broken}"
        return ProviderUnavailable(text(words), may_be_billed=broken.sent)

    def _error_in_reply(self, error: object, response: Response, request: Request) -> ProviderError:
        """Return the error that a provider put into an answer with status 200."""
        return self._by_status(status_of(error), {"error": error}, response, request)

    def _by_status(self, status: int | None, payload: object, response: Response, request: Request) -> ProviderError:
        return by_status(
            self._endpoint.caller,
            status,
            payload,
            headers=response.headers,
            model=request.model,
            now=datetime.fromisoformat(clock.utc()),
        )

    def _cut_off(self, words: str, answer: Answer) -> ProviderCutOff:
        text = words if words.startswith(f"{self.provider}: ") else self._endpoint.caller.text(words)
        return ProviderCutOff(text, text_so_far=answer.text)

    def _connect(self, *, streams: bool) -> Connections:
        """Return the connections, prepared at the first call; those for answers in one piece bear more silence."""
        idle_s = self._timeouts.idle_s if streams else max(self._timeouts.idle_s, self._timeouts.whole_s)
        if idle_s not in self._clients:
            from rlmwatch.models.openai.transport import Connections

            self._clients[idle_s] = Connections(self._endpoint, connect_s=self._timeouts.connect_s, idle_s=idle_s)
        return self._clients[idle_s]


async def load() -> None:
    """Load what the first call needs, where it is not: 0.35 s in a thread, while others get their turn."""
    name = "rlmwatch.models.openai.transport"
    if name not in sys.modules:
        await asyncio.to_thread(importlib.import_module, name)


def _named(refusal: object) -> str:
    """Return the words of a refusal that may name a parameter."""
    error = refusal.get("error", refusal) if isinstance(refusal, Mapping) else refusal
    parameter = error.get("param") if isinstance(error, Mapping) else None
    return f"param {parameter} {words_of(refusal)}"[:WORDS_READ]
