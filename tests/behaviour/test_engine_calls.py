"""What providers and servers really do, as a run sees it: waits, refusals, half replies, costs beyond the table."""

from __future__ import annotations

import asyncio
import errno
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from fakes.engine import EngineHarness, asked, is_root, play, py, shared_sandbox, steps_done
from fakes.memory import MemoryJournal
from structlog.testing import capture_logs

from rlmwatch import clock
from rlmwatch.budget import Budget, Caps
from rlmwatch.engine import tools
from rlmwatch.engine.call_codec import plain
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.cells import Cells
from rlmwatch.engine.sub_sessions import OVER_ALL, PER_RUN, SubSessions
from rlmwatch.errors import (
    ContextTooLong,
    NotSent,
    ProviderCutOff,
    ProviderRefused,
    ProviderUnavailable,
    RunTimeout,
    SandboxUnavailable,
)
from rlmwatch.execution.outcomes import ended_by
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.models.rate_limit import LimitedModel, Limits
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, JournalEntry, Outcome, PaidCall, Usage

REQUEST = Request("m", (Message("user", "hello"),), 100)
NO_CEILINGS = Ceilings(per_day_usd=None)


def calls_on(model, *, seconds=60.0, caps=None, journal=None, ceilings=NO_CEILINGS):
    scope = AttemptScope("run-1", 1, ceilings, clock.monotonic() + seconds, clock.monotonic, clock.utc)
    return Calls(scope, journal or MemoryJournal(), model, Budget("run", caps or Caps()))


def unavailable(usage=None, **more):
    error = ProviderUnavailable("p: HTTP 503: overloaded", status=503, retry_after_s=0.0, **more)
    error.usage = usage
    return error


# What waits


def limited(model):
    """A model whose provider has said that its limit is used up for an hour."""
    limits = Limits(clock.monotonic, clock.utc)
    limits.received("m", {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "50"})
    return LimitedModel(model, limits)


def test_a_call_that_waits_for_the_rate_limit_is_never_booked():
    """A call whose time ends while it waits for its turn was not sent: no intent, no tokens, and the words say so."""

    async def run():
        script = ScriptedModel(["never"])
        calls = calls_on(limited(script), caps=Caps(max_tokens=1000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await calls.llm(REQUEST)
        assert script.requests == []
        assert calls.journal.rows == []
        assert calls.used == Usage()
        assert calls.budget.left().tokens == 1000
        assert isinstance(calls.trouble, NotSent)
        assert "waited for the rate limit, and was not sent" in str(calls.trouble)

    asyncio.run(run())


def test_what_was_said_before_the_wait_is_kept():
    """A call that was refused and then waits for the limit has both in its words."""

    async def run():
        calls = calls_on(limited(ScriptedModel(["never"])))
        calls.trouble = ProviderUnavailable("p: HTTP 429: slow down", status=429)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await calls.llm(REQUEST)
        assert str(calls.trouble).startswith("p: HTTP 429: slow down\nThen scripted: the call waited")

    asyncio.run(run())


def test_a_long_wait_for_the_rate_limit_is_told():
    """Who follows a run is told that it waits for its turn, and that this is over."""

    async def run():
        limits = Limits(clock.monotonic, clock.utc, requests_per_minute=40)
        told, waits = [], asyncio.Event()
        calls = calls_on(LimitedModel(ScriptedModel(lambda _: "ok"), limits))

        def on_wait():
            told.append(calls.waits_for)
            waits.set()

        calls.on_wait = on_wait
        for _ in range(4):  # a burst of six seconds' worth passes at once
            await calls.llm(REQUEST)
        second = asyncio.create_task(calls.llm(REQUEST))
        await waits.wait()
        assert "waiting for its rate limit" in told[0]
        await second
        assert told[-1] is None

    asyncio.run(run())


@pytest.mark.parametrize("retry_after_s", [None, 600.0])
def test_a_failure_after_the_deadline_is_the_runs_time_limit(retry_after_s):
    """A call that fails when the time is up ends the run for its time limit, whichever of the two is noticed first."""

    async def run():
        refused = ProviderUnavailable("p: HTTP 500: on fire", status=500, retry_after_s=retry_after_s)
        calls = calls_on(ScriptedModel([refused]), seconds=0)
        with pytest.raises(RunTimeout):
            await calls.llm(REQUEST)
        assert calls.trouble is refused

    asyncio.run(run())


def test_a_retry_is_told_with_the_servers_words_and_the_time():
    """While a call is tried again, the words say what the server said and when it is asked again; then they go."""

    async def run():
        told = []
        calls = calls_on(ScriptedModel([unavailable(), "ok"]))
        calls.on_wait = lambda: told.append(calls.waits_for)
        with capture_logs() as logs:
            await calls.llm(REQUEST)
        assert len(told) == 2
        assert "HTTP 503: overloaded; asked again at 20" in told[0]
        assert told[1] is None
        (event,) = [line for line in logs if "retry" in line["event"]]
        assert event["event"] == "call.retry_scheduled"
        assert event["server"] == "scripted"
        assert "HTTP 503: overloaded" in event["why"]
        assert abs(datetime.fromisoformat(event["again_at"]) - datetime.now(UTC)) < timedelta(minutes=5)  # noqa: TID251

    asyncio.run(run())


# What is booked


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (unavailable, None),
        (lambda: unavailable(may_be_billed=True), None),
        (lambda: ProviderCutOff("p: cut", text_so_far="half"), None),
        (lambda: ProviderRefused("p: HTTP 400: no", status=400), ProviderRefused),
    ],
    ids=["unavailable", "billed", "cut", "refused"],
)
def test_reported_usage_is_booked_although_the_answer_is_thrown_away(error, raised):
    """What a failed call reports as used counts against the caps and stands in the journal."""

    async def run():
        failed = error()
        failed.usage = Usage(700, 300, 0.002, 1)
        if hasattr(failed, "retry_after_s"):
            failed.retry_after_s = 0.0
        calls = calls_on(ScriptedModel([failed, "ok"]), caps=Caps(max_tokens=1000))
        with pytest.raises(raised) if raised else nullcontext():
            await calls.llm(REQUEST)
        assert calls.used.input_tokens >= 700
        assert calls.used.output_tokens >= 300
        assert calls.used.cost_usd >= 0.002
        row = calls.journal.rows[0]
        assert (row.state, row.usage) == (CallState.LOST, failed.usage)
        assert calls.budget.left().tokens == 1000 - calls.used.output_tokens

    asyncio.run(run())


