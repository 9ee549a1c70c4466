"""
execution/supervisor.py: the rules at its top, with the real ledger and a real folder.

The handler and the clock are the test's; waiting is for events, never for time.
"""

import asyncio
import gc
from contextlib import asynccontextmanager

import pytest

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import LedgerError, WrongKey
from rlmwatch.execution.attachments import Attachments
from rlmwatch.execution.attempt import AttemptDeps
from rlmwatch.execution.executor import LocalExecutor
from rlmwatch.execution.folder_history import FolderHistory
from rlmwatch.execution.run_context import RunContextFactory
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.execution.supervisor import Supervisor
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.handlers.chat import chat
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.settings.model import CeilingSettings, Settings
from rlmwatch.settings.sources import Loaded
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.status import DaemonProcess, StatusBoard


class Program:
    """A supervisor with its ledger and folder, and a clock that the test moves."""

    def __init__(self, root, ledger, script):
        self.root = root
        self.now = 0.0
        self.model = ScriptedModel(script)
        self.ledger = ledger
        self.points = []
        opened = Root.open(root)
        gateway = WorkspaceGateway(
            opened,
            root.parent,
            StatusBoard(opened, DaemonProcess("here", 1)),
            clock.utc,
            lambda text: text,
            DocumentReader(Policy()),
            Attachments(root.parent / "attached", DocumentReader(Policy()), ImageReader(Policy())),
        )
        self.configure(Settings())
        prepare = RunContextFactory(
            config=lambda: self.config,
            ledger=ledger,
            storage=gateway,
            sandbox=None,
            monotonic=clock.monotonic,
            utc=clock.utc,
        )
        attempts = AttemptDeps(
            ledger=ledger, handlers={Kind.CHAT: chat}, prepare=prepare, utc=clock.utc, crash_at=self.points.append
        )
        self.supervisor = Supervisor(
            ledger=ledger,
            workspace=gateway,
            history=FolderHistory(root, ledger),
            executor=LocalExecutor(ledger=ledger, workspace=gateway, attempts=attempts, utc=clock.utc),
            kinds={Kind.CHAT},
            workers=4,
            monotonic=self.monotonic,
            utc=clock.utc,
            crash_at=self.points.append,
        )

    def configure(self, settings):
        """Let *settings* hold for new runs."""
        self.config = RuntimeConfig(loaded=Loaded(settings, {}), model=self.model, default_model="m")

    def monotonic(self):
        return self.now

    def spend(self, usd_per_token, *, per_day_usd):
        """Let output cost something, under a ceiling."""
        self.model.price = lambda _model: (0.0, usd_per_token)
        self.configure(Settings(ceilings=CeilingSettings(max_cost_usd_per_day=per_day_usd)))

    async def save(self, conversation, prompt, *, on_new_save=OnNewSave.QUEUE):
        save = Save(f"{conversation}_input.txt", Kind.CHAT, conversation, prompt, {}, f"sha256:{prompt}")
        admission = await self.ledger.admit(save, on_new_save=on_new_save, now=clock.utc())
        self.supervisor.admitted(admission)
        return admission.run

    def output(self, conversation):
        return (self.root / f"{conversation}_output.txt").read_text(encoding="utf-8")


@asynccontextmanager
async def program(tmp_path, script):
    root = tmp_path / "workspace"
    root.mkdir(exist_ok=True)
    ledger = SqliteLedger.open(tmp_path / "ledger.sqlite3")
    try:
        yield Program(root, ledger, script)
    finally:
        await ledger.aclose()


