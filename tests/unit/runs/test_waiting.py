"""Why a run waits, in the words that every list has for it."""

from __future__ import annotations

from rlmwatch.runs.waiting import NOT_RUNNING, OpenRun, reasons, submission


def test_what_holds_a_run_up_comes_first():
    """1. What is known to hold it up is said, whatever its status and whoever answers."""
    held = [OpenRun("a", "held", "no key"), OpenRun("a", "pending", "no answer"), OpenRun("a", "running", "the limit")]
    for served in (True, False):
        assert list(reasons(held, served=served)) == ["no key", "no answer", "the limit"]


def test_an_earlier_save_of_the_conversation_comes_first():
    """2. A pending run waits for the one before it in its conversation, in order of admission, and for no other's."""
    runs = [OpenRun("a", "running", ""), OpenRun("b", "pending", ""), OpenRun("a", "pending", "")]
    assert list(reasons(runs, served=True)) == ["", "its turn", "an earlier save of its conversation comes first"]


def test_nobody_answers():
    """3. Where no process answers, that is what the first one of a conversation waits for; so does a job file."""
    assert list(reasons([OpenRun("a", "pending", "")], served=False)) == [NOT_RUNNING]
    assert (submission(served=False), submission(served=True) == NOT_RUNNING) == (NOT_RUNNING, False)
