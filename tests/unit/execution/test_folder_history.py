"""What the folder shows of earlier saves, beside a real ledger: what was answered, and what came later."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace

import pytest

from rlmwatch import clock
from rlmwatch.contract.documents import JobStatus, StatusFile, dump
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.names import input_name
from rlmwatch.errors import WorkspaceError
from rlmwatch.execution.folder_history import FolderHistory, ShownAnswer
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Outcome, Result, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.workspace.memory import append_turn
from rlmwatch.workspace.publish import Later

NOW = "2026-11-23T09:15:02.123Z"
FUTURE = "2099-01-01T00:00:00.000Z"
CHAT = input_name("notes/plan_input.txt")
DONE = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
FAILED = Result(RunStatus.FAILED, Outcome.ERROR, error="it broke")
NEVER = ShownAnswer(answered=False, number=0)


class Here:
    """A workspace, and the ledger of its machine."""

    def __init__(self, root, ledger):
        self.root = root
        self.ledger = ledger
        self.history = FolderHistory(root, ledger)

    async def shows(self, digest, *, path=CHAT.path, known=False):
        return await self.history.shows(input_name(path), digest, known=known)

    async def admit(self, word, *, after=0, now=NOW):
        save = Save(CHAT.path, Kind.CHAT, CHAT.conversation, word, {}, f"sha256:{word}", after=after)
        return (await self.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=now)).run

    async def end(self, run, result):
        claimed = await self.ledger.claim(run.run_id, now=NOW)
        return await self.ledger.finish(run.run_id, claimed.attempt, result, now=NOW)

    def turn(self, run_id="r1", **said):
        facts = {"run_id": run_id, "at": NOW, "input": "q", "answer": "a", "file": "plan_input.txt", **said}
        append_turn(self.root, CHAT, Turn(**facts), now=NOW)

    def status(self, job_id, *, status=JobStatus.COMPLETE, digest="sha256:s", **said):
        facts = {"input": CHAT.path, "output": CHAT.output, "created_at": NOW, **said}
        file = StatusFile(job_id=job_id, kind=Kind.CHAT, status=status, input_digest=digest, **facts)
        (self.root / "jobs" / f"{job_id}.json").write_bytes(dump(file))


@pytest.fixture
def tell(tmp_path):
    """Run one story in a workspace of its own."""
    root = tmp_path / "workspace"
    for folder in ("notes", "jobs"):
        (root / folder).mkdir(parents=True)

    def run(story):
        async def whole():
            ledger = SqliteLedger.open(tmp_path / "ledger.sqlite3")
            try:
                await story(Here(root, ledger))
            finally:
                await ledger.aclose()

        asyncio.run(whole())

    return run


def test_nothing_was_answered_in_an_empty_workspace(tell):
    """A workspace without state and status files has answered nothing."""

    async def story(here):
        assert await here.shows("sha256:t") == NEVER
        (here.root / "jobs").rmdir()
        assert await FolderHistory(here.root, here.ledger).shows(CHAT, "sha256:t", known=False) == NEVER

    tell(story)


def test_answered_is_known_from_the_state_file(tell):
    """What the conversation's own file says was asked last is answered, whether the ledger knows the path or not."""

    async def story(here):
        here.turn("r1", input_digest="sha256:1", save_number=4)
        here.turn("r2", input_digest="sha256:2", save_number=7, at="1970-01-01T00:00:00.000Z")
        for known in (True, False):
            assert await here.shows("sha256:2", known=known) == ShownAnswer(answered=True, number=7)
            assert not (await here.shows("sha256:1", known=known)).answered
        assert await here.shows("sha256:2", path="notes/plan_input.md") == NEVER

    tell(story)


