"""A last turn is taken back, a conversation is forked: `workspace/turns.py`, and the transcript in the folder."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unit.workspace.ended_runs import FIRST, LATER, NOW, OUTPUT, STATE, put, text, turns

from rlmwatch.contract.names import input_name
from rlmwatch.errors import UsageError
from rlmwatch.runs.model import Outcome
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.turns import fork, take_back

NAME = input_name(FIRST.path)
NEW = input_name("notes/idea_input.md")
TRANSCRIPT = "notes/plan_transcript.md"


def transcribed(run):
    return replace(run, options={"transcript": True})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notes").mkdir()
    return Root.open(tmp_path)


def test_a_transcript_has_every_answer_once(root):
    """However often a run is published, its entry is there once, below those before it."""
    for run in (FIRST, FIRST, LATER, FIRST, LATER):
        put(root, transcribed(run))
    kept = text(root, TRANSCRIPT)
    assert [line[:2] for line in kept.splitlines()].count("##") == 2
    assert kept.index("Rest.") < kept.index("Work.")
    assert TRANSCRIPT not in put(root, transcribed(LATER)).changed


def test_without_the_option_there_is_no_transcript(root):
    """Who does not ask for one gets none."""
    put(root, FIRST)
    assert not (root.path / TRANSCRIPT).exists()


def test_what_a_person_writes_into_a_transcript_stays(root):
    """A transcript may be edited; entries are added below."""
    put(root, transcribed(FIRST))
    (root.path / TRANSCRIPT).write_text(text(root, TRANSCRIPT).replace("Rest.", "Rest!") + "\nMy own words.\n")
    put(root, transcribed(LATER))
    assert "Rest!" in text(root, TRANSCRIPT)
    assert text(root, TRANSCRIPT).index("My own words.") < text(root, TRANSCRIPT).index("Work.")


def test_a_transcript_that_cannot_be_added_to_is_moved_aside(root):
    """Where the file is no text, it is kept under another name, the person is told, and the answer is kept too."""
    (root.path / TRANSCRIPT).write_bytes(b"\xff\xfe")
    [warning] = put(root, transcribed(FIRST)).warnings
    [aside] = [path for path in (root.path / "notes").iterdir() if ".corrupt-" in path.name]
    assert aside.read_bytes() == b"\xff\xfe"
    assert aside.name in warning
    assert "Rest." in text(root, TRANSCRIPT)


def test_the_last_turn_is_taken_back_and_kept(root):
    """The memory ends before it, the output shows the answer before, the transcript has it with a line."""
    for run in (FIRST, LATER):
        put(root, transcribed(run))
    done = take_back(root, NAME, now=NOW)
    assert (done.turn.input, done.previous.input, done.in_transcript) == ("And then?", "What now?", True)
    assert [turn["input"] for turn in turns(root)] == ["What now?"]
    assert [turn["answer"] for turn in json.loads(text(root, STATE))["undone"]] == ["Work."]
    assert text(root, OUTPUT) == "Rest.\n"
    assert "Work." in text(root, TRANSCRIPT)
    assert "Taken back" in text(root, TRANSCRIPT)


def test_the_first_turn_is_taken_back_too(root):
    """Where nothing was answered before, there is no output; then there is nothing more to take back."""
    put(root, FIRST)
    assert take_back(root, NAME, now=NOW).previous is None
    assert not (root.path / OUTPUT).exists()
    with pytest.raises(UsageError, match="nothing to take back"):
        take_back(root, NAME, now=NOW)


def in_json(run, answer):
    return replace(run, enclosed={"json": {"schema": None}}, result=replace(run.result, answer=answer))


def test_an_answer_in_json_is_taken_back_in_its_own_file_too(root):
    """Programs read the JSON file: it holds the answer before, and goes where there was none."""
    put(root, in_json(FIRST, '{"a": 1}'))
    put(root, in_json(LATER, '{"a": 2}'))
    take_back(root, NAME, now=NOW)
    assert text(root, NAME.json_output) == '{"a": 1}\n'
    take_back(root, NAME, now=NOW)
    assert not (root.path / NAME.json_output).exists()


def test_a_json_file_of_a_persons_own_is_not_taken_back(root):
    """What no answer of the conversation says is somebody's, and stays."""
    put(root, FIRST)
    (root.path / NAME.json_output).write_text("[]")
    take_back(root, NAME, now=NOW)
    assert (root.path / NAME.json_output).read_text() == "[]"


@pytest.mark.parametrize("marks", [True, False])
def test_the_answer_before_has_its_mark_only_where_marks_are_wanted(root, marks):
    """`marks: false` leaves the line out of every answer that is shown."""
    put(root, replace(FIRST, result=replace(FIRST.result, partial=True, outcome=Outcome.TOKEN_LIMIT)))
    put(root, LATER)
    take_back(root, NAME, now=NOW, marks=marks)
    assert ("cut short" in text(root, OUTPUT)) is marks


def test_what_another_input_asked_last_is_not_taken_back(root):
    """Of two inputs with one memory, the one whose turn is the last is named."""
    put(root, replace(FIRST, path="notes/plan_input.txt"))
    with pytest.raises(UsageError, match=r"plan_input\.txt"):
        take_back(root, NAME, now=NOW)


def test_a_fork_goes_on_from_there_under_its_own_name(root):
    """Both have the same turns; what comes later in one is not in the other."""
    put(root, FIRST)
    assert fork(root, NAME, NEW, now=NOW) == 1
    put(root, LATER)
    forked = json.loads(text(root, NEW.state))
    assert [(turn["input"], turn["file"]) for turn in forked["turns"]] == [("What now?", "idea_input.md")]
    assert forked["conversation"] == "notes/idea"
    with pytest.raises(UsageError, match="there already"):
        fork(root, NAME, NEW, now=NOW)
    assert json.loads(text(root, NEW.state)) == forked


def test_a_fork_that_was_cut_off_may_be_made_once_more(root):
    """Whoever was killed after the memory was copied calls it again."""
    put(root, FIRST)
    assert fork(root, NAME, NEW, now=NOW) == fork(root, NAME, NEW, now=NOW) == 1
