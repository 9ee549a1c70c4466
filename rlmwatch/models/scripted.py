"""
A model that follows a script: the shipped fake for tests, demonstrations and dry runs.

Where it differs from a real provider: its replies are known beforehand; its tokens are four characters each, and
cost what `usd_per_token` says; text comes in words. Everything else is the port's: usage, the limit on output, errors,
cancelling.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext

from rlmwatch.errors import ProviderCutOff, ProviderError, UnknownModel
from rlmwatch.models.base import Reply, Request
from rlmwatch.models.openai.stream import CHARS_PER_TOKEN, estimate
from rlmwatch.runs.model import Usage

Scripted = str | Reply | ProviderError
"""One entry of a script: the text of a reply, a whole reply, or the error to raise."""

Script = Iterable[Scripted] | Callable[[Request], Scripted | Awaitable[Scripted]]
"""Replies in the order of the calls, or a function of the request; it may wait, which is how a delay is scripted."""


class ScriptedModel:
    """
    A model that follows a script (port `Model`).

    Attributes:
        provider: `scripted`.
        requests: Every request, in the order of the calls.
        cancelled: How many calls were cancelled while they waited.
        closed: Whether `aclose` was called.
    """

    def __init__(
        self,
        script: Script,
        *,
        models: Iterable[str] | None = None,
        usd_per_token: tuple[float, float] | None = (0.0, 0.0),
    ) -> None:
        """
        Follow *script*.

        Args:
            script: What it replies.
            models: The names that it answers to; None for every name.
            usd_per_token: US dollars per (input, output) token; None for a price that is unknown.
        """
        self.provider = "scripted"
        self.requests: list[Request] = []
        self.cancelled = 0
        self.closed = False
        self._models = None if models is None else frozenset(models)
        self._next = script if callable(script) else _in_order(script)
        self._usd_per_token = usd_per_token

    def price(self, model: str) -> tuple[float, float] | None:  # noqa: ARG002 (the port's)
        """Return what the script costs."""
        return self._usd_per_token

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 (the port's)
        """Return at once: nothing limits how fast it is asked."""
        return nullcontext()

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        Return the script's next reply, cut at the request's `max_tokens`.

        Raises:
            UnknownModel: The script knows no model of that name.
            ProviderError: The one that the script says.
        """
        self.requests.append(request)
        if self._models is not None and request.model not in self._models:
            raise UnknownModel(f"scripted: no model {request.model!r}", status=404)
        entry = self._next(request)
        if inspect.isawaitable(entry):
            try:
                entry = await entry
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(entry, ProviderError):
            if isinstance(entry, ProviderCutOff):
                _tell(entry.text_so_far, on_text)
            raise entry
        reply = entry if isinstance(entry, Reply) else self._reply(request, entry)
        _tell(reply.text, on_text)
        return reply

    def sees(self, model: str) -> bool | None:  # noqa: ARG002 (the port's)
        """Return None: a script says by itself what it makes of an image."""
        return None

    async def aclose(self) -> None:
        """Note that it was closed. Idempotent."""
        self.closed = True

    def _reply(self, request: Request, text: str) -> Reply:
        whole = math.ceil(len(text) / CHARS_PER_TOKEN) <= request.max_tokens
        said = text if whole else text[: request.max_tokens * CHARS_PER_TOKEN]
        tokens = estimate(request.messages, len(said))
        cost = None
        if self._usd_per_token is not None:
            cost = tokens.input * self._usd_per_token[0] + tokens.output * self._usd_per_token[1]
        usage = Usage(input_tokens=tokens.input, output_tokens=tokens.output, cost_usd=cost, llm_calls=1)
        return Reply(said, "stop" if whole else "length", usage, request.model)


def _in_order(script: Iterable[Scripted]) -> Callable[[Request], Scripted]:
    entries = iter(script)

    def following(_request: Request) -> Scripted:
        entry = next(entries, None)
        if entry is None:
            raise AssertionError("the script has no reply left: more calls were made than it foresees")
        return entry

    return following


def _tell(text: str, on_text: Callable[[str], None] | None) -> None:
    if on_text is not None:
        for word in re.findall(r"\S+\s*|\s+", text):
            on_text(word)
