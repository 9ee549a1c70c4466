"""A provider with a high price for models whose price nobody knows, so that caps and ceilings hold for them, too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from rlmwatch.models.base import Model, Reply, Request


class AssumedPrices:
    """A provider whose unknown prices are taken to be *usd_per_token* (port `Model`)."""

    def __init__(self, model: Model, usd_per_token: tuple[float, float]) -> None:
        """
        Ask *model*.

        Args:
            model: The provider.
            usd_per_token: US dollars per (input token, output token).
        """
        self.provider = model.provider
        self._model = model
        self._usd_per_token = usd_per_token

    def price(self, model: str) -> tuple[float, float]:
        """Return US dollars per (input token, output token) of *model*: the known price, else the assumed one."""
        return self._model.price(model) or self._usd_per_token

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Wait until *request* may be sent."""
        return self._model.turn(request)

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """Make one call; where nobody knows what it cost, the assumed price says. See the port for the errors."""
        reply = await self._model.complete(request, on_text=on_text)
        if reply.usage.cost_usd is not None:
            return reply
        into, out = self._usd_per_token
        cost = reply.usage.input_tokens * into + reply.usage.output_tokens * out
        return replace(reply, usage=replace(reply.usage, cost_usd=cost))

    def sees(self, model: str) -> bool | None:
        """Return whether *model* can be shown images; None where nobody knows."""
        return self._model.sees(model)

    async def aclose(self) -> None:
        """Give back connections. Idempotent."""
        await self._model.aclose()
