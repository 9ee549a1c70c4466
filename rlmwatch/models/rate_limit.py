"""
A provider that is asked no faster than it allows.

All runs of a process share it, so a thousand saves at once wait for their turn
here, in the order of asking, instead of being refused a thousand times. Each
model of a provider has its own limits, and its own queue. Other processes with
the same key are not seen; what they use is, in the headers.

How fast that is (`Rates`: pure arithmetic, `now` in seconds of any steady clock):
a call may go when all of this holds.

1. The pause after a refusal (429) is over: `FIRST_PAUSE_S`, and twice as long
   after each refusal running, but no longer than the provider asks for. The call
   that was refused waits as long as it was told; the others may be luckier (a
   limit of one upstream, of one size of request), so a few try earlier.
2. Each meter that is known has room: requests and tokens a minute, as they were
   set, and as the provider's headers tell them. Where these would have all wait
   for longer than `LONGEST_PAUSE_S` (a limit per day), one call goes all the same,
   so that the person hears of it in the provider's own words.
3. Fewer calls are in flight than the window allows. It begins with
   `FIRST_WINDOW`, and grows by one with each reply, so twofold from one round of
   calls to the next; above `WIDE_WINDOW` by `STEP` a round. After a refusal it is
   `PROBES`, and calls from before do not count: one that hangs must not hold up
   all others. So a thousand calls that begin at once do not learn of a limit by a
   thousand refusals: at most those in flight are refused.

Where a provider refuses and tells no limit, what it had let pass, by the time that
took, becomes the limit. Each further refusal halves it, each minute without one
raises it by half.

A meter is a bucket: it holds `size`, fills at `per_s`, and a call takes its share.
Promised: in any span of s seconds no more than `size` + s * `per_s` passes, and one
call more, where that alone is larger than the bucket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from math import inf
from typing import Literal

import structlog

from rlmwatch.errors import ProviderUnavailable
from rlmwatch.models.base import Model, Reply, Request
from rlmwatch.models.image_tokens import tokens_of_images
from rlmwatch.models.openai.errors import WAIT_LIMIT_S, number_in, seconds_until_reset
from rlmwatch.models.openai.stream import CHARS_PER_TOKEN

FIRST_WINDOW = 16
"""As many calls as one batch of an engine makes at once."""
WIDE_WINDOW = 4 * FIRST_WINDOW
STEP = 8
"""From 64 to 256 calls in flight in 24 rounds, about a minute; more at once is no way to find a limit."""
PROBES = 2
"""One that hangs leaves the other."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Limits are per minute: after one, some of it is there again."""
BURST_S = 6.0
"""Of a limit that a person sets, this many seconds' worth may go at once: providers look at parts of the minute too."""
MINUTE_S = 60.0
RAISE = 1.5
MARGIN = 0.95
"""Of what a provider tells: whoever asks exactly as fast as allowed is refused each time that a clock differs."""
ROUNDING = 1e-6
"""Of a bucket that is as good as full; a wait that is too short to pass would be waited for ever."""
WAIT_LOGGED_S = 1.0
"""A wait below this is not worth a line in the log."""
LOGGED_EVERY_S = 30.0

log = structlog.get_logger()

What = Literal["requests", "tokens"]


def meters(*, requests: float | None = None, tokens: float | None = None, now: float) -> dict[What, Meter]:
    """Return the meters of the limits per minute that a person set; None where they did not."""
    limits: dict[What, float | None] = {"requests": requests, "tokens": tokens}
    return {what: Meter.per_minute(limit, now=now) for what, limit in limits.items() if limit is not None}


@dataclass(slots=True)
class Meter:
    """
    One limit.

    Attributes:
        per_s: How fast it fills.
        size: What it holds at most.
        level: What it held at `at`; below 0 after a call that was larger than all of it.
        at: When that was.
    """

    per_s: float
    size: float
    level: float
    at: float

    @classmethod
    def per_minute(cls, limit: float, *, now: float) -> Meter:
        """Return the meter of a limit that a person set."""
        size = max(1.0, limit * BURST_S / MINUTE_S)
        return cls(limit / MINUTE_S, size, size, now)

    def wait_s(self, amount: float, *, now: float) -> float:
        """Return the seconds until *amount* may pass; a larger one than the bucket passes when that is full."""
        lacks = min(amount, self.size) - self.level_at(now)
        return 0.0 if lacks <= ROUNDING else lacks / self.per_s if self.per_s > 0 else inf

    def take(self, amount: float, *, now: float) -> None:
        """Let *amount* pass."""
        self.level, self.at = self.level_at(now) - amount, now

    def level_at(self, now: float) -> float:
        """Return what it holds at *now*."""
        return min(self.size, self.level + max(0.0, now - self.at) * self.per_s)


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """
    What a provider's headers say of one limit.

    Attributes:
        limit: Of a period that it does not name.
        remaining: What is left of it.
        reset_s: Seconds until all of it is there again; None where it does not say.
    """

    limit: float
    remaining: float
    reset_s: float | None = None

    def per_s(self) -> float:
        """Return how fast it comes back: what is used by the time it takes, else as a limit per minute."""
        used = self.limit - self.remaining
        if self.reset_s is not None and self.reset_s > 0 and used > 0:
            return used / self.reset_s
        return self.limit / MINUTE_S


