"""What is read for the page, from a real ledger and whatever lies in the folder."""

import asyncio
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.sqlite.reading import read_only
from rlmwatch.page import facts
from rlmwatch.page.facts import Sources, WorkspaceAt
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, PaidCall, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.workspace.owner import Lock, workspace_id

NOW = "2026-11-28T20:00:00.000Z"


class House:
    """A workspace with its private state, as a daemon leaves them."""

    def __init__(self, tmp_path: Path, name: str = "notes") -> None:
        self.root = (tmp_path / name).resolve()
        self.root.mkdir()
        self.states = tmp_path / "states"
        self.at = WorkspaceAt(self.states / workspace_id(self.root), self.root)
        Lock.acquire(self.at.state, host="here", pid=os.getpid(), now=NOW, serves=True, root=self.root).release()
        self.sources = Sources(self.states, self._open, lambda _root: None)

    def _open(self, at: WorkspaceAt):
        path = at.state / "ledger.sqlite3"
        return read_only(path) if path.exists() else None

    def ledger(self, story) -> None:
        async def tell() -> None:
            ledger = SqliteLedger.open(self.at.state / "ledger.sqlite3")
            try:
                await story(ledger)
            finally:
                await ledger.aclose()

        asyncio.run(tell())

    def put(self, job_id: str, content: bytes | str | None = None, **status: object) -> None:
        usual = {"status": "complete", "kind": "chat", "input": "chat_input.txt", "input_digest": "sha256:1"}
        (self.root / "jobs").mkdir(exist_ok=True)
        data = json.dumps(usual | status) if content is None else content
        (self.root / "jobs" / f"{job_id}.json").write_bytes(data if isinstance(data, bytes) else data.encode())

    def look(self):
        return facts.look(self.at, self.sources, now=NOW)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def admitted(ledger: SqliteLedger, prompt: str, path: str = "chat_input.txt", at: str = NOW) -> Run:
    conversation = path.removesuffix("_input.txt")
    save = Save(path, Kind.CHAT, conversation, prompt, {}, f"sha256:{prompt}")
    run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=at)).run
    assert run is not None
    return run


def test_open_runs_say_how_far_they_are_and_what_they_wait_for(house):
    """A running run has its step, a held one its cause, a queued one the run before it."""

    async def story(ledger: SqliteLedger) -> None:
        run = await admitted(ledger, "How far?", at="2026-11-28T19:00:00.000Z")
        await ledger.claim(run.run_id, now=NOW)
        progress = {"step": 3, "max_steps": 8, "note": "reading"}
        house.put(run.run_id, status="running", progress=progress, usage={"llm_calls": 2, "cost_usd": 0.25})
        await admitted(ledger, "And then?", at="2026-11-28T19:01:00.000Z")
        other = await admitted(ledger, "No key?", "b_input.txt", at="2026-11-28T19:02:00.000Z")
        await ledger.hold(other.run_id, (await ledger.claim(other.run_id, now=NOW)).attempt, "no key: set one", now=NOW)

    house.ledger(story)
    running, queued, held = house.look().unfinished
    assert (running.status, running.question, running.cost_usd) == ("running", "How far?", 0.25)
    assert running.progress.startswith("step 3 of 8 · reading")
    assert (queued.status, queued.why) == ("pending", "an earlier save of its conversation comes first")
    assert (held.status, held.why) == ("held", "no key: set one")


def test_a_job_file_that_nobody_takes_up_says_so(house):
    """A job file of which no run was made waits for a daemon where there is none, as `status` says it."""
    house.put("mine", status="pending", kind="job", input="", input_digest="", created_at=NOW)
    whole = facts.look_at_run(house.at, "mine", house.sources, now=NOW)
    assert (whole.run.status, whole.run.why) == ("pending", "rlmwatch does not run here now")


def test_a_run_has_its_steps_and_its_answer(house):
    """A run is shown whole: question, steps in order, answer, what it used; a call where it has no steps."""
    ids = []

    async def story(ledger: SqliteLedger) -> None:
        for number in (1, 2):
            run = await admitted(ledger, f"question {number}", f"{number}_input.txt")
            ids.append(run.run_id)
            attempt = (await ledger.claim(run.run_id, now=NOW)).attempt
            call = PaidCall("0/1/a/0", "llm", "m", {"messages": [{"role": "user", "content": "asked"}]}, 9, 0.5)
            await ledger.intend(run.run_id, attempt, call, ceilings=Ceilings(None), now=NOW)
            await ledger.record(run.run_id, call.key, {"text": "reply"}, Usage(7, 3, 0.125, 1), now=NOW)
            if number == 1:
                for step in (1, 2):
                    await ledger.step(run.run_id, StepRecord("", step, 1, f"print({step})", "shown", "ok"))
            result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="Paris.", usage=Usage(7, 3, 0.125, 1))
            await ledger.finish(run.run_id, attempt, result, now=NOW)

    house.ledger(story)
    whole = facts.look_at_run(house.at, ids[0], house.sources, now=NOW)
    assert (whole.question, whole.answer, whole.tokens) == ("question 1", "Paris.", (7, 3))
    assert [step.code for step in whole.steps] == ["print(1)", "print(2)"]
    assert whole.calls == ()
    (call,) = facts.look_at_run(house.at, ids[1], house.sources, now=NOW).calls
    assert (call.request, call.reply) == ({"messages": [{"role": "user", "content": "asked"}]}, {"text": "reply"})
    view = house.look()
    assert view.days == {"2026-11-28": 0.25}
    assert [(each.answer, each.cost_usd) for each in view.recent] == [("Paris.", 0.125)] * 2


