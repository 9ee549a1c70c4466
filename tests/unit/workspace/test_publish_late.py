"""An old run never covers a newer one: the rule of `publish`, number by number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.workspace.ended_runs import ERROR, FIRST, LATER, OUTPUT, STATE, everything, failed, put, said, text, turns

from rlmwatch.workspace.health import Root


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notes").mkdir()
    return Root.open(tmp_path)


def test_1_old_run_does_not_cover_a_newer_answer(root):
    """A run that is published late leaves the newer answer, and takes its place in memory."""
    put(root, LATER)
    report = put(root, FIRST)
    assert report.superseded
    assert text(root, OUTPUT) == "Work.\n"
    assert [turn["input"] for turn in turns(root)] == ["What now?", "And then?"]
    assert said(root, FIRST)["status"] == "complete"


@pytest.mark.parametrize("path", ["notes/plan_job_input.txt", "notes/plan_input.md"])
def test_1_newer_answer_is_known_by_its_status_alone(root, path):
    """Also for kinds without a chat's memory, or when it was deleted, a late run leaves the newer answer."""
    put(root, replace(LATER, path=path))
    (root.path / STATE).unlink(missing_ok=True)
    assert put(root, replace(FIRST, path=path)).superseded
    assert "Work.\n" in {content.decode() for _, content in everything(root).values()}
    assert "Rest.\n" not in {content.decode() for _, content in everything(root).values()}


def test_1_answer_to_another_question_covers_nothing(root):
    """The answer of another conversation, however new, does not keep an answer back."""
    (root.path / "notes" / "plan_output.md").write_text("from before\n")
    put(root, replace(LATER, path="notes/other_input.md"))
    assert not put(root, FIRST).superseded
    assert text(root, OUTPUT) == "Rest.\n"


def test_2_old_failure_does_not_cover_a_newer_answer(root):
    """A failure that is published late does not tell a person of an error that is over."""
    put(root, LATER)
    put(root, failed(FIRST))
    assert not (root.path / ERROR).exists()
    assert text(root, OUTPUT) == "Work.\n"


def test_2_late_answer_lands_beside_a_newer_failure(root):
    """An answer that is published late is still the last good one, and the newer error stays."""
    put(root, failed(LATER))
    assert not put(root, FIRST).superseded
    assert text(root, OUTPUT) == "Rest.\n"
    assert (root.path / ERROR).exists()


def test_same_question_asked_again_covers_the_answer_before(root):
    """`again` on the same bytes is a later run of its own."""
    put(root, FIRST)
    put(root, replace(LATER, digest=FIRST.digest))
    assert text(root, OUTPUT) == "Work.\n"
    assert len(turns(root)) == 2