@dataclass(slots=True)
class Rates:
    """
    What a provider allows for one of its models, as far as it is known.

    Attributes:
        window: Calls in flight, at most; infinite once the provider tells its limits.
        set_: Meters of what a person set; all models of the provider may share them.
        reported: Meters of what the provider's headers report.
    """

    window: float = FIRST_WINDOW
    set_: dict[What, Meter] = field(default_factory=dict)
    reported: dict[What, Meter] = field(default_factory=dict)
    _in_flight: int = 0
    _since_refusal: int = 0
    _refusals: int = 0
    _tokens_in_flight: float = 0.0
    _not_before: float = -inf
    _pause_s: float = FIRST_PAUSE_S
    _passed: deque[float] = field(default_factory=deque)
    _first_at: float = inf
    _begun_at: float = -inf
    _guess: Meter | None = None
    _raise_at: float = inf

    def wait_s(self, tokens: float, *, now: float) -> float:
        """Return the seconds until a call of *tokens* may go; infinite until one in flight has ended."""
        if self._since_refusal >= self.window:
            return inf
        self._raise_guess(now)
        amounts: dict[What, float] = {"requests": 1.0, "tokens": tokens}
        reported_s = max((meter.wait_s(amounts[what], now=now) for what, meter in self.reported.items()), default=0.0)
        reported_s = min(reported_s, self._begun_at + LONGEST_PAUSE_S - now)
        set_s = (meter.wait_s(amounts[what], now=now) for what, meter in self.set_.items())
        guess_s = 0.0 if self._guess is None else self._guess.wait_s(1.0, now=now)
        return max(0.0, self._not_before - now, reported_s, guess_s, *set_s)

    def begin(self, tokens: float, *, now: float) -> int:
        """Let a call of *tokens* go; what is returned is to be given to `end`."""
        self._raise_guess(now)
        self._first_at, self._begun_at = min(self._first_at, now), now
        self._in_flight += 1
        self._since_refusal += 1
        self._tokens_in_flight += tokens
        for meters in (self.set_, self.reported):
            for what, meter in meters.items():
                meter.take(1.0 if what == "requests" else tokens, now=now)
        if self._guess is not None:
            self._guess.take(1.0, now=now)
        return self._refusals

    def end(self, tokens: float, began: int) -> None:
        """Note that a call of *tokens* has ended, however it did; `answered` or `refused` may have come before."""
        self._in_flight -= 1
        self._since_refusal -= began == self._refusals
        self._tokens_in_flight -= tokens

    def answered(self, *, now: float) -> None:
        """Note a reply."""
        self.window += 1 if self.window < WIDE_WINDOW else STEP / self.window
        self._pause_s = FIRST_PAUSE_S
        self._passed.append(now)
        self._forget(now)

    def refused(self, retry_after_s: float | None, *, now: float) -> float:
        """Note a refusal (429); return the seconds for which all calls wait. Of several at once the first counts."""
        self._forget(now)
        if now < self._not_before:  # sent before the first refusal was known
            return self._not_before - now
        pause_s = self._pause_s if retry_after_s is None else min(self._pause_s, retry_after_s)
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        self._not_before = now + pause_s
        self.window = PROBES
        self._refusals += 1
        self._since_refusal = 0
        if "requests" not in self.reported and self._passed:
            took_s = min(MINUTE_S, max(1.0, now - self._first_at))
            rate = len(self._passed) / took_s
            if self._guess is not None:
                rate = min(rate, self._guess.per_s / 2)
            self._guess = Meter(rate, 1.0, 0.0, now)
            self._raise_at = now + MINUTE_S
        return pause_s

    def received(self, what: What, headers: RateLimitHeaders, *, now: float) -> None:
        """
        Take in what the headers of a reply, or of a refusal, say; calls in flight may not be counted in them yet.

        The call that they belong to is still in flight here, and counted there.
        """
        if self._begun_at == -inf:
            self._begun_at = now
        others = max(0, self._in_flight - 1) if what == "requests" else self._tokens_in_flight
        size = max(1.0, headers.limit)
        self.reported[what] = Meter(headers.per_s() * MARGIN, size, min(size, headers.remaining - others), now)
        if what == "requests":
            self.window, self._guess = inf, None

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0] < now - MINUTE_S:
            self._passed.popleft()

    def _raise_guess(self, now: float) -> None:
        while self._guess is not None and now >= self._raise_at:
            self._guess.level, self._guess.at = self._guess.level_at(self._raise_at), self._raise_at
            self._guess.per_s *= RAISE
            self._raise_at += MINUTE_S


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
        self._logged_at = -inf

    def received(self, headers: Mapping[str, str]) -> None:
        """Take in what the headers of an answer tell of limits."""
        for what, reported in parse(headers, datetime.fromisoformat(self._utc())).items():
            self.rates.received(what, reported, now=self._monotonic())
        self._changed.set()

    async def turn(self, tokens: float) -> int:
        """Wait until a call of *tokens* may go, and let it; what is returned is to be given to `done`."""
        self._waiting += 1
        try:
            async with self._gate:
                while (wait_s := self.rates.wait_s(tokens, now=self._monotonic())) > 0:
                    self._log_wait(wait_s)
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

    def _log_wait(self, wait_s: float) -> None:
        now = self._monotonic()
        if wait_s >= WAIT_LOGGED_S and wait_s < inf and now - self._logged_at >= LOGGED_EVERY_S:
            self._logged_at = now
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

    def received(self, model: str, headers: Mapping[str, str]) -> None:
        """Take in what the headers of an answer of *model* tell of limits."""
        self.of(model).received(headers)


