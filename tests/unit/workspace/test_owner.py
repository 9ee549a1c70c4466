"""One daemon on one machine, one machine of many."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rlmwatch.errors import WorkspaceBusy, WorkspaceError
from rlmwatch.workspace.owner import (
    Lock,
    holder,
    is_served,
    workspace_id,
)

NOW = "2026-11-23T09:15:02.000Z"

HOLDS_THE_LOCK = """
import pathlib, sys, os
from rlmwatch.workspace.owner import Lock
lock = Lock.acquire(pathlib.Path(sys.argv[1]), host="den", pid=os.getpid(), now="2026-11-23T09:15:02.000Z")
print("held", flush=True)
sys.stdin.read()
"""


def _acquire(folder, host="here"):
    return Lock.acquire(folder, host=host, pid=4242, now=NOW)


def test_second_daemon_is_told_who_is_first(tmp_path):
    """A second daemon on the same workspace learns process, machine and time of the first."""
    with (
        _acquire(tmp_path / "state"),
        pytest.raises(WorkspaceBusy, match=rf"process {os.getpid()} on here, since 2026-11-23T09:15:02"),
    ):
        _acquire(tmp_path / "state", host="there")


def test_who_serves_is_told_from_who_does_one_thing(tmp_path):
    """Others wait for a daemon's answer, but only for a command's end."""
    assert not is_served(tmp_path, tmp_path)
    with _acquire(tmp_path):
        assert (holder(tmp_path, tmp_path) is None, is_served(tmp_path, tmp_path)) == (False, False)
    with Lock.acquire(tmp_path, host="here", pid=1, now=NOW, serves=True):
        assert is_served(tmp_path, tmp_path)
        (tmp_path / "lock").write_bytes(b"")
        assert not is_served(tmp_path, tmp_path)
    assert (holder(tmp_path, tmp_path), is_served(tmp_path, tmp_path)) == (None, False)


def test_released_lock_can_be_taken(tmp_path):
    """After the first daemon ended another may start; releasing twice is no error."""
    lock = _acquire(tmp_path)
    lock.release()
    lock.release()
    with _acquire(tmp_path, host="next"):
        assert b'"next"' in (tmp_path / "lock").read_bytes()


def test_state_folder_is_private(tmp_path):
    """The private state folder is made, for this user alone."""
    with _acquire(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "b" / "lock").stat().st_mode & 0o777 == 0o600


def test_lock_of_a_killed_daemon_is_free(tmp_path):
    """After kill -9 the lock needs no cleaning up."""
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WorkspaceBusy, match=f"process {holder.pid} on den"):
            _acquire(tmp_path)
        holder.kill()
        holder.wait()
    _acquire(tmp_path).release()


def test_program_that_the_daemon_starts_does_not_keep_the_lock(tmp_path):
    """A child that outlives the daemon does not hold the workspace."""
    lock = _acquire(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        _acquire(tmp_path).release()
        child.stdin.close()


def test_lock_that_says_nothing_yet_is_still_busy(tmp_path):
    """A daemon that has the lock and has not written its name is respected."""
    with _acquire(tmp_path):
        (tmp_path / "lock").write_bytes(b"")
        with pytest.raises(WorkspaceBusy, match=rf"another rlmwatch \(process {os.getpid()}\) answers"):
            _acquire(tmp_path)


def test_state_folder_that_cannot_be_made_is_told(tmp_path):
    """A file in the state folder's place is an error that names it."""
    (tmp_path / "state").touch()
    with pytest.raises(WorkspaceError, match="state"):
        _acquire(tmp_path / "state" / "deeper")


def test_workspace_id_is_stable_readable_and_of_the_real_path(tmp_path):
    """The same folder has one id, also through a link; another of the same name has another."""
    for folder in ("a/My Notes", "b/My Notes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "My Notes")
    one, other = workspace_id(tmp_path / "a" / "My Notes"), workspace_id(tmp_path / "b" / "My Notes")
    assert one.startswith("My-Notes-")
    assert one != other
    assert workspace_id(tmp_path / "link") == one
    assert workspace_id(tmp_path / "a" / ".." / "a" / "My Notes") == one


@pytest.mark.parametrize("name", ["...", "日本", "x" * 200, "a/b\nc", os.fsdecode(b"caf\xe9")])
def test_workspace_id_is_a_file_name(tmp_path, name):
    """Whatever the folder is called, its id is a plain and short file name."""
    made = workspace_id(tmp_path / name)
    assert made == "".join(c for c in made if c.isascii() and (c.isalnum() or c in "._-"))
    assert len(made) < 60
    assert made[0] not in ".-"
