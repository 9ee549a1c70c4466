"""Where a turn goes in a memory, and which make way for it: `contract/memory.py`."""

from __future__ import annotations

import json

import pytest

from rlmwatch.contract.documents import dump
from rlmwatch.contract.memory import ChatState, Turn, last_asked, placed, read_edited, remarks, without_outgrown

FILE = "note_input.txt"


def turn(
    number: int, *, text: str = "", continues: int | None = None, file: str = FILE, run: str | None = None
) -> Turn:
    digest = f"sha256:{text or number}"
    return Turn(
        run_id=run or f"run-{number}",
        save_number=number,
        continues=continues,
        file=file,
        input=text or f"q{number}",
        answer=f"a{run or number}",
        input_digest=digest,
    )


def test_rule_4_answers_to_the_beginnings_of_a_question_make_way():
    """Of a question that was typed for a while, one turn is left; those before it, and of other inputs, stay."""
    before, beside = turn(1), turn(3, file="note_input.md")
    turns = (before, turn(2), beside)
    assert placed(turns, turn(4, continues=2), ()) == (before, beside, turn(4, continues=2))
    assert without_outgrown(turns, turn(4, continues=2)) == (before, beside)


def test_rule_4_a_beginning_that_is_written_late_is_left_out():
    """Where the whole question was answered already, the answer to its half comes too late."""
    turns = (turn(1), turn(4, continues=2))
    assert placed(turns, turn(3, continues=2), {"run-4"}) == turns
    assert placed(turns, turn(2), {"run-4"}) == turns


def test_rule_4_needs_the_numbers_of_saves():
    """A turn by hand, and one that an older rlmwatch wrote, is no beginning of anything."""
    by_hand = Turn(input="q", answer="a")
    assert placed((by_hand,), turn(4, continues=1), ()) == (by_hand, turn(4, continues=1))


def test_rule_3_a_second_try_keeps_the_first_answer_beside():
    """What is asked again is one turn: the model is told the new answer, the person has them all, in order."""
    state = ChatState()
    for run in ("one", "two", "three"):
        state = state.with_turn(turn(1, text="q", run=run))
    [kept] = state.turns
    assert (kept.answer, [each.answer for each in kept.alternatives]) == ("athree", ["aone", "atwo"])
    assert state.with_turn(turn(1, text="q", run="one")) is state, "published once more"
    assert read_edited(dump(state, nulls=False), ChatState) == state


def test_rule_3_a_first_try_that_is_written_late_is_kept_beside():
    """Where the second answer was written first, the first one is its alternative all the same."""
    state = ChatState(turns=(turn(1, text="q", run="two"),)).with_turn(turn(1, text="q", run="one"), later={"two"})
    [kept] = state.turns
    assert (kept.answer, [each.answer for each in kept.alternatives]) == ("atwo", ["aone"])


def test_what_was_taken_back_does_not_come_back():
    """A run that is published once more after its turn was taken back brings nothing back."""
    state = ChatState(turns=(turn(1),), undone=(turn(2),))
    assert state.with_turn(turn(2)) is state


@pytest.mark.parametrize("later", [False, True])
def test_what_was_taken_back_was_answered(later: bool):
    """A question that was taken back is not asked anew by itself, on no machine, until another came after it."""
    turns = (turn(1), turn(3)) if later else (turn(1),)
    raw = dump(ChatState(turns=turns, undone=(turn(2),)), nulls=False)
    assert last_asked(remarks(raw, file=FILE)).digest == f"sha256:{3 if later else 2}"


def test_an_older_state_file_loads():
    """What versions without alternatives and typing wrote is read, and written without new keys."""
    old = {"schema_version": 1, "conversation": "a", "turns": [{"run_id": "r", "input": "q", "answer": "a"}]}
    state = read_edited(json.dumps(old).encode(), ChatState)
    assert json.loads(dump(state, nulls=False)) == old
