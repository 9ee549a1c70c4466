"""The rule of the status files, number by number, on a real folder."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rlmwatch.contract.documents import Progress, StatusCaps, UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.text import digest
from rlmwatch.errors import WorkspaceError
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Usage
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.status import DaemonProcess, Live, StatusBoard, build, end, prune

ME = DaemonProcess("den", 4242)
CREATED = "2026-11-23T09:15:00.000Z"
PENDING = Run(
    run_id="20261123T091500Z-chat-7f3a9c",
    seq=1,
    path="chat_input.txt",
    kind=Kind.CHAT,
    conversation="chat",
    prompt="hi",
    options={},
    digest="sha256:1",
    status=RunStatus.PENDING,
    created_at=CREATED,
)
RUNNING = replace(PENDING, status=RunStatus.RUNNING, started_at="2026-11-23T09:15:01.000Z", attempt=1)
DONE = replace(
    RUNNING,
    status=RunStatus.COMPLETE,
    completed_at="2026-11-23T09:15:09.000Z",
    result=Result(RunStatus.COMPLETE, Outcome.SUCCESS, "hello", usage=Usage(8, 2, 0.5, 1), model="m", notes=("n",)),
)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def at(second):
    return f"2026-11-23T09:15:{second:06.3f}Z"


@pytest.fixture
def root(tmp_path):
    return Root.open(tmp_path)


@pytest.fixture
def board(root):
    return StatusBoard(root, ME)


def said(root, job_id=PENDING.run_id):
    return json.loads((root.path / "jobs" / f"{job_id}.json").read_text())


def test_status_of_a_running_run_says_what_is_known():
    """A poller reads input, output, digest, progress, usage, budget, attempt and who works on it."""
    live = Live(Progress(step=2, max_steps=4, note="searching"), UsageSoFar(llm_calls=2), StatusCaps(max_tokens=9), "m")
    found = build(RUNNING, live=live, by=ME, now=at(5))
    assert (found.status, found.input, found.output, found.input_digest) == (
        "running",
        "chat_input.txt",
        "chat_output.txt",
        "sha256:1",
    )
    assert (found.progress.step, found.usage.llm_calls, found.budget.max_tokens) == (2, 2, 9)
    assert (found.attempt, found.pid, found.host, found.model, found.updated_at) == (1, 4242, "den", "m", at(5))


@pytest.mark.parametrize("of", [RunStatus.PENDING, RunStatus.RUNNING])
def test_run_that_was_started_stays_running(of):
    """A run that was taken over by a restart is `running` for pollers."""
    assert build(replace(RUNNING, status=of), live=Live(), by=ME, now=at(5)).status == "running"


def test_run_that_is_tried_again_says_what_it_waits_for(board, root):
    """While a provider is asked again, error and note say so, within the second; then both are as before."""
    waits = "p: HTTP 503: overloaded; asked again at 2026-11-23T12:00:05+00:00"
    board.update(RUNNING, Live(Progress(step=2, note="asking the model")), now=at(1))
    board.update(RUNNING, Live(Progress(step=2, note="asking the model"), waits_for=waits), now=at(2.1))
    assert (said(root)["status"], said(root)["error"], said(root)["progress"]["note"]) == ("running", waits, waits)
    assert said(root)["progress"]["step"] == 2
    board.update(RUNNING, Live(Progress(step=2, note="asking the model")), now=at(3.2))
    assert (said(root)["error"], said(root)["progress"]["note"]) == (None, "asking the model")


def test_held_run_says_what_it_waits_for(board, root):
    """While a run waits for a person its status file says for what, at once, and no longer afterwards."""
    board.update(RUNNING, now=at(1))
    assert board.update(replace(RUNNING, status=RunStatus.HELD, held_for="set OPENAI_API_KEY"), now=at(1.1))
    assert (said(root)["status"], said(root)["error"]) == ("held", "set OPENAI_API_KEY")
    assert board.update(replace(RUNNING, attempt=2), now=at(1.2))
    assert (said(root)["error"], said(root)["attempt"]) == (None, 2)


def test_status_of_a_submission_lies_where_it_was_submitted(root):
    """Who submitted `jobs/mine.json` polls `jobs/mine.json`; its answer has no file of its own."""
    asked = b'{"status": "pending", "task": "count"}'
    (root.path / "jobs").mkdir()
    (root.path / "jobs" / "mine.json").write_bytes(asked)
    run = replace(DONE, path="jobs/mine.json", kind=Kind.JOB, digest=digest(asked))
    assert end(root, run, warnings=(), by=ME, now=at(9))
    found = said(root, "mine")
    assert (found["job_id"], found["status"], found["output"], found["answer"]) == ("mine", "complete", None, "hello")
    assert names(root.path / "jobs") == ["mine.json"]


def test_1_ended_status_stays(board, root):
    """A late word of a run that has ended changes nothing."""
    end(root, DONE, warnings=(), by=ME, now=at(9))
    assert board.update(RUNNING, now=at(10)) is False
    assert said(root)["status"] == "complete"


def test_1_running_does_not_become_pending_again(board, root):
    """After a restart a run that pollers saw running does not step back."""
    board.update(RUNNING, now=at(1))
    assert StatusBoard(root, ME).update(replace(PENDING, attempt=1), now=at(5))
    assert (said(root)["status"], said(root)["started_at"]) == ("running", RUNNING.started_at)


def test_1_late_updates_never_come_down_on_an_end(root, board):
    """However threads are interleaved, the last word of a run is its end."""
    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            run_id = f"20261123T0915{n:02}Z-chat-000000"
            running, done = replace(RUNNING, run_id=run_id), replace(DONE, run_id=run_id)
            for second in range(6):
                pool.submit(board.update, running, now=at(second * 5))
            pool.submit(end, root, done, warnings=(), by=ME, now=at(40))
            for second in range(6, 10):
                pool.submit(board.update, running, now=at(second * 5))
    assert {said(root, name.removesuffix(".json"))["status"] for name in names(root.path / "jobs")} == {"complete"}


def test_2_at_most_once_a_second(board, root):
    """Steps that follow each other quickly are written once a second, the last of them too."""
    steps = [board.update(RUNNING, Live(Progress(step=n)), now=at(1 + n * 0.3)) for n in range(4)]
    assert steps == [True, False, False, False]
    assert said(root)["progress"]["step"] == 0
    assert board.flush(now=at(1.95)) == 0
    assert board.flush(now=at(2.0)) == 1
    assert (said(root)["progress"]["step"], said(root)["updated_at"]) == (3, at(2.0))
    assert board.flush(now=at(4)) == 0
    assert board.update(RUNNING, Live(Progress(step=4)), now=at(4.1))


def test_2_change_of_status_is_told_at_once(board, root):
    """That a run started is not held back."""
    assert board.update(PENDING, now=at(1))
    assert board.update(RUNNING, now=at(1.01))
    assert said(root)["status"] == "running"


def test_2_clock_that_was_set_back_silences_nothing(board, root):
    """A wall clock that jumps back by hours does not stop the status for hours."""
    board.update(RUNNING, Live(Progress(step=1)), now="2026-11-23T12:00:00.000Z")
    assert board.update(RUNNING, Live(Progress(step=2)), now="2026-11-23T09:00:00.000Z")


def test_2_runs_that_went_by_are_forgotten(board, root):
    """A daemon that runs for months keeps nothing of the runs that it has told of."""
    board.update(RUNNING, now=at(1))
    end(root, DONE, warnings=(), by=ME, now=at(9))
    board.flush(now=at(10))
    assert board._written == {}


def test_2_what_waits_of_an_ended_run_does_not_bring_its_status_back(board, root):
    """A status that a person deletes as soon as its run has ended stays deleted: it would say that the run goes on."""
    board.update(RUNNING, now=at(1))
    board.update(RUNNING, Live(Progress(step=1)), now=at(1.1))
    end(root, DONE, warnings=(), by=ME, now=at(1.2))
    assert not board.update(DONE, now=at(1.3))
    (root.path / "jobs" / f"{DONE.run_id}.json").unlink()
    assert board.flush(now=at(3)) == 0
    assert names(root.path / "jobs") == []


def test_3_submission_that_waits_is_never_overwritten(board, root):
    """An id that is submitted again while its last run is being published is not lost."""
    again = b'{"status": "pending", "task": "another"}'
    (root.path / "jobs").mkdir()
    (root.path / "jobs" / "mine.json").write_bytes(again)
    run = replace(DONE, path="jobs/mine.json", kind=Kind.JOB, digest=digest(b"the first"))
    assert end(root, run, warnings=(), by=ME, now=at(9)) is False
    assert board.update(replace(RUNNING, path=run.path, digest=run.digest), now=at(9)) is False
    assert (root.path / "jobs" / "mine.json").read_bytes() == again


def test_4_end_tells_how_far_a_run_came_that_ended_within_its_second(board, root):
    """A run of four steps that ends before its last word was due still says that it made four."""
    board.update(RUNNING, Live(Progress(step=1, max_steps=4)), now=at(1))
    board.update(RUNNING, Live(Progress(step=4, max_steps=4)), now=at(1))
    came = board.progress_of(RUNNING.run_id)
    end(root, DONE, warnings=(), by=ME, now=at(1), progress=came)
    assert said(root)["progress"]["step"] == 4


def test_4_end_keeps_budget_and_progress_and_carries_the_warnings(board, root):
    """The last status still says which caps held and how far it came; what the person must know is in `notes`."""
    board.update(RUNNING, Live(Progress(step=3), UsageSoFar(), StatusCaps(max_cost_usd=0.05)), now=at(1))
    end(root, DONE, warnings=("memory was moved aside",), by=ME, now=at(9))
    found = said(root)
    assert (found["budget"]["max_cost_usd"], found["progress"]["step"]) == (0.05, 3)
    assert found["notes"] == ["n", "memory was moved aside"]
    assert (found["outcome"], found["usage"]["cost_usd"], found["completed_at"]) == ("success", 0.5, DONE.completed_at)


def test_4_end_told_again_by_another_process_leaves_the_file_alone(root):
    """A restart that publishes again gives a sync tool nothing to carry, and no warning is lost."""
    assert end(root, DONE, warnings=("w",), by=ME, now=at(9))
    before = (root.path / "jobs" / f"{DONE.run_id}.json").stat()
    assert end(root, DONE, warnings=(), by=DaemonProcess("den", 7), now=at(50)) is False
    assert (root.path / "jobs" / f"{DONE.run_id}.json").stat().st_mtime_ns == before.st_mtime_ns
    assert said(root)["notes"] == ["n", "w"]


def test_folder_or_link_in_the_place_of_jobs_is_told(board, root):
    """A `jobs` that is a file or a link is an error that says what to do."""
    (root.path / "jobs").symlink_to("/tmp")
    with pytest.raises(WorkspaceError, match="links are not followed"):
        board.update(RUNNING, now=at(1))


def test_damaged_status_file_is_written_anew(board, root):
    """A status file that somebody damaged is replaced by the truth."""
    (root.path / "jobs").mkdir()
    (root.path / "jobs" / f"{RUNNING.run_id}.json").write_bytes(b"{")
    assert board.update(RUNNING, now=at(1))
    assert said(root)["status"] == "running"


def test_nothing_is_written_into_a_folder_that_is_not_the_workspace(board, root):
    """An empty mount point is not filled with status files."""
    root.path.rename(root.path.with_name(f"{root.path.name}-away"))
    root.path.mkdir()
    with pytest.raises(WorkspaceError, match="was replaced"):
        board.update(RUNNING, now=at(1))
    assert names(root.path) == []


def _old(root, name, seconds=0):
    os.utime(root.path / "jobs" / name, (seconds, seconds))


def test_prune_removes_what_ended_long_ago_and_nothing_else(root, board):
    """After `keep_jobs_days` the status of an ended run goes, with its cancel request; all else stays."""
    end(root, DONE, warnings=(), by=ME, now=at(9))
    late = replace(DONE, run_id="20261123T091500Z-job-late00", completed_at="2026-12-20T00:00:00.000Z")
    end(root, late, warnings=(), by=ME, now=at(9))
    board.update(replace(RUNNING, run_id="20261123T091500Z-job-held00"), now=at(1))
    young = replace(DONE, run_id="20261224T000000Z-chat-000000", completed_at="2026-12-24T00:00:00.000Z")
    end(root, young, warnings=(), by=ME, now=at(9))
    jobs = root.path / "jobs"
    (jobs / f"{DONE.run_id}.cancel").touch()
    (jobs / "mine.json").write_bytes(b'{"status": "pending", "task": "x"}')
    (jobs / "notes.json").write_bytes(b"{}")
    for name in names(jobs):
        _old(root, name)
    stay = {f"{run_id}.json" for run_id in (late.run_id, young.run_id, "20261123T091500Z-job-held00", "mine", "notes")}
    assert prune(root, now="2026-12-25T00:00:00.000Z", keep_days=30) == 1
    assert set(names(jobs)) == stay
    assert prune(root, now="2027-01-20T00:00:00.000Z", keep_days=30) == 1
    assert set(names(jobs)) == stay - {f"{late.run_id}.json"}


def test_prune_does_not_look_at_young_files(root, monkeypatch):
    """With 100,000 young status files pruning costs one listing."""
    for n in range(50):
        run = replace(DONE, run_id=f"20261224T0000{n:02}Z-chat-000000")
        end(root, run, warnings=(), by=ME, now=at(9))
    looked = []
    for call in ("open", "stat"):
        real = getattr(os, call)

        def noted(path, *args, _real=real, **how):
            looked.append(str(path))
            return _real(path, *args, **how)

        monkeypatch.setattr(os, call, noted)
    assert prune(root, now="2026-12-25T00:00:00.000Z", keep_days=30) == 0
    assert looked
    assert not [name for name in looked if name.endswith(".json")]


def test_prune_without_jobs_has_nothing_to_do(root):
    """A workspace that never had a run has nothing to remove."""
    assert prune(root, now=at(9), keep_days=30) == 0


def test_who_looks_is_given_each_status_also_those_that_wait_for_their_second(root):
    """`on_status`: waiting, each step within a second, and the end with its answer; without it nothing is made."""
    seen = []
    board = StatusBoard(root, ME, seen.append)
    board.update(PENDING, now=at(0))
    for step in (1, 2):
        board.update(RUNNING, Live(Progress(step=step)), now=at(1))
    board.update(DONE, now=at(2))
    assert [each.status for each in seen] == ["pending", "running", "running", "complete"]
    assert [each.progress.step for each in seen[1:3]] == [1, 2]
    assert seen[-1].answer == "hello"


@pytest.mark.parametrize(
    ("answer", "output"), [(None, "chat_output.json"), ("[1]", "chat_output.json"), ("[1,", "chat_output.txt")]
)
def test_the_output_is_the_file_that_the_answer_is_in(answer, output):
    """Half of a JSON value, which a cancelled run leaves, is in no JSON file, and none is named."""
    run = replace(DONE, enclosed={"json": {"schema": None}}, result=replace(DONE.result, answer=answer))
    assert build(run, live=Live(), by=ME, now=at(9)).output == output
