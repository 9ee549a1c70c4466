"""Which admitted runs may start now."""

from __future__ import annotations

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.schedule import startable


def run(seq: int, conversation: str, status: RunStatus = RunStatus.PENDING) -> Run:
    return Run(
        run_id=f"run-{seq}",
        seq=seq,
        path=f"{conversation}_input.txt",
        kind=Kind.CHAT,
        conversation=conversation,
        prompt="ask",
        options={},
        digest="sha256:00",
        status=status,
        created_at="2026-11-23T09:15:02Z",
    )


def started(pending: list[Run], running: list[Run] | None = None, workers: int = 4) -> list[int]:
    return [chosen.seq for chosen in startable(pending, running or [], workers)]


def test_one_run_of_a_conversation_works_at_a_time():
    """Rule 1: the next one waits, while other conversations go on."""
    assert started([run(1, "a"), run(2, "a"), run(3, "b")]) == [1, 3]
    assert started([run(2, "a"), run(3, "b")], [run(1, "a", RunStatus.RUNNING)]) == [3]


def test_runs_start_in_the_order_of_their_admission():
    """Rule 2: however the runs are handed over, the earliest starts first."""
    assert started([run(4, "c"), run(3, "a"), run(2, "b"), run(1, "a")]) == [1, 2, 4]
    assert started([run(3, "c"), run(2, "b"), run(1, "a")], workers=2) == [1, 2]


def test_no_more_runs_work_than_there_are_workers():
    """Rule 3: what works already counts, whatever status it was read with."""
    pending = [run(seq, f"c{seq}") for seq in range(10)]

    assert started(pending, workers=4) == [0, 1, 2, 3]
    assert started(pending, [run(90, "x", RunStatus.RUNNING), run(91, "y")], workers=4) == [0, 1]
    assert started(pending, [run(90, "x", RunStatus.RUNNING), run(91, "y")], workers=2) == []
    assert started(pending, [run(90, "x", RunStatus.RUNNING), run(91, "y")], workers=1) == []


def test_a_held_run_does_not_keep_later_ones_waiting():
    """Rule 4: who waits for a key can still ask again in the same file."""
    assert started([run(1, "a", RunStatus.HELD), run(2, "a")]) == [2]


def test_nothing_waits_nothing_starts():
    """An empty queue starts nothing."""
    assert started([]) == []


def test_a_hundred_thousand_waiting_runs_are_looked_at_once():
    """One busy conversation with a long queue costs a look at each run, not a look for each run."""
    pending = [run(seq, "busy") for seq in range(99_999)] + [run(99_999, "free")]

    assert started(pending, [run(-1, "busy", RunStatus.RUNNING)]) == [99_999]
