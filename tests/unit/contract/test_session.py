"""contract/session.py: spending is booked once per run, and exchanges are told in short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.documents import dump
from rlmwatch.contract.memory import Turn, read_edited
from rlmwatch.contract.session import KNOWN_RUNS, SHORT_ANSWER_CHARS, SessionState, Used
from rlmwatch.errors import InputError


def used(tokens, usd=0.0):
    return Used(output_tokens=tokens, cost_usd=usd)


def test_1_booking_a_run_again_counts_what_it_used_meanwhile():
    """Each step of a run books all that it used so far; the sum grows by the difference."""
    session = SessionState().booked("a", used(10, 0.01)).booked("b", used(5)).booked("a", used(30, 0.02))
    assert session.spent == used(35, 0.02)
    assert session.booked("a", used(30, 0.02)) == session


def test_1_a_resumed_run_does_not_pay_against_itself():
    """What a run books of itself is not taken off its budget a second time when it is resumed."""
    session = SessionState().booked("a", used(10)).booked("b", used(5))
    assert session.spent_before("a") == used(5)
    assert session.spent_before("new") == used(15)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50)), max_size=40))
def test_the_sum_is_that_of_each_runs_last_booking(bookings):
    """Whatever the order, the session has spent what its runs used in the end."""
    session, last = SessionState(), {}
    for run, tokens in bookings:
        last[run] = max(tokens, last.get(run, 0))
        session = session.booked(f"r{run}", used(last[run]))
    assert session.spent.output_tokens == sum(last.values())


def test_2_old_runs_leave_the_list_and_stay_in_the_sum():
    """The file does not grow with the number of runs that gave no answer."""
    session = SessionState()
    for number in range(100):
        session = session.booked(f"r{number}", used(1))
    assert len(session.runs) == KNOWN_RUNS
    assert session.spent.output_tokens == 100


def test_3_an_exchange_is_added_once():
    """Publishing again after a crash adds nothing."""
    turn = Turn(run_id="a", input="q", answer="x")
    assert SessionState().with_turn(turn).with_turn(turn).turns == (turn,)


def test_earlier_exchanges_are_told_in_short_and_kept_whole():
    """The prompt has the last ones, cut; the variable `history` has all of them."""
    turns = tuple(Turn(input=f"q{n}", answer=f"a{n} " + "long " * 200) for n in range(5))
    session = SessionState(turns=turns)
    short = session.in_short()
    assert "q1" not in short
    assert "q4" in short
    assert len(short) < 3 * (SHORT_ANSWER_CHARS + 100)
    assert session.history().count("long") == 1000
    assert SessionState().history() is None
    assert SessionState().in_short() == ""


def test_what_a_person_adds_survives():
    """A note that somebody writes into the file is still there after the next run."""
    raw = b'{"schema_version": 1, "turns": [{"input": "q", "answer": "a", "mine": 1}], "note": "keep"}'
    session = read_edited(raw, SessionState).booked("a", used(1))
    again = read_edited(dump(session, nulls=False), SessionState)
    assert again.model_extra == {"note": "keep"}
    assert again.turns[0].model_extra == {"mine": 1}


@pytest.mark.parametrize("spent", ['{"output_tokens": N}', '{"cost_usd": N}', '{"cost_usd": 1e308}'])
def test_numbers_that_no_run_can_have_used_are_damage(spent):
    """A file with a number of 400 digits is set aside as damaged: it could neither be added to nor compared."""
    assert read_edited(b'{"spent": {"output_tokens": 7, "cost_usd": 0.5}}', SessionState).spent == used(7, 0.5)
    with pytest.raises(InputError):
        read_edited(f'{{"spent": {spent.replace("N", "9" * 400)}}}'.encode(), SessionState)
