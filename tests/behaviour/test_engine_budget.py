"""Budgets of the engine that hold: never overshot, and a partial answer instead of an exception."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from fakes.engine import EngineHarness, asked, is_root, is_synthesis, play, py, steps_done

from rlmwatch.budget import Budget, Caps
from rlmwatch.errors import CeilingReached, SessionBudgetExceeded, UnknownPrice
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome

CAP = 5_000
FULL = "word " * 1_000
"""1,250 tokens: more than any call may use here."""
BATCH = "r = llm_batch([f'p{n}' for n in range(100)])\nprint(sum(isinstance(x, str) for x in r))"
ONE_BY_ONE = """
good = 0
for n in range(100):
    try:
        llm_query(f'p{n}')
        good += 1
    except Error as e:
        last = type(e).__name__
print(good, last)
"""
SUB_ENGINES = """
for n in range(10):
    try:
        rlm_query(f'part {n}', 'x')
    except Error as e:
        print(type(e).__name__)
"""


def full(_request):
    return FULL


def within(harness):
    """What was used stays under the cap, in the budget, in the journal and in what is reported."""
    assert harness.journal.tokens() <= CAP
    assert harness.budget.tokens <= CAP
    assert harness.calls.used.output_tokens == harness.budget.tokens
    assert harness.budget.left().tokens == CAP - harness.budget.tokens  # nothing is left reserved


@pytest.mark.parametrize("code", [BATCH, ONE_BY_ONE, SUB_ENGINES], ids=["batch", "sequential", "sub-engines"])
def test_a_hundred_sub_calls_never_exceed_the_cap(code):
    """With a cap of 5,000 tokens, a cell that asks for 100 sub-calls of 1,000 uses at most 5,000; partial answer."""
    cells = play([py(code), py("print('more')"), py("print('more')")], full, full)

    def script(request):
        if is_root(request) and "part " in asked(request).content:
            return py(BATCH)
        return cells(request)

    harness = EngineHarness(script, caps=Caps(max_tokens=CAP))
    result = harness.run()
    within(harness)
    assert (result.outcome, result.partial) == (Outcome.TOKEN_LIMIT, True)
    assert result.answer.startswith("word word")
    assert harness.budget.tokens > CAP - 1_000  # and it is not refused early either


@pytest.mark.parametrize("point", [2, 7, 12, 20])
@pytest.mark.parametrize("code", [BATCH, ONE_BY_ONE], ids=["batch", "sequential"])
def test_the_cap_holds_across_a_kill(code, point):
    """The same when the run is killed in the middle and goes on: both attempts together stay under the cap."""
    harness = EngineHarness(play([py(code), py("print('more')")], full, full), caps=Caps(max_tokens=CAP))
    if harness.killed_at(point):
        result = harness.run()
        assert result.partial
    within(harness)


def test_calls_that_use_less_leave_the_rest_to_others():
    """Sub-calls that use little are all made, however much each of them reserves."""

    async def short(_request):
        await asyncio.sleep(0)
        return "ok"

    harness = EngineHarness(play([py(BATCH), py("answer('done')")], short), caps=Caps(max_tokens=CAP))
    assert harness.run().outcome is Outcome.SUCCESS
    assert harness.trajectory.shown[0] == "100"
    assert {r.max_tokens for r in harness.model.requests if not is_root(r)} == {1000}  # and each gets all that it wants


def test_requests_are_clamped_to_what_is_left():
    """The last sub-call that is affordable asks the provider for no more than what is left."""
    harness = EngineHarness(play([py(ONE_BY_ONE)], full), caps=Caps(max_tokens=CAP))
    harness.run()
    subs = [r.max_tokens for r in harness.model.requests if not is_root(r) and not is_synthesis(r)]
    assert subs[0] == 1000
    assert subs[-1] < 1000


def test_a_money_cap_is_never_exceeded():
    """With a cap in US dollars, what the calls may cost never adds up to more, and the answer is partial."""
    harness = EngineHarness(play([py(BATCH)], full, full), caps=Caps(max_cost_usd=0.05), usd_per_token=(1e-6, 1e-5))
    result = harness.run()
    assert (result.outcome, result.partial) == (Outcome.COST_LIMIT, True)
    assert 0.02 < harness.budget.usd <= 0.05


def test_the_last_call_is_always_affordable():
    """However a run spends its tokens, the synthesis can be paid: its share is held back from the start."""
    for tokens in (200, 1_000, CAP):
        harness = EngineHarness(play([py(BATCH)], full, full), caps=Caps(max_tokens=CAP), options={"tokens": tokens})
        harness.run()
        asked = harness.model.requests[-1]
        assert is_synthesis(asked)
        assert asked.max_tokens == min(tokens, CAP // 4)


def test_a_spent_budget_gives_a_partial_answer_and_no_exception():
    """A run that may afford one call only spends it on an answer."""
    harness = EngineHarness(play([]), caps=Caps(max_tokens=40))
    result = harness.run()
    assert (result.answer, result.outcome, result.steps) == ("synthesis", Outcome.TOKEN_LIMIT, 1)
    assert len(harness.model.requests) == 1


def test_a_session_with_nothing_left_makes_no_call():
    """A session whose budget is spent before the run starts is an error that names used and cap; no call is made."""
    session = Budget("session", Caps(max_tokens=1_200), tokens=1_195)
    harness = EngineHarness(play([]), session=session)
    with pytest.raises(SessionBudgetExceeded, match=r"max_tokens is 1200, 1195 used"):
        harness.run()
    assert harness.model.requests == []


def test_a_run_stays_under_what_its_session_has_left():
    """A run in a session that has used some of its tokens gets the rest, and no more."""
    session = Budget("session", Caps(max_tokens=1_200), tokens=700)
    harness = EngineHarness(play([py(BATCH)], full, full), session=session, options={"tokens": 400})
    assert harness.run().partial
    assert session.tokens <= 1_200


def test_a_session_whose_money_is_spent_makes_no_call():
    """The same for money."""
    session = Budget("session", Caps(max_cost_usd=0.05), usd=0.0499)
    harness = EngineHarness(play([]), session=session, usd_per_token=(1e-5, 1e-4))
    with pytest.raises(SessionBudgetExceeded, match="max_cost_usd"):
        harness.run()
    assert harness.model.requests == []


def test_a_ceiling_per_day_ends_the_run_with_what_was_found():
    """When the user's ceiling per day is reached in the middle, what was printed is the answer: `cost_limit`."""
    harness = EngineHarness(
        play([py("print('clue')"), py(BATCH)], full, full),
        ceilings=Ceilings(per_day_usd=0.03),
        usd_per_token=(1e-6, 1e-5),
    )
    result = harness.run()
    assert (result.outcome, result.partial) == (Outcome.COST_LIMIT, True)
    assert result.answer == harness.trajectory.shown[-1]
    assert harness.budget.usd <= 0.03