def test_1_runs_of_a_conversation_go_one_by_one_and_conversations_side_by_side(tmp_path):
    """The second question waits for the first answer; another conversation does not."""

    async def scenario():
        first, other = asyncio.Event(), asyncio.Event()

        async def reply(request):
            match request.messages[-1].content:
                case "a1":
                    await first.wait()
                case "b1":
                    other.set()
            return f"re: {request.messages[-1].content}"

        async with program(tmp_path, reply) as here:
            for conversation, prompt in (("a", "a1"), ("a", "a2"), ("b", "b1")):
                await here.save(conversation, prompt)
            ended = asyncio.create_task(here.supervisor.until_idle())
            await other.wait()
            asked = [request.messages[-1].content for request in here.model.requests]
            assert "a2" not in asked
            first.set()
            await ended
            assert here.output("a") == "re: a2\n"
            assert here.output("b") == "re: b1\n"
            second = next(r for r in here.model.requests if r.messages[-1].content == "a2")
            assert [m.content for m in second.messages[-3:]] == ["a1", "re: a1", "a2"]

    asyncio.run(scenario())


def test_2_nothing_is_asked_while_the_answer_could_not_be_stored(tmp_path):
    """With a folder where the answer is to go, no call is made; once it is gone, the run goes on by itself."""

    async def scenario():
        async with program(tmp_path, ["the answer"]) as here:
            (here.root / "a_output.txt").mkdir()
            run = await here.save("a", "q")
            await here.supervisor.until_idle()
            await here.supervisor.close()
            assert here.model.requests == []
            assert "is a folder" in (here.root / "a_error.txt").read_text(encoding="utf-8")
            assert (await here.ledger.get(run.run_id)).status is RunStatus.PENDING
            (here.root / "a_output.txt").rmdir()
            here.now += 1000
            await here.supervisor.until_idle()
            assert here.output("a") == "the answer\n"
            assert not (here.root / "a_error.txt").exists()

    asyncio.run(scenario())


def test_3_an_answer_that_cannot_be_published_is_kept_and_not_asked_again(tmp_path):
    """The folder is taken away while the model answers: the answer waits in the ledger until it can be written."""

    async def scenario():
        async with program(tmp_path, lambda _request: (here.root / "a_output.txt").mkdir() or "paid for") as here:
            run = await here.save("a", "q")
            await here.supervisor.until_idle()
            assert (await here.ledger.get(run.run_id)).status is RunStatus.COMPLETE
            assert [r.run_id for r in await here.ledger.unpublished()] == [run.run_id]
            (here.root / "a_output.txt").rmdir()
            here.now += 1000
            await here.supervisor.until_idle()
            assert here.output("a") == "paid for\n"
            assert len(here.model.requests) == 1
            assert await here.ledger.unpublished() == []

    asyncio.run(scenario())


def test_4_a_held_run_goes_on_when_its_cause_is_mended(tmp_path):
    """A wrong key keeps the save; after a reload it is answered without being saved again."""

    async def scenario():
        async with program(tmp_path, [WrongKey("the key is not valid", status=401), "now it works"]) as here:
            await here.save("a", "q")
            await here.supervisor.until_idle()
            assert "the key is not valid" in (here.root / "a_error.txt").read_text(encoding="utf-8")
            await here.supervisor.release_held()
            await here.supervisor.until_idle()
            assert here.output("a") == "now it works\n"
            assert not (here.root / "a_error.txt").exists()

    asyncio.run(scenario())


def test_of_one_conversation_alone_what_an_earlier_process_left_goes_on(tmp_path):
    """Who answers one file takes over its conversation, in the order of its saves, and nothing of any other."""

    async def scenario():
        async with program(tmp_path, ["first", "second"]) as here:
            await here.save("a", "one")
            await here.save("b", "another's")
            await here.save("a", "two")
            here.supervisor._waiting.clear()  # admitted by a process that is gone
            here.supervisor.only = "a"
            await here.supervisor.recover()
            await here.supervisor.until_idle()
            assert [request.messages[-1].content for request in here.model.requests] == ["one", "two"]
            assert [run.conversation for run in await here.ledger.pending()] == ["b"]

    asyncio.run(scenario())


