"""
submissions/: the rules at their tops, with the real ledger and a real folder.

The supervisor's part only notes its calls; times are shortened where a rule waits.
"""

import asyncio
import json
import os
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import structlog

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.text import digest
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Outcome, Result, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.settings.model import Settings
from rlmwatch.submissions import cancellation as cancellation_module
from rlmwatch.submissions import inbox as inbox_module
from rlmwatch.submissions.admission import rules
from rlmwatch.submissions.inbox import Inbox
from rlmwatch.watch.observer import PathEvent
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root

ME = "here"


class Control:
    """Admits, ends and publishes as the supervisor does, but starts nothing."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.admissions = []
        self.ended = []
        self.published = []
        self.works = set()

    def admitted(self, admission):
        self.admissions.append(admission.run)

    async def end(self, run_id, reason):
        self.ended.append((run_id, reason))
        if run_id in self.works:
            return True
        return await self.ledger.cancel(run_id, reason, now=clock.utc()) is not None

    def publish(self, run):
        self.published.append(run.run_id)


class Workspace:
    """An inbox with all around it."""

    def __init__(self, folder, ledger, settings):
        self.folder = folder
        self.jobs = folder / "jobs"
        self.ledger = ledger
        self.control = Control(ledger)
        self.settings = Settings.model_validate(settings)
        kinds = {Kind.JOB, Kind.CHAT}
        self.inbox = Inbox(Root.open(folder), ledger, self.control, lambda: rules(self.settings, kinds, ME))

    def put(self, job_id, content):
        """Put a file into `jobs/`, unseen."""
        self.jobs.mkdir(exist_ok=True)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self.jobs / f"{job_id}.json").write_bytes(raw)
        return digest(raw)

    def cancel(self, job_id):
        self.jobs.mkdir(exist_ok=True)
        (self.jobs / f"{job_id}.cancel").touch()

    def saw(self, job_id, seen=PathEvent.DONE):
        self.inbox.changed(f"jobs/{job_id}.json", seen)

    async def run_until_at_rest(self):
        """Begin, and work until there is nothing left to do."""
        await self.inbox.begin()
        stop = asyncio.Event()
        working = asyncio.create_task(self.inbox.run(stop))
        async with asyncio.timeout(20):
            await self.inbox.until_at_rest()
        stop.set()
        await working

    @property
    def admitted(self):
        return sorted(run.path for run in self.control.admissions)


class Counting:
    """A ledger that counts how often each of its verbs is asked."""

    def __init__(self, ledger):
        self._ledger = ledger
        self.asked = Counter()

    def __getattr__(self, verb):
        self.asked[verb] += 1
        return getattr(self._ledger, verb)


async def until(condition):
    """Wait until *condition* holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)


def scene(tmp_path, story, **settings):
    """Tell *story* with a here."""

    @asynccontextmanager
    async def opened():
        folder = tmp_path / "workspace"
        folder.mkdir(exist_ok=True)
        ledger = SqliteLedger.open(tmp_path / "ledger.sqlite3")
        try:
            yield Workspace(folder, ledger, settings)
        finally:
            await ledger.aclose()

    async def tell():
        async with opened() as here:
            await story(here)

    asyncio.run(tell())


TASK = {"status": "pending", "task": "what?"}


def test_a_submission_that_came_while_nobody_looked_is_found(tmp_path):
    """At the start every submission that lies there is admitted, once, and nothing else is."""

    async def story(here):
        here.put("a", TASK)
        here.put("b", {**TASK, "job_id": "b", "tokens": 7})
        here.put("c", {"job_id": "c", "kind": "job", "status": "complete", "input_digest": "sha256:x", "host": ME})
        await here.run_until_at_rest()
        assert here.admitted == ["jobs/a.json", "jobs/b.json"]
        assert {run.options.get("tokens") for run in here.control.admissions} == {None, 7}

    scene(tmp_path, story)
    scene(tmp_path, _nothing_new)


async def _nothing_new(here):
    await here.run_until_at_rest()
    assert here.control.admissions == []


def test_only_unknown_files_are_opened_and_an_unchanged_folder_is_not_listed(tmp_path):
    """Files of runs that the ledger knows are never opened, also not to see that they can not be."""

    async def story(here):
        for n in range(50):
            here.put(f"job-{n}", TASK)
        await here.run_until_at_rest()
        assert len(here.control.admissions) == 50
        for file in here.jobs.iterdir():
            file.unlink()
            os.mkfifo(file)  # who opens it is refused, and says so
        here.inbox._last_changes_ns = (-1, -2)
        here.inbox.changed("", PathEvent.RESCAN)
        await here.run_until_at_rest()
        assert here.inbox._refused == {}

    scene(tmp_path, story)


