"""Nobody ever sees half a file: on a real folder, for fsync, rename and modes are what matters."""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace import atomic

BOTH = (b"a" * 300_000, b"b" * 200_000)

WRITES_FOR_EVER = """
import pathlib, sys
from rlmwatch.workspace import atomic
path = pathlib.Path(sys.argv[1])
print("on", flush=True)
while True:
    atomic.write(path, b"a" * 300_000)
    atomic.write(path, b"b" * 200_000)
"""


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture(autouse=True)
def usual_umask():
    """Modes are as under the usual umask, whoever runs the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _fails(code):
    def call(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return call


def test_new_file_gets_what_the_umask_leaves(tmp_path):
    """A new answer can be read by whom the umask lets read."""
    assert atomic.write(tmp_path / "a_output.txt", b"hello")
    assert (tmp_path / "a_output.txt").read_bytes() == b"hello"
    assert _mode(tmp_path / "a_output.txt") == 0o644
    assert names(tmp_path) == ["a_output.txt"]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_1_existing_file_keeps_its_mode(tmp_path, mode):
    """A person who made an answer private, or shared it, finds it so after the next answer."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    path.chmod(mode)
    assert atomic.write(path, b"new")
    assert (path.read_bytes(), _mode(path)) == (b"new", mode)


@pytest.mark.parametrize("dangling", [False, True])
def test_2_link_is_replaced_and_never_followed(tmp_path, dangling):
    """A link in an answer's place leads no write out of the workspace."""
    outside = tmp_path / "outside"
    if not dangling:
        outside.write_bytes(b"precious")
    path = tmp_path / "a_output.txt"
    path.symlink_to(outside)
    assert atomic.write(path, b"precious")
    assert not path.is_symlink()
    assert path.read_bytes() == b"precious"
    assert outside.exists() is not dangling


def test_link_on_the_way_is_refused(tmp_path):
    """A folder that became a link leads no write out of the workspace, and the person is told."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "notes").symlink_to(tmp_path / "outside")
    with pytest.raises(WorkspaceError, match="links are not followed"):
        atomic.write(tmp_path / "root" / "notes" / "a_output.txt", b"x", within=tmp_path / "root")
    assert names(tmp_path / "outside") == []


def test_3_same_bytes_leave_the_file_alone(tmp_path):
    """Publishing again makes no sync tool carry the answer again."""
    path = tmp_path / "a_output.txt"
    atomic.write(path, b"same")
    before = path.stat()
    assert atomic.write(path, b"same") is False
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert atomic.write(path, b"emas") is True


def test_folder_in_the_way_is_named(tmp_path):
    """A folder that has the answer's name is left alone, and the person is told what to do."""
    (tmp_path / "a_output.txt").mkdir()
    with pytest.raises(WorkspaceError, match=r"a_output\.txt: a folder stands where this file belongs\. Move"):
        atomic.write(tmp_path / "a_output.txt", b"x")
    assert names(tmp_path) == ["a_output.txt"]


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        ("fsync", errno.ENOSPC, "the disk is full. Free some space"),
        ("fsync", errno.EDQUOT, "quota"),
        ("rename", errno.EROFS, "read-only. Mount it for writing"),
        ("rename", errno.EACCES, "permission denied. Give the user"),
        ("rename", errno.EXDEV, "Look at this folder"),
    ],
)
def test_failed_write_names_the_cure_and_leaves_no_trace(tmp_path, monkeypatch, call, code, says):
    """When an answer cannot be stored the person is told why, the old one stands, and nothing is left lying about."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, _fails(code))
    with pytest.raises(WorkspaceError, match=says) as caught:
        atomic.write(path, b"new answer")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a_output.txt"]


def test_missing_folder_is_told(tmp_path):
    """A folder that is gone is not made again behind the person's back."""
    with pytest.raises(WorkspaceError, match="there is no such folder"):
        atomic.write(tmp_path / "gone" / "a_output.txt", b"x")
    assert names(tmp_path) == []