def test_4_what_others_had_reserved_holds_a_run_no_longer_than_they_last(tmp_path):
    """A ceiling that only reservations reach stops a run until one of them is settled; nobody needs to do anything."""

    async def scenario():
        asked, held, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def reply(request):
            if request.messages[-1].content == "first":
                asked.set()
                await go_on.wait()
            return "short"

        async with program(tmp_path, reply) as here:
            hold = here.ledger.hold

            async def noted(*args, **kwargs):
                run = await hold(*args, **kwargs)
                held.set()
                return run

            here.ledger.hold = noted
            here.spend(0.001, per_day_usd=0.4)  # 300 tokens are 0.30, the answer is one token
            await here.save("a", "first")
            ended = asyncio.create_task(here.supervisor.until_idle())
            await asked.wait()
            await here.save("b", "second")
            await held.wait()
            assert len(here.model.requests) == 1
            go_on.set()
            await ended
            assert (here.output("a"), here.output("b")) == ("short\n", "short\n")
            assert not (here.root / "b_error.txt").exists()

    asyncio.run(scenario())


def test_4_a_ceiling_that_is_spent_is_not_tried_for_ever(tmp_path):
    """Where money is spent, a held run is tried again once for each run that ends, and no request is made for it."""

    async def scenario():
        async with program(tmp_path, ["fine"]) as here:
            here.spend(0.001, per_day_usd=0.4)
            await here.save("a", "first")
            await here.supervisor.until_idle()
            here.spend(0.001, per_day_usd=0.0001)
            for name in ("b", "c", "d"):
                await here.save(name, "later")
            await here.supervisor.until_idle()
            assert len(here.model.requests) == 1
            assert {run.attempt for run in await here.ledger.recent(9)} == {1}

    asyncio.run(scenario())


def test_5_a_stop_leaves_the_run_to_the_next_start(tmp_path):
    """What was running when the daemon was stopped is answered by the next one."""

    async def first_life():
        asked = asyncio.Event()

        async def never(_request):
            asked.set()
            await asyncio.Event().wait()

        async with program(tmp_path, never) as here:
            await here.save("a", "q")
            here.supervisor.grace_s = 0.0
            stop = asyncio.Event()
            running = asyncio.create_task(here.supervisor.run(stop))
            await asked.wait()
            stop.set()
            await running
            assert here.model.cancelled == 1

    async def second_life():
        async with program(tmp_path, ["after all"]) as here:
            await here.supervisor.recover()
            await here.supervisor.until_idle()
            assert here.output("a") == "after all\n"

    asyncio.run(first_life())
    asyncio.run(second_life())


def test_a_cancelled_run_keeps_the_text_that_had_come(tmp_path):
    """`on_new_save = "cancel"`: the running one ends as cancelled, the new one is answered."""

    async def scenario():
        asked = asyncio.Event()

        async def reply(request):
            if request.messages[-1].content == "old":
                asked.set()
                await asyncio.Event().wait()
            return "new answer"

        async with program(tmp_path, reply) as here:
            old = await here.save("a", "old")
            working = asyncio.create_task(here.supervisor.until_idle())
            await asked.wait()
            await here.save("a", "new", on_new_save=OnNewSave.CANCEL)
            await working
            ended = await here.ledger.get(old.run_id)
            assert (ended.status, ended.result.outcome) == (RunStatus.CANCELLED, Outcome.CANCELLED)
            assert here.output("a") == "new answer\n"

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [0.05])
def test_a_run_past_its_time_limit_ends_in_words(tmp_path, seconds):
    """A provider that says nothing ends in a timeout, and the daemon goes on."""

    async def scenario():
        async with program(tmp_path, lambda _request: asyncio.Event().wait()) as here:
            here.configure(Settings.model_validate({"chat": {"max_seconds": seconds}}))
            run = await here.save("a", "q")
            await here.supervisor.until_idle()
            result: Result = (await here.ledger.get(run.run_id)).result
            assert (result.outcome, result.error) == (
                Outcome.TIMEOUT,
                "no answer within 0.05 seconds (max_seconds)",
            )

    asyncio.run(scenario())


