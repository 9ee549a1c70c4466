"""The names that a run goes by, and its status as pollers see it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.moves import MOVES, Event, apply
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.transitions import identity, run_id, shown

RUN = Run(
    run_id="20261123T091502Z-chat-7f3a9c",
    seq=1,
    path="chat_input.txt",
    kind=Kind.CHAT,
    conversation="chat",
    prompt="ask",
    options={},
    digest="sha256:00",
    status=RunStatus.PENDING,
    created_at="2026-11-23T09:15:02.123Z",
)


def test_a_run_is_named_after_its_time_kind_and_content():
    """`20261123T091502Z-chat-7f3a9c`: the time of admission in UTC, the kind, six hex digits."""
    name = run_id("2026-11-23T09:15:02.123Z", Kind.CHAT, identity("chat_input.txt", "sha256:00", None))

    assert name.startswith("20261123T091502Z-chat-")
    assert len(name.rpartition("-")[2]) == 6
    assert int(name.rpartition("-")[2], 16) >= 0
    assert run_id("2026-11-23T09:15:02Z", Kind.CHAT, identity("chat_input.txt", "sha256:00", None)) == name


def test_another_salt_gives_another_name():
    """Two runs of one second whose names are the same can be told apart."""
    assert len({run_id("2026-11-23T09:15:02Z", Kind.JOB, "same", salt=salt) for salt in range(20)}) == 20


@pytest.mark.parametrize("time", ["", "2026-11-23", "2026-11-23T09:15:02", "2026-11-23T09:15:02+01:00", "now"])
def test_a_time_that_is_not_utc_makes_no_name(time):
    """A name that lies about its time is never made."""
    with pytest.raises(ValueError, match="UTC"):
        run_id(time, Kind.CHAT, "x")


_part = st.text(max_size=4) | st.sampled_from(["", "1:", "\n", "\0", "\udce9"])


@settings(deadline=None)
@given(st.tuples(_part, _part, _part), st.tuples(_part, _part, _part))
def test_two_saves_have_one_identity_only_if_they_are_the_same_save(one, other):
    """Path, digest and predecessor make the identity, and cannot be mistaken for one another."""
    assert (identity(*one) == identity(*other)) == (one == other)


def test_the_parts_of_an_identity_keep_apart():
    """A path cannot lend its last letter to the digest."""
    assert identity("ab", "c", None) != identity("a", "bc", None)


def test_the_first_run_of_a_path_has_no_predecessor():
    """None and an empty name both mean that there was none."""
    assert identity("p", "d", None) == identity("p", "d", "")


@pytest.mark.parametrize(
    ("status", "started_at", "public"),
    [
        (RunStatus.PENDING, None, "pending"),
        (RunStatus.PENDING, "2026-11-23T09:15:03Z", "running"),
        (RunStatus.RUNNING, "2026-11-23T09:15:03Z", "running"),
        (RunStatus.HELD, "2026-11-23T09:15:03Z", "held"),
        (RunStatus.COMPLETE, "2026-11-23T09:15:03Z", "complete"),
        (RunStatus.FAILED, None, "failed"),
        (RunStatus.CANCELLED, None, "cancelled"),
        (RunStatus.CANCELLED, "2026-11-23T09:15:03Z", "cancelled"),
    ],
)
def test_pollers_see_six_statuses(status, started_at, public):
    """A reclaimed run that was started is still running, for those who poll; a held one is held."""
    assert shown(replace(RUN, status=status, started_at=started_at)) == public


@settings(deadline=None)
@given(st.lists(st.sampled_from(Event)))
def test_the_status_that_pollers_see_moves_only_forward(events):
    """Pending, running, ended: holds and restarts are not seen as steps back."""
    stage = {"pending": 0, "running": 1, "held": 1}
    run = RUN
    for event in events:
        if run.status not in MOVES[event]:
            continue
        before = stage.get(shown(run), 2)
        started_at = run.started_at or ("2026-11-23T09:15:03Z" if event is Event.CLAIM else None)
        run = replace(run, status=apply(run.status, event), started_at=started_at)
        assert stage.get(shown(run), 2) >= before
