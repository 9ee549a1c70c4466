"""How fast a provider may be asked, in virtual time."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.models.rate_limit import (
    FIRST_PAUSE_S,
    FIRST_WINDOW,
    LONGEST_PAUSE_S,
    MARGIN,
    MINUTE_S,
    PROBES,
    RAISE,
    WIDE_WINDOW,
    Meter,
    RateLimitHeaders,
    Rates,
    meters,
)


@dataclass
class Provider:
    """A provider that lets *limit* requests a minute pass, as a bucket of *size*, and refuses the rest."""

    limit: float
    size: float
    tells: bool
    level: float = field(init=False)
    at: float = 0.0
    refused: int = 0

    def __post_init__(self) -> None:
        self.level = self.size

    def ask(self, now: float) -> tuple[bool, RateLimitHeaders | None]:
        self.level = min(self.size, self.level + (now - self.at) * self.limit / MINUTE_S)
        self.at = now
        passes = self.level >= 1
        self.level -= passes
        self.refused += not passes
        told = RateLimitHeaders(self.size, max(0.0, self.level), (self.size - self.level) / self.limit * MINUTE_S)
        return passes, told if self.tells else None


def carried_out(rates: Rates, provider: Provider, calls: int, takes_s: float, tokens: float = 100.0) -> float:
    """Have *calls* that all begin at once made, each refused one again; return when the last was answered."""
    now, waiting, ending = 0.0, calls, []
    answered, numbers = 0, itertools.count()
    while answered < calls:
        wait = rates.wait_s(tokens, now=now) if waiting else inf
        if wait <= 0:
            waiting -= 1
            began = rates.begin(tokens, now=now)
            heapq.heappush(ending, (now + takes_s, next(numbers), began, *provider.ask(now)))
            continue
        assert ending or wait < inf, "it would wait for ever"
        if ending and ending[0][0] <= now + wait:
            now, _, began, passes, told = heapq.heappop(ending)
            if told is not None:
                rates.received("requests", told, now=now)
            if passes:
                rates.answered(now=now)
                answered += 1
            else:
                rates.refused(None, now=now)
                waiting += 1
            rates.end(tokens, began)
        else:
            now += wait
    return now


@given(limit=st.floats(20, 5000), calls=st.integers(1, 600), takes_s=st.floats(0.05, 20), whole=st.booleans())
def test_a_limit_that_is_told_is_kept(limit, calls, takes_s, whole):
    """However many calls begin at once, a provider that tells its limit refuses no more than the first few."""
    provider = Provider(limit, limit if whole else max(1.0, limit / 60), tells=True)
    took = carried_out(Rates(), provider, calls, takes_s)
    assert provider.refused <= 2 * FIRST_WINDOW
    # With a bucket of few calls, what was told is old when it is heard: one call's time late, at worst for each.
    slack = calls / FIRST_WINDOW * takes_s if whole else calls * takes_s
    assert took <= (calls / limit * MINUTE_S + takes_s) * 1.5 + slack + 10


@given(limit=st.floats(20, 3000), calls=st.integers(1, 300), takes_s=st.floats(0.05, 5))
def test_a_limit_that_is_not_told_is_found(limit, calls, takes_s):
    """A provider that only refuses is soon asked so slowly that it refuses little; all is answered in the end."""
    provider = Provider(limit, max(1.0, limit / 4), tells=False)
    carried_out(Rates(), provider, calls, takes_s)
    assert provider.refused <= 2 * WIDE_WINDOW + calls / 5


@given(limit=st.floats(10, 10_000), calls=st.integers(1, 500), takes_s=st.floats(0.01, 30))
def test_a_limit_that_was_set_is_never_exceeded(limit, calls, takes_s):
    """With a limit that a person set below the provider's, nothing is ever refused."""
    provider = Provider(limit, max(1.0, limit / 10), tells=False)
    carried_out(Rates(window=inf, set_=meters(requests=limit * 0.999, now=0.0)), provider, calls, takes_s)
    assert provider.refused == 0


@given(
    per_s=st.floats(0.01, 1000),
    size=st.floats(1, 1000),
    amounts=st.lists(st.floats(0.1, 2000), min_size=1, max_size=60),
)
def test_a_meter_keeps_its_promise(per_s, size, amounts):
    """In any span of time no more passes than the bucket and what flows in meanwhile, and one call that is larger."""
    meter = Meter(per_s, size, size, 0.0)
    now, passed = 0.0, []
    for amount in amounts:
        now += meter.wait_s(amount, now=now)
        assert meter.wait_s(amount, now=now) <= 1e-6 * max(1.0, now)
        meter.take(amount, now=now)
        passed.append((now, amount))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            span = passed[last][0] - passed[first][0]
            together = sum(amount for _, amount in passed[first : last + 1])
            assert together <= (size + per_s * span + passed[last][1]) * (1 + 1e-6)