def test_6_what_waits_ends_at_once_when_it_is_cancelled(tmp_path):
    """A run that waits behind another is cancelled now, its status says so, and it is never asked."""

    async def scenario():
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def reply(_request):
            asked.set()
            await go_on.wait()
            return "first answer"

        async with program(tmp_path, reply) as here:
            await here.save("a", "first")
            second = await here.save("a", "second")
            working = asyncio.create_task(here.supervisor.until_idle())
            await asked.wait()
            assert await here.supervisor.end(second.run_id, "enough")
            assert not await here.supervisor.end(second.run_id, "enough")
            assert (await here.ledger.get(second.run_id)).status is RunStatus.CANCELLED
            go_on.set()
            await working
            assert len(here.model.requests) == 1
            assert await here.ledger.unpublished() == []

    asyncio.run(scenario())


def test_6_what_is_held_ends_at_once_when_it_is_cancelled(tmp_path):
    """A run that waits for a person does not come back after it was cancelled."""

    async def scenario():
        async with program(tmp_path, [WrongKey("the key is not valid", status=401), "never"]) as here:
            run = await here.save("a", "q")
            await here.supervisor.until_idle()
            assert await here.supervisor.end(run.run_id, "enough")
            await here.supervisor.release_held()
            await here.supervisor.until_idle()
            assert (await here.ledger.get(run.run_id)).status is RunStatus.CANCELLED
            assert len(here.model.requests) == 1

    asyncio.run(scenario())


def test_6_a_cancel_that_comes_while_a_run_is_being_claimed_is_not_lost(tmp_path):
    """Between two steps of its start a run is nowhere to be cancelled, and still it ends, with nothing paid."""

    async def scenario():
        async with program(tmp_path, ["never"]) as here:
            run = await here.save("a", "q")
            claim = here.ledger.claim

            async def slow(run_id, *, now):
                claimed = await claim(run_id, now=now)
                assert here.supervisor.cancel(run_id, "enough")
                return claimed

            here.ledger.claim = slow
            await here.supervisor.until_idle()
            ended = await here.ledger.get(run.run_id)
            assert (ended.status, ended.result.notes) == (RunStatus.CANCELLED, ("enough",))
            assert here.model.requests == []
            assert await here.ledger.unpublished() == []

    asyncio.run(scenario())


def test_6_a_cancel_while_the_folder_cannot_be_written_to_is_kept(tmp_path):
    """A run whose conversation waits for its folder ends when it is cancelled, and is published once it can be."""

    async def scenario():
        async with program(tmp_path, ["never"]) as here:
            (here.root / "a_output.txt").mkdir()
            run = await here.save("a", "q")
            await here.supervisor.until_idle()
            assert await here.supervisor.end(run.run_id, "enough")
            (here.root / "a_output.txt").rmdir()
            here.now += 1000
            await here.supervisor.until_idle()
            assert (await here.ledger.get(run.run_id)).status is RunStatus.CANCELLED
            assert await here.ledger.unpublished() == []
            assert here.model.requests == []

    asyncio.run(scenario())


def test_6_a_run_that_is_replaced_while_it_is_begun_is_published(tmp_path):
    """A run that a later save replaced just before it could be claimed gets its last status, and is never asked."""

    async def scenario():
        async with program(tmp_path, ["the newer answer"]) as here:
            old = await here.save("a", "old")
            claim = here.ledger.claim

            async def slow(run_id, *, now):
                if run_id == old.run_id:
                    await here.save("a", "new", on_new_save=OnNewSave.REPLACE)
                return await claim(run_id, now=now)

            here.ledger.claim = slow
            await here.supervisor.until_idle()
            assert (await here.ledger.get(old.run_id)).result.outcome is Outcome.REPLACED
            assert await here.ledger.unpublished() == []
            assert here.output("a") == "the newer answer\n"
            assert len(here.model.requests) == 1

    asyncio.run(scenario())