def test_a_run_that_another_machine_answered_is_shown_from_its_status_file(house):
    """Where the ledger knows nothing of a run, its status file is shown, newest first."""
    house.put("20261128T190000Z-chat-aaaaaa", created_at="2026-11-28T19:00:00Z", answer="first")
    house.put("20261128T191500Z-chat-bbbbbb", created_at="2026-11-28T19:15:00Z", answer="second")
    house.put("20261128T193000Z-job-cccccc", created_at="2026-11-28T19:30:00Z", status="running", host="elsewhere")
    view = house.look()
    assert [each.answer for each in view.recent] == ["", "second", "first"]
    assert [each.job_id for each in view.unfinished] == ["20261128T193000Z-job-cccccc"]
    assert facts.look_at_run(house.at, "20261128T190000Z-chat-aaaaaa", house.sources, now=NOW).answer == "first"


def test_status_files_that_are_none_break_nothing(house, tmp_path):
    """What is broken, huge, a link, a pipe, or nested without end is passed over; the others are shown."""
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"status": "complete", "kind": "chat", "answer": "not yours"}))
    house.put("20261128T190000Z-chat-00000a", created_at="2026-11-28T19:00:00Z", answer="good")
    house.put("20261128T190000Z-chat-00000b", b"\xff\xfe\x00 no text")
    house.put("20261128T190000Z-chat-00000c", "[" * 100_000)
    house.put("20261128T190000Z-chat-00000d", b'{"status": "complete", "answer": "' + b"x" * 2_000_000 + b'"}')
    house.put("20261128T190000Z-chat-00000e", status={"no": "status"})
    house.put("20261128T190000Z-chat-00000f", created_at=7, input=["x"])
    far = {"pid": os.getpid(), "host": socket.gethostname(), "updated_at": "9999-12-31T23:59:59Z"}
    house.put("20261128T190000Z-chat-000014", status="running", **far)
    house.put("20261128T190000Z-chat-000015", status="running", **far | {"pid": 10**30})
    (house.root / "jobs" / "20261128T190000Z-chat-000010.json").symlink_to(secret)
    os.mkfifo(house.root / "jobs" / "20261128T190000Z-chat-000011.json")
    (house.root / "jobs" / "20261128T190000Z-chat-000012.json").mkdir()
    house.put(
        "20261128T190000Z-chat-000013",
        created_at="no time at all \u202e",
        input="\ud800<b>".encode("utf-16", "surrogatepass").hex(),
    )
    assert {each.answer for each in house.look().recent} == {"good", ""}


@pytest.mark.parametrize("job_id", ["../../etc/passwd", "a/b", "", ".hidden", "x" * 101, "no-such-run", "a\x00b"])
def test_an_id_from_an_address_names_nothing_but_a_status_file(house, job_id):
    """An id that no status file may have, or that nobody knows, leads nowhere."""
    house.put("20261128T190000Z-chat-aaaaaa")
    assert facts.look_at_run(house.at, job_id, house.sources, now=NOW) is None


def test_a_damaged_ledger_is_a_sentence_on_the_page(house):
    """A ledger that cannot be read is said where its runs would stand; status files are shown all the same."""
    (house.at.state / "ledger.sqlite3").write_bytes(b"this is no database, but it is long enough to look like one" * 20)
    house.put("20261128T190000Z-chat-aaaaaa", created_at="2026-11-28T19:00:00Z", answer="good")
    view = house.look()
    assert "is damaged" in view.problem
    assert [each.answer for each in view.recent] == ["good"]


def test_nothing_is_written(house):
    """Looking changes neither the workspace nor what the ledger holds."""
    house.ledger(lambda ledger: admitted(ledger, "q"))
    house.put("20261128T190000Z-chat-aaaaaa")
    before = {file: file.stat().st_mtime_ns for file in house.root.rglob("*")}
    ledger = (house.at.state / "ledger.sqlite3").read_bytes()
    assert len(house.look().recent) == 2
    assert {file: file.stat().st_mtime_ns for file in house.root.rglob("*")} == before
    assert (house.at.state / "ledger.sqlite3").read_bytes() == ledger


def test_workspaces_are_those_with_private_state_the_last_used_first(tmp_path):
    """All workspaces of the user are found, and the runs of Python programs; a folder that is gone is left out."""
    houses = [House(tmp_path, name) for name in ("old", "new", "gone")]
    for when, each in enumerate(houses):
        os.utime(each.at.state / "lock", (when, when))
    (houses[0].states / "python").mkdir()
    (houses[0].states / "python" / "ledger.sqlite3").touch()
    houses[2].root.rmdir()
    found = facts.workspaces(houses[0].states)
    assert [at.root and at.root.name for at in found] == ["gone", "new", "old", None]
    assert houses[2].look() is None


def test_a_change_is_seen_without_reading(house):
    """A status file that is written, and a commit of the ledger, change what `changes` returns; nothing else does."""
    house.put("20261128T190000Z-chat-aaaaaa")
    before = facts.changes(house.at)
    assert facts.changes(house.at) == before
    os.utime(house.root / "jobs", (1, 1))
    assert facts.changes(house.at) != before


def test_spending_of_a_shared_ledger_counts_once(house):
    """Where workspaces share a ledger, which adds up what all spent, only one of them has the sum."""
    view = replace(house.look(), days={"2026-11-28": 1.0})
    two = [view, replace(view, name="b")]
    assert house.sources.each_dollar_once(two) == two
    once = replace(house.sources, shared=True).each_dollar_once(two)
    assert [each.days for each in once] == [{"2026-11-28": 1.0}, {}]