def test_content_and_name_are_made_to_last_in_order(tmp_path, monkeypatch):
    """The bytes are on the disk before they get the name, and the name before the write returns."""
    order = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def noted(*args, _real=real, _name=name, **kwargs):
            what = stat.S_ISDIR(os.fstat(args[0]).st_mode) if _name == "fsync" else None
            order.append((_name, what))
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, noted)
    atomic.write(tmp_path / "a_output.txt", b"x")
    assert order == [("fsync", False), ("rename", None), ("fsync", True)]
    order.clear()
    atomic.write(tmp_path / "a_output.txt", b"x")
    assert order == [("fsync", False), ("fsync", True)]


def test_writer_whose_temporary_file_is_swept_writes_again(tmp_path, monkeypatch):
    """A client that submits while the daemon starts and sweeps loses nothing."""
    real, swept = os.rename, []

    def rename(*args, **kwargs):
        if not swept:
            swept.append(atomic.sweep(tmp_path))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    assert atomic.write(tmp_path / "a.json", b"x")
    assert swept == [1]
    assert (tmp_path / "a.json").read_bytes() == b"x"


def test_temporary_names_are_passed_over_by_syncthing_and_by_us(tmp_path, monkeypatch):
    """While an answer is being written, its temporary name is one that Syncthing never carries."""
    names = []
    real = os.rename

    def rename(source, target, **kwargs):
        names.append(source)
        return real(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    atomic.write(tmp_path / "chat_input.txt", b"x")
    assert names[0].startswith(".syncthing.")
    assert names[0].endswith(".tmp")


def test_killed_writer_leaves_the_old_or_the_new_file(tmp_path):
    """After kill -9 in the middle of a write a reader finds a whole file, and the sweep finds what was left."""
    path = tmp_path / "a_output.txt"
    for _ in range(8):
        command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"on\n"
            for _ in range(20):
                if path.exists():
                    assert path.read_bytes() in BOTH
            writer.send_signal(signal.SIGKILL)
        if path.exists():
            assert path.read_bytes() in BOTH
    left = [name for name in names(tmp_path) if name != path.name]
    assert all(name.startswith(atomic.PREFIX) for name in left)
    assert atomic.sweep(tmp_path) == len(left)


def test_sweep_removes_our_temporary_files_and_nothing_else(tmp_path):
    """Only what a killed daemon left is swept, in every folder, and never through a link."""
    ours = ".syncthing.rlmwatch-00ff.tmp"
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for folder in (outside, root / "deep" / "er", root / ".git"):
        folder.mkdir(parents=True)
        (folder / ours).touch()
    (root / "link").symlink_to(outside)
    (root / ours).touch()
    kept = [".syncthing.theirs.txt.tmp", "chat_input.txt", ".syncthing.rlmwatch-1", ".hidden.tmp"]
    for name in kept:
        (root / name).touch()
    assert atomic.sweep(root) == 2
    assert (outside / ours).exists()
    assert all((root / name).exists() for name in kept)


def test_sweep_spares_the_young_where_asked(tmp_path):
    """A sweep while others may write takes only what is older than they could be."""
    old, young = (tmp_path / f"{atomic.PREFIX}{n}.tmp" for n in ("1", "2"))
    for path in (old, young):
        path.touch()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    os.utime(old, (moment.timestamp() - 1, moment.timestamp() - 1))
    os.utime(young, (moment.timestamp() + 1, moment.timestamp() + 1))
    assert atomic.sweep(tmp_path, before=moment.isoformat()) == 1
    assert young.exists()
    assert atomic.sweep(tmp_path, before=(moment + timedelta(seconds=2)).isoformat()) == 1


def test_remove_takes_the_link_and_says_whether_there_was_one(tmp_path):
    """Removing an error file never removes what a link in its place leads to."""
    (tmp_path / "precious").touch()
    (tmp_path / "a_error.txt").symlink_to(tmp_path / "precious")
    assert atomic.remove(tmp_path / "a_error.txt", within=tmp_path) is True
    assert atomic.remove(tmp_path / "a_error.txt", within=tmp_path) is False
    assert (tmp_path / "precious").exists()
    (tmp_path / "a_error.txt").mkdir()
    with pytest.raises(WorkspaceError, match="cannot remove"):
        atomic.remove(tmp_path / "a_error.txt", within=tmp_path)


def _acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an access control list of (tag, permissions, id) as the kernel stores it (acl(5))."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
SHARED_WITH_A_USER = _acl((1, 6, NOBODY), (2, 6, 12345), (4, 0, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY))
"""Owner rw, one named user rw, the file's group and others nothing. Its mode shows as 0660."""

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def _give_acl(path, acl, kind=ACCESS):
    try:
        os.setxattr(path, kind, acl)
    except OSError:
        pytest.skip("no access control lists here")


def _acl_of(path):
    try:
        return os.getxattr(path, ACCESS)
    except OSError:
        return None


@pytest.fixture
def other_group():
    """A group that is not this process's first, and to which it may give files."""
    others = [12345] if os.geteuid() == 0 else [group for group in os.getgroups() if group != os.getegid()]
    if not others:
        pytest.skip("this user is in one group only")
    return others[0]


def test_1_existing_file_keeps_its_group(tmp_path, other_group):
    """A group that shares an answer reads the next one too."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    os.chown(path, -1, other_group)
    path.chmod(0o660)
    assert atomic.write(path, b"new")
    assert (path.stat().st_gid, _mode(path)) == (other_group, 0o660)


def test_1_a_group_that_cannot_be_kept_opens_the_file_to_no_other(tmp_path, other_group, monkeypatch):
    """Where the group cannot be given, its permissions do not go to another group."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    os.chown(path, -1, other_group)
    path.chmod(0o664)
    monkeypatch.setattr(os, "fchown", _fails(errno.EPERM))
    assert atomic.write(path, b"new")
    assert (path.stat().st_gid == other_group, _mode(path)) == (False, 0o644)


def test_1_existing_file_keeps_its_access_control_list(tmp_path):
    """Who was given an answer by an ACL reads the next one too, and the file's group does not because of its mode."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    _give_acl(path, SHARED_WITH_A_USER)
    assert atomic.write(path, b"new")
    assert (_acl_of(path), _mode(path)) == (SHARED_WITH_A_USER, 0o660)


def test_1_an_access_control_list_that_cannot_be_kept_opens_nothing(tmp_path, monkeypatch):
    """Where a list cannot be given, the file's group does not get what the list's mask showed."""
    path = tmp_path / "a_output.txt"
    path.write_bytes(b"old")
    _give_acl(path, SHARED_WITH_A_USER)
    monkeypatch.setattr(os, "setxattr", _fails(errno.EOPNOTSUPP))
    assert atomic.write(path, b"new")
    assert (_acl_of(path), _mode(path)) == (None, 0o600)


def test_1_a_new_file_gets_what_its_folder_says(tmp_path, other_group):
    """A new answer in a shared folder has the folder's group and default list; one that had no list gets none."""
    os.chown(tmp_path, -1, other_group)
    tmp_path.chmod(0o2770)
    made_before = tmp_path / "before_output.txt"
    made_before.write_bytes(b"old")
    _give_acl(tmp_path, SHARED_WITH_A_USER, DEFAULT)
    assert atomic.write(tmp_path / "a_output.txt", b"new")
    assert ((tmp_path / "a_output.txt").stat().st_gid, _acl_of(tmp_path / "a_output.txt")) == (
        other_group,
        SHARED_WITH_A_USER,
    )
    assert atomic.write(made_before, b"new")
    assert (_acl_of(made_before), _mode(made_before)) == (None, 0o644)


@pytest.mark.parametrize("folder_has_it_too", [False, True])
def test_1_an_answer_is_as_closed_as_a_question_with_a_list(tmp_path, folder_has_it_too):
    """The group that a question's ACL shuts out reads no answer to it, though the question's mode shows the mask."""
    question = tmp_path / "a_input.txt"
    question.write_bytes(b"?")
    _give_acl(question, SHARED_WITH_A_USER)
    if folder_has_it_too:
        _give_acl(tmp_path, SHARED_WITH_A_USER, DEFAULT)
    path = tmp_path / "a_output.txt"
    for content in (b"one", b"two", b"two"):
        atomic.write(path, content, question=question)
        assert _acl_of(path) == (SHARED_WITH_A_USER if folder_has_it_too else None)
        assert _mode(path) == (0o660 if folder_has_it_too else 0o600)