class LimitedModel:
    """A provider whose calls take turns (port `Model`)."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.provider = model.provider
        self._model = model
        self._limits = limits

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[None]:
        """Wait until the provider's limits let *request* pass, and count it while it is made."""
        limiter = self._limits.of(request.model)
        tokens = asked(request)
        began = await limiter.turn(tokens)
        try:
            yield
        finally:
            limiter.done(tokens, began)

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """Make one call, within its turn. See the port for the errors."""
        limiter = self._limits.of(request.model)
        try:
            reply = await self._model.complete(request, on_text=on_text)
        except ProviderUnavailable as error:
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                limiter.refused(error.retry_after_s)
            raise
        limiter.answered()
        return reply

    def price(self, model: str) -> tuple[float, float] | None:
        """Return US dollars per (input token, output token) of *model*; None where unknown."""
        return self._model.price(model)

    def sees(self, model: str) -> bool | None:
        """Return whether *model* can be shown images; None where nobody knows."""
        return self._model.sees(model)

    async def aclose(self) -> None:
        """Give back connections. Idempotent."""
        await self._model.aclose()


def asked(request: Request) -> float:
    """Return the tokens that providers count when they are asked: what is sent, and what may come."""
    images = sum(tokens_of_images(request.model, message) for message in request.messages if message.images)
    return sum(len(message.content) for message in request.messages) / CHARS_PER_TOKEN + images + request.max_tokens


def parse(headers: Mapping[str, str], now: datetime) -> dict[What, RateLimitHeaders]:
    """
    Return what *headers* tell of limits.

    They are `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, or without the last word for requests. What is no
    number, or has no limit, tells nothing.
    """
    found: dict[What, RateLimitHeaders] = {}
    suffixes: tuple[tuple[What, str], ...] = (("requests", ""), ("requests", "-requests"), ("tokens", "-tokens"))
    for what, suffix in suffixes:
        limit = number_in(headers.get(f"x-ratelimit-limit{suffix}"))
        remaining = number_in(headers.get(f"x-ratelimit-remaining{suffix}"))
        said = headers.get(f"x-ratelimit-reset{suffix}")
        reset_s = None if said is None else seconds_until_reset(said, now)
        believed = reset_s is not None and 0 <= reset_s <= WAIT_LIMIT_S
        if limit is not None and remaining is not None and 0 <= remaining <= limit and 1 <= limit < inf:
            found[what] = RateLimitHeaders(limit, remaining, reset_s if believed else None)
    return found
