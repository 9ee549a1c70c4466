"""How a run ended lands beside its question: in order, whole, and once."""

from __future__ import annotations

import errno
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from unit.workspace.ended_runs import (
    ERROR,
    FIRST,
    LATER,
    OUTPUT,
    PARTIAL,
    STATE,
    everything,
    failed,
    put,
    said,
    text,
    turns,
)

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.text import digest
from rlmwatch.errors import WorkspaceError
from rlmwatch.runs.model import Outcome, RunStatus
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import Later, explain
from rlmwatch.workspace.status import DaemonProcess


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notes").mkdir()
    return Root.open(tmp_path)


def test_answer_memory_and_status_lie_beside_the_question(root):
    """After a run its answer, its turn and its status are where the contract says."""
    report = put(root, FIRST)
    assert text(root, OUTPUT) == "Rest.\n"
    (turn,) = turns(root)
    assert (turn["run_id"], turn["input"], turn["answer"]) == (FIRST.run_id, "What now?", "Rest.")
    assert (turn["input_digest"], turn["at"], turn["file"]) == ("sha256:1", FIRST.created_at, "plan_input.md")
    assert "partial" not in turn
    assert (said(root, FIRST)["status"], said(root, FIRST)["output"], said(root, FIRST)["answer"]) == (
        "complete",
        OUTPUT,
        "Rest.",
    )
    assert report.changed == (OUTPUT, f"jobs/{FIRST.run_id}.json")
    assert (report.warnings, report.superseded) == ((), False)


@pytest.mark.parametrize(("answer", "written"), [("a\n", "a\n"), ("a\n\n", "a\n\n"), ("", "\n"), ("\ud800", "�\n")])
def test_answer_is_exactly_the_answer_and_a_final_newline(root, answer, written):
    """The output can be piped on: nothing but the answer, ended by a newline."""
    put(root, replace(FIRST, result=replace(FIRST.result, answer=answer)))
    assert text(root, OUTPUT) == written


def test_answer_that_was_cut_short_says_so_in_memory_and_status(root):
    """A partial answer is delivered, and the state and status files say what cut it short."""
    put(root, replace(FIRST, result=replace(FIRST.result, partial=True, outcome=Outcome.TOKEN_LIMIT)))
    assert text(root, OUTPUT) == f"Rest.\n\n(cut short: token limit; see jobs/{FIRST.run_id}.json)\n"
    assert turns(root)[0]["answer"] == said(root, FIRST)["answer"] == "Rest."
    assert (turns(root)[0]["partial"], turns(root)[0]["reason"]) == (True, "token_limit")
    assert (said(root, FIRST)["partial"], said(root, FIRST)["outcome"]) == (True, "token_limit")


def test_an_answer_without_code_says_that_it_was_not_computed(root):
    """What the engine's model wrote without looking at the material is not taken for a result; memory has no mark."""
    plain = replace(FIRST.result, partial=True, outcome=Outcome.NO_CODE)
    noted = replace(FIRST.result, notes=("not computed: no code looked at the material",))
    for result in (plain, noted):
        put(root, replace(FIRST, result=result))
        assert text(root, OUTPUT).startswith("Rest.\n\n(not computed: ")
        assert said(root, FIRST)["answer"] == turns(root)[0]["answer"] == "Rest."


def test_marks_are_left_out_where_a_script_asks_for_it(root):
    """With `marks: false` answer and error file hold the bare texts."""
    bare = replace(FIRST, options={"marks": False})
    put(root, replace(bare, result=replace(FIRST.result, partial=True, outcome=Outcome.STEP_LIMIT)))
    assert text(root, OUTPUT) == "Rest.\n"
    put(root, replace(failed(LATER), options={"marks": False}))
    assert text(root, ERROR) == "no key: set OPENAI_API_KEY\n"


def test_what_is_worth_knowing_of_an_answer_stands_in_its_turn(root):
    """Notes of a run, such as that the server read only part, stand in the state file beside the answer, too."""
    note = "the server read only 4,096 of about 27,000 tokens that were sent"
    put(root, replace(FIRST, result=replace(FIRST.result, notes=(note,))))
    assert turns(root)[0]["notes"] == [note]
    assert said(root, FIRST)["notes"] == [note]
    put(root, LATER)
    assert "notes" not in turns(root)[1]


