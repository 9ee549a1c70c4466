"""
What every ledger promises: one suite over the ports `Queue` and `Journal`.

Another store is tested by subclassing `LedgerSuite` and saying how to make it.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.moves import MOVES, Event

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import CeilingReached, Fenced
from rlmwatch.ledger import overview
from rlmwatch.ledger.retention import FORGOTTEN
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.costs import Spared
from rlmwatch.runs.deliveries import Delivery
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import (
    CallState,
    Outcome,
    PaidCall,
    Result,
    Run,
    RunStatus,
    Save,
    Signature,
    Usage,
)
from rlmwatch.runs.queue import Known, OnNewSave, Precedent
from rlmwatch.runs.trajectory import StepRecord

NO_CEILING = Ceilings(per_day_usd=None)
DONE = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
FAILED = Result(RunStatus.FAILED, Outcome.ERROR, error="it broke")


def at(second: int, day: int = 24, month: int = 11) -> str:
    return f"2026-{month:02}-{day:02}T10:00:{second:02}.000Z"


def saved(content: str, path: str = "chat_input.txt", **facts: object) -> Save:
    save = Save(
        path=path,
        kind=Kind.CHAT,
        conversation=path.removesuffix("_input.txt"),
        prompt=content,
        options={"tokens": 12},
        digest=f"sha256:{content}",
        signature=Signature(len(content), 1, 2, 3),
    )
    return replace(save, **facts)


def job(content: str, path: str = "jobs/a-job.json", **facts: object) -> Save:
    save = saved(content, path, kind=Kind.JOB, conversation=path.removesuffix(".json"), signature=None)
    return replace(save, **facts)


async def admit(ledger, save: Save, *, now: str) -> Run | None:
    return (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=now)).run


def a_call(key: str = "0/1/ab/0", usd: float | None = 0.01, what: str = "llm") -> PaidCall:
    return PaidCall(key, what, "small", {"messages": [key]}, reserved_tokens=100, reserved_usd=usd)


def story(tell: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a ledger of its own. No `functools.wraps`: pytest would look for a fixture `ledger`."""

    def test(self: "LedgerSuite", tmp_path: Path) -> None:
        async def run() -> None:
            ledger = self.make(tmp_path)
            try:
                await tell(self, ledger)
            finally:
                await ledger.aclose()

        asyncio.run(run())

    test.__name__, test.__doc__ = tell.__name__, tell.__doc__
    return test


async def admitted(ledger: SqliteLedger, content: str, path: str = "chat_input.txt", second: int = 0) -> Run:
    admission = await ledger.admit(saved(content, path), on_new_save=OnNewSave.QUEUE, now=at(second))
    assert admission.run is not None
    return admission.run


async def running(ledger: SqliteLedger, content: str = "q", path: str = "chat_input.txt") -> Run:
    claimed = await ledger.claim((await admitted(ledger, content, path)).run_id, now=at(1))
    assert claimed is not None
    return claimed


async def in_status(ledger: SqliteLedger, status: RunStatus, path: str) -> Run:
    """Bring a new run to *status* by verbs alone."""
    run = await admitted(ledger, status.value, path)
    if status is RunStatus.PENDING:
        return run
    if status is RunStatus.CANCELLED:
        return await ledger.cancel(run.run_id, "enough", now=at(2))
    run = await ledger.claim(run.run_id, now=at(1))
    if status is RunStatus.HELD:
        return await ledger.hold(run.run_id, run.attempt, "no key", now=at(2))
    if status.ended:
        return await ledger.finish(run.run_id, run.attempt, DONE if status is DONE.status else FAILED, now=at(2))
    return run


async def happens(ledger: SqliteLedger, event: Event, run: Run) -> None:
    """Do to *run* what *event* means, as the daemon would."""
    if event is Event.CLAIM:
        await ledger.claim(run.run_id, now=at(5))
    elif event is Event.HOLD:
        await ledger.hold(run.run_id, run.attempt, "no key", now=at(5))
    elif event is Event.RELEASE:
        await ledger.release_held(now=at(5))
    elif event is Event.CANCEL:
        await ledger.cancel(run.run_id, "enough", now=at(5))
    elif event is Event.RECLAIM:
        await ledger.reclaim(now=at(5))
    elif event is Event.SUPERSEDE:
        later = await running(ledger, "later", run.path)
        await ledger.finish(later.run_id, later.attempt, DONE, now=at(5))
    else:
        status = RunStatus(event.removeprefix("finish_"))
        await ledger.finish(run.run_id, run.attempt, Result(status, Outcome.ERROR), now=at(5))


