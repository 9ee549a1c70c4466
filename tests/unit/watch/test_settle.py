"""The settle rule, named after its numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from rlmwatch.watch.settle import (
    AGAIN_WINDOW_S,
    DEADLINE_S,
    HELD_OPEN_LIMIT_S,
    HELD_OPEN_REST_S,
    PROBE_EVERY_S,
    QUIET_AGAIN_S,
    QUIET_S,
    UNPROVEN_REST_S,
    WRITE_ONLY_REST_S,
    Due,
    Settling,
    WhereOpen,
    keeps_still,
)

PATH = "note_input.txt"
JUST = 1e-6
DONE = Due(PATH, probe=False, recheck=True, closed=True)
WRITING = Due(PATH, probe=True, recheck=True, where_open=WhereOpen.NOTE)
STILL_OPEN = replace(WRITING, where_open=WhereOpen.LEAVE)
PLAIN = Due(PATH, probe=False)


@pytest.fixture
def settling() -> Settling:
    return Settling()


def wait(settling: Settling) -> float:
    due = settling.next_due()
    assert due is not None
    return due


def open_for(settling: Settling, seconds: float) -> list[tuple[float, WhereOpen]]:
    """Say busy at each look until *seconds*; return when each was and what it was to do."""
    looks = []
    while (now := wait(settling)) < seconds:
        [due] = settling.due(now=now)
        looks.append((now, due.where_open))
        if due.where_open is WhereOpen.READ:
            break
        settling.busy(PATH, now=now)
    return looks


def test_the_numbers_are_the_measured_ones():
    """50 ms; 500 ms within 2 s of an admission; 10 s; 250 ms; 5 s; 2.5 s."""
    assert (QUIET_S, QUIET_AGAIN_S, AGAIN_WINDOW_S, DEADLINE_S) == (0.05, 0.5, 2.0, 10.0)
    assert (PROBE_EVERY_S, HELD_OPEN_REST_S, UNPROVEN_REST_S) == (0.25, 5.0, 2.5)
    assert (WRITE_ONLY_REST_S, HELD_OPEN_LIMIT_S) == (15.0, 600.0)


def test_1_done_is_read_without_a_probe(settling: Settling):
    """A file that its writer closed is read at once it rests."""
    settling.done(PATH, now=1.0)
    assert settling.due(now=1.0 + QUIET_S) == [DONE]


def test_1_writing_is_probed(settling: Settling):
    """A file that was only seen to change may still have its writer."""
    settling.writing(PATH, now=1.0)
    assert settling.due(now=1.0 + QUIET_S) == [WRITING]


def test_1_a_change_after_the_close_is_writing_again(settling: Settling):
    """Who closes a file and goes on writing is not done."""
    settling.done(PATH, now=1.0)
    settling.writing(PATH, now=1.01)
    assert settling.due(now=1.1) == [WRITING]


def test_1_gone_is_forgotten(settling: Settling):
    """A deleted file is not read."""
    settling.done(PATH, now=1.0)
    settling.gone(PATH)
    assert settling.next_due() is None
    assert settling.due(now=100.0) == []
    assert PATH not in settling


def test_1_a_file_that_goes_while_it_is_looked_at_does_not_come_back(settling: Settling):
    """An answer about a file that was deleted meanwhile changes nothing."""
    settling.writing(PATH, now=1.0)
    settling.due(now=2.0)
    settling.gone(PATH)
    settling.busy(PATH, now=2.0)
    assert settling.next_due() is None


def test_2a_due_50_ms_after_the_last_event(settling: Settling):
    """Every event puts the read off by 50 ms, counted from it."""
    settling.done(PATH, now=1.0)
    settling.done(PATH, now=1.04)
    assert settling.due(now=1.04 + QUIET_S - JUST) == []
    assert wait(settling) == pytest.approx(1.04 + QUIET_S)


@pytest.mark.parametrize(("after", "rest"), [(0.3, QUIET_AGAIN_S), (AGAIN_WINDOW_S, QUIET_AGAIN_S), (2.01, QUIET_S)])
def test_2b_a_path_that_was_just_admitted_rests_500_ms(settling: Settling, after: float, rest: float):
    """Three appends in a row are one question more, not three."""
    settling.admitted(PATH, now=1.0)
    settling.done(PATH, now=1.0 + after)
    assert wait(settling) == pytest.approx(1.0 + after + rest)


def test_2b_is_about_one_path(settling: Settling):
    """Another file is answered as quickly as ever."""
    settling.admitted("other_input.txt", now=1.0)
    settling.done(PATH, now=1.1)
    assert wait(settling) == pytest.approx(1.1 + QUIET_S)


def test_2b_old_admissions_are_forgotten(settling: Settling):
    """Admissions do not pile up in memory."""
    for number in range(100):
        settling.admitted(f"{number}_input.txt", now=float(number))
    assert len(settling._admitted) < 20


def test_2c_looked_at_10_s_after_the_first_change_at_the_latest(settling: Settling):
    """A file that is saved every 40 ms is read every 10 s all the same."""
    now = 0.0
    while now < DEADLINE_S - 0.05:
        settling.done(PATH, now=now)
        assert settling.due(now=now) == []
        now += 0.04
    settling.done(PATH, now=DEADLINE_S - 0.01)
    assert settling.due(now=DEADLINE_S) == [DONE]


def test_3b_busy_is_probed_again_every_250_ms(settling: Settling):
    """A writer that has the file open is waited for."""
    settling.writing(PATH, now=0.0)
    for number in range(4):
        now = 0.05 + number * PROBE_EVERY_S
        assert settling.due(now=now - JUST) == []
        assert settling.due(now=now) == [STILL_OPEN if number else WRITING]
        settling.busy(PATH, now=now)


def test_3b_done_ends_the_wait(settling: Settling):
    """The close that was waited for counts at once, not at the next probe."""
    settling.writing(PATH, now=0.0)
    settling.due(now=0.05)
    settling.busy(PATH, now=0.05)
    settling.done(PATH, now=0.06)
    assert settling.due(now=0.06 + QUIET_S) == [DONE]


def test_3b_an_open_file_is_judged_every_5_s_without_an_event(settling: Settling):
    """What an open file holds is noted after each event, and judged later, until somebody closes it."""
    settling.writing(PATH, now=0.0)
    settling.due(now=0.05)
    settling.busy(PATH, now=0.05)
    settling.writing(PATH, now=1.0)
    looks = open_for(settling, HELD_OPEN_LIMIT_S - 1)
    assert looks[0] == (pytest.approx(1.05), WhereOpen.NOTE)
    judged = [at for at, where_open in looks if where_open is WhereOpen.JUDGE]
    assert judged[0] == pytest.approx(1.05 + HELD_OPEN_REST_S, abs=PROBE_EVERY_S)
    assert all(b - a >= HELD_OPEN_REST_S - JUST for a, b in pairwise(judged))
    assert WhereOpen.READ not in {where_open for _, where_open in looks}


def test_3b_an_open_file_is_read_after_a_long_limit(settling: Settling):
    """A descriptor that was forgotten loses no save."""
    settling.writing(PATH, now=0.0)
    (at, where_open) = open_for(settling, HELD_OPEN_LIMIT_S + 1)[-1]
    assert (at, where_open) == (pytest.approx(HELD_OPEN_LIMIT_S, abs=PROBE_EVERY_S), WhereOpen.READ)


@pytest.mark.parametrize(
    ("raw", "unchanged_s", "write_only", "closed", "still"),
    [
        (b"half a li", HELD_OPEN_LIMIT_S, False, False, False),
        (b"whole\n", HELD_OPEN_REST_S - PROBE_EVERY_S - JUST, False, False, False),
        (b"whole\n", HELD_OPEN_REST_S, False, False, True),
        (b"whole\r", HELD_OPEN_REST_S, False, False, True),
        ("whole\n".encode("utf-16"), HELD_OPEN_REST_S, False, False, True),
        (b"whole\n", WRITE_ONLY_REST_S - PROBE_EVERY_S - JUST, True, False, False),
        (b"whole\n", WRITE_ONLY_REST_S, True, False, True),
        (b"half a li", HELD_OPEN_LIMIT_S, True, True, False),
        (b"half a li", 0.0, False, True, True),
    ],
)
def test_3b_who_keeps_a_file_open_without_writing_proves_it(raw, unchanged_s, write_only, closed, still):
    """An open file is a save once it has long been the same and its lines are whole, or its writer has closed it."""
    assert keeps_still(raw, unchanged_s=unchanged_s, write_only=write_only, closed=closed) is still


def test_3b_an_open_file_that_goes_on_changing_is_not_read(settling: Settling):
    """Half of a slow copy is no save, however long it takes."""
    now = 0.0
    while now < 5 * DEADLINE_S:
        settling.writing(PATH, now=now)
        for due in settling.due(now=now + 0.06):
            assert due.probe
            settling.busy(PATH, now=now + 0.06)
        now += 2.0


def test_3c_unknown_is_read_after_2500_ms_without_an_event(settling: Settling):
    """Where nobody can say who writes, a file rests longer."""
    settling.writing(PATH, now=0.0)
    assert settling.due(now=0.05) == [WRITING]
    settling.unknown(PATH)
    settling.writing(PATH, now=1.0)
    assert settling.due(now=1.0 + UNPROVEN_REST_S - JUST) == []
    assert settling.due(now=1.0 + UNPROVEN_REST_S) == [PLAIN]


def test_4_a_file_that_is_open_again_is_judged_at_the_second_look(settling: Settling):
    """Whose event has not come a quarter of a second later has it open for something else."""
    settling.done(PATH, now=0.0)
    assert settling.due(now=0.05) == [DONE]
    settling.busy(PATH, now=0.05)
    assert settling.due(now=0.05 + PROBE_EVERY_S - JUST) == []
    assert settling.due(now=0.05 + PROBE_EVERY_S) == [
        Due(PATH, probe=True, recheck=True, where_open=WhereOpen.JUDGE, closed=True)
    ]


def test_4_a_writer_who_tells_of_itself_is_waited_for(settling: Settling):
    """Half of a save that follows on another is no save."""
    settling.done(PATH, now=0.0)
    settling.due(now=0.05)
    settling.busy(PATH, now=0.05)
    settling.writing(PATH, now=0.06)
    assert settling.due(now=0.05 + PROBE_EVERY_S) == [WRITING]


def test_5_changed_is_due_again_later_each_time(settling: Settling):
    """A file that moves while it is read is read again, ever less often."""
    settling.done(PATH, now=0.0)
    now, waits = QUIET_S, []
    for _ in range(9):
        assert settling.due(now=now) == [DONE]
        settling.changed(PATH, now=now)
        waits.append(wait(settling) - now)
        now = wait(settling)
    assert waits[:3] == pytest.approx([QUIET_S, 2 * QUIET_S, 4 * QUIET_S])
    assert waits[-1] == pytest.approx(UNPROVEN_REST_S)


def test_an_event_while_a_path_is_looked_at_wins_over_the_answer(settling: Settling):
    """A save that comes while the one before is read is read too."""
    settling.done(PATH, now=0.0)
    assert settling.due(now=0.05) == [DONE]
    settling.done(PATH, now=0.06)
    settling.read(PATH)
    assert settling.due(now=0.11) == [DONE]


def test_a_path_is_handed_out_once(settling: Settling):
    """Nobody looks at a path twice for one change."""
    settling.done(PATH, now=0.0)
    assert len(settling.due(now=0.05)) == 1
    assert settling.due(now=0.05) == []
    settling.read(PATH)
    assert PATH not in settling


def test_due_paths_come_in_the_order_of_their_last_event(settling: Settling):
    """Saves of one conversation are admitted in the order in which they were made."""
    for number, path in enumerate(["c_input.txt", "a_input.txt", "b_input.txt"]):
        settling.done(path, now=number / 100)
    settling.done("c_input.txt", now=0.04)
    assert [due.path for due in settling.due(now=1.0)] == ["a_input.txt", "b_input.txt", "c_input.txt"]


def test_a_busy_answer_does_not_undo_the_close_that_came_meanwhile(settling: Settling):
    """Who closes the file while it is probed is not probed again."""
    settling.writing(PATH, now=0.0)
    settling.due(now=0.05)
    settling.done(PATH, now=0.06)
    settling.busy(PATH, now=0.07)
    assert settling.due(now=0.06 + QUIET_S) == [DONE]


def test_2c_counts_from_the_first_change_also_across_a_look(settling: Settling):
    """A file that was looked at in vain does not get another 10 s."""
    settling.writing(PATH, now=0.0)
    settling.due(now=0.05)
    settling.writing(PATH, now=DEADLINE_S - 0.01)
    assert wait(settling) == pytest.approx(DEADLINE_S)