def test_statuses_of_a_lost_ledger_are_read_once(tmp_path):
    """With an empty ledger the status files of ended runs are recognised, and not read again at the next listing."""

    async def story(here):
        for n in range(5):
            here.put(f"job-{n}", {"job_id": f"job-{n}", "kind": "job", "status": "failed", "input_digest": "sha256:x"})
        await here.run_until_at_rest()
        for file in here.jobs.iterdir():
            file.unlink()
            os.mkfifo(file)
        here.inbox.changed("", PathEvent.RESCAN)
        await here.run_until_at_rest()
        assert (here.admitted, here.inbox._refused) == ([], {})

    scene(tmp_path, story)


def test_a_status_of_ours_that_nobody_goes_on_with_is_ended(tmp_path):
    """A run whose record is lost fails in words, so that nobody polls for ever; another host's is left."""

    async def story(here):
        status = {"kind": "job", "status": "running", "input_digest": "sha256:x", "input": "jobs/mine.json"}
        here.put("mine", {**status, "job_id": "mine", "host": ME})
        here.put("theirs", {**status, "job_id": "theirs", "host": "there"})
        await here.run_until_at_rest()
        mine = json.loads((here.jobs / "mine.json").read_bytes())
        assert (mine["status"], mine["outcome"]) == ("failed", "error")
        assert "lost" in mine["error"]
        assert json.loads((here.jobs / "theirs.json").read_bytes())["status"] == "running"

    scene(tmp_path, story)


def test_a_job_file_that_changes_while_it_is_taken_in_is_read_again(tmp_path):
    """Other bytes that come under an id in the very moment in which the first are admitted are not lost."""

    async def story(here):
        note = here.control.admitted

        def overwrite(admission):
            note(admission)
            if len(here.control.admissions) == 1:
                here.put("a", {**TASK, "task": "other"})
                here.saw("a")

        here.control.admitted = overwrite
        here.put("a", TASK)
        await here.run_until_at_rest()
        assert [run.prompt for run in here.control.admissions] == ["what?", "other"]

    scene(tmp_path, story)


def test_half_a_file_waits_for_its_other_half(tmp_path):
    """What a shell redirect has written so far is not read as a job; when it is whole, it is one job."""

    async def story(here):
        whole = json.dumps(TASK)
        here.put("slow", whole[:10].encode())
        here.saw("slow")
        stop = asyncio.Event()
        await here.inbox.begin()
        working = asyncio.create_task(here.inbox.run(stop))
        await until(lambda: "jobs/slow.json" in here.inbox._partial)
        assert not here.inbox.at_rest
        with (here.jobs / "slow.json").open("a") as file:
            file.write(whole[10:])
        await until(lambda: here.control.admissions)  # no event: it is read again all the same
        stop.set()
        await working
        assert [run.prompt for run in here.control.admissions] == ["what?"]

    scene(tmp_path, story)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"status": "pending", "task": ', "not JSON"),
        (b"", "empty"),
        (b'{"task": "x", "status": "pending", "toks": 1}', "toks"),
    ],
)
def test_what_cannot_be_answered_is_kept_and_says_why(tmp_path, raw, says, monkeypatch):
    """A bad job file becomes a run that has failed, and what was written is kept beside it."""
    monkeypatch.setattr(inbox_module, "GIVE_UP_S", 0.2)
    monkeypatch.setattr(inbox_module, "AGAIN_S", 0.1)

    async def story(here):
        wanted = here.put("bad", raw)
        await here.run_until_at_rest()
        (run,) = here.control.admissions
        assert (run.status, run.result.outcome, run.digest) == (RunStatus.FAILED, Outcome.BAD_INPUT, wanted)
        assert says in run.result.error
        assert "jobs/bad.json.rejected" in run.result.error
        assert (here.jobs / "bad.json.rejected").read_bytes() == raw
        assert (here.jobs / "bad.json").exists()

    scene(tmp_path, story)


def test_a_file_that_is_too_large_has_the_digest_of_the_whole(tmp_path):
    """A job file above `max_input_mb` fails, and by its digest its status may take its place."""

    async def story(here):
        wanted = here.put("big", {**TASK, "data": "x" * 200_000})
        await here.run_until_at_rest()
        (run,) = here.control.admissions
        assert run.digest == wanted
        assert "larger than 0.1 MB" in run.result.error

    scene(tmp_path, story, max_input_mb=0.1)