def test_failure_is_told_and_the_last_good_output_stays(root):
    """A run without an answer leaves the answer before, adds no turn, and says why."""
    put(root, FIRST)
    put(root, failed(LATER))
    assert text(root, OUTPUT) == "Rest.\n"
    why, _, times = text(root, ERROR).partition("\n\n")
    assert why == "no key: set OPENAI_API_KEY"
    assert times.startswith("(This is about the question saved 2026-11-23 10:15 UTC. plan_output.md still holds the ")
    assert put(root, failed(LATER)).changed == ()
    assert len(turns(root)) == 1
    assert (said(root, LATER)["status"], said(root, LATER)["error"]) == ("failed", "no key: set OPENAI_API_KEY")


def test_next_success_removes_the_error_and_the_answer_so_far(root):
    """What was told of the failure before, and the streamed half, go when the answer lands."""
    put(root, failed(FIRST))
    (root.path / PARTIAL).write_text("Wor")
    report = put(root, LATER)
    assert set(report.changed) >= {OUTPUT, ERROR, PARTIAL}
    assert not (root.path / ERROR).exists()
    assert not (root.path / PARTIAL).exists()


def test_publishing_again_changes_nothing(root):
    """A restart that publishes everything again gives a sync tool nothing to carry."""
    for run in (FIRST, failed(LATER)):
        put(root, run)
    before = everything(root)
    later = Later(frozenset({LATER.run_id}), ended=True)
    for run, after in ((FIRST, later), (failed(LATER), Later())):
        report = put(root, run, by=DaemonProcess("den", 7), later=after)
        assert (report.changed, report.superseded) == ((), False)
    assert everything(root) == before


def crash_at(patch, point):
    """Let the call number *point* that changes a folder end the process."""
    calls = itertools.count()

    def crashing(real):
        def call(*args, **how):
            if next(calls) == point:
                raise KeyboardInterrupt
            return real(*args, **how)

        return call

    for name in ("rename", "unlink", "mkdir"):
        patch.setattr(os, name, crashing(getattr(os, name)))


@pytest.mark.parametrize(
    "run",
    [FIRST, failed(FIRST), replace(FIRST, options={"transcript": True})],
    ids=["success", "failure", "transcript"],
)
def test_crash_at_any_point_is_mended_by_publishing_again(root, monkeypatch, run):
    """Wherever a publish is cut off, the status is not ended yet, and the next one completes it."""
    (root.path / PARTIAL).write_text("Re")
    reached = 0
    for point in range(20):
        with monkeypatch.context() as patch:
            crash_at(patch, point)
            try:
                put(root, run)
            except KeyboardInterrupt:
                reached += 1
                assert not (root.path / "jobs" / f"{run.run_id}.json").exists()
            else:
                break
        put(root, run)
        once = {path: content for path, (_, content) in everything(root).items()}
        if run.status is RunStatus.COMPLETE:
            kept = {"notes/plan_transcript.md"} if run.options else set()
            assert set(once) == {OUTPUT, STATE, f"jobs/{FIRST.run_id}.json"} | kept
            assert len(turns(root)) == 1
            assert all(text(root, path).count("> What now?") == 1 for path in kept)
        else:
            assert set(once) == {ERROR, f"jobs/{FIRST.run_id}.json"}
        for path in once:
            (root.path / path).unlink()
        (root.path / "jobs").rmdir()
        (root.path / PARTIAL).write_text("Re")
    assert reached >= 4


def test_status_is_written_last(root, monkeypatch):
    """Whoever sees `complete` finds the answer and the turn."""
    renamed = []
    real = os.rename

    def rename(source, target, **how):
        renamed.append(target)
        return real(source, target, **how)

    monkeypatch.setattr(os, "rename", rename)
    put(root, FIRST)
    assert renamed == ["plan_output.md", "plan_state.json", f"{FIRST.run_id}.json"]


def test_damaged_memory_is_moved_aside_and_told_in_the_status(root):
    """A state file that was damaged during the run is kept, and the status says so."""
    (root.path / STATE).write_bytes(b"{")
    report = put(root, FIRST)
    assert "plan_state.json.corrupt-20261123T091510Z" in report.warnings[0]
    assert said(root, FIRST)["notes"] == list(report.warnings)
    assert len(turns(root)) == 1
    assert text(root, "notes/plan_state.json.corrupt-20261123T091510Z") == "{"