def test_reported_costs_of_failed_calls_keep_the_cap():
    """A server that bills and fails each time is not asked beyond the cap, also where its price is said to be low."""

    def failing(_request):
        return unavailable(Usage(10, 5, 0.0005, 1))

    async def run():
        model = ScriptedModel(failing, usd_per_token=(1e-7, 1e-7))
        calls = calls_on(model, caps=Caps(max_cost_usd=0.002))
        with pytest.raises(Exception, match="max_cost_usd"):
            await calls.llm(REQUEST)
        assert calls.used.cost_usd <= 0.002 + 1e-9

    asyncio.run(run())


@pytest.mark.parametrize("table", [(1e-7, 1e-7), (1e-9, 1e-9)])
def test_costs_beyond_the_table_overshoot_by_no_more_than_one_call(table):
    """Sixteen sub-calls at once whose provider bills a thousand times its price pass a cap by one call at most."""
    made, at_once, side_by_side = 0, 0, asyncio.Event()

    async def dear(request):
        nonlocal made, at_once
        made, at_once = made + 1, at_once + 1
        if at_once > 1:
            side_by_side.set()
        elif made == 2:
            await side_by_side.wait()  # once its price is known, calls go side by side
        at_once -= 1
        return Reply("ok", "stop", Usage(10, 5, 0.001, 1), request.model)

    async def run():
        model = ScriptedModel(dear, usd_per_token=table)
        calls = calls_on(model, caps=Caps(max_cost_usd=0.0305))
        sub = tools.SubCalls(calls, "m", 10, None, "rules", asyncio.Semaphore(tools.AT_ONCE))
        async with asyncio.timeout(20):
            results = await sub.ask_all(tools.CallSite(), [f"p{n}" for n in range(60)])
        assert calls.used.cost_usd <= 0.0305 + 0.001
        assert sum(isinstance(each, str) for each in results) >= 25
        assert side_by_side.is_set()

    asyncio.run(run())


# What is not whole


