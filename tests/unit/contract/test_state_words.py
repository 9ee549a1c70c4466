"""contract/state_words.py: one word a state, on every screen."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from fakes.statuses import status as status_file

from rlmwatch.cli.run_status import print_run
from rlmwatch.cli.runs import ListedJob, row
from rlmwatch.cli.trajectory import Printer
from rlmwatch.cli.view.frame import frame
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.cli.view.viewport import Viewport
from rlmwatch.contract.documents import JobStatus
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.state_words import (
    CALLS,
    NO_ANSWER,
    REASONS,
    STATES,
    STEPS,
    STYLES,
    WORDS,
    state_word,
    with_reason,
    word_of,
)
from rlmwatch.page import content
from rlmwatch.page.model import CeilingView, ListedRun, RunView, WorkspaceView
from rlmwatch.page.shell import document
from rlmwatch.runs.model import CallState, Outcome, Result, Run, RunStatus
from rlmwatch.runs.trajectory import Ended

NOW = "2026-11-28T12:30:00.000Z"
AT = "2026-11-28T12:00:05.000Z"
VALUES = {"partial"} | {each.value for each in (*JobStatus, *Outcome)} - {*WORDS, "error"}
FOR_PROGRAMS = re.compile(rf"\b({'|'.join(sorted(VALUES))})\b")
"""Values of status files that are no words of a screen; `error` is the label of one."""
ENDS = [
    (RunStatus.COMPLETE, Outcome.SUCCESS, False),
    (RunStatus.COMPLETE, Outcome.NO_CODE, True),
    *((RunStatus.COMPLETE, each, True) for each in Outcome if each.value.endswith(("_limit", "timeout", "_error"))),
    *((RunStatus.FAILED, each, False) for each in (Outcome.BAD_INPUT, Outcome.BUDGET_EXCEEDED, Outcome.ERROR)),
    *((RunStatus.FAILED, each, False) for each in (Outcome.TIMEOUT, Outcome.PROVIDER_ERROR)),
    *((RunStatus.CANCELLED, each, False) for each in (Outcome.CANCELLED, Outcome.REPLACED)),
]


def test_every_state_reason_and_step_has_its_words():
    """No status, outcome, end of a step or of a call is without a word, and no word for a state has two of them."""
    assert STATES.keys() == {each.value for each in JobStatus}
    assert REASONS.keys() == NO_ANSWER.keys() == {each.value for each in Outcome}
    assert STEPS.keys() == set(get_args(Ended))
    assert CALLS.keys() == {each.value for each in CallState}
    assert len(set(WORDS)) == len(WORDS)
    assert STYLES.keys() <= set(WORDS)


def test_no_colour_of_a_state_is_unreadable_on_white():
    """Yellow, white and bright colours cannot be read on a light terminal; black not on a dark one."""
    assert not any(re.search("yellow|white|bright|black", style) for style in STYLES.values())


def test_an_answer_that_is_not_whole_is_not_called_answered():
    """Cut short and not computed are words of their own; why stands beside them."""
    assert state_word("complete", outcome="success") == "answered"
    assert with_reason("complete", outcome="step_limit", partial=True) == "cut short: step limit"
    assert with_reason("complete", outcome="no_code", partial=True) == "not computed: the model wrote no program"
    assert with_reason("failed", outcome="timeout") == "failed: time limit"
    assert with_reason("cancelled", outcome="replaced") == "cancelled: a newer save took its place"
    assert with_reason("pending") == "waiting"
    assert state_word("of a newer version") == "of a newer version"


def a_run(status, outcome, partial):
    answer = "Forty-two." if status is RunStatus.COMPLETE else None
    result = Result(status, outcome, answer, partial=partial, error=None if answer else "It broke.")
    run = Run(
        "20261128T120000Z-chat-0a1b2c", 1, "chat_input.txt", Kind.CHAT, "chat", "Why?", {}, "sha256:1", status, AT
    )
    return replace(run, started_at=AT, completed_at=AT, result=result)


def a_status(status, outcome, partial):
    more = {"answer": "Forty-two."} if status is RunStatus.COMPLETE else {"error": "It broke."}
    return status_file("chat_input.txt", status.value, outcome=outcome.value, partial=partial, completed_at=AT, **more)


def on_page(run, view=None):
    folder = WorkspaceView("w", "notes", "/notes", recent=(run,))
    found = (
        content.overview([folder], CeilingView(1.0, of_user=True), now=NOW)
        if view is None
        else content.run(RunView(workspace=folder, run=run, question="Why?"), now=NOW)
    )
    page = document(found, str, now=NOW).decode()
    body = page[page.index("<main") : page.index("</main")]
    return re.sub(r"<[^>]*>", "", body)


@pytest.mark.parametrize(("status", "outcome", "partial"), ENDS)
def test_every_screen_has_the_same_word_and_no_programs_value(capsys, status, outcome, partial):
    """View, list, status of a run, its steps and both pages say how it ended in the one word; none shows an outcome."""
    found = a_status(status, outcome, partial)
    word = word_of(found)
    shown = ViewState(Heading("~/notes"))
    shown.take(found)
    lines = [line.plain for line in frame(shown, Viewport(100), now=datetime.fromisoformat(NOW).astimezone(UTC))]
    listed = ListedJob.model_validate(found.model_dump())
    run = a_run(status, outcome, partial)
    printer = Printer()
    printer.head(run, run.status.value, now=NOW)
    printer.end(run, run.status.value, [])
    steps = capsys.readouterr().out
    print_run(found, as_json=False)
    one = capsys.readouterr().out
    each = ListedRun(
        "w", "a", "chat_input.txt", "chat", "Why?", status.value, AT, AT, outcome=outcome.value, partial=partial
    )
    screens = {
        "view": "\n".join(lines),
        "runs": str(row(listed, "a", now=NOW)["status"]),
        "show": steps,
        "status": one,
        "page": on_page(each),
        "page of the run": on_page(each, view=True),
    }
    for name, text in screens.items():
        assert word in text, name
        assert not FOR_PROGRAMS.search(text), (name, FOR_PROGRAMS.search(text))


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.HELD])
def test_what_has_not_ended_has_the_same_word_too(capsys, status):
    """Waiting, running and held are the words of view, list and status alike."""
    found = status_file("chat_input.txt", status.value, error="no key")
    shown = ViewState(Heading("~/notes"))
    shown.take(found)
    word = STATES[status.value]
    assert f"1 {word}" in frame(shown, Viewport(100), now=datetime(2026, 11, 28, tzinfo=UTC))[1].plain
    assert row(ListedJob.model_validate(found.model_dump()), "a", now=NOW)["status"] == word
    print_run(found, as_json=False)
    assert re.search(rf"status +{word}$", capsys.readouterr().out, re.MULTILINE)
