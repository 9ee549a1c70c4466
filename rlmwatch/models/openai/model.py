"""
Any provider that speaks the OpenAI chat protocol.

Every call streams: cancelling it closes the connection, which stops the bill, and what had come is kept. Nothing is
retried here but a request that the provider refused for one of its optional parameters (see `Dialect`).
"""

from __future__ import annotations

import asyncio
import importlib
import json
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
from rlmwatch.errors import ProviderCutOff, ProviderError, ProviderRefused, ProviderUnavailable, ProviderUnreachable
from rlmwatch.models.base import Reply, Request
from rlmwatch.models.openai.dialect import Dialect, Endpoint
from rlmwatch.models.openai.errors import by_status, status_of, words_of
from rlmwatch.models.openai.finish import meaning, normalised
from rlmwatch.models.openai.stream import Answer, estimate
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

_BAD_REQUEST = (400, 422)
_DOCUMENT_TYPES = ("application/json", "text/html", "text/plain")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """
    How long silence is borne, in seconds.

    Attributes:
        connect_s: Until there is a connection.
        idle_s: From the request to the first byte, and from chunk to chunk.
        last_chunk_s: For the usage, once the text is whole.
    """

    connect_s: float = CONNECT_TIMEOUT_S
    idle_s: float = IDLE_TIMEOUT_S
    last_chunk_s: float = LAST_CHUNK_TIMEOUT_S


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
        self._client: Connections | None = None

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
        answer = Answer()
        response = await self._open(request)
        try:
            if _is_document(response):
                await self._whole(response, request, answer)
                if on_text is not None:
                    on_text(answer.text)
            else:
                await self._streamed(response, request, answer, on_text)
        finally:
            await response.aclose()
        if answer.finish_reason in (None, "error"):
            raise self._cut_off("the stream ended before the answer did", answer)
        return self._reply(request, answer)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
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
            if refusal is None:
                if dialect != known:
                    self._dialects[request.model] = dialect
                    log.info("model.dialect_learned", model=request.model, without=sorted(dialect.without))
                return response
            other = None
            if response.status in _BAD_REQUEST:
                other = dialect.after_refusal(body, _named(refusal))
            if other is None:
                raise self._by_status(response.status, refusal, response, request)
            dialect = other

    async def _sent(self, body: Mapping[str, Any]) -> tuple[Response, object | None]:
        """Send *body*; return the answer, and where it is a refusal what that says."""
        await load()
        from rlmwatch.models.openai.transport import Broken

        try:
            response = await self._connect().post(body)
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response, None
            return response, _payload(await response.text())
        except Broken as broken:
            raise self._unreachable(broken) from None

    async def _streamed(
        self,
        response: Response,
        request: Request,
        answer: Answer,
        on_text: Callable[[str], None] | None,
    ) -> None:
        """Fill *answer* from the stream; failures are mapped here, those of *on_text* are its own."""
        from rlmwatch.models.openai.transport import Broken

        failure: ProviderError
        chunks = response.events()
        while True:
            try:
                chunk = await self._next(chunks, answer)
            except Broken as broken:
                failure = self._broke(broken, answer)
            except TimeoutError:
                failure = ProviderUnavailable("no usage came")
            except ValueError as error:  # JSON and UTF-8 alike
                words = self._endpoint.caller.text(f"sent a chunk that is no JSON: {error}")
                failure = ProviderUnavailable(words, may_be_billed=True)
            else:
                if chunk is None:
                    return
                if not isinstance(chunk, Mapping) or not chunk.get("error"):
                    piece = answer.take(chunk)
                    if piece and on_text is not None:
                        on_text(piece)
                    continue
                failure = self._said(chunk["error"], response, request)
            if answer.finish_reason not in (None, "error"):
                log.info("model.usage_missing", provider=self.provider, model=request.model, reason=str(failure))
                return
            raise self._cut_off(str(failure), answer) if answer.pieces else failure

    async def _next(self, chunks: AsyncIterator[object], answer: Answer) -> object:
        """Return the next chunk, None after the last. Once the text is whole, it is not waited for long."""
        if answer.finish_reason is None:
            return await anext(chunks, None)
        async with asyncio.timeout(self._timeouts.last_chunk_s):
            return await anext(chunks, None)

    async def _whole(self, response: Response, request: Request, answer: Answer) -> None:
        """Fill *answer* from one that is no stream: a whole reply, an error with status 200, or something else."""
        from rlmwatch.models.openai.transport import Broken

        try:
            text = await response.text()
        except Broken as broken:
            failure: ProviderError = self._unreachable(broken)
        else:
            payload = _payload(text)
            if isinstance(payload, dict) and payload.get("error"):
                failure = self._said(payload["error"], response, request)
            else:
                answer.take(payload)
                if answer.finish_reason is not None:
                    return
                said = words_of(text).strip() or "nothing"
                caller = self._endpoint.caller
                failure = ProviderUnavailable(caller.text(f"the answer is not the chat protocol's: {said}"))
        raise failure

    def _reply(self, request: Request, answer: Answer) -> Reply:
        """Return the finished answer, with what it used and cost."""
        counted = answer.tokens()
        tokens = counted if counted is not None else estimate(request.messages, answer.text)
        cost = answer.reported_cost()
        if cost is None:
            cost = self._prices.cost(request.model, tokens)
        usage = Usage(input_tokens=tokens.input, output_tokens=tokens.output, cost_usd=cost, llm_calls=1)
        return Reply(
            text=answer.text,
            finish_reason=meaning(normalised(answer.finish_reason) or "") or "stop",
            usage=usage,
            model=answer.model or request.model,
            estimated=counted is None,
        )

    def _broke(self, broken: Broken, answer: Answer) -> ProviderError:
        """Return the error for a stream that broke; what holds more than was asked for is cut there."""
        if broken.too_long and answer.pieces and answer.finish_reason is None:
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

    def _said(self, error: object, response: Response, request: Request) -> ProviderError:
        """Return the error that a provider put into an answer with status 200."""
        status = status_of(error)
        if status is not None:
            return self._by_status(status, {"error": error}, response, request)
        return ProviderUnavailable(self._endpoint.caller.text(words_of(error)), may_be_billed=True)

    def _by_status(self, status: int, payload: object, response: Response, request: Request) -> ProviderError:
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

    def _connect(self) -> Connections:
        """Return the connections, prepared at the first call."""
        if self._client is None:
            from rlmwatch.models.openai.transport import Connections

            patience = self._timeouts
            self._client = Connections(self._endpoint, connect_s=patience.connect_s, idle_s=patience.idle_s)
        return self._client


async def load() -> None:
    """Load what the first call needs, where it is not: 0.35 s in a thread, while others get their turn."""
    name = "rlmwatch.models.openai.transport"
    if name not in sys.modules:
        await asyncio.to_thread(importlib.import_module, name)


def _is_document(response: Response) -> bool:
    """Return whether the answer is one document and no stream of events."""
    return response.headers.get("content-type", "").lower().startswith(_DOCUMENT_TYPES)


def _payload(text: str) -> object:
    """Return an error's body as JSON values, or as the text that it is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _named(refusal: object) -> str:
    """Return the words of a refusal that may name a parameter."""
    error = refusal.get("error", refusal) if isinstance(refusal, Mapping) else refusal
    parameter = error.get("param") if isinstance(error, Mapping) else None
    return f"{parameter} {words_of(error)}"
