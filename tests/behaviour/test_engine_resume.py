"""A killed run goes on where it was: nothing that was finished is paid twice, and nothing shown changes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest
from fakes.engine import EngineHarness, asked, is_root, is_synthesis, play, py, steps_done
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.budget import Caps
from rlmwatch.engine.prompts import current_prompts
from rlmwatch.runs.model import CallState, Outcome
from rlmwatch.sandbox.base import HostFunction

CELLS = [
    "parts = context.split()\nfirst = llm_query('first', parts[0])\nprint(first, budget())",
    "r = llm_batch([f'look at {p}' for p in parts])\nprint(r, budget())",
    "deep = [rlm_query('part', p) for p in parts[:2]]\nprint(deep, {*parts}, budget())",
    "import random\nprint(random.random())\nfor p in parts:\n    print(llm_query(p))",
    "answer([first, r, deep])",
]
INNER = ["x = llm_batch([context, context + '!', 'same', 'same'])\nprint(x, budget())", "answer('|'.join(x))"]


def whole(request):
    """A deterministic model: steps for engines, a digest for sub-calls, which arrive in shuffled order."""
    if is_synthesis(request):
        return "synthesis"
    if is_root(request):
        inner = "Question:\npart" in asked(request).content
        return py((INNER if inner else CELLS)[steps_done(request)])
    return shuffled(request)


async def shuffled(request):
    said = hashlib.sha256(request.messages[-1].content.encode()).hexdigest()
    for _ in range(int(said[0], 16)):
        await asyncio.sleep(0)
    return f"reply {said[:4]}"


def make(script=whole):
    return EngineHarness(script, caps=Caps(max_tokens=50_000, max_cost_usd=5.0), usd_per_token=(1e-6, 1e-5))


CONTEXT = "alpha beta gamma delta"


@pytest.fixture(scope="module")
def reference():
    """The run without a kill."""
    harness = make()
    return harness, harness.run(context=CONTEXT)


def points(reference):
    return 3 * len(reference[0].journal.done())  # each call passes three named points


def agrees(harness, result, reference):
    """The run ended as if it had never been killed, and what was shown never changed."""
    assert result.answer == reference[1].answer
    assert result.notes == ()
    keys = harness.journal.done()
    assert len(keys) == len(set(keys)) == len(reference[0].journal.done())  # each call has one reply, none is twice
    final = harness.roots()[-1].messages if harness.roots() else ()
    for row in harness.journal.rows:
        asked = row.call.request["messages"]
        if (
            row.state is CallState.DONE
            and row.call.key.startswith("/")
            and asked[0]["content"].startswith("You answer")
        ):
            # What an earlier attempt was shown of the budget stands word for word in the last request.
            assert [m["content"] for m in asked] == [m.content for m in final[: len(asked)]] or not final


def test_nothing_is_asked_again_by_an_attempt_after_the_end(reference):
    """An attempt of a run whose calls are all done makes no call, and gives the same answer."""
    harness = make()
    harness.run(context=CONTEXT)
    again = harness.again(context=CONTEXT)
    assert again.answer == reference[1].answer
    assert harness.model.requests == []
    assert again.notes == ()


@pytest.mark.parametrize("share", [n / 13 for n in range(13)])
def test_a_run_that_is_killed_at_any_point_goes_on_there(reference, share):
    """Killed at any moment, in batches and sub-engines too, the run ends as if nothing had happened."""
    harness = make()
    assert harness.killed_at(1 + int(share * points(reference)), context=CONTEXT)
    agrees(harness, harness.run(context=CONTEXT), reference)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 90), min_size=2, max_size=5))
def test_a_run_that_is_killed_again_and_again_shows_the_same(reference, kills):
    """However often a run is killed, each attempt is shown what the one before saw, and no reply is paid twice."""
    harness = make()
    for point in kills:
        if not harness.killed_at(point, context=CONTEXT):
            break
    agrees(harness, harness.again(context=CONTEXT), reference)


def test_calls_in_flight_at_a_kill_keep_their_reservation_as_spent():
    """A call that was in flight at a kill counts as spent, and is made again."""
    harness = make()
    assert harness.killed_at(1, context=CONTEXT)
    harness.run(context=CONTEXT)
    lost = [row for row in harness.journal.rows if row.state is CallState.LOST]
    assert [row.call.reserved_tokens for row in lost] == [1000]
    assert harness.budget.tokens == harness.journal.tokens()
    assert "tokens left" in asked(harness.roots()[0]).content


def test_a_lost_call_is_shown_to_the_attempt_after_it_only_where_it_stood():
    """What was lost in the third step lowers what is shown from the third step on, not before."""
    harness = make()
    harness.run(context=CONTEXT)
    undisturbed = [m.content for m in harness.roots()[-1].messages]
    harness = make()
    root_calls = [n for n, row in enumerate(make_rows()) if row.startswith("/3/")]
    assert harness.killed_at(3 * root_calls[0] + 1, context=CONTEXT)
    harness.run(context=CONTEXT)
    shown = [m.content for m in harness.roots()[-1].messages]
    third = 5 + len(harness.prompts.example)
    assert shown[:third] == undisturbed[:third]
    assert shown[third] != undisturbed[third]


def make_rows():
    harness = make()
    harness.run(context=CONTEXT)
    return [row.call.key for row in harness.journal.rows]


def test_a_replay_that_differs_goes_on_and_says_so():
    """Where a cell reads the clock, the replay goes on with fresh calls in the same budget: `replay_diverged`."""
    script = play([py("import time\nprint(time.time_ns())"), py("y = 2"), py("answer('end')")])
    harness = EngineHarness(script, caps=Caps(max_tokens=5_000))
    assert harness.killed_at(9)
    spent = harness.journal.tokens()
    result = harness.run()
    assert (result.answer, result.outcome) == ("end", Outcome.SUCCESS)
    assert result.notes == ("replay_diverged",)
    assert len(harness.model.requests) == 2  # the first reply was replayed
    assert harness.budget.tokens == harness.journal.tokens() > spent


def test_a_diverged_replay_stays_under_the_cap():
    """A run that diverges at each attempt pays for all of them out of one budget."""
    script = play([py("import time\nprint(time.time_ns())")] + [py("y = 2\n" + "# " + "x" * 700)] * 8, end="the end")
    harness = EngineHarness(script, caps=Caps(max_tokens=1_500))
    for _ in range(6):
        harness.killed_at(9)
    result = harness.run()
    assert result.partial
    assert harness.journal.tokens() <= 1_500


def test_the_clock_alone_breaks_no_replay():
    """An attempt that is late tells the model so, and yet takes the replies that an earlier one has paid for."""

    def slow(_request):
        harness.passed_s = 40
        return "ok"

    harness = EngineHarness(play([py("llm_query('q')"), py("x = 1"), py("answer(x)")], slow))
    assert harness.killed_at(9)
    assert "Little time is left" in harness.roots()[1].messages[-1].content
    result = harness.run()
    assert len(harness.model.requests) == 1
    assert "Little time is left" not in str(harness.roots()[0].messages)
    assert result.notes == ()


def test_an_upgrade_in_the_middle_keeps_the_old_prompts():
    """A run that frozen its prompts takes its replies from the journal after the prose has changed."""
    harness = EngineHarness(play([py("x = 1"), py("y = 2"), py("answer(x)")]))
    assert harness.killed_at(6)
    frozen = harness.prompts.frozen()
    newer = replace(current_prompts(), version=2, root="You answer by writing Python. New rules.\n{tools}")
    assert newer != current_prompts()
    harness.prompts = type(newer).of(frozen)
    harness.run()
    assert len(harness.model.requests) == 1


def test_a_cell_that_killed_its_session_is_not_run_again():
    """A cell that spun until it was killed is passed over at a replay, and what was told of it stands."""
    ran = []

    def note(_call_site):
        async def call():
            ran.append(1)

        return HostFunction("note", call)

    stubborn = (
        "import signal\nr = llm_query('q')\nnote()\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass"
    )
    script = play([py("kept = 1"), py(stubborn), py("print('after', 'kept' in dir())"), py("answer('end')")])
    harness = EngineHarness(script, seconds=8, tools={"note": note})
    assert harness.killed_at(12)
    told = harness.trajectory.shown[1]
    result = harness.run()
    assert result.notes == ()
    assert result.answer == "end"
    assert len(harness.model.requests) == 1
    assert harness.trajectory.shown[1:3] == [told, "after False"]
    assert ran == [1]


def test_a_cell_stopped_at_its_limit_replays_as_it_was_told():
    """Where in its code a cell was interrupted is chance, so the replay tells what was told the first time."""
    spin = "n = 0\nwhile True:\n    n += 1\n    if n % 100000 == 0:\n        print(n)"
    harness = EngineHarness(play([py(spin), py("x = 1"), py("answer('end')")]), seconds=3)
    assert harness.killed_at(6)
    result = harness.run()
    assert (result.answer, result.notes) == ("end", ())
    assert len(harness.model.requests) == 1


def test_an_answer_made_of_what_was_found_is_not_paid_twice():
    """A run that was killed after its last call takes that answer from the journal, and nothing stays reserved."""
    harness = EngineHarness(
        play([py("print('clue')")], end="made of clues"), options={"max_steps": 1}, caps=Caps(max_tokens=5_000)
    )
    assert harness.killed_at(6)
    result = harness.run()
    assert (result.answer, result.outcome) == ("made of clues", Outcome.STEP_LIMIT)
    assert harness.model.requests == []
    assert harness.budget.left().tokens == 5_000 - harness.journal.tokens()


def test_a_last_call_that_was_lost_leaves_what_was_printed():
    """A run that was killed in its last call until nothing was left ends with what it printed, not as an error."""
    harness = EngineHarness(play([py("print('clue')")], end="made of clues"), caps=Caps(max_tokens=85))
    assert harness.killed_at(4)
    while harness.killed_at(1):
        assert harness.journal.rows[-1].call.key.startswith("/0/")
    result = harness.again()
    assert (result.answer, result.outcome, result.partial) == ("clue", Outcome.TOKEN_LIMIT, True)
    assert harness.model.requests == []
    assert harness.journal.tokens() <= 85