@pytest.mark.parametrize("ended", ["filter", "interrupted", "length"])
def test_code_of_a_reply_that_is_not_whole_never_runs(ended):
    """Half a program does not run whatever cut it, and the model is told."""

    def script(request):
        if is_root(request) and steps_done(request) == 0:
            return Reply("```python\nanswer('half')", ended, Usage(1, 1, 0.0, 1), "m", provider_reason="SAFETY")
        return play(["", py("answer('whole')")])(request)

    harness = EngineHarness(script)
    assert harness.run().answer == "whole"
    said = harness.roots()[-1].messages[-1].content
    assert ("token limit" in said) == (ended == "length")
    assert "nothing ran" in said


def test_a_sub_call_whose_reply_is_not_whole_is_counted():
    """An answer made with replies of sub-calls that are not whole says how many there were, and why."""

    def sub(request):
        half = request.messages[-1].content in ("p1", "p2")
        return Reply("text", "filter" if half else "stop", Usage(1, 1, 0.0, 1), "m", provider_reason="SAFETY")

    code = "answer(len(llm_batch([f'p{n}' for n in range(10)])))"
    result = EngineHarness(play([py(code)], sub)).run()
    assert result.notes == ("2 of 10 sub-calls' replies are not whole: SAFETY",)


def test_an_empty_sub_reply_that_was_withheld_is_an_error_for_the_code():
    """A reply of which nothing came is told to the code as refused, not as an empty text."""

    def sub(_request):
        return Reply("\u200b", "filter", Usage(1, 1, 0.0, 1), "m", provider_reason="content_filter")

    result = EngineHarness(play([py("r = llm_batch(['a'])[0]\nanswer(str(r))")], sub)).run()
    assert "content_filter" in result.answer
    assert result.partial


@pytest.mark.parametrize("value", ["None", "''", "' \\n'", "'\\u200b'"])
def test_an_empty_answer_is_no_answer_and_the_model_is_told(value):
    """`answer(None)`, and an answer of which nothing can be seen, raises in the code."""
    harness = EngineHarness(play([py(f"answer({value})"), py("answer('real')")]))
    assert harness.run().answer == "real"
    assert "answer() needs" in harness.roots()[1].messages[-1].content


def test_an_answer_after_refused_sub_calls_is_partial_and_counts_them():
    """96 of 100 sub-calls refused by the budget: the answer is partial, by the cap, and the note has both numbers."""
    code = "r = llm_batch([f'p{n}' for n in range(100)])\nanswer(sum(isinstance(x, str) for x in r))"
    result = EngineHarness(play([py(code)], lambda _: "word " * 1000), caps=Caps(max_tokens=5_000)).run()
    made = result.value
    assert (result.outcome, result.partial, result.answered) == (Outcome.TOKEN_LIMIT, True, True)
    assert result.notes[0] == f"{100 - made} of 100 sub-calls were refused: the budget is spent (max_tokens)"


def test_a_sub_call_that_was_refused_and_then_answered_is_made_good():
    """Code that asks again after a refusal, and is answered, gives a whole answer."""
    tried = []

    def sub(_request):
        tried.append(1)
        return ProviderRefused("p: HTTP 400: try later", status=400) if len(tried) == 1 else "yes"

    code = "try:\n    a = llm_query('q')\nexcept Error:\n    a = llm_query('q')\nanswer(a)"
    result = EngineHarness(play([py(code)], sub)).run()
    assert (result.answer, result.outcome, result.notes) == ("yes", Outcome.SUCCESS, ())


# What is too long


