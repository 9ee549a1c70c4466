"""
How fast a provider may be asked: pure arithmetic, `now` in seconds of any steady clock.

A call may go when all of this holds:

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

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Literal

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
class Told:
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
        told: Meters of what the provider tells.
    """

    window: float = FIRST_WINDOW
    set_: dict[What, Meter] = field(default_factory=dict)
    told: dict[What, Meter] = field(default_factory=dict)
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
        told_s = max((meter.wait_s(amounts[what], now=now) for what, meter in self.told.items()), default=0.0)
        told_s = min(told_s, self._begun_at + LONGEST_PAUSE_S - now)
        set_s = (meter.wait_s(amounts[what], now=now) for what, meter in self.set_.items())
        guess_s = 0.0 if self._guess is None else self._guess.wait_s(1.0, now=now)
        return max(0.0, self._not_before - now, told_s, guess_s, *set_s)

    def begin(self, tokens: float, *, now: float) -> int:
        """Let a call of *tokens* go; what is returned is to be given to `end`."""
        self._raise_guess(now)
        self._first_at, self._begun_at = min(self._first_at, now), now
        self._in_flight += 1
        self._since_refusal += 1
        self._tokens_in_flight += tokens
        for meters in (self.set_, self.told):
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
        if "requests" not in self.told and self._passed:
            took_s = min(MINUTE_S, max(1.0, now - self._first_at))
            rate = len(self._passed) / took_s
            if self._guess is not None:
                rate = min(rate, self._guess.per_s / 2)
            self._guess = Meter(rate, 1.0, 0.0, now)
            self._raise_at = now + MINUTE_S
        return pause_s

    def heard(self, what: What, told: Told, *, now: float) -> None:
        """
        Take in what the headers of a reply, or of a refusal, say; calls in flight may not be counted in them yet.

        The call that they belong to is still in flight here, and counted there.
        """
        if self._begun_at == -inf:
            self._begun_at = now
        others = max(0, self._in_flight - 1) if what == "requests" else self._tokens_in_flight
        size = max(1.0, told.limit)
        self.told[what] = Meter(told.per_s() * MARGIN, size, min(size, told.remaining - others), now)
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