def test_a_webhook_that_is_not_allowed_is_left_out_and_said(tmp_path):
    """The job runs; its status says that the webhook was refused, and nothing is to be told."""

    async def story(here):
        here.put("a", {**TASK, "webhook": "https://example.org/hook"})
        await here.run_until_at_rest()
        (run,) = here.control.admissions
        assert run.status is RunStatus.PENDING
        assert "example.org is not in [webhooks] allow" in run.enclosed["notes"][0]
        await here.ledger.cancel(run.run_id, "enough", now=clock.utc())
        await here.ledger.published(run.run_id)
        assert await here.ledger.deliveries() == []

    scene(tmp_path, story)


def test_a_conflict_copy_of_a_submission_is_no_job(tmp_path):
    """OneDrive's second copy, under a machine's name, is passed over; the same words under another id are not."""

    async def story(here):
        here.put("a", TASK)
        await here.run_until_at_rest()
        here.put("a-DESKTOP-1AB2C", TASK)
        here.put("a-vm-safeBackup-0001", TASK)
        here.put("a-2", TASK)
        here.put("a-DESKTOP-OTHER", {**TASK, "task": "another"})
        here.inbox.changed("", PathEvent.RESCAN)
        await here.run_until_at_rest()
        assert here.admitted == ["jobs/a-2.json", "jobs/a-DESKTOP-OTHER.json", "jobs/a.json"]

    scene(tmp_path, story)


def test_a_submission_that_a_sync_tool_brings_back_is_not_answered_again(tmp_path):
    """Where the old submission covers the status of its ended run, the status is written again."""

    async def story(here):
        here.put("a", TASK)
        await here.run_until_at_rest()
        run = here.control.admissions[0]
        claimed = await here.ledger.claim(run.run_id, now=clock.utc())
        done = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
        await here.ledger.finish(run.run_id, claimed.attempt, done, now=clock.utc())
        here.saw("a")
        await here.run_until_at_rest()
        assert (len(here.control.admissions), here.control.published) == (1, [run.run_id])

    scene(tmp_path, story)


def test_a_cancel_goes_before_its_job(tmp_path):
    """A submission whose cancel lies there already is never started; the request is removed once its status says so."""

    async def story(here):
        here.put("a", TASK)
        here.cancel("a")
        await here.run_until_at_rest()
        (run,) = here.control.admissions
        assert (run.status, run.result.error) == (RunStatus.CANCELLED, "cancelled by jobs/a.cancel")
        assert (here.jobs / "a.cancel").exists()
        here.inbox.published(run)
        await here.run_until_at_rest()
        assert not (here.jobs / "a.cancel").exists()

    scene(tmp_path, story)


def test_a_cancel_ends_what_works_and_stays_until_it_has_ended(tmp_path):
    """A running run is told to end; after a crash in between the request is still there."""

    async def story(here):
        here.put("a", TASK)
        await here.run_until_at_rest()
        run = here.control.admissions[0]
        here.control.works.add(run.run_id)
        here.cancel("a")
        here.inbox.changed("jobs/a.cancel", PathEvent.WRITING)
        await here.run_until_at_rest()
        assert here.control.ended[0] == (run.run_id, "cancelled by jobs/a.cancel")
        assert (here.jobs / "a.cancel").exists()

    scene(tmp_path, story)


def test_a_cancel_of_a_run_of_any_kind_goes_by_its_run_id(tmp_path):
    """A chat is cancelled by the id that its status file has."""

    async def story(here):
        save = Save("chat_input.txt", Kind.CHAT, "chat", "hi", {}, "sha256:hi")
        run = (await here.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())).run
        here.cancel(run.run_id)
        await here.run_until_at_rest()
        assert (await here.ledger.get(run.run_id)).status is RunStatus.CANCELLED

    scene(tmp_path, story)


def test_cancels_of_ended_runs_and_old_ones_of_unknown_runs_are_removed(tmp_path):
    """A request that comes too late goes; one for an unknown job waits for it, a day."""

    async def story(here):
        here.put("ended", TASK)
        await here.run_until_at_rest()
        await here.ledger.cancel(here.control.admissions[0].run_id, "enough", now=clock.utc())
        for job_id in ("ended", "unknown", "old"):
            here.cancel(job_id)
        os.utime(here.jobs / "old.cancel", (1, 1))
        here.inbox.changed("", PathEvent.RESCAN)
        await here.run_until_at_rest()
        assert set(jobs.look(here.folder).cancels) == {"unknown"}

    scene(tmp_path, story)


