"""A disk that is full, or not ours to write, on a disk in memory: what was there stands, and the person is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from unit.workspace.ended_runs import FIRST, LATER, ME, OUTPUT, STATE, everything, put, said, text, turns

from rlmwatch.contract.memory import Turn
from rlmwatch.contract.names import input_name
from rlmwatch.contract.session import Used
from rlmwatch.errors import WorkspaceError
from rlmwatch.runs.model import RunStatus
from rlmwatch.workspace import atomic, jobs, memory, snapshot
from rlmwatch.workspace.health import Root, storable
from rlmwatch.workspace.hosts import Host, host_rule
from rlmwatch.workspace.session import SessionFile
from rlmwatch.workspace.status import StatusBoard

NOW = "2026-11-23T09:15:10.000Z"
RUNNING = replace(FIRST, status=RunStatus.RUNNING, result=None, completed_at=None)
LARGE = b"x" * 100_000
ROOM = 1 << 20


def w():
    """Return the workspace; a path that was made before the disk would lead to the real one (Python 3.12)."""
    return Path("/w")


@pytest.fixture
def root(disk):
    disk.create_dir("/w/notes")
    return Root.open(w())


def fill(disk, *, left=0):
    """Leave *left* bytes free."""
    disk.set_disk_usage(disk.get_disk_usage("/w").used + left, "/w")


def empty(disk):
    disk.set_disk_usage(disk.get_disk_usage("/w").used + ROOM, "/w")


def names(folder=None):
    return sorted(path.name for path in (folder or w()).iterdir())


@pytest.mark.parametrize("left", [0, 10, 99_999])
def test_a_write_that_does_not_fit_leaves_the_old_file_and_no_other(root, disk, left):
    """However little is missing, a full disk costs neither the last answer nor a file that nobody asked for."""
    atomic.write(w() / "a_output.txt", b"old", within=w())
    fill(disk, left=left)
    with pytest.raises(WorkspaceError, match=r"store /w/a_output\.txt: the disk is full"):
        atomic.write(w() / "a_output.txt", LARGE, within=w())
    assert (w() / "a_output.txt").read_bytes() == b"old"
    assert names() == ["a_output.txt", "notes"]
    empty(disk)
    assert atomic.write(w() / "a_output.txt", LARGE, within=w())


def test_a_folder_that_is_not_ours_to_write_is_told(root, disk):
    """Without the right to write there the person reads what to do; nothing changed."""
    atomic.write(w() / "a_output.txt", b"old", within=w())
    disk.chmod("/w", 0o500)
    for act in (
        lambda: atomic.write(w() / "a_output.txt", b"new", within=w()),
        lambda: atomic.remove(w() / "a_output.txt", within=w()),
        lambda: jobs.submitted(w(), "j", b"{}"),
        lambda: host_rule(w(), Host("den", "0de0de0d"), now=NOW),
        lambda: storable(w()),
    ):
        with pytest.raises(WorkspaceError, match=r"permission denied\. Give the user that runs rlmwatch access"):
            act()
    assert (w() / "a_output.txt").read_bytes() == b"old"
    assert names() == ["a_output.txt", "notes"]


def test_no_paid_call_is_made_whose_answer_could_not_be_stored(root, disk):
    """A disk that is full is found out before the call."""
    storable(w())
    fill(disk, left=1_000)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        storable(w())


def test_publishing_goes_on_where_the_disk_was_full(root, disk):
    """Wherever in the middle the disk was full, publishing again makes all of it whole."""
    put(root, FIRST)
    before = everything(root)
    for left in (0, 100, 700, 1_500):
        fill(disk, left=left)
        with pytest.raises(WorkspaceError, match="the disk is full"):
            put(root, replace(LATER, result=replace(LATER.result, answer="y" * 900)))
        assert text(root, STATE) == before[STATE][1].decode() or len(turns(root)) == 2
        json.loads(text(root, STATE))
        assert said(root, FIRST)["status"] == "complete"
        empty(disk)
    put(root, LATER)
    assert text(root, OUTPUT) == "Work.\n"
    assert said(root, LATER)["status"] == "complete"
    assert [turn["input"] for turn in turns(root)] == ["What now?", "And then?"]


def test_a_status_that_could_not_be_written_is_written_at_its_next_update(root, disk):
    """While the disk is full pollers see the last status; then the new one."""
    board = StatusBoard(root, ME)
    board.update(replace(RUNNING, status=RunStatus.PENDING, started_at=None), now=NOW)
    fill(disk)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        board.update(RUNNING, now=NOW)
    assert said(root, RUNNING)["status"] == "pending"
    empty(disk)
    board.update(RUNNING, now="2026-11-23T09:15:12.000Z")
    assert said(root, RUNNING)["status"] == "running"


def test_a_session_that_could_not_be_written_is_as_it_was(root, disk):
    """What was booked before stays booked, and the booking can be repeated."""
    file = SessionFile(w(), w() / "research_session.json", "research")
    file.book("r1", Used(output_tokens=5), None, now=NOW)
    fill(disk)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        file.book("r2", Used(output_tokens=7), Turn(run_id="r2", input="q", answer="a"), now=NOW)
    assert file.load(now=NOW)[0].spent.output_tokens == 5
    empty(disk)
    file.book("r2", Used(output_tokens=7), Turn(run_id="r2", input="q", answer="a"), now=NOW)
    assert file.load(now=NOW)[0].spent.output_tokens == 12


def test_a_memory_without_the_right_to_read_it_stays(root, disk):
    """A state file that this user may not read is no empty conversation: it is told, and not replaced."""
    put(root, FIRST)
    disk.chmod(w() / STATE, 0o000)
    name = input_name(FIRST.path)
    with pytest.raises(WorkspaceError, match=f"read {w() / STATE}: permission denied"):
        memory.load_chat(w(), name, now=NOW)
    with pytest.raises(WorkspaceError, match="permission denied"):
        put(root, LATER)
    disk.chmod(w() / STATE, 0o600)
    assert [turn["input"] for turn in turns(root)] == ["What now?"]


def test_a_damaged_file_that_cannot_be_moved_aside_stays(root, disk):
    """Without the right to rename it, a damaged state file is told and not overwritten."""
    disk.create_file(w() / STATE, contents="{")
    disk.chmod("/w/notes", 0o500)
    with pytest.raises(WorkspaceError, match=r"cannot move aside .*permission denied"):
        memory.load_chat(w(), input_name(FIRST.path), now=NOW)
    assert (w() / STATE).read_text(encoding="utf-8") == "{"


def test_an_input_without_the_right_to_read_it_is_told(root, disk):
    """The snapshot says that it cannot be read, and that waiting is no use."""
    disk.create_file("/w/notes/plan_input.md", contents="hi")
    disk.chmod("/w/notes/plan_input.md", 0o000)
    seen = snapshot.snapshot(w(), "notes/plan_input.md", max_bytes=100)
    assert isinstance(seen, snapshot.Unreadable)
    assert seen.lasting
    assert seen.reason == "no permission to read it"
