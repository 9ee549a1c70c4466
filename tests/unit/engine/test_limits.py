"""Limits of a run: times, and what is kept for the last call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.budget import Left
from rlmwatch.engine.limits import LEAST_BYTES, LEAST_TOKENS, Deadlines, SynthesisReserve, is_short, less, outcome_of
from rlmwatch.errors import BudgetExceeded, CeilingReached
from rlmwatch.runs.model import Outcome

NO_CAP = Left(None, None, None)


@given(st.floats(0, 1e6), st.floats(-10, 1e5))
def test_work_ends_before_the_run_and_is_announced_before(now, seconds):
    """The model is told that it is late, then work ends, then everything, never after the deadline."""
    deadlines = Deadlines.of(now, now + seconds)
    assert deadlines.late_at <= deadlines.work_until <= deadlines.until <= now + seconds


def test_a_long_run_keeps_half_a_minute_and_a_short_one_a_quarter():
    """The last call has 30 seconds in a long run, and a quarter of a short one."""
    long, short = Deadlines.of(0, 600), Deadlines.of(0, 10)
    assert long.until - long.work_until == 30
    assert short.until - short.work_until == 2.5


def test_without_caps_the_last_call_is_a_whole_one():
    """Where nothing is capped, as many tokens are kept as any call has."""
    assert SynthesisReserve.of(NO_CAP, 400, (1e-6, 1e-5)).tokens == 400


def test_of_a_token_cap_a_quarter_is_kept():
    """The founding examples' 1,200 tokens keep 300 for the last call."""
    assert SynthesisReserve.of(Left(1_200, None, None), 400, None).tokens == 300
    assert SynthesisReserve.of(Left(10_000, None, None), 400, None).tokens == 400


@given(st.floats(0.001, 10), st.floats(1e-8, 1e-4), st.floats(1e-8, 1e-4), st.integers(1, 8000))
def test_of_a_money_cap_at_most_a_quarter_is_kept(usd, per_input, per_output, tokens):
    """The price of the last call is at most a quarter of the money, unless it is as small as it can be."""
    kept = SynthesisReserve.of(Left(None, usd, None), tokens, (per_input, per_output))
    price = kept.price((per_input, per_output))
    total = price.input_usd + kept.tokens * price.usd_per_output_token
    least = LEAST_BYTES * per_input + LEAST_TOKENS * per_output
    assert total <= usd / 4 + least
    assert kept.tokens >= LEAST_TOKENS
    assert kept.request_bytes >= LEAST_BYTES


def test_what_is_taken_off_leaves_nothing_negative():
    """Less than nothing is never left, and no cap stays no cap."""
    assert less(Left(10, 0.5, 3), 20, 1.0) == Left(0, 0.0, 3)
    assert less(NO_CAP, 20, 1.0) == NO_CAP


def test_a_budget_is_short_below_two_calls_or_a_fifth_of_the_money():
    """The model is told early enough for one more step and an answer."""
    start = Left(5_000, 1.0, None)
    assert is_short(Left(799, 1.0, None), start, 400)
    assert not is_short(Left(800, 0.2, None), start, 400)
    assert is_short(Left(800, 0.19, None), start, 400)
    assert not is_short(NO_CAP, NO_CAP, 400)


@pytest.mark.parametrize(
    ("error", "cap", "outcome"),
    [
        (BudgetExceeded, "max_tokens", Outcome.TOKEN_LIMIT),
        (BudgetExceeded, "max_cost_usd", Outcome.COST_LIMIT),
        (CeilingReached, "max_cost_usd_per_day", Outcome.COST_LIMIT),
    ],
)
def test_a_cap_names_the_outcome(error, cap, outcome):
    """Why a run ended follows from the cap that stopped it."""
    assert outcome_of(error("spent", cap=cap, limit=1, used=1)) is outcome