def windowed(limit_chars, cells):
    """A script whose model reads at most *limit_chars*."""

    def script(request):
        size = sum(len(message.content) for message in request.messages)
        if size > limit_chars:
            return ContextTooLong("p: too long", status=400, limit_tokens=limit_chars // 4, asked_tokens=size // 4)
        return cells(request)

    return script


def growing(request):
    done = request.messages[-1].content.count("seen")
    return py(f"print('step', {done}, 'x' * 3000)")


def test_an_engine_whose_transcript_outgrows_the_window_leaves_the_oldest_steps_out():
    """The run goes on with the question and its newest steps; the model is told, and so is the person."""
    turn = iter(range(100))

    def cells(_request):
        n = next(turn)
        return py("answer(total)") if n == 7 else py(f"total = {n}\nprint('step', {n}, 'x' * 3000)")

    harness = EngineHarness(windowed(14_000, cells), options={"tokens": 100, "max_steps": 12})
    result = harness.run()
    assert (result.answer, result.outcome) == ("6", Outcome.SUCCESS)
    last = harness.roots()[-1].messages
    assert "left out" in asked(harness.roots()[-1]).content
    assert "step 6" in last[-1].content
    assert [message.role for message in last[2:]] == ["assistant", "user"] * ((len(last) - 2) // 2)
    assert any("steps were left out" in note for note in harness.calls.notes)


def test_a_killed_run_whose_steps_were_left_out_goes_on_without_diverging():
    """The request that was too long is refused again, and the shorter one is handed out from the journal."""

    def script():
        def cells(request):
            shown = [
                int(m.content.split("step ")[-1].split()[0])
                for m in request.messages
                if "step " in m.content[-9000:] and m.role == "user" and "xxx" in m.content
            ]
            n = max(shown, default=-1) + 1
            return py("answer(total)") if n == 6 else py(f"total = {n}\nprint('step', {n}, 'x' * 3000)")

        return windowed(14_000, cells)

    harness = EngineHarness(script(), options={"tokens": 100, "max_steps": 12})
    assert harness.killed_at(20)
    result = harness.run()
    assert (result.answer, result.outcome) == ("5", Outcome.SUCCESS)
    assert "replay_diverged" not in result.notes


def test_a_question_that_is_too_long_for_the_engine_says_what_to_do():
    """Where the first request is too long, the error has the numbers and the way by material; nothing was spent."""
    harness = EngineHarness(windowed(4_000, growing), options={"tokens": 100})
    with pytest.raises(ContextTooLong, match=r"too many\. Shorten it, or make it a job"):
        harness.run("q" * 40_000)


def test_a_sub_call_that_is_too_long_is_told_to_the_code_with_the_limit():
    """The code learns how much the model reads, and can split its text."""
    cells = play([py("try:\n    llm_query('sum up', 'x' * 50_000)\nexcept Error as e:\n    answer(str(e))")])
    result = EngineHarness(windowed(8_000, cells), options={"tokens": 100}).run()
    assert "too long (the model reads 2,000 tokens): split its text" in result.answer


# How much at once


def test_a_batch_beyond_the_limit_is_refused_at_once_and_says_the_limits():
    """`llm_batch(['x'] * 190000)` makes no call; the code is told what a batch and a run may have."""
    harness = EngineHarness(
        play([py("try:\n    llm_batch(['x'] * 190000)\nexcept ValueError as e:\n    answer(str(e))")])
    )
    result = harness.run()
    assert "190,000 prompts; at most 1,000 in one batch, and 10,000 sub-calls in a run" in result.answer
    assert len(harness.model.requests) == 1
    listed = harness.prompts.functions["llm_batch"]
    assert f"{tools.BATCH_PROMPTS:,}" in listed
    assert f"{tools.RUN_CALLS:,}" in listed


def test_a_run_makes_no_more_sub_calls_than_a_run_may():
    """What passes the limit of a run is refused before any of it is made."""
    tally = tools.Tally()
    tally.begin(tools.RUN_CALLS)
    with pytest.raises(tools.CellError, match="at most 10,000 sub-calls"):
        tally.begin(1)


def test_a_batch_has_as_many_tasks_as_calls_in_flight():
    """However long a batch is, cancelling it cancels some sixteen tasks."""

    async def run():
        never, full = asyncio.Event(), asyncio.Event()

        def hang(_request):
            if len(model.requests) == tools.AT_ONCE:
                full.set()
            return never.wait()

        model = ScriptedModel(hang)
        calls = calls_on(model)
        sub = tools.SubCalls(calls, "m", 10, None, "rules", asyncio.Semaphore(tools.AT_ONCE))
        before = len(asyncio.all_tasks())
        batch = asyncio.create_task(sub.ask_all(tools.CallSite(), ["x"] * tools.BATCH_PROMPTS))
        await full.wait()
        assert len(asyncio.all_tasks()) <= before + 1 + tools.AT_ONCE
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)
        assert model.cancelled == tools.AT_ONCE

    asyncio.run(run())


class Counting:
    """The shared sandbox, which counts how many sessions are open at once."""

    def __init__(self):
        self.open_now = self.most = 0

    async def open(self, values, **given):
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        session = await shared_sandbox().open(values, **given)
        close = session.close
        closed = False

        async def counted():
            nonlocal closed
            self.open_now -= not closed
            closed = True
            await close()

        session.close = counted
        return session

    async def aclose(self):
        """Nothing: others use it too."""


def test_many_threads_that_begin_sub_engines_have_few_sessions_at_once():
    """Sixty threads that call `rlm_query` have at most the stated number of sessions; the rest wait, and all end."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(60) as pool:\n"
        "    got = list(pool.map(lambda n: rlm_query(f'part {n}', 'x'), range(60)))\n"
        "answer(len(got))"
    )

    def script(request):
        return py("answer('done')") if "part " in asked(request).content else py(code)

    counting = Counting()
    result = EngineHarness(script, sandbox=lambda: counting).run()
    assert (result.value, result.outcome) == (60, Outcome.SUCCESS)
    assert counting.most <= 1 + PER_RUN


def test_the_sessions_of_all_runs_are_counted_together():
    """Runs beside each other have no more sub-sessions than a program may, and none waits for ever."""

    async def run():
        shared, held, most = SubSessions(), 0, 0

        async def one(places):
            nonlocal held, most
            async with places.place(1):
                held += 1
                most = max(most, held)
                await asyncio.sleep(0)
                held -= 1

        runs = [shared.of_run() for _ in range(10)]
        await asyncio.gather(*(one(places) for places in runs for _ in range(20)))
        assert most <= OVER_ALL

    asyncio.run(run())


class Scarce:
    """A sandbox on a machine that has run out of something, for the first *times* sessions."""

    def __init__(self, number, times):
        self.error = OSError(number, "none left")
        self.times = times

    async def open(self, values, **given):
        if self.times:
            self.times -= 1
            raise self.error
        return await shared_sandbox().open(values, **given)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_machine_that_has_run_out_is_waited_for_and_then_named(number):
    """A session that finds no descriptor or memory is opened a little later; where none comes, the error says so."""

    async def run():
        cells = Cells(Scarce(number, 2), {}, 0, 5.0, (), run_id="r", waits_s=(0.0, 0.0))
        await cells.open()
        await cells.close()
        cells = Cells(Scarce(number, 9), {}, 0, 5.0, (), run_id="r", waits_s=(0.0, 0.0))
        with pytest.raises(SandboxUnavailable, match="LimitNOFILE"):
            await cells.open()

    asyncio.run(run())


# What was stored


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("", "stop"),
        ("strange", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "filter"),
        ("filter", "filter"),
        ("interrupted", "interrupted"),
    ],
)
def test_a_reply_of_an_earlier_version_is_handed_out_again(word, now):
    """A ledger of an earlier version opens: its replies, with the provider's own words, are used and not paid again."""

    async def run():
        journal = MemoryJournal()
        model = ScriptedModel([])
        key = calls_on(model).name(plain(REQUEST), tools.CallSite())
        stored = {
            "text": "kept",
            "finish_reason": word,
            "usage": {"input_tokens": 1, "output_tokens": 2, "cost_usd": None, "llm_calls": 1, "searches": 0},
            "model": "m",
            "estimated": False,
        }
        journal.rows.append(
            JournalEntry(PaidCall(key, "llm", "m", {}), CallState.DONE, 0, "t", "t", stored, Usage(1, 2, None, 1))
        )
        calls = calls_on(model, journal=journal)
        await calls.resume()
        reply = await calls.llm(REQUEST)
        assert (reply.text, reply.finish_reason, reply.notes, reply.provider_reason) == ("kept", now, (), "")
        assert model.requests == []

    asyncio.run(run())


def test_notes_of_a_reply_come_back_from_the_journal():
    """What a reply says of itself is told by the attempt that reads it in the journal, too."""

    async def run():
        journal = MemoryJournal()
        said = Reply("ok", "stop", Usage(1, 1, 0.0, 1), "m", notes=("the server read only 4,096 of 27,000 tokens",))
        await calls_on(ScriptedModel([said]), journal=journal).llm(REQUEST)
        calls = calls_on(ScriptedModel([]), journal=journal)
        await calls.resume()
        assert await calls.llm(REQUEST) == said
        assert tuple(calls.notes) == said.notes

    asyncio.run(run())


def test_a_run_whose_time_ends_in_the_queue_says_so():
    """The person reads that the calls waited for the rate limit, and no word of tries."""
    calls = SimpleNamespace(
        used=Usage(), text_so_far="", trouble=NotSent("p: the call waited for the rate limit, and was not sent")
    )
    end = ended_by(
        RunTimeout("no answer within 5 seconds"), SimpleNamespace(calls=calls, options=SimpleNamespace(model="m"))
    )
    assert end.error == "p: the call waited for the rate limit, and was not sent: no answer within 5 seconds"