@pytest.mark.parametrize("status", [JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED])
def test_answered_is_known_from_the_status_file(tell, status):
    """With the ledger and the state file lost, the status file still says which save had its run."""

    async def story(here):
        here.status("a", status=status, save_number=3)
        assert await here.shows("sha256:s") == ShownAnswer(answered=True, number=3)
        assert await here.shows("sha256:s", path="plan_input.txt") == NEVER
        assert not (await here.shows("sha256:s", known=True)).answered, "the ledger knows better"

    tell(story)


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING])
def test_run_that_did_not_end_answered_nothing(tell, status):
    """A save whose run was cut off with its ledger is answered anew."""

    async def story(here):
        here.status("a", status=status)
        assert await here.shows("sha256:s") == NEVER

    tell(story)


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.HELD])
def test_a_save_that_waits_on_another_machine_has_its_place_in_the_order(tell, status):
    """What is saved here is later than what waits there: its number is above."""

    async def story(here):
        here.status("a", status=status, save_number=3, error="held for a price")
        assert await here.shows("sha256:s") == ShownAnswer(answered=False, number=3)
        left = await here.admit("x", after=2)
        assert await here.history.later(left, left_over=True) == Later(), "nothing of it is answered yet"

    tell(story)


def test_latest_save_counts_by_its_number(tell):
    """Of all runs of an input that the ledger does not know, the highest number says what was asked last."""

    async def story(here):
        here.status("b", digest="sha256:1", save_number=1, created_at=FUTURE)
        here.status("c", digest="sha256:2", save_number=2)
        here.status("d", digest="sha256:0", created_at=FUTURE)
        assert await here.shows("sha256:2") == ShownAnswer(answered=True, number=2)
        assert not (await here.shows("sha256:1")).answered

    tell(story)


def test_other_peoples_files_in_jobs_are_passed_over(tell):
    """Broken and strange files in `jobs/` keep no input from being known."""

    async def story(here):
        jobs = here.root / "jobs"
        for name, raw in {"x": b"{", "y": b"[]", "z": b"\xff", "w": b'{"input": 3, "status": []}'}.items():
            (jobs / f"{name}.json").write_bytes(raw)
        (jobs / "n.json").write_bytes(b'{"status": "complete", "input": "i", "input_digest": "d", "save_number": "x"}')
        (jobs / "folder.json").mkdir()
        (jobs / "link.json").symlink_to("x.json")
        os.mkfifo(jobs / "pipe.json")
        here.status("a")
        assert (await here.shows("sha256:s")).answered

    tell(story)


@pytest.mark.parametrize("number", [-1, 0, 2**70, True, "7", None])
def test_no_number_of_a_person_breaks_the_order(tell, number):
    """A number that somebody wrote, which is none of ours, counts as none."""

    async def story(here):
        raw = f'{{"turns": [{{"save_number": {str(number).lower() if number != "7" else chr(34) + "7" + chr(34)}}}]}}'
        (here.root / CHAT.state).write_text(raw.replace("none", "null"))
        assert await here.shows("sha256:s") == NEVER

    tell(story)


def test_only_what_the_ledger_does_not_know_is_read_and_once(tell, monkeypatch):
    """Of 20,000 status files of this machine none is opened; those of others are, once, however many ask."""
    opened = []
    real = os.open

    def note(path, *args, **kwargs):
        if str(path).endswith(".json"):
            opened.append(str(path))
        return real(path, *args, **kwargs)

    async def story(here):
        run = await here.end(await here.admit("mine"), DONE)
        here.status(run.run_id)
        here.status("theirs")
        monkeypatch.setattr(os, "open", note)
        here.history.begin()
        await asyncio.gather(*(here.shows("sha256:s") for _ in range(8)))
        assert [path for path in opened if "state" not in path] == ["theirs.json"]

    tell(story)


def test_a_file_that_was_written_now_waits_for_no_status_file(tell):
    """The first new conversation after a start does not wait until thousands of status files are read."""

    async def story(here):
        here.status("theirs")
        assert await here.history.shows(CHAT, "sha256:s", known=False, wait=False) == NEVER
        assert (await here.shows("sha256:s")).answered
        assert (await here.history.shows(CHAT, "sha256:s", known=False, wait=False)).answered, "they are read now"

    tell(story)


