"""
A provider that is asked no faster than it allows.

All runs of a process share it, so a thousand saves at once wait for their turn
here, in the order of asking, instead of being refused a thousand times. How fast
that is, `rates.py` decides; here is only the waiting, and the reading of headers.
Each model of a provider has its own limits, and its own queue.

Other processes with the same key are not seen; what they use is, in the headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from math import inf

import structlog

from rlmwatch.errors import ProviderUnavailable
from rlmwatch.models.base import Model, Reply, Request
from rlmwatch.models.openai.errors import WAIT_LIMIT_S, number_in, seconds_until_reset
from rlmwatch.models.openai.stream import CHARS_PER_TOKEN
from rlmwatch.models.rates import Rates, Told, What, meters

TOLD_WAIT_S = 1.0
"""A wait below this is not worth a line in the log."""
TOLD_EVERY_S = 30.0

log = structlog.get_logger()


class Limiter:
    """
    The turn-taking of the calls to one model.

    Attributes:
        rates: What it allows, as far as it is known.
    """

    def __init__(self, rates: Rates, monotonic: Callable[[], float], utc: Callable[[], str]) -> None:
        self.rates = rates
        self._monotonic = monotonic
        self._utc = utc
        self._gate = asyncio.Lock()  # first in, first out
        self._changed = asyncio.Event()
        self._waiting = 0
        self._told_at = -inf

    def heard(self, headers: Mapping[str, str]) -> None:
        """Take in what the headers of an answer tell of limits."""
        for what, told in told_by(headers, datetime.fromisoformat(self._utc())).items():
            self.rates.heard(what, told, now=self._monotonic())
        self._changed.set()

    async def turn(self, tokens: float) -> int:
        """Wait until a call of *tokens* may go, and let it; what is returned is to be given to `done`."""
        self._waiting += 1
        try:
            async with self._gate:
                while (wait_s := self.rates.wait_s(tokens, now=self._monotonic())) > 0:
                    self._tell(wait_s)
                    self._changed.clear()
                    await self._change_within(wait_s)
                return self.rates.begin(tokens, now=self._monotonic())
        finally:
            self._waiting -= 1

    def answered(self) -> None:
        """Note a reply."""
        self.rates.answered(now=self._monotonic())

    def refused(self, retry_after_s: float | None) -> None:
        """Note a refusal (429)."""
        pause_s = self.rates.refused(retry_after_s, now=self._monotonic())
        log.info("model.refused", pause_s=round(pause_s, 1), waiting=self._waiting)

    def done(self, tokens: float, began: int) -> None:
        """Note that a call has ended, however it did."""
        self.rates.end(tokens, began)
        self._changed.set()

    async def _change_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == inf else seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _tell(self, wait_s: float) -> None:
        now = self._monotonic()
        if wait_s >= TOLD_WAIT_S and wait_s < inf and now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            log.info(
                "rate_limit.waiting", for_s=round(wait_s, 1), waiting=self._waiting, why="the provider's rate limit"
            )


class Limits:
    """
    The limiters of one provider, one per model.

    Args:
        monotonic: Asks the monotonic clock.
        utc: Asks the wall clock; headers may say when, instead of how long.
        requests_per_minute: As a person set it, over all models; None leaves it to what the provider tells.
        tokens_per_minute: Likewise.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        utc: Callable[[], str],
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._utc = utc
        self._set = meters(requests=requests_per_minute, tokens=tokens_per_minute, now=monotonic())
        self._limiters: dict[str, Limiter] = {}

    def of(self, model: str) -> Limiter:
        """Return the limiter of *model*."""
        if model not in self._limiters:
            self._limiters[model] = Limiter(Rates(set_=self._set), self._monotonic, self._utc)
        return self._limiters[model]

    def heard(self, model: str, headers: Mapping[str, str]) -> None:
        """Take in what the headers of an answer of *model* tell of limits."""
        self.of(model).heard(headers)


class LimitedModel:
    """
    A provider whose calls take turns (port `Model`).

    While a call waits it can be cancelled like any other; nothing was sent then.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self.provider = model.provider
        self._model = model
        self._limits = limits

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """Make one call, when its turn has come. See the port for the errors."""
        limiter = self._limits.of(request.model)
        tokens = asked(request)
        began = await limiter.turn(tokens)
        try:
            reply = await self._model.complete(request, on_text=on_text)
        except ProviderUnavailable as error:
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                limiter.refused(error.retry_after_s)
            raise
        else:
            limiter.answered()
            return reply
        finally:
            limiter.done(tokens, began)

    def price(self, model: str) -> tuple[float, float] | None:
        """Return US dollars per (input token, output token) of *model*; None where unknown."""
        return self._model.price(model)

    async def aclose(self) -> None:
        """Give back connections. Idempotent."""
        await self._model.aclose()


def asked(request: Request) -> float:
    """Return the tokens that providers count when they are asked: what is sent, and what may come."""
    return sum(len(message.content) for message in request.messages) / CHARS_PER_TOKEN + request.max_tokens


def told_by(headers: Mapping[str, str], now: datetime) -> dict[What, Told]:
    """
    Return what *headers* tell of limits.

    They are `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, or without the last word for requests. What is no
    number, or has no limit, tells nothing.
    """
    found: dict[What, Told] = {}
    suffixes: tuple[tuple[What, str], ...] = (("requests", ""), ("requests", "-requests"), ("tokens", "-tokens"))
    for what, suffix in suffixes:
        limit = number_in(headers.get(f"x-ratelimit-limit{suffix}"))
        remaining = number_in(headers.get(f"x-ratelimit-remaining{suffix}"))
        said = headers.get(f"x-ratelimit-reset{suffix}")
        reset_s = None if said is None else seconds_until_reset(said, now)
        believed = reset_s is not None and 0 <= reset_s <= WAIT_LIMIT_S
        if limit is not None and remaining is not None and 0 <= remaining <= limit and 1 <= limit < inf:
            found[what] = Told(limit, remaining, reset_s if believed else None)
    return found
