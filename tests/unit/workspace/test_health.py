"""Whether the workspace is there, is the same folder, and can take an answer."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace.health import Root, storable

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

FULL_AND_READ_ONLY = """
import os, pathlib, subprocess, sys
from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace import atomic
from rlmwatch.workspace.health import Root, storable

folder = pathlib.Path(sys.argv[1])

def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True)

def says(text, do, *args):
    try:
        do(*args)
    except WorkspaceError as error:
        assert text in str(error), error
    else:
        raise AssertionError("nothing was said: " + text)

mount("-o", "size=256k")
root = Root.open(folder)
root.check()
storable(folder)
(folder / "big").write_bytes(bytes(220_000))
says("the disk is full", storable, folder)
says("the disk is full", atomic.write, folder / "a_output.txt", bytes(100_000))
assert os.listdir(folder) == ["big"], os.listdir(folder)
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
says("read-only", storable, folder)
says("read-only", atomic.write, folder / "a_output.txt", b"x")
root.check()
mount()
says("something else is mounted", root.check)
assert root.reopened().identity != root.identity
subprocess.run(["umount", str(folder)], check=True)
root.check()
subprocess.run(["umount", str(folder)], check=True)
says("is not mounted", root.check)
says("is not mounted", root.reopened)
"""


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_open_resolves_links(tmp_path):
    """The workspace is known by its real path, through whatever link it was named."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = Root.open(tmp_path / "link")
    assert root.path == tmp_path.resolve() / "real"
    root.check()


def test_missing_workspace_is_told(tmp_path):
    """A workspace that is not there, or went away, is named."""
    with pytest.raises(WorkspaceError, match=r"cannot open the workspace .*gone"):
        Root.open(tmp_path / "gone")
    (tmp_path / "w").mkdir()
    root = Root.open(tmp_path / "w")
    (tmp_path / "w").rmdir()
    with pytest.raises(WorkspaceError, match="there is no such folder"):
        root.check()


def test_file_is_no_workspace(tmp_path):
    """A file in the workspace's place is told."""
    (tmp_path / "w").touch()
    with pytest.raises(WorkspaceError, match="where a folder belongs"):
        Root.open(tmp_path / "w")


def test_replaced_workspace_is_found_out_and_can_be_opened_anew(tmp_path):
    """Another folder of the same name is not taken for the workspace, until the watcher starts over on it."""
    (tmp_path / "w").mkdir()
    root = Root.open(tmp_path / "w")
    (tmp_path / "w").rename(tmp_path / "away")
    (tmp_path / "w").mkdir()
    with pytest.raises(WorkspaceError, match="was replaced"):
        root.check()
    root.reopened().check()


def test_workspace_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    """A workspace without permission to read it is told as such."""
    root = Root.open(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WorkspaceError, match=r"permission denied\. Give the user"):
        root.check()


def test_storable_leaves_nothing_behind(tmp_path):
    """The question leaves no name, changes no time of the folder, and keeps no descriptor."""
    before, fds = tmp_path.stat(), len(names("/proc/self/fd"))
    storable(tmp_path)
    after = tmp_path.stat()
    assert names(tmp_path) == []
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert len(names("/proc/self/fd")) == fds


def test_folder_that_is_gone_cannot_store(tmp_path):
    """A missing folder is told, whatever the kernel says to a file without a name in it."""
    with pytest.raises(WorkspaceError, match="there is no such folder"):
        storable(tmp_path / "gone")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_what_the_kernel_refuses_is_told(tmp_path, monkeypatch, code):
    """No permission, a read-only mount, a full disk and a spent quota each say what to do."""

    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WorkspaceError, match=r"cannot store anything in .*: .*\. .*"):
        storable(tmp_path)


class TestWithoutUnnamedFiles:
    """On a mount without O_TMPFILE (vfat, NFS, many FUSE) permission and space are asked."""

    @pytest.fixture(autouse=True)
    def no_tmpfile(self, monkeypatch):
        real = os.open

        def without(path, flags, *args, **kwargs):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", without)

    def test_sound_folder_can_store(self, tmp_path):
        """A folder with room and permission can store."""
        storable(tmp_path)

    def test_no_permission_is_told(self, tmp_path, monkeypatch):
        """A folder that is not ours to write is told."""
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(WorkspaceError, match="permission denied"):
            storable(tmp_path)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"f_bavail": 1}, "disk is full"),
            ({"f_favail": 0, "f_files": 9}, "disk is full"),
            ({"f_flag": 1}, "read-only"),
        ],
    )
    def test_no_room_is_told(self, tmp_path, monkeypatch, changed, says):
        """No blocks, no inodes and a read-only mount are told."""
        real = os.statvfs(tmp_path)
        names = [name for name in dir(real) if name.startswith("f_") and name != "f_fsid"]
        values = {**{name: getattr(real, name) for name in names}, "f_frsize": 4096, **changed}
        monkeypatch.setattr(os, "statvfs", lambda _path: type("Space", (), values))
        with pytest.raises(WorkspaceError, match=says):
            storable(tmp_path)


def _may_mount():
    return shutil.which("unshare") and subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True)


@pytest.mark.skipif(
    not (found := _may_mount()) or found.returncode != 0, reason="this machine lets nobody mount in a namespace"
)
def test_full_read_only_and_unmounted_for_real(tmp_path):
    """A disk that is really full, read-only, mounted over or unmounted is told as that, and nothing is left on it."""
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-c", FULL_AND_READ_ONLY, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
