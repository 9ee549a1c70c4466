"""execution/attempt.py: its promises, by their numbers, with the real ledger, model and handler of a chat."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState
from rlmwatch.errors import CeilingReached, LedgerError, RunTimeout, WrongKey
from rlmwatch.execution.attempt import Attempt, AttemptDeps
from rlmwatch.execution.caller_storage import CallerStorage
from rlmwatch.execution.outcomes import Hold
from rlmwatch.execution.run_context import RunContextFactory
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.handlers.chat import chat
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.model import Outcome, Result, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import Loaded
from rlmwatch.workspace.memory import Remembered


class Storage(CallerStorage):
    """A conversation without a past."""

    async def memory(self, _run):
        return Remembered(ChatState())


class Here:
    """A ledger with one run, and what attempts of it are made of."""

    def __init__(self, tmp_path, ledger, script, **settings):
        self.ledger = ledger
        self.model = ScriptedModel(script)
        self.events = []
        config = RuntimeConfig(loaded=Loaded(Settings(**settings), {}), model=self.model, default_model="m")
        self.factory = RunContextFactory(
            config=lambda: config,
            ledger=ledger,
            storage=Storage(tmp_path, clock.utc),
            sandbox=None,
            monotonic=clock.monotonic,
            utc=clock.utc,
        )
        self.deps = AttemptDeps(
            ledger=ledger, handlers={Kind.CHAT: chat}, prepare=self.prepare, utc=clock.utc, crash_at=self.events.append
        )

    async def prepare(self, run):
        prepared = await self.factory(run)
        prepared.closing.callback(self.events.append, "closed")
        prepared.until_published.callback(self.events.append, "released")
        self.events.append("prepared")
        return prepared

    async def admit(self):
        save = Save("a_input.txt", Kind.CHAT, "a", "q", {}, "sha256:q")
        self.run = (await self.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())).run
        return self.run

    def attempt(self, why_cancelled=None, **changed):
        async def claim():
            return await self.ledger.claim(self.run.run_id, now=clock.utc())

        async def reason():
            return why_cancelled() if why_cancelled else None

        return Attempt(deps=replace(self.deps, **changed), claim=claim, why_cancelled=reason)

    async def status(self):
        return (await self.ledger.get(self.run.run_id)).status


@asynccontextmanager
async def here(tmp_path, script, **settings):
    ledger = SqliteLedger.open(tmp_path / "ledger.sqlite3")
    try:
        made = Here(tmp_path, ledger, script, **settings)
        await made.admit()
        yield made
    finally:
        await ledger.aclose()


def test_an_attempt_goes_from_claim_to_commit_in_one_order(tmp_path):
    """Claimed, set up, answered, closed, committed; what publishing needs is released last."""

    async def scenario():
        async with here(tmp_path, ["yes"]) as made:
            with made.attempt() as attempt:
                run = await attempt.carry_out()
                assert (run.status, run.result.answer) == (RunStatus.COMPLETE, "yes")
                assert (attempt.run, attempt.end, attempt.error) == (run, run.result, None)
                made.events.append("published")
            order = ["run.claimed", "prepared", "closed", "run.finished", "published", "released"]
            assert [event for event in made.events if event in order] == order

    asyncio.run(scenario())


def test_1_a_run_that_another_claimed_is_left_alone(tmp_path):
    """Nothing is set up, asked or written, and the attempt says that it never had the run."""

    async def scenario():
        async with here(tmp_path, ["never"]) as made:
            assert await made.ledger.claim(made.run.run_id, now=clock.utc()) is not None
            with made.attempt() as attempt:
                assert await attempt.carry_out() is None
            assert (attempt.run, made.events, made.model.requests) == (None, [], [])

    asyncio.run(scenario())


def test_2_an_attempt_whose_run_was_taken_over_commits_nothing(tmp_path):
    """A slower twin's answer goes nowhere: the run is the next attempt's."""

    async def scenario():
        async def reply(_request):
            await made.ledger.reclaim(now=clock.utc())
            await made.ledger.claim(made.run.run_id, now=clock.utc())
            return "too late"

        async with here(tmp_path, reply) as made:
            with made.attempt() as attempt:
                assert await attempt.carry_out() is None
            run = await made.ledger.get(made.run.run_id)
            assert (run.status, run.attempt, run.result) == (RunStatus.RUNNING, 2, None)

    asyncio.run(scenario())


def test_3_only_the_handlers_time_counts(tmp_path):
    """A limit that is shorter than the setting-up does not end the run; one that the handler passes does, in words."""

    async def scenario():
        async def slow(run):
            prepared = await made.prepare(run)
            await asyncio.sleep(0.01)
            return prepared

        async def at_once(_run, _context):
            return Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="in time")

        async with here(tmp_path, [], chat={"max_seconds": 0.001}) as made:
            with made.attempt(prepare=slow, handlers={Kind.CHAT: at_once}) as attempt:
                assert (await attempt.carry_out()).result.answer == "in time"
        async with here(tmp_path / "late", lambda _: asyncio.Event().wait(), chat={"max_seconds": 0.05}) as made:
            with made.attempt() as attempt:
                run = await attempt.carry_out()
            assert (run.result.outcome, type(attempt.error)) == (Outcome.TIMEOUT, RunTimeout)
            assert "max_seconds" in run.result.error

    (tmp_path / "late").mkdir()
    asyncio.run(scenario())


@pytest.mark.parametrize("error", [WrongKey("no", status=401), CeilingReached("full", cap="c", limit=1, used=1)])
def test_4_what_a_person_can_fix_holds_the_run_where_somebody_releases_it(tmp_path, error):
    """A daemon's run is held; a call of the Python API, which has no later, fails with the same words."""

    def reply(_request):
        raise error

    async def scenario():
        async with here(tmp_path, reply) as made:
            with made.attempt() as attempt:
                held = await attempt.carry_out()
            assert held.status is RunStatus.HELD
            assert isinstance(attempt.end, Hold)
        async with here(tmp_path / "api", reply) as made:
            with made.attempt(can_be_held=False) as attempt:
                failed = await attempt.carry_out()
            assert (failed.status, failed.result.error, attempt.error) == (RunStatus.FAILED, str(error), error)

    (tmp_path / "api").mkdir()
    asyncio.run(scenario())