def test_rule_1_refusals_make_all_wait_and_ever_longer():
    """After a refusal all wait, twice as long each time and no longer than the provider says; a reply ends that."""
    rates = Rates(window=inf)
    assert rates.refused(30.0, now=0.0) == FIRST_PAUSE_S
    assert rates.wait_s(1, now=0.4) == 0.6
    assert rates.refused(None, now=0.4) == 0.6, "it was sent before the first refusal was known"
    assert rates.refused(0.25, now=2.0) == 0.25
    pauses = [rates.refused(None, now=1000.0 * n) for n in range(1, 9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    rates.answered(now=9000.0)
    assert rates.refused(None, now=9001.0) == FIRST_PAUSE_S


def test_rule_2_tokens_count_too():
    """A call waits until its tokens fit, also where there is room for many requests."""
    rates = Rates(set_=meters(tokens=6000, now=0.0))
    rates.begin(600, now=0.0)
    assert rates.wait_s(300, now=0.0) == 3.0
    assert rates.wait_s(300, now=3.0) == 0.0
    told = Rates()
    told.begin(100, now=0.0)
    told.received("tokens", RateLimitHeaders(30_000, 0, 30.0), now=0.0)
    assert told.wait_s(900, now=0.0) == pytest.approx(1.0 / MARGIN), "the call in flight may not be counted yet"


def test_rule_2_of_a_limit_per_day_the_person_hears_in_the_providers_words():
    """Where the headers would have all wait for hours, one call a minute goes all the same."""
    rates = Rates()
    rates.begin(10, now=0.0)
    rates.received("requests", RateLimitHeaders(100, 0, 36_000.0), now=1.0)
    assert rates.wait_s(10, now=1.0) == LONGEST_PAUSE_S - 1.0
    assert rates.wait_s(10, now=LONGEST_PAUSE_S) == 0.0
    rates.begin(10, now=LONGEST_PAUSE_S)
    assert rates.wait_s(10, now=LONGEST_PAUSE_S) == LONGEST_PAUSE_S


def test_rule_3_the_window_grows_with_replies_and_closes_by_a_refusal():
    """Before anything is known few calls go at once; each reply lets one more go; after a refusal two try."""
    rates = Rates()
    for _ in range(FIRST_WINDOW):
        assert rates.wait_s(1, now=0.0) == 0.0
        began = rates.begin(1, now=0.0)
    assert rates.wait_s(1, now=0.0) == inf
    rates.answered(now=1.0)
    rates.end(1, began)
    assert rates.window == FIRST_WINDOW + 1
    for _ in range(2):
        assert rates.wait_s(1, now=1.0) == 0.0
        rates.begin(1, now=1.0)
    assert rates.wait_s(1, now=1.0) == inf
    rates.refused(0.0, now=1.0)
    for n in range(PROBES):  # however many older ones hang
        assert rates.wait_s(1, now=100.0 + n) == 0.0
        probe = rates.begin(1, now=100.0 + n)
    assert rates.wait_s(1, now=200.0) == inf
    rates.end(1, began)
    assert rates.wait_s(1, now=200.0) == inf, "an older one makes no room"
    rates.end(1, probe)
    assert rates.wait_s(1, now=200.0) == 0.0
    rates.received("requests", RateLimitHeaders(100, 99, 1.0), now=207.0)
    assert rates.window == inf


def test_what_is_found_by_refusals_is_raised_again():
    """What a provider let pass, by the time that took, becomes its limit, and grows by half for each quiet minute."""
    rates = Rates()
    for n in range(30):
        rates.end(1, rates.begin(1, now=2.0 * n))
        rates.answered(now=2.0 * n)
    rates.refused(1.0, now=60.0)
    rates.end(1, rates.begin(1, now=63.0))
    assert rates.wait_s(1, now=63.0) == 2.0  # 30 a minute
    late = 60.0 + 2 * MINUTE_S + 1
    rates.end(1, rates.begin(1, now=late))
    assert abs(rates.wait_s(1, now=late) - 2.0 / RAISE**2) < 1e-9
    rates.answered(now=late)
    rates.refused(1.0, now=late)
    assert rates.wait_s(1, now=late) == MINUTE_S, "one that passed in the last minute"


def test_a_limit_per_day_is_understood_by_its_reset():
    """Headers do not name their period: what is used, by the time until it is there again, is the rate."""
    assert RateLimitHeaders(500, 499, 0.12).per_s() == 1 / 0.12
    assert RateLimitHeaders(10_000, 9_000, 8640.0).per_s() == 1000 / 8640
    assert RateLimitHeaders(600, 600, None).per_s() == 10.0
    assert RateLimitHeaders(600, 600, 0.0).per_s() == 10.0