def test_a_research_input_that_is_sent_to_the_chat_has_no_memory(root):
    """Its own file is a session, which a chat neither reads nor writes."""
    put(root, replace(FIRST, path="research_prompt.txt", kind=Kind.CHAT))
    assert [name for name in everything(root) if name.endswith(("state.json", "session.json"))] == []


def test_a_research_run_is_booked_in_its_session_once(root):
    """Exchange and spending lie in the session's file, and publishing again changes nothing."""
    run = replace(FIRST, path="research_prompt.txt", kind=Kind.RESEARCH, conversation="research")
    put(root, run)
    first = text(root, "research_session.json")
    put(root, run)
    assert text(root, "research_session.json") == first
    session = json.loads(first)
    assert session["spent"]["output_tokens"] == run.result.usage.output_tokens
    assert [turn["answer"] for turn in session["turns"]] == [run.result.answer]


def test_submission_is_answered_in_its_status_alone(root):
    """The answer of a submitted job is in the file that was submitted."""
    asked = b'{"status": "pending", "task": "count"}'
    (root.path / "jobs").mkdir()
    (root.path / "jobs" / "mine.json").write_bytes(asked)
    run = replace(FIRST, path="jobs/mine.json", kind=Kind.JOB, digest=digest(asked))
    assert put(root, run).changed == ("jobs/mine.json",)
    assert put(root, run).changed == ()
    assert json.loads(text(root, "jobs/mine.json"))["answer"] == "Rest."
    assert list(everything(root)) == ["jobs/mine.json"]


def test_question_whose_folder_is_gone_is_answered_in_its_status(root):
    """A folder that the person removed is not made again; the answer is not lost, and blocks nothing."""
    (root.path / "notes").rmdir()
    report = put(root, FIRST)
    assert list(everything(root)) == [f"jobs/{FIRST.run_id}.json"]
    assert said(root, FIRST)["answer"] == "Rest."
    assert (
        said(root, FIRST)["notes"]
        == list(report.warnings)
        == ["the folder notes is gone: the answer is in this file alone"]
    )


def test_folder_that_became_a_link_gets_no_answer(root):
    """Nothing is written outside the workspace, whatever became of a folder."""
    (root.path / "notes").rmdir()
    (root.path / "outside").mkdir()
    (root.path / "notes").symlink_to("outside")
    with pytest.raises(WorkspaceError, match="links are not followed"):
        put(root, FIRST)
    assert everything(root) == {}


def test_folder_in_the_answers_place_ends_nothing(root):
    """While an answer cannot land its run is not complete for pollers; once it can, it is."""
    (root.path / OUTPUT).mkdir()
    with pytest.raises(WorkspaceError, match=r"plan_output\.md: a folder stands"):
        put(root, FIRST)
    assert everything(root) == {}
    (root.path / OUTPUT).rmdir()
    put(root, FIRST)
    assert text(root, OUTPUT) == "Rest.\n"


def test_full_disk_ends_nothing(root, monkeypatch):
    """An answer that the disk cannot take is told, and published when there is room."""

    def full(_fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkspaceError, match="the disk is full"):
            put(root, FIRST)
    assert everything(root) == {}
    assert put(root, FIRST).changed


def test_workspace_that_is_not_there_gets_nothing(root):
    """An answer does not land in the empty shell of an unmounted workspace."""
    root.path.rename(root.path.with_name(f"{root.path.name}-away"))
    root.path.mkdir()
    with pytest.raises(WorkspaceError, match="was replaced"):
        put(root, FIRST)
    assert names(root.path) == []


def test_run_that_goes_on_is_not_published(root):
    """Publishing what has not ended is a fault of the program."""
    with pytest.raises(ValueError, match="has not ended"):
        put(root, replace(FIRST, status=RunStatus.RUNNING))


def test_held_run_is_explained_and_its_success_takes_that_back(root):
    """While a run waits for a person its error file says for what; the answer removes it."""
    assert explain(root, FIRST, "set OPENAI_API_KEY") is True
    assert explain(root, FIRST, "set OPENAI_API_KEY") is False
    assert text(root, ERROR) == "set OPENAI_API_KEY\n"
    put(root, FIRST)
    assert not (root.path / ERROR).exists()