def test_4_a_failing_ledger_ends_a_run_only_where_no_other_worker_could_go_on(tmp_path):
    """A worker's attempt raises and leaves the run; elsewhere the run ends in words."""

    async def unreachable(_run):
        raise LedgerError("the server is away")

    async def scenario():
        async with here(tmp_path, ["never"]) as made:
            with made.attempt(prepare=unreachable, can_be_given_back=True) as attempt, pytest.raises(LedgerError):
                await attempt.carry_out()
            assert await made.status() is RunStatus.RUNNING
            assert attempt.run.attempt == 1
        async with here(tmp_path / "alone", ["never"]) as made:
            with made.attempt(prepare=unreachable) as attempt:
                assert "the server is away" in (await attempt.carry_out()).result.error

    (tmp_path / "alone").mkdir()
    asyncio.run(scenario())


def test_4_a_stop_leaves_the_run_to_the_next_start(tmp_path):
    """A cancelled task that nobody asked to end its run goes through, after what it used is closed."""

    async def scenario():
        asked = asyncio.Event()

        async def never(_request):
            asked.set()
            await asyncio.Event().wait()

        async with here(tmp_path, never) as made:
            with made.attempt() as attempt:
                task = asyncio.create_task(attempt.carry_out())
                await asked.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await made.status() is RunStatus.RUNNING
            assert made.events[-2:] == ["closed", "released"]

    asyncio.run(scenario())


@pytest.mark.parametrize("while_", ["claimed", "set up", "answered"])
def test_5_a_cancel_counts_whenever_it_comes(tmp_path, while_):
    """Asked for while the run is claimed, set up or answered, it ends as cancelled, with the reason."""

    async def scenario():
        wanted = []

        def cancel():
            wanted.append("enough")
            attempt.interrupt()

        async def prepare(run):
            if while_ == "set up":
                cancel()
            await asyncio.sleep(0)
            return await made.prepare(run)

        async def reply(_request):
            cancel()
            await asyncio.Event().wait()

        async with here(tmp_path, reply) as made:
            attempt = made.attempt(lambda: wanted[0] if wanted else None, prepare=prepare)
            if while_ == "claimed":
                claim = attempt.claim

                async def claimed():
                    cancel()
                    return await claim()

                attempt.claim = claimed
            with attempt:
                run = await attempt.carry_out()
            assert (run.status, run.result.notes) == (RunStatus.CANCELLED, ("enough",))
            assert len(made.model.requests) == (1 if while_ == "answered" else 0)

    asyncio.run(scenario())


def test_what_cannot_be_set_up_holds_nothing(tmp_path):
    """A run that fails before its handler leaves no lock behind, and ends in words."""

    async def scenario():
        async with here(tmp_path, ["never"]) as made:
            research = replace(made.run, kind=Kind.RESEARCH)
            released = []

            class Lock:
                def release(self):
                    released.append(True)

            class Locked(Storage):
                def lock_session(self, _run):
                    return Lock()

                async def session(self, _run):
                    raise LedgerError("unreadable")

            made.factory.storage = Locked(tmp_path, clock.utc)
            with pytest.raises(LedgerError):
                await made.factory(research)
            assert released == [True]

    asyncio.run(scenario())
