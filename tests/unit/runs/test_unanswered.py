"""runs/unanswered.py: which questions have no whole answer, and which older one still stands."""

from __future__ import annotations

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus
from rlmwatch.runs.unanswered import earlier_answer, unanswered


def a_run(seq, path, status, outcome=None, *, partial=False, error=None):
    result = None if outcome is None else Result(status, outcome, partial=partial, error=error)
    at = f"2026-11-28T12:0{seq}:00Z"
    ended = at if status.ended else None
    name = f"run{seq}"
    return Run(name, seq, path, Kind.CHAT, path, "?", {}, name, status, at, completed_at=ended, result=result)


DONE, FAILED = RunStatus.COMPLETE, RunStatus.FAILED
ANSWER = a_run(1, "a_input.txt", DONE, Outcome.SUCCESS)
ERROR = a_run(2, "a_input.txt", FAILED, Outcome.BAD_INPUT, error="line 2: wrong\nFix it")


def test_an_error_names_the_older_answer_and_its_time():
    """The file still holds it; without one, nothing is said."""
    assert earlier_answer(ERROR, [ERROR, ANSWER]) == "a_output.txt still holds the answer of 2026-11-28 12:01 UTC"
    assert earlier_answer(ERROR, [ERROR]) == ""
    assert earlier_answer(ANSWER, [ERROR, ANSWER]) == ""


def test_only_the_newest_run_of_a_question_counts():
    """What was answered since is none of them; what waits again is listed elsewhere; a job file has no question."""
    cut = a_run(3, "b_input.txt", DONE, Outcome.TIMEOUT, partial=True)
    found = unanswered([cut, ERROR, ANSWER])
    assert [(each.run.run_id, each.why) for each in found] == [
        ("run3", "time limit"),
        ("run2", "line 2: wrong; a_output.txt still holds the answer of 2026-11-28 12:01 UTC"),
    ]
    again = a_run(4, "a_input.txt", DONE, Outcome.SUCCESS)
    waits = a_run(5, "b_input.txt", RunStatus.PENDING)
    assert unanswered([waits, again, cut, ERROR, ANSWER]) == []
    assert unanswered([a_run(6, "jobs/mine.json", FAILED, Outcome.ERROR, error="x")]) == []