def test_a_ceiling_that_is_reached_before_the_start_is_an_error():
    """When the ceiling is reached before anything was found, the error says so."""
    harness = EngineHarness(play([py("x = 1")]), ceilings=Ceilings(per_day_usd=1e-9), usd_per_token=(1e-6, 1e-5))
    with pytest.raises(CeilingReached):
        harness.run()
    assert harness.model.requests == []


@pytest.mark.parametrize("prices", [{"m": None, "s": (0.0, 0.0)}, {"m": (0.0, 0.0), "s": None}])
def test_a_cost_cap_with_an_unknown_price_is_an_error_before_any_call(prices):
    """Where there is a cost cap and the price of the model, or of the sub-calls' one, is unknown: no call."""
    harness = EngineHarness(play([py("answer(1)")]), caps=Caps(max_cost_usd=1.0), options={"sub_model": "s"})
    harness.prices = prices
    with pytest.raises(UnknownPrice, match=r"\[prices\]"):
        harness.run()
    assert harness.model.requests == []


def test_a_nearly_spent_budget_is_announced():
    """When less than two calls' tokens are left the model is told to answer now."""
    harness = EngineHarness(play([py("llm_query('q')"), py("answer(1)")], full), caps=Caps(max_tokens=3_500))
    harness.run()
    first, second = (request.messages[-1].content for request in harness.roots())
    assert "nearly spent" not in first
    assert "nearly spent" in second


def test_a_cell_is_told_that_the_budget_is_spent_and_can_finish():
    """A cell whose sub-call is refused catches the error and still answers with what it has."""
    code = "got = []\ntry:\n    while True:\n        got.append(llm_query(f'q{len(got)}'))\nexcept Error as e:\n"
    code += "    answer([len(got), type(e).__name__, str(e)])"
    result = EngineHarness(play([py(code)], full), caps=Caps(max_tokens=CAP)).run()
    assert result.answered
    assert (result.outcome, result.partial) == (Outcome.TOKEN_LIMIT, True)
    assert result.value[0] >= 3
    assert result.value[1:] == ["BudgetExceeded", "the budget is spent: max_tokens; finish with what you have"]


def test_calls_side_by_side_cannot_overshoot_together():
    """Sixteen calls in flight hold their reservations until they settle, whatever order they end in."""
    waits = count()

    async def sub(_request):
        for _ in range(next(waits) * 7 % 5):
            await asyncio.sleep(0)
        return FULL

    harness = EngineHarness(play([py(BATCH)], sub, full), caps=Caps(max_tokens=CAP))
    harness.run()
    within(harness)


def test_a_sub_engine_that_runs_dry_gives_back_what_it_found():
    """A sub-engine at its limits answers from what it found, in its own last call, and the run goes on."""

    def script(request):
        if is_synthesis(request):
            return "from the sub-engine"
        if "part" in asked(request).content:
            return py("print('inner clue')")
        return [py("r = rlm_query('part', 'x')"), py("answer(r)")][steps_done(request)]

    result = EngineHarness(script, options={"max_steps": 2}).run()
    assert (result.answer, result.outcome) == ("from the sub-engine", Outcome.SUCCESS)


def test_a_sub_engine_is_told_what_the_engines_above_leave_it():
    """What a sub-engine may spend leaves out what is kept for the last calls above it, and its own."""

    def script(request):
        if "part" in asked(request).content:
            return py("answer(budget()['tokens'])")
        return py("answer([budget()['tokens'], rlm_query('part', 'x')])")

    outer, inner = EngineHarness(script, caps=Caps(max_tokens=CAP)).run().value
    assert 3_900 < outer <= 4_000
    assert 2_900 < inner <= 3_000