def test_a_deleted_question_cancels_its_runs_and_put_back_is_asked_anew(tmp_path, monkeypatch):
    """Runs of a deleted input end; the same bytes, put back, are a new save. A job file likewise."""
    monkeypatch.setattr(cancellation_module, "GONE_S", 0.02)

    async def story(here):
        save = Save("chat_input.txt", Kind.CHAT, "chat", "hi", {}, "sha256:hi")
        await here.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())
        here.put("a", TASK)
        await here.run_until_at_rest()
        (here.jobs / "a.json").unlink()
        here.saw("a", PathEvent.GONE)
        here.inbox.changed("chat_input.txt", PathEvent.GONE)
        await here.run_until_at_rest()
        assert (await here.ledger.find("a")).result.error == "cancelled: jobs/a.json was deleted"
        assert await here.ledger.open_in("chat") == []
        assert (await here.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())).run is not None

    scene(tmp_path, story)


def test_what_an_editor_deletes_and_writes_anew_is_not_deleted(tmp_path, monkeypatch):
    """A question that is back before the rest is over keeps its run; so does one whose whole workspace was replaced."""
    monkeypatch.setattr(cancellation_module, "GONE_S", 0.02)

    async def story(here):
        for name in ("one", "two"):
            save = Save(f"{name}_input.txt", Kind.CHAT, name, "hi", {}, "sha256:hi")
            await here.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())
        (here.folder / "one_input.txt").write_text("hi")
        here.inbox.changed("one_input.txt", PathEvent.GONE)
        await here.run_until_at_rest()
        here.folder.rename(tmp_path / "moved")
        here.folder.mkdir()
        here.inbox.changed("two_input.txt", PathEvent.GONE)
        await here.run_until_at_rest()
        assert here.control.ended == []

    scene(tmp_path, story)


def test_a_ledger_that_fails_loses_no_submission(tmp_path, monkeypatch):
    """Where the ledger cannot be used, the submission is tried again until it is admitted."""
    monkeypatch.setattr(inbox_module, "RETRY_S", 0.05)

    async def story(here):
        here.put("a", TASK)
        await here.inbox.begin()
        file = tmp_path / "ledger.sqlite3"
        admit, failures = here.ledger.admit, []

        async def broken(*args, **kwargs):
            if len(failures) < 3:
                failures.append(file)
                raise inbox_module.LedgerError("no room")
            return await admit(*args, **kwargs)

        here.inbox._admission.queue.admit = broken
        stop = asyncio.Event()
        working = asyncio.create_task(here.inbox.run(stop))
        await until(lambda: here.control.admissions)
        stop.set()
        await working
        assert len(failures) == 3

    scene(tmp_path, story)


def test_thousands_of_requests_cost_a_few_questions_and_lines(tmp_path):
    """Requests for nobody wait or go, those for open runs end them, in one pass: however many files are put there."""

    async def story(here):
        run = None
        for job in ("open", "ended"):
            here.put(job, TASK)
        await here.run_until_at_rest()
        run = next(run for run in here.control.admissions if run.path == "jobs/ended.json")
        await here.ledger.cancel(run.run_id, "before", now=clock.utc())
        counting = here.inbox.cancellations.queue = Counting(here.ledger)
        for n in range(2_000):
            here.cancel(f"young-{n}")
            here.cancel(f"old-{n}")
            os.utime(here.jobs / f"old-{n}.cancel", (0, 0))
        for job in ("open", "ended"):
            here.cancel(job)
        here.inbox._last_changes_ns = (-1, -2)
        here.inbox.changed("", PathEvent.RESCAN)
        with structlog.testing.capture_logs() as lines:
            await here.run_until_at_rest()
        left = {file.name for file in here.jobs.iterdir() if file.suffix == ".cancel"}
        assert left == {f"young-{n}.cancel" for n in range(2_000)} | {"open.cancel"}  # until its status says so
        assert [why for _, why in here.control.ended] == ["cancelled by jobs/open.cancel"]
        assert sum(counting.asked.values()) < 5
        assert len(lines) < 8
        (kept,) = [line for line in lines if line["event"] == "cancel.kept"]
        assert "1995 more" in kept["job"]

    scene(tmp_path, story)