class LedgerSuite:
    """The promises. `make` returns a ledger that keeps its data in a folder, and finds it there again."""

    def make(self, folder: Path) -> SqliteLedger:
        raise NotImplementedError

    @story
    async def test_a_later_save_has_a_higher_number_whatever_the_clock_says(self, ledger):
        """Within a conversation numbers rise, above all that the folder shows; the times are what the clock said."""
        first = await admitted(ledger, "q1", second=50)
        second = await admitted(ledger, "q2", second=10)
        assert (second.created_at, second.number) == (at(10), first.number + 1)
        brought = replace(saved("q3"), after=40)
        third = (await ledger.admit(brought, on_new_save=OnNewSave.QUEUE, now=at(0))).run
        assert third.number == 41
        assert (await admitted(ledger, "q", path="other_input.txt")).number == 1
        assert await ledger.get(third.run_id) == third

    @story
    async def test_what_ended_after_a_run_is_known_by_admission(self, ledger):
        """Which ended runs of a conversation came after another is the order of admission, by no clock."""
        runs = [await in_status(ledger, status, "chat_input.txt") for status in (RunStatus.COMPLETE, RunStatus.FAILED)]
        waits = await admitted(ledger, "waits", second=59)
        await in_status(ledger, RunStatus.COMPLETE, "other_input.txt")
        first, second = runs
        assert [run.run_id for run in await ledger.ended_after(first)] == [second.run_id]
        assert await ledger.ended_after(second) == []
        assert await ledger.ended_after(waits) == []

    @story
    async def test_what_bears_on_a_save_is_known_before_it_is_admitted(self, ledger):
        """Bytes that were asked before, on any path, are known as such, and so is a conversation that changes soon."""
        asked = saved("q", "new_input.txt")
        assert await ledger.precedent(asked) == Precedent(open=0, asked_before=False)
        run = await running(ledger, "q")
        assert await ledger.precedent(asked) == Precedent(open=0, asked_before=True)
        here = saved("another")
        assert await ledger.precedent(here) == Precedent(open=run.number, asked_before=False)
        await ledger.finish(run.run_id, run.attempt, DONE, now=at(5))
        assert (await ledger.precedent(here)).open == run.number
        await ledger.published(run.run_id)
        assert (await ledger.precedent(here)).open == 0

    # The trajectory

    @story
    async def test_steps_are_kept_in_their_order_and_a_later_attempt_replaces_its_own(self, ledger):
        """`show` finds every step once, as the last attempt ran it, in the order in which they were first made."""
        run = await admitted(ledger, "q")
        first = StepRecord("", 1, 1, "print(1)", "1", "ok", usage=Usage(1, 2, 0.5, 1))
        below = StepRecord(".1-abc-1", 1, 1, None, "no code", "no_code")
        for record in (first, below, replace(first, attempt=2, shown="one", answer={"a": [1]})):
            await ledger.step(run.run_id, record)
        assert await ledger.steps(run.run_id) == [replace(first, attempt=2, shown="one", answer={"a": [1]}), below]
        assert await ledger.steps("nobody") == []

    # Saves

    @story
    async def test_a_save_becomes_a_pending_run_with_its_content(self, ledger):
        """An admitted save is a pending run that holds everything needed to answer it."""
        run = await admitted(ledger, "what is 6 x 7?")
        assert run == await ledger.get(run.run_id)
        assert (run.prompt, run.options, run.path) == ("what is 6 x 7?", {"tokens": 12}, "chat_input.txt")
        assert (run.status, run.attempt, run.created_at, run.started_at) == (RunStatus.PENDING, 0, at(0), None)
        assert await ledger.pending() == [run]

    @story
    async def test_the_same_bytes_start_nothing(self, ledger):
        """The same bytes again start nothing, and the file's new times are remembered."""
        await admitted(ledger, "q")
        touched = Signature(1, 99, 99, 3)
        again = await ledger.admit(saved("q", signature=touched), on_new_save=OnNewSave.CANCEL, now=at(1))
        assert again.run is None
        assert (await ledger.known())["chat_input.txt"] == Known("sha256:q", touched)
        assert len(await ledger.pending()) == 1

    @story
    async def test_two_reports_of_one_save_make_one_run(self, ledger):
        """A scan beside an event, or any number of reports of one save at once, make one run."""
        admissions = await asyncio.gather(
            *(ledger.admit(saved("q"), on_new_save=OnNewSave.QUEUE, now=at(0)) for _ in range(20))
        )
        assert sum(admission.run is not None for admission in admissions) == 1
        assert len(await ledger.recent(100)) == 1

    @story
    async def test_going_back_to_an_earlier_text_asks_again(self, ledger):
        """A, then B, then A again are three saves and three runs."""
        runs = [await admitted(ledger, content) for content in ("A", "B", "A")]
        assert len({run.run_id for run in runs}) == 3
        assert [run.seq for run in runs] == sorted(run.seq for run in runs)

    @story
    async def test_again_makes_the_same_bytes_a_new_save(self, ledger):
        """After `rlmwatch again FILE` the same bytes are asked once more, once."""
        first = await admitted(ledger, "q")
        assert await ledger.again("chat_input.txt")
        assert (await ledger.known())["chat_input.txt"] == Known("", None)
        second = await admitted(ledger, "q")
        assert second.run_id != first.run_id
        assert (await ledger.admit(saved("q"), on_new_save=OnNewSave.QUEUE, now=at(3))).run is None
        assert not await ledger.again("never_input.txt")

    @story
    async def test_what_was_answered_elsewhere_is_noted_and_not_asked(self, ledger):
        """A content that was noted as answered elsewhere starts nothing; the next one does."""
        await ledger.note("chat_input.txt", Known("sha256:q", None))
        assert (await ledger.admit(saved("q"), on_new_save=OnNewSave.QUEUE, now=at(0))).run is None
        await admitted(ledger, "r")
        await ledger.note("chat_input.txt", Known("", Signature(0, 1, 1, 2**64 - 1)))
        assert (await ledger.known())["chat_input.txt"] == Known("", Signature(0, 1, 1, 2**64 - 1))
        await admitted(ledger, "r")

    @story
    async def test_a_save_that_cannot_be_answered_fails_at_once(self, ledger):
        """A save with a problem becomes a failed run that waits to be told to the person."""
        bad = saved("x", prompt="", problem="line 2: unknown key")
        run = (await ledger.admit(bad, on_new_save=OnNewSave.QUEUE, now=at(0))).run
        assert (run.status, run.completed_at) == (RunStatus.FAILED, at(0))
        assert run.result == Result(RunStatus.FAILED, Outcome.BAD_INPUT, error="line 2: unknown key")
        assert await ledger.unpublished() == [run]
        assert await ledger.claim(run.run_id, now=at(1)) is None

    # Later saves

    @story
    async def test_queue_lets_earlier_saves_be(self, ledger):
        """With `queue`, later saves wait behind the earlier ones, in order."""
        first, second = await admitted(ledger, "1"), await admitted(ledger, "2")
        assert await ledger.pending() == [first, second]

    @story
    async def test_replace_ends_what_has_not_started(self, ledger):
        """With `replace`, a later save ends those of its conversation that wait, not the running one."""
        at_work = await running(ledger, "1")
        waiting = await admitted(ledger, "2")
        elsewhere = await admitted(ledger, "other", "b_input.txt")
        admission = await ledger.admit(saved("3"), on_new_save=OnNewSave.REPLACE, now=at(3))
        assert [run.run_id for run in admission.replaced] == [waiting.run_id]
        assert admission.to_cancel == ()
        assert admission.replaced[0].result == Result(RunStatus.CANCELLED, Outcome.REPLACED)
        assert await ledger.pending() == [elsewhere, admission.run]
        assert (await ledger.get(at_work.run_id)).status is RunStatus.RUNNING

    @story
    async def test_replace_keeps_a_run_that_a_crash_interrupted(self, ledger):
        """With `replace`, a run that had started before a crash goes on; with `cancel`, it ends."""
        await running(ledger, "1")
        [reclaimed] = await ledger.reclaim(now=at(2))
        assert (await ledger.admit(saved("2"), on_new_save=OnNewSave.REPLACE, now=at(3))).replaced == ()
        third = await ledger.admit(saved("3"), on_new_save=OnNewSave.CANCEL, now=at(4))
        assert reclaimed.run_id in [run.run_id for run in third.replaced]

    @story
    async def test_replace_ends_a_held_run(self, ledger):
        """With `replace`, a run that waits for a person is ended by that person's next save."""
        run = await in_status(ledger, RunStatus.HELD, "chat_input.txt")
        admission = await ledger.admit(saved("2"), on_new_save=OnNewSave.REPLACE, now=at(3))
        assert [(one.run_id, one.held_for) for one in admission.replaced] == [(run.run_id, None)]

    @story
    async def test_a_question_that_goes_on_ends_its_beginnings_that_have_not_started(self, ledger):
        """Of the runs of one question alone: what was asked before it, and of another input, is answered."""
        before = await admit(ledger, saved("0"), now=at(0))
        beside = await admit(ledger, saved("1", "chat_input.md"), now=at(1))
        runs = await running(ledger, "wha")
        waiting = await admit(ledger, saved("what").continuing(runs.number), now=at(3))
        admission = await ledger.admit(saved("what is").continuing(runs.number), on_new_save=OnNewSave.QUEUE, now=at(4))
        assert [run.run_id for run in admission.replaced] == [waiting.run_id]
        assert admission.replaced[0].result == Result(RunStatus.CANCELLED, Outcome.REPLACED)
        assert (admission.outgrown, admission.to_cancel) == ((runs.run_id,), ())
        assert (await ledger.get(admission.run.run_id)).continues == runs.number
        assert [run.run_id for run in await ledger.pending()] == [before.run_id, beside.run_id, admission.run.run_id]

    @story
    async def test_cancel_names_the_running_one(self, ledger):
        """With `cancel`, the running run of the conversation is named too, and left to its worker to end."""
        at_work = await running(ledger, "1")
        admission = await ledger.admit(saved("2"), on_new_save=OnNewSave.CANCEL, now=at(3))
        assert admission.to_cancel == (at_work.run_id,)
        assert (await ledger.get(at_work.run_id)).status is RunStatus.RUNNING

    # The life of a run

    @pytest.mark.parametrize("status", list(RunStatus))
    def test_runs_move_as_the_table_says(self, tmp_path, status):
        """Every verb on a run in every status moves it as the table of legal moves says, or not at all."""

        async def every_event() -> None:
            for event in set(Event) - {Event.REFUSE}:  # a refused run is never seen pending
                ledger = self.make(tmp_path / event)
                run = await in_status(ledger, status, "chat_input.txt")
                assert run.status is status
                await happens(ledger, event, run)
                assert (await ledger.get(run.run_id)).status is MOVES[event].get(status, status), event
                await ledger.aclose()

        asyncio.run(every_event())

    @story
    async def test_one_worker_gets_the_run(self, ledger):
        """However many ask for a run at once, one gets it."""
        run = await admitted(ledger, "q")
        claims = await asyncio.gather(*(ledger.claim(run.run_id, now=at(1)) for _ in range(16)))
        [claimed] = [claim for claim in claims if claim is not None]
        assert (claimed.status, claimed.attempt, claimed.started_at) == (RunStatus.RUNNING, 1, at(1))
        assert await ledger.pending() == []

    @story
    async def test_adopted_runs_go_on_where_they_were(self, ledger):
        """After a crash a run is pending again, with its first start, its attempts and its journal kept."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        [reclaimed] = await ledger.reclaim(now=at(2))
        assert (reclaimed.status, reclaimed.attempt, reclaimed.started_at) == (RunStatus.PENDING, 1, at(1))
        second = await ledger.claim(run.run_id, now=at(3))
        assert (second.attempt, second.started_at) == (2, at(1))
        assert len(await ledger.entries(run.run_id)) == 1

    @story
    async def test_the_first_pin_stays(self, ledger):
        """What must not change between attempts is fixed by the first attempt."""
        run = await running(ledger)
        assert await ledger.freeze(run.run_id, 1, {"model": "old", "seed": 7}) == {"model": "old", "seed": 7}
        await ledger.reclaim(now=at(2))
        await ledger.claim(run.run_id, now=at(3))
        assert await ledger.freeze(run.run_id, 2, {"model": "new"}) == {"model": "old", "seed": 7}
        with pytest.raises(Fenced):
            await ledger.freeze(run.run_id, 1, {"model": "new"})

    @story
    async def test_a_held_run_says_why_until_it_is_released(self, ledger):
        """A run without a key is kept, says what it waits for, and is pending again once the cause may be fixed."""
        run = await in_status(ledger, RunStatus.HELD, "chat_input.txt")
        assert (run.status, run.held_for) == (RunStatus.HELD, "no key")
        assert await ledger.pending() == []
        [released] = await ledger.release_held(now=at(3))
        assert (released.status, released.held_for) == (RunStatus.PENDING, None)
        assert await ledger.pending() == [released]

    @story
    async def test_the_held_runs_of_one_conversation_are_released_alone(self, ledger):
        """Who answers one file lets the runs of its conversation go on, and leaves all others held."""
        mine = await in_status(ledger, RunStatus.HELD, "mine_input.txt")
        other = await in_status(ledger, RunStatus.HELD, "other_input.txt")
        released = await ledger.release_held(now=at(3), conversation="mine")
        assert [run.run_id for run in released] == [mine.run_id]
        assert (await ledger.get(other.run_id)).status is RunStatus.HELD
        assert [run.run_id for run in await ledger.release_held(now=at(4))] == [other.run_id]

    @story
    async def test_what_was_pinned_goes_with_the_release_unless_something_was_paid(self, ledger):
        """A model that a person fixes is asked in place of the frozen one, but where replies of that were paid for."""
        for number, (paid, kept) in enumerate(((False, None), (True, {"model": "gone"}))):
            run = await running(ledger, "1", f"{number}_input.txt")
            await ledger.freeze(run.run_id, 1, {"model": "gone"})
            if paid:
                await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(2))
                await ledger.record(run.run_id, a_call().key, {"text": "x"}, Usage(1, 1, 0.0, 1), now=at(2))
            await ledger.hold(run.run_id, 1, "no such model", now=at(3))
            [released] = await ledger.release_held(now=at(4))
            assert released.frozen == kept
            await ledger.claim(run.run_id, now=at(5))

    @story
    async def test_a_slower_twin_writes_nothing(self, ledger):
        """An attempt that was taken over can neither pay, hold nor finish."""
        run = await running(ledger)
        await ledger.reclaim(now=at(2))
        await ledger.claim(run.run_id, now=at(3))
        assert await ledger.finish(run.run_id, 1, DONE, now=at(4)) is None
        assert await ledger.hold(run.run_id, 1, "no key", now=at(4)) is None
        with pytest.raises(Fenced):
            await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(4))
        assert await ledger.entries(run.run_id) == []
        assert (await ledger.get(run.run_id)).status is RunStatus.RUNNING

    @story
    async def test_a_result_is_kept_whole(self, ledger):
        """Whatever a result says is there after it was committed, for the one who publishes it."""
        run = await running(ledger)
        result = Result(
            RunStatus.COMPLETE,
            Outcome.STEP_LIMIT,
            answer="so far\n\x00 \ud83d",  # half an emoji, as providers send it
            partial=True,
            error=None,
            usage=Usage(1, 2, 0.5, 3, 4),
            notes=("price unknown",),
            model="small",
        )
        finished = await ledger.finish(run.run_id, 1, result, now=at(9))
        assert (finished.result, finished.completed_at) == (result, at(9))
        assert await ledger.get(run.run_id) == finished

    @story
    async def test_a_run_cannot_finish_unfinished(self, ledger):
        """A result that ends nothing is a fault of the program."""
        run = await running(ledger)
        with pytest.raises(ValueError, match="cannot end as held"):
            await ledger.finish(run.run_id, 1, Result(RunStatus.HELD, Outcome.ERROR), now=at(2))

    @story
    async def test_a_success_ends_earlier_held_runs_of_its_conversation(self, ledger):
        """Once a later question was answered, earlier ones that waited for a person end; others go on waiting."""
        earlier = await in_status(ledger, RunStatus.HELD, "chat_input.txt")
        elsewhere = await in_status(ledger, RunStatus.HELD, "b_input.txt")
        at_work = await running(ledger, "now")
        later = await ledger.claim((await admitted(ledger, "later")).run_id, now=at(3))
        await ledger.hold(later.run_id, 1, "no key", now=at(3))
        await ledger.finish(at_work.run_id, 1, DONE, now=at(4))
        ended = await ledger.get(earlier.run_id)
        assert (ended.status, ended.held_for, ended.completed_at) == (RunStatus.FAILED, None, at(4))
        assert ended.result == Result(RunStatus.FAILED, Outcome.PROVIDER_ERROR, notes=("no key",))
        assert {(await ledger.get(run.run_id)).status for run in (elsewhere, later)} == {RunStatus.HELD}

    @story
    async def test_a_failure_ends_no_other_run(self, ledger):
        """A run that failed leaves those that wait for a person waiting."""
        earlier = await in_status(ledger, RunStatus.HELD, "chat_input.txt")
        at_work = await running(ledger, "now")
        await ledger.finish(at_work.run_id, 1, FAILED, now=at(4))
        assert (await ledger.get(earlier.run_id)).status is RunStatus.HELD

    @story
    async def test_a_cancelled_run_tells_reason_and_what_it_used(self, ledger):
        """Cancelling a run that waits keeps the reason, and what its earlier attempts have cost."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        await ledger.record(run.run_id, a_call().key, {}, Usage(5, 6, 0.002, 1), now=at(1))
        await ledger.reclaim(now=at(2))
        ended = await ledger.cancel(run.run_id, "enough", now=at(3))
        usage = Usage(5, 6, 0.002, 1)
        assert ended.result == Result(RunStatus.CANCELLED, Outcome.CANCELLED, error="enough", usage=usage)

    @story
    async def test_ended_runs_are_published_once_in_the_order_of_their_end(self, ledger):
        """What ended and was not written yet is handed out in the order in which it ended, until it is written."""
        runs = [await running(ledger, "q", f"{name}_input.txt") for name in "abc"]
        for second, run in zip((9, 7, 8), runs, strict=True):
            await ledger.finish(run.run_id, 1, DONE, now=at(second))
        await ledger.published(runs[2].run_id)
        await ledger.published(runs[2].run_id)
        assert [run.run_id for run in await ledger.unpublished()] == [runs[1].run_id, runs[0].run_id]
        assert (await ledger.get(runs[2].run_id)).published
        waiting = await admitted(ledger, "q", "d_input.txt")
        await ledger.published(waiting.run_id)
        assert not (await ledger.get(waiting.run_id)).published

    @story
    async def test_runs_are_counted_by_status(self, ledger):
        """Every status has its number, also 0, and the numbers follow every move."""
        for status, number in zip(RunStatus, range(6), strict=True):
            for n in range(number):
                await in_status(ledger, status, f"{status}{n}_input.txt")
        assert await ledger.count() == dict(zip(RunStatus, range(6), strict=True))

    @story
    async def test_recent_runs_are_newest_first(self, ledger):
        """The last runs are shown newest first, of all conversations or of one."""
        for n, name in enumerate("abab"):
            await admitted(ledger, str(n), f"{name}_input.txt")
        assert [run.prompt for run in await ledger.recent(3)] == ["3", "2", "1"]
        assert [run.prompt for run in await ledger.recent(9, "a")] == ["2", "0"]

    @story
    async def test_what_is_not_there_is_none(self, ledger):
        """Verbs on a run that is not there do nothing."""
        assert await ledger.get("no") is None
        assert await ledger.claim("no", now=at(0)) is None
        assert await ledger.cancel("no", "why", now=at(0)) is None
        assert await ledger.usage("no") == Usage()
        assert await ledger.entries("no") == []
        await ledger.published("no")
        await ledger.record("no", "key", {}, Usage(), now=at(0))

    # The journal

    @story
    async def test_a_recorded_reply_is_handed_out_and_not_paid_again(self, ledger):
        """A reply that was committed is returned to every later attempt that asks the same."""
        run = await running(ledger)
        assert await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1)) is None
        usage = Usage(10, 20, 0.004, 1)
        for text in ("first", "second"):  # idempotent: the first stays
            await ledger.record(run.run_id, a_call().key, {"text": text}, usage, now=at(2))
        await ledger.reclaim(now=at(3))
        await ledger.claim(run.run_id, now=at(4))
        entry = await ledger.intend(run.run_id, 2, a_call(), ceilings=Ceilings(per_day_usd=0.001), now=at(5))
        assert (entry.state, entry.reply, entry.usage) == (CallState.DONE, {"text": "first"}, usage)
        assert (entry.call, entry.attempt, entry.started_at, entry.ended_at) == (a_call(), 1, at(1), at(2))
        assert await ledger.entries(run.run_id) == [entry]
        outline = replace(entry, call=replace(entry.call, request={}), reply=None)
        assert await ledger.outline(run.run_id) == [outline]

    @story
    async def test_a_call_in_flight_at_a_crash_is_lost_and_made_again(self, ledger):
        """What was in flight at a crash keeps its reservation as spent, and is called again beside it."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        await ledger.reclaim(now=at(2))
        await ledger.claim(run.run_id, now=at(3))
        assert await ledger.usage(run.run_id) == Usage(0, 100, 0.01, 1)
        assert await ledger.intend(run.run_id, 2, a_call(), ceilings=NO_CEILING, now=at(4)) is None
        states = [(entry.state, entry.attempt) for entry in await ledger.entries(run.run_id)]
        assert states == [(CallState.LOST, 1), (CallState.INTENT, 2)]
        assert await ledger.spent_usd(now=at(4)) == (0.02, 0.02)
        assert await ledger.usage(run.run_id) == Usage(0, 100, 0.01, 1)

    @story
    async def test_a_call_that_was_cut_off_may_be_tried_again(self, ledger):
        """A call that was cut off counts with what is known of it, and the same key may be tried again."""
        run = await running(ledger)
        key = a_call().key
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        await ledger.lose(run.run_id, key, usage=Usage(3, 4, 0.001, 1), now=at(2))
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(3))
        await ledger.lose(run.run_id, key, usage=None, now=at(4))
        await ledger.lose(run.run_id, key, usage=Usage(), now=at(5))  # nothing is open: nothing happens
        assert await ledger.usage(run.run_id) == Usage(3, 104, 0.011, 2)
        assert await ledger.spent_usd(now=at(4)) == (0.011, 0.011)
        assert [entry.state for entry in await ledger.entries(run.run_id)] == [CallState.LOST] * 2

    @story
    async def test_a_refused_call_costs_nothing(self, ledger):
        """A call that the provider refused gives its reservation back, and may be tried again."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        await ledger.release(run.run_id, a_call().key, now=at(2))
        assert await ledger.usage(run.run_id) == Usage()
        assert await ledger.spent_usd(now=at(2)) == (0.0, 0.0)
        assert await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(3)) is None
        states = [entry.state for entry in await ledger.entries(run.run_id)]
        assert states == [CallState.RELEASED, CallState.INTENT]

    @story
    async def test_a_paid_reply_is_kept_whatever_became_of_the_run(self, ledger):
        """A reply that comes after its run was cancelled, or taken over, is stored: it was paid."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call("cancelled"), ceilings=NO_CEILING, now=at(1))
        await ledger.intend(run.run_id, 1, a_call("taken over"), ceilings=NO_CEILING, now=at(1))
        await ledger.reclaim(now=at(2))
        await ledger.claim(run.run_id, now=at(2))
        await ledger.intend(run.run_id, 2, a_call("taken over"), ceilings=NO_CEILING, now=at(2))
        await ledger.release(run.run_id, "taken over", now=at(3))
        await ledger.finish(run.run_id, 2, Result(RunStatus.CANCELLED, Outcome.CANCELLED), now=at(3))
        for key in ("cancelled", "taken over"):
            await ledger.record(run.run_id, key, {"for": key}, Usage(1, 1, 0.003, 1), now=at(4))
        kept = {entry.call.key: entry.reply for entry in await ledger.entries(run.run_id) if entry.reply}
        assert kept == {"cancelled": {"for": "cancelled"}, "taken over": {"for": "taken over"}}
        assert await ledger.spent_usd(now=at(4)) == (0.006, 0.006)

    @story
    async def test_an_ended_run_pays_nothing_more(self, ledger):
        """A run that was cancelled, finished or held cannot begin another call."""
        for status in set(RunStatus) - {RunStatus.RUNNING}:
            run = await in_status(ledger, status, f"{status}_input.txt")
            with pytest.raises(Fenced):
                await ledger.intend(run.run_id, run.attempt, a_call(), ceilings=NO_CEILING, now=at(3))

    @story
    async def test_the_days_ceiling_holds_to_the_last_digit(self, ledger):
        """Ten calls of 0.1 USD fit under a ceiling of 1 USD a day, not one more, also when all ask at once."""
        run = await running(ledger)
        answers = await asyncio.gather(
            *(
                ledger.intend(run.run_id, 1, a_call(str(n), 0.1), ceilings=Ceilings(per_day_usd=1.0), now=at(1))
                for n in range(16)
            ),
            return_exceptions=True,
        )
        refused = [answer for answer in answers if isinstance(answer, CeilingReached)]
        assert (answers.count(None), len(refused)) == (10, 6)
        assert (refused[0].cap, refused[0].limit, refused[0].used) == ("max_cost_usd_per_day", 1.0, 1.0)
        assert "[ceilings]" in str(refused[0])
        assert await ledger.spent_usd(now=at(1)) == (1.0, 1.0)
        assert len(await ledger.entries(run.run_id)) == 10

    @story
    async def test_a_settled_call_makes_room_for_the_next(self, ledger):
        """What a call cost less than its reservation may be spent by the next."""
        run = await running(ledger)
        ceilings = Ceilings(per_day_usd=0.10)
        await ledger.intend(run.run_id, 1, a_call("a", 0.08), ceilings=ceilings, now=at(1))
        with pytest.raises(CeilingReached):
            await ledger.intend(run.run_id, 1, a_call("b", 0.08), ceilings=ceilings, now=at(2))
        await ledger.record(run.run_id, "a", {}, Usage(1, 1, 0.01, 1), now=at(3))
        assert await ledger.intend(run.run_id, 1, a_call("b", 0.08), ceilings=ceilings, now=at(4)) is None

    @story
    async def test_days_and_months_are_counted_apart(self, ledger):
        """A new UTC day begins at nothing, the month goes on; the month's ceiling says that it is the month's."""
        run = await running(ledger)
        ceilings = Ceilings(per_day_usd=1.0, per_month_usd=1.5)
        await ledger.intend(run.run_id, 1, a_call("a", 0.9), ceilings=ceilings, now=at(1, day=1))
        await ledger.intend(run.run_id, 1, a_call("b", 0.5), ceilings=ceilings, now=at(1, day=30))
        assert await ledger.spent_usd(now=at(2, day=30)) == (0.5, 1.4)
        with pytest.raises(CeilingReached) as refused:
            await ledger.intend(run.run_id, 1, a_call("c", 0.2), ceilings=ceilings, now=at(2, day=30))
        assert (refused.value.cap, refused.value.used) == ("max_cost_usd_per_month", 1.4)
        await ledger.record(run.run_id, "b", {}, Usage(0, 0, 0.3, 1), now=at(1, day=1, month=12))
        assert await ledger.spent_usd(now=at(2, day=30)) == (0.3, 1.2)  # the day of the intent pays
        assert await ledger.spent_usd(now=at(2, day=1, month=12)) == (0.0, 0.0)

    @story
    async def test_the_smallest_amounts_add_up(self, ledger):
        """A call of a few tokens on the cheapest model is not rounded to nothing."""
        run = await running(ledger)
        for n in range(10):
            await ledger.intend(run.run_id, 1, a_call(str(n), 0.000_000_04), ceilings=NO_CEILING, now=at(1))
        assert (await ledger.spent_usd(now=at(1)))[0] == 0.000_000_4

    @story
    async def test_an_unknown_price_reserves_nothing_and_costs_what_is_reported(self, ledger):
        """A call without a known price counts once its provider says what it cost."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call("a", None), ceilings=NO_CEILING, now=at(1))
        assert await ledger.spent_usd(now=at(1)) == (0.0, 0.0)
        await ledger.record(run.run_id, "a", {}, Usage(1, 1, 0.25, 1), now=at(1))
        assert await ledger.spent_usd(now=at(1)) == (0.25, 0.25)

    @pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, None])
    def test_a_cost_that_cannot_be_true_counts_as_reserved(self, tmp_path, cost):
        """A reply with an absurd cost is kept, and its reservation counts against the ceilings."""

        async def run() -> None:
            ledger = self.make(tmp_path)
            one = await running(ledger)
            await ledger.intend(one.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
            await ledger.record(one.run_id, a_call().key, {"t": 1}, Usage(1, 1, cost, 1), now=at(1))
            assert [entry.reply for entry in await ledger.entries(one.run_id)] == [{"t": 1}]
            assert (await ledger.spent_usd(now=at(1)))[0] == 0.01
            await ledger.aclose()

        asyncio.run(run())

    @story
    async def test_usage_sums_models_and_searches(self, ledger):
        """What a run used is the sum over its replies, what was lost, and its searches; not what is in flight now."""
        run = await running(ledger)
        for n, (what, usage) in enumerate([("llm", Usage(1, 2, 0.1, 1)), ("search", Usage(0, 0, 0.2, 0, 1))]):
            await ledger.intend(run.run_id, 1, a_call(str(n), what=what), ceilings=NO_CEILING, now=at(1))
            await ledger.record(run.run_id, str(n), {}, usage, now=at(1))
        await ledger.intend(run.run_id, 1, a_call("lost", None, "search"), ceilings=NO_CEILING, now=at(1))
        await ledger.lose(run.run_id, "lost", usage=None, now=at(1))
        await ledger.intend(run.run_id, 1, a_call("in flight"), ceilings=NO_CEILING, now=at(1))
        assert await ledger.usage(run.run_id) == Usage(1, 102, pytest.approx(0.3), 1, 2)

    @story
    async def test_entries_come_in_the_order_of_their_intents(self, ledger):
        """The journal of a run reads in the order in which its calls began."""
        run = await running(ledger)
        keys = [f"{n}" for n in (3, 1, 2)]
        for key in keys:
            await ledger.intend(run.run_id, 1, a_call(key), ceilings=NO_CEILING, now=at(1))
        for key in sorted(keys):
            await ledger.record(run.run_id, key, {}, Usage(), now=at(2))
        assert [entry.call.key for entry in await ledger.entries(run.run_id)] == keys

    # Job files and their webhooks

    @story
    async def test_the_same_bytes_under_an_id_are_the_same_job(self, ledger):
        """A job file that comes again, whatever lay there in between, starts nothing; other bytes are another job."""
        one = await admit(ledger, job("one"), now=at(0))
        assert await admit(ledger, job("one"), now=at(1)) is None
        two = await admit(ledger, job("two"), now=at(2))
        assert await admit(ledger, job("one"), now=at(3)) is None
        assert (await ledger.find("a-job")).run_id == two.run_id
        assert one.run_id != two.run_id
        assert await ledger.known() == {}

    @story
    async def test_a_run_is_found_by_its_id_and_by_its_job_file(self, ledger):
        """Pollers may name a run by its own id, or by that of its job file."""
        run = await admit(ledger, job("one", enclosed={"data": {"a": [1, "ä"]}, "notes": ["n"]}), now=at(0))
        assert await ledger.find("a-job") == await ledger.find(run.run_id) == run
        assert run.enclosed == {"data": {"a": [1, "ä"]}, "notes": ["n"]}
        assert await ledger.find("another") is None
        other = await admit(ledger, saved("chat"), now=at(1))
        assert (await ledger.find(other.run_id)).enclosed == {}

    @story
    async def test_unknown_ids_are_named_in_one_go(self, ledger):
        """Of many ids the ledger names those that no run goes by."""
        run = await admit(ledger, saved("chat"), now=at(0))
        await admit(ledger, job("one"), now=at(1))
        assert await ledger.unknown([run.run_id, "a-job", "x", "a-jo", 'o"dd']) == {"x", "a-jo", 'o"dd'}
        assert await ledger.unknown([]) == set()

    @story
    async def test_how_many_runs_stand_is_told_in_one_go(self, ledger):
        """Of many ids the ledger says which run goes by each, as `find` does, and how it stands."""
        run = await admit(ledger, saved("chat"), now=at(0))
        one = await admit(ledger, job("one"), now=at(1))
        assert await ledger.standing([run.run_id, "a-job", "x", 'o"dd']) == {
            run.run_id: (run.run_id, RunStatus.PENDING),
            "a-job": (one.run_id, RunStatus.PENDING),
        }
        two = await admit(ledger, job("two"), now=at(2))  # other bytes under the same id: the newest counts
        await ledger.cancel(one.run_id, "no", now=at(3))
        assert await ledger.standing(["a-job"]) == {"a-job": (two.run_id, RunStatus.PENDING)}
        assert await ledger.standing([]) == {}

    @story
    async def test_the_open_runs_of_a_conversation_are_named_in_order(self, ledger):
        """What has not ended in a conversation is named, oldest first, whatever it waits for."""
        ended = await running(ledger, "first")
        await ledger.finish(ended.run_id, 1, DONE, now=at(1))
        held = await running(ledger, "second")
        await ledger.hold(held.run_id, 1, "a key", now=at(2))
        waits = await admit(ledger, saved("third"), now=at(3))
        await admit(ledger, saved("other", "other_input.txt"), now=at(4))
        assert [run.run_id for run in await ledger.open_in("chat")] == [held.run_id, waits.run_id]

    @story
    async def test_a_webhook_is_due_once_its_run_is_published(self, ledger):
        """A job with a webhook is to be told when its files are written, until somebody heard it."""
        run = await admit(ledger, job("one", enclosed={"webhook": "https://example.org/hook"}), now=at(0))
        await admit(ledger, job("quiet", path="jobs/quiet.json"), now=at(0))
        await ledger.cancel(run.run_id, "enough", now=at(1))
        assert await ledger.deliveries() == []
        await ledger.published(run.run_id)
        assert await ledger.deliveries() == [Delivery(run.run_id, "https://example.org/hook", 0, at(0))]
        await ledger.tried(run.run_id, "HTTP 500", due_at=at(9), now=at(2))
        assert await ledger.deliveries() == [Delivery(run.run_id, "https://example.org/hook", 1, at(9))]
        await ledger.tried(run.run_id, "HTTP 204", due_at=None, now=at(9))
        assert await ledger.deliveries() == []

    @story
    async def test_what_is_due_first_is_told_first(self, ledger):
        """Webhooks are named in the order in which they are due."""
        for number in (1, 2, 3):
            hook = {"webhook": f"https://example.org/{number}"}
            run = await admit(ledger, job(f"{number}", path=f"jobs/{number}.json", enclosed=hook), now=at(number))
            await ledger.cancel(run.run_id, "enough", now=at(9))
            await ledger.published(run.run_id)
            if number == 2:
                await ledger.tried(run.run_id, "HTTP 500", due_at=at(30), now=at(9))
        assert [each.url[-1] for each in await ledger.deliveries()] == ["1", "3", "2"]

    # Durability

    def test_everything_is_there_after_a_restart(self, tmp_path):
        """A ledger that is opened again knows everything that it was told."""

        async def first() -> list[object]:
            ledger = self.make(tmp_path)
            for number, status in enumerate(RunStatus):
                await in_status(ledger, status, f"{number}_input.txt")
            run = await running(ledger, "paid")
            await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
            facts = await told(ledger)
            await ledger.aclose()
            await ledger.aclose()  # idempotent
            return facts

        async def second() -> list[object]:
            ledger = self.make(tmp_path)
            facts = await told(ledger)
            await ledger.aclose()
            return facts

        assert asyncio.run(first()) == asyncio.run(second())

    @story
    async def test_a_caller_that_gives_up_undoes_nothing(self, ledger):
        """A verb whose caller was cancelled while it waited happens all the same: the reply was paid."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        recording = asyncio.ensure_future(ledger.record(run.run_id, a_call().key, {"t": 1}, Usage(), now=at(1)))
        await asyncio.sleep(0)  # it has asked
        recording.cancel()
        assert [entry.reply for entry in await ledger.entries(run.run_id)] == [{"t": 1}]

    @story
    async def test_one_that_raises_undoes_no_other(self, ledger):
        """Of verbs that are carried out together, one that is refused leaves the others untouched."""
        run = await running(ledger)
        attempts = list(itertools.islice(itertools.cycle([1, 9]), 20))
        answers = await asyncio.gather(
            *(
                ledger.intend(run.run_id, attempt, a_call(str(n)), ceilings=NO_CEILING, now=at(1))
                for n, attempt in enumerate(attempts)
            ),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None) if one == 1 else Fenced for one in attempts]
        assert len(await ledger.entries(run.run_id)) == 10

    @story
    async def test_who_looks_on_sees_lists_of_limited_length(self, ledger):
        """Runs are listed by status and by age, with the beginning of their questions; steps and calls likewise."""
        waits = await admitted(ledger, "x" * 5000, "w_input.txt", second=1)
        run = await running(ledger, "q")
        await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1))
        for step in (1, 2):
            await ledger.step(run.run_id, StepRecord("", step, 1, f"print({step})", "", "ok"))
        look = ledger._read
        (listed,) = await look(lambda db: overview.open_summaries(db, RunStatus.PENDING))
        assert (listed.run_id, listed.prompt) == (waits.run_id, "x" * overview.MAX_PROMPT)
        assert [each.run_id for each in await look(overview.newest_summaries)] == [run.run_id, waits.run_id]
        assert await look(overview.counts) == {"pending": 1, "running": 1}
        assert await look(lambda db: overview.spent_by_day(db, "2026-11-01")) == {"2026-11-24": 0.01}
        assert await look(lambda db: overview.spent_by_day(db, "2026-11-25")) == {}
        count, steps = await look(lambda db: overview.newest_steps(db, run.run_id))
        assert (count, [step.code for step in steps]) == (2, ["print(1)", "print(2)"])
        (call,) = await look(lambda db: overview.newest_calls(db, run.run_id))
        assert (call.state, call.reply, call.request) == ("intent", None, {"messages": [a_call().key]})
        assert (await look(lambda db: overview.one_summary(db, run.run_id, ""))).prompt == "q"
        assert await look(lambda db: overview.one_summary(db, "nobody", "jobs/nobody.json")) is None

    @story
    async def test_who_looks_on_finds_a_job_by_its_file(self, ledger):
        """A job is found by the name of its file, which is not its run's id; a result that is too large is left out."""
        run = await admit(ledger, job("q"), now=at(0))
        claimed = await ledger.claim(run.run_id, now=at(1))
        large = replace(DONE, answer="x" * (overview.MAX_RESULT + 1))
        await ledger.finish(run.run_id, claimed.attempt, large, now=at(2))
        found = await ledger._read(lambda db: overview.one_summary(db, "a-job", "jobs/a-job.json"))
        assert (found.run_id, len(found.result["answer"])) == (run.run_id, overview.MAX_RESULT + 1)
        (listed,) = await ledger._read(overview.newest_summaries)
        assert (listed.status, listed.result) == (RunStatus.COMPLETE, None)

    @story
    async def test_what_was_spent_is_known_call_by_call_and_by_whom(self, ledger):
        """Every call counts on its day, with its run's kind and conversation; one that was refused counts nothing."""
        run = await running(ledger)
        for key, verb in (("a", "record"), ("b", "release"), ("c", "lose")):
            await ledger.intend(run.run_id, 1, a_call(key), ceilings=NO_CEILING, now=at(2))
            if verb == "record":
                await ledger.record(run.run_id, key, {"text": "x"}, Usage(8, 2, 0.004, 1), now=at(3))
            elif verb == "release":
                await ledger.release(run.run_id, key, now=at(3))
            else:
                await ledger.lose(run.run_id, key, usage=None, now=at(3))
        found = await ledger.call_costs(since="2026-11-24")
        assert {(call.usd, call.input_tokens, call.output_tokens) for call in found} == {(0.004, 8, 2), (0.01, 0, 0)}
        assert {(call.day, call.kind, call.conversation, call.model) for call in found} == {
            ("2026-11-24", "chat", "chat", "small")
        }
        assert await ledger.call_costs(since="2026-11-25") == []

    @story
    async def test_what_was_not_asked_again_is_counted_with_its_price(self, ledger):
        """A reply from the journal, and a save of bytes that were answered, count with what they had cost."""
        run = await running(ledger)
        await ledger.intend(run.run_id, 1, a_call("a"), ceilings=NO_CEILING, now=at(2))
        await ledger.record(run.run_id, "a", {"text": "x"}, Usage(8, 2, 0.004, 1), now=at(3))
        assert await ledger.spared(since="2026-11-24") == Spared()
        await ledger.reclaim(now=at(4))
        again = await ledger.claim(run.run_id, now=at(5))
        assert await ledger.intend(run.run_id, again.attempt, a_call("a"), ceilings=NO_CEILING, now=at(6)) is not None
        await ledger.spare_save(run.path, now=at(7))
        await ledger.spare_save("unknown_input.txt", now=at(7))
        assert await ledger.spared(since="2026-11-24") == Spared(saves=1, replies=1, usd=0.008)
        assert await ledger.spared(since="2026-11-25") == Spared()

    @story
    async def test_the_content_of_old_runs_is_let_go_and_what_stops_a_second_answer_stays(self, ledger):
        """
        Of a published run that ended before the time, question, answer, steps and calls go; digest and sums stay.

        A run that is not published, has not ended or ended later keeps all; asked again, nothing more goes.
        """
        kept = await running(ledger, "later", "kept_input.txt")
        await ledger.finish(kept.run_id, 1, DONE, now=at(9))
        await ledger.published(kept.run_id)
        hidden = await running(ledger, "hidden", "hidden_input.txt")
        await ledger.finish(hidden.run_id, 1, DONE, now=at(3))
        waiting = await admitted(ledger, "waiting", "waiting_input.txt")
        olds = []
        for name in ("a", "b", "c"):
            run = await running(ledger, f"question {name}", f"{name}_input.txt")
            await ledger.freeze(run.run_id, 1, {"material": "sha256:m", "messages": ["a text"], "seed": 1})
            await ledger.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(2))
            await ledger.record(run.run_id, a_call().key, {"text": "x"}, Usage(8, 2, 0.004, 1), now=at(3))
            await ledger.finish(run.run_id, 1, replace(DONE, answer=f"answer {name}", sources="[]"), now=at(4))
            await ledger.published(run.run_id)
            olds.append(run)
        spent, known, count = await ledger.spent_usd(now=at(9)), await ledger.known(), await ledger.count()

        first = await ledger.forget(at(5), after=0, at_most=2)
        assert (first.runs, (await ledger.forget(at(5), after=first.last, at_most=2)).runs) == (2, 1)
        assert (await ledger.forget(at(5), after=0, at_most=9)).runs == 0

        for run in olds:
            left = await ledger.get(run.run_id)
            assert (left.prompt, left.result.answer, left.result.sources, left.frozen) == (
                "",
                "",
                None,
                {"material": "sha256:m", "messages": []},
            )
            assert (left.digest, left.number, left.result.outcome) == (run.digest, run.number, Outcome.SUCCESS)
            assert left.result.notes == (FORGOTTEN,)
            assert await ledger.entries(run.run_id) == []
            assert (await ledger.admit(saved(f"question {run.path[0]}", run.path), on_new_save=OnNewSave.QUEUE,
                                       now=at(9))).run is None  # fmt: skip
        for run in (kept, hidden, waiting):
            assert (await ledger.get(run.run_id)).prompt == run.prompt
        assert await ledger.spent_usd(now=at(9)) == spent
        assert await ledger.known() == known
        assert await ledger.count() == count


async def told(ledger: SqliteLedger) -> list[object]:
    """Return everything that can be read from *ledger*."""
    runs = await ledger.recent(1000)
    return [
        runs,
        [await ledger.entries(run.run_id) for run in runs],
        await ledger.known(),
        await ledger.count(),
        await ledger.pending(),
        await ledger.unpublished(),
        await ledger.spent_usd(now=at(0)),
    ]


class TestSqliteLedger(LedgerSuite):
    def make(self, folder: Path) -> SqliteLedger:
        return SqliteLedger.open(folder / "state" / "ledger.db")