def test_7_a_run_waits_while_the_ledger_cannot_be_used(tmp_path):
    """A ledger that fails for a moment costs a wait: the run is claimed, answered and published all the same."""

    async def scenario():
        async with program(tmp_path, ["after all"]) as here:
            await here.save("a", "q")
            for verb in ("claim", "published"):
                whole = getattr(here.ledger, verb)

                async def once(*args, whole=whole, verb=verb, **kwargs):
                    setattr(here.ledger, verb, whole)
                    raise LedgerError("database is locked")

                setattr(here.ledger, verb, once)
            for _ in range(3):
                await here.supervisor.until_idle()
                here.now += 1000
            assert here.output("a") == "after all\n"
            assert not (here.root / "a_error.txt").exists()
            assert len(here.model.requests) == 1
            assert await here.ledger.unpublished() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("verb", ["claim", "finish"])
def test_7_waiting_for_the_ledger_costs_nothing(tmp_path, verb):
    """Once it was tried again, a run that the ledger failed leaves the loop at rest, whatever became of it."""

    async def scenario():
        async with program(tmp_path, ["an answer"]) as here:
            await here.save("a", "q")
            whole = getattr(here.ledger, verb)

            async def once(*_args, **_kwargs):
                setattr(here.ledger, verb, whole)
                raise LedgerError("database is locked")

            setattr(here.ledger, verb, once)
            await here.supervisor.until_idle()
            here.now += 1000
            await here.supervisor.until_idle()
            asked = []
            here.supervisor.monotonic = lambda: asked.append(1) or here.now
            stop = asyncio.Event()
            working = asyncio.create_task(here.supervisor.run(stop))
            for _ in range(100):
                await asyncio.sleep(0)
            stop.set()
            await working
            assert len(asked) < 10

    asyncio.run(scenario())


def test_a_conversation_that_is_due_while_all_workers_are_taken_waits_quietly(tmp_path):
    """Its turn comes when a worker is free; until then nothing is asked over and over."""

    async def scenario():
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def reply(_request):
            asked.set()
            await go_on.wait()
            return "an answer"

        async with program(tmp_path, reply) as here:
            here.supervisor.workers = 1
            (here.root / "a_output.txt").mkdir()
            await here.save("a", "q")
            await here.supervisor.until_idle()
            (here.root / "a_output.txt").rmdir()
            await here.save("b", "q")
            looks = []
            here.supervisor.monotonic = lambda: looks.append(1) or here.now
            working = asyncio.create_task(here.supervisor.until_idle())
            await asked.wait()
            here.now += 1000
            here.supervisor._wake.set()
            looks.clear()
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(looks) < 10
            go_on.set()
            await working
            assert here.output("a") == "an answer\n"

    asyncio.run(scenario())


def test_6_a_cancel_outlives_a_ledger_that_fails(tmp_path):
    """Cancelled while the ledger cannot be used, a run ends once it can, and is never asked."""

    async def scenario():
        async with program(tmp_path, ["never"]) as here:
            run = await here.save("a", "q")
            claim = here.ledger.claim

            async def once(run_id, **_):
                here.ledger.claim = claim
                assert here.supervisor.cancel(run_id, "enough")
                raise LedgerError("database is locked")

            here.ledger.claim = once
            await here.supervisor.until_idle()
            here.now += 1000
            await here.supervisor.until_idle()
            ended = await here.ledger.get(run.run_id)
            assert (ended.status, ended.result.notes) == (RunStatus.CANCELLED, ("enough",))
            assert here.model.requests == []

    asyncio.run(scenario())


def test_nothing_is_kept_of_an_ended_run(tmp_path):
    """A daemon that runs for months does not grow by what it answered: no run that ended is in memory."""

    async def scenario():
        async with program(tmp_path, lambda request: f"re: {request.messages[-1].content}") as here:
            for number in range(5):
                await here.save(f"c{number % 2}", f"of ended run {number}")
            await here.supervisor.until_idle()
            await here.supervisor.close()
            assert (here.supervisor.answered, here.supervisor.unanswered) == (5, 0)
            gc.collect()
            runs = [each for each in gc.get_objects() if isinstance(each, Run)]
            assert [run for run in runs if run.prompt.startswith("of ended run")] == []

    asyncio.run(scenario())