def test_workspace_that_does_not_answer_is_told(tell, monkeypatch):
    """A mount that went away is not taken for a workspace that answered nothing, and is asked again later."""

    def stale(*_args, **_kwargs):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async def story(here):
        here.status("a")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", stale)
            with pytest.raises(WorkspaceError, match="gone stale"):
                await here.shows("sha256:s")
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", stale)
            with pytest.raises(WorkspaceError, match="gone stale"):
                await here.shows("sha256:s")
        assert (await here.shows("sha256:s")).answered

    tell(story)


def test_1_in_one_ledger_the_order_of_admission_counts(tell):
    """What came after a run is what was admitted after it, whatever times and files say."""

    async def story(here):
        first, second = await here.admit("1", now=FUTURE), await here.admit("2")
        assert await here.history.later(first, left_over=False) == Later()
        second = await here.end(second, FAILED)
        assert await here.history.later(first, left_over=False) == Later(frozenset({second.run_id}), ended=True)
        third = await here.end(await here.admit("3"), DONE)
        later = await here.history.later(first, left_over=False)
        assert later == Later(frozenset({second.run_id, third.run_id}), answered=True, ended=True)
        assert await here.history.later(third, left_over=True) == Later()

    tell(story)


def test_2_what_the_ledger_does_not_know_is_earlier_than_what_was_admitted_now(tell):
    """A state file that comes late, or from the future, hides no answer of the daemon that answers here."""

    async def story(here):
        run = await here.admit("mine")
        here.turn("theirs", save_number=7, at=FUTURE)
        here.status("theirs", save_number=7, answer="x", created_at=FUTURE)
        assert await here.history.later(run, left_over=False) == Later()

    tell(story)


def test_3_a_left_over_run_is_older_than_what_another_machine_answered_since(tell):
    """A run that was published late, after another machine had the folder, covers nothing that came after it."""

    async def story(here):
        here.turn("before", save_number=3, at=FUTURE)
        mine = await here.admit("mine", after=3)
        assert await here.history.later(mine, left_over=True) == Later()
        here.turn("theirs", save_number=4, at="1970-01-01T00:00:00.000Z")
        later = await here.history.later(mine, left_over=True)
        assert later == Later(frozenset({"theirs"}), answered=True, ended=True)

    tell(story)


def test_3_what_failed_on_another_machine_since_is_newer_too(tell):
    """Its error file stays where a left-over run is published after it."""

    async def story(here):
        mine = await here.admit("mine")
        here.status("theirs", status=JobStatus.FAILED, save_number=1, error="no key")
        here.status("older", status=JobStatus.FAILED, error="no key", created_at=FUTURE)
        assert await here.history.later(mine, left_over=True) == Later(frozenset({"theirs"}), ended=True)

    tell(story)


def test_3_what_failed_in_json_on_another_machine_since_is_newer_too(tell):
    """A status file may name the JSON file as its output: it is of the same question."""

    async def story(here):
        mine = await here.admit("mine")
        here.status("theirs", status=JobStatus.FAILED, save_number=1, error="no key", output=CHAT.json_output)
        assert await here.history.later(mine, left_over=True) == Later(frozenset({"theirs"}), ended=True)

    tell(story)


def test_3_a_run_of_this_ledger_is_judged_by_the_ledger_alone(tell):
    """An own turn whose number a person raised by hand makes nothing older."""

    async def story(here):
        first = await here.end(await here.admit("1"), DONE)
        mine = await here.admit("2")
        here.turn(first.run_id, save_number=99)
        assert await here.history.later(mine, left_over=True) == Later()

    tell(story)


def test_a_job_file_is_a_conversation_of_its_own(tell):
    """Nothing comes after a submission."""

    async def story(here):
        run = replace(await here.admit("1", now=clock.utc()), path="jobs/a.json")
        assert await here.history.later(run, left_over=True) == Later()

    tell(story)
