"""An old run never covers a newer one: the rule of `publish`, number by number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.workspace.ended_runs import ERROR, FIRST, LATER, OUTPUT, failed, put, said, text, turns

from rlmwatch.contract.names import input_name
from rlmwatch.runs.model import Outcome
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import Later, restore

ANSWERED = Later(frozenset({LATER.run_id}), answered=True, ended=True)
FAILED = Later(frozenset({LATER.run_id}), ended=True)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notes").mkdir()
    return Root.open(tmp_path)


def test_1_old_run_does_not_cover_a_newer_answer(root):
    """A run that is published late leaves the newer answer, and takes its place in memory."""
    put(root, LATER)
    report = put(root, FIRST, later=ANSWERED)
    assert report.superseded
    assert text(root, OUTPUT) == "Work.\n"
    assert [turn["input"] for turn in turns(root)] == ["What now?", "And then?"]
    assert said(root, FIRST)["status"] == "complete"


@pytest.mark.parametrize("year", [1970, 2099])
def test_1_no_time_makes_a_turn_the_newer_one(root, year):
    """Whatever the clock said of earlier turns, the answer of the later save is written, and comes last."""
    put(root, replace(FIRST, created_at=f"{year}-01-01T00:00:00.000Z"))
    assert not put(root, LATER).superseded
    assert text(root, OUTPUT) == "Work.\n"
    assert [turn["input"] for turn in turns(root)] == ["What now?", "And then?"]


@pytest.mark.parametrize("year", [1970, 2099])
def test_2_no_time_hides_an_error(root, year):
    """Whatever the clock said when earlier turns were saved, the failure of the later save is told."""
    put(root, replace(FIRST, created_at=f"{year}-01-01T00:00:00.000Z"))
    put(root, failed(LATER))
    assert "OPENAI_API_KEY" in text(root, ERROR)


def test_2_old_failure_does_not_cover_a_newer_answer(root):
    """A failure that is published late does not tell a person of an error that is over."""
    put(root, LATER)
    put(root, failed(FIRST), later=ANSWERED)
    assert not (root.path / ERROR).exists()
    assert text(root, OUTPUT) == "Work.\n"


def test_2_late_answer_lands_beside_a_newer_failure(root):
    """An answer that is published late is still the last good one, and the newer error stays."""
    put(root, failed(LATER))
    assert not put(root, FIRST, later=FAILED).superseded
    assert text(root, OUTPUT) == "Rest.\n"
    assert (root.path / ERROR).exists()


def test_the_same_question_asked_again_replaces_answer_and_turn(root):
    """`again` replaces the last turn, whose added keys stay; the model never reads two answers to one question."""
    put(root, FIRST)
    state = root.path / "notes/plan_state.json"
    state.write_text(state.read_text().replace('"answer"', '"stars": 5,\n      "answer"'))
    again = replace(LATER, digest=FIRST.digest, prompt=FIRST.prompt)
    put(root, again)
    assert text(root, OUTPUT) == "Work.\n"
    assert [(turn["run_id"], turn["answer"], turn["stars"]) for turn in turns(root)] == [(again.run_id, "Work.", 5)]
    put(root, FIRST, later=Later(frozenset({again.run_id}), answered=True, ended=True))
    assert [turn["answer"] for turn in turns(root)] == ["Work."]


def test_the_same_question_after_another_is_a_turn_of_its_own(root):
    """Only with nothing in between does a question that comes again take the place of the first."""
    put(root, FIRST)
    put(root, LATER)
    put(root, replace(FIRST, run_id="20261123T111500Z-chat-000002"))
    assert [turn["input"] for turn in turns(root)] == ["What now?", "And then?", "What now?"]


def test_a_deleted_output_that_was_cut_short_is_written_anew_with_its_mark(root):
    """Whoever knows the answer, state file or ledger, the file says again that it is not whole, unless told not to."""
    mark = f"(cut short: token limit; see jobs/{FIRST.run_id}.json)"
    put(root, replace(FIRST, result=replace(FIRST.result, partial=True, outcome=Outcome.TOKEN_LIMIT)))
    name, output = input_name(FIRST.path), root.path / OUTPUT
    for marks, expected in ((True, f"Rest.\n\n{mark}\n"), (False, "Rest.\n")):
        output.unlink()
        assert restore(root, name, FIRST.digest, marks=marks) == "Rest."
        assert text(root, OUTPUT) == expected
    output.unlink()
    (root.path / "notes/plan_state.json").unlink()
    restore(root, name, FIRST.digest, or_else="Rest.", or_else_mark=mark)
    assert text(root, OUTPUT) == f"Rest.\n\n{mark}\n"


def test_a_deleted_output_is_written_anew_from_the_memory(root):
    """What a person deleted is there again, as the state file has it; an output that is there stays as it is."""
    put(root, FIRST)
    name = input_name(FIRST.path)
    assert restore(root, name, FIRST.digest) == "Rest."
    (root.path / OUTPUT).unlink()
    state = root.path / "notes/plan_state.json"
    state.write_text(state.read_text().replace("Rest.", "Rest, I said."))
    assert restore(root, name, "sha256:another") is None
    assert not (root.path / OUTPUT).exists()
    assert restore(root, name, FIRST.digest) == "Rest, I said."
    assert text(root, OUTPUT) == "Rest, I said.\n"
    assert restore(root, name, "sha256:another", or_else="no") == "no"
    assert text(root, OUTPUT) == "Rest, I said.\n"
