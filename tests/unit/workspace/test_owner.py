"""One daemon on one machine, one machine of many."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlmwatch.errors import WorkspaceBusy, WorkspaceError
from rlmwatch.workspace.owner import (
    FolderLock,
    Lock,
    ask_back,
    holder,
    holder_of_folder,
    is_served,
    known_workspaces,
    user_name,
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


HOLDS_THE_FOLDER = """
import os, pathlib, sys
from rlmwatch.workspace.owner import FolderLock
root, how, user = sys.argv[1:]
os.setresuid(int(user), int(user), int(user))
lock = FolderLock(pathlib.Path(root), "den", "2026-11-23T09:15:02.000Z", how == "serves")
lock.take()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(root, how="serves", user=None):
    """Have another process hold the folder *root*."""
    command = [sys.executable, "-c", HOLDS_THE_FOLDER, str(root), how, str(os.getuid() if user is None else user)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def _folder(root, *, serves=True, on_wanted=lambda: None):
    return FolderLock(root, "here", NOW, serves, on_wanted)


def test_a_folder_is_held_against_every_other_process_of_the_machine(tmp_path):
    """Whatever link leads to the folder, a second process is told which one has it, since when, and what it does."""
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    for how in ("serves", "one thing"):
        with held_elsewhere(tmp_path / "w", how) as process:
            with pytest.raises(WorkspaceBusy, match=rf"process {process.pid} on den, since 2026-11-23T09:15:02"):
                _folder(tmp_path / "link").take()
            who = holder(tmp_path / "state", tmp_path / "w")
            assert (who.pid, who.serves) == (process.pid, how == "serves")
    assert holder_of_folder(tmp_path / "w") is None
    lock = _folder(tmp_path / "link")
    lock.take()  # a process that was killed holds nothing
    lock.release()
    lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_folder_is_held_against_other_users():
    """A process of another user holds the folder too, and the one that is turned away learns whose it is."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with held_elsewhere(folder, user=nobody.pw_uid) as process, pytest.raises(WorkspaceBusy) as told:
            _folder(Path(folder)).take()
    assert f"process {process.pid} of the user nobody on den" in str(told.value)


def test_the_folders_lock_leaves_nothing_and_keeps_no_disk_mounted(tmp_path):
    """Holding a folder makes no file in it, and opens none of it: the disk can be unmounted."""
    lock = _folder(tmp_path)
    lock.take()
    assert list(tmp_path.iterdir()) == []
    opened = [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]
    assert not any(path.is_relative_to(tmp_path) for path in opened)
    lock.release()


def test_the_folders_lock_follows_what_is_in_its_place(tmp_path):
    """Where the folder was replaced the new one is held, and no longer the old; a missing one is held by nobody."""
    root, aside = tmp_path / "w", tmp_path / "aside"
    root.mkdir()
    lock = _folder(root)
    assert lock.follow() is None
    root.rename(aside)
    assert lock.follow() is None
    assert holder_of_folder(aside) is None
    root.mkdir()
    with held_elsewhere(root) as process:
        assert f"process {process.pid}" in lock.follow()
        process.kill()
        process.wait()
    assert lock.follow() is None
    assert holder_of_folder(root).host == "here"
    lock.release()


def test_who_holds_a_folder_is_asked_for_it(tmp_path):
    """A command learns that a daemon wants the folder; asking who holds it asks for nothing."""
    wanted = threading.Event()
    lock = _folder(tmp_path, serves=False, on_wanted=wanted.set)
    lock.take()
    for _ in range(300):  # more than wait in a queue of connections
        assert holder_of_folder(tmp_path).pid == os.getpid()
    assert not wanted.is_set()
    assert ask_back(tmp_path)
    assert wanted.wait(30)
    lock.release()
    assert not ask_back(tmp_path)


def test_something_else_under_the_locks_name_is_busy_too(tmp_path):
    """A program that has the name and says nothing, or nonsense, is respected, and named by the kernel's word."""
    found = tmp_path.stat()
    name = f"\0rlmwatch/{os.major(found.st_dev)}:{os.minor(found.st_dev)}:{found.st_ino}"
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(name)
        strange.listen()
        with pytest.raises(WorkspaceBusy, match=rf"process {os.getpid()}"):
            _folder(tmp_path).take()


def test_the_state_folders_know_their_workspaces(tmp_path):
    """The private state of each workspace says where that is, whatever its name; other files are passed over."""
    odd = tmp_path / os.fsdecode(b"caf\xe9\n")
    Lock.acquire(tmp_path / "states" / "a", host="here", pid=1, now=NOW, root=odd).release()
    for name, text in {"b": "", "c": '{"workspace": 5}', "d": '{"workspace": "zz"}', "e": "[]"}.items():
        (tmp_path / "states" / name).mkdir()
        (tmp_path / "states" / name / "lock").write_text(text)
    assert known_workspaces(tmp_path / "states") == [odd]
    assert known_workspaces(tmp_path / "nowhere") == []


def test_a_user_without_an_entry_is_named_by_number():
    """A container may run as a number that `/etc/passwd` does not have."""
    assert user_name(2**31 - 7) == str(2**31 - 7)
