"""Nothing that a link leads to is opened."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rlmwatch.workspace import safe_open


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_plain_file_is_read(tmp_path):
    """A file in a folder of the workspace is read whole."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f.json").write_bytes(b"123")
    assert safe_open.read(tmp_path / "a" / "b" / "f.json", within=tmp_path, max_bytes=3) == b"123"


def test_missing_file_and_folder_are_nothing(tmp_path):
    """No such name, and no such folder, is no error."""
    assert safe_open.read(tmp_path / "f", within=tmp_path, max_bytes=9) is None
    assert safe_open.read(tmp_path / "d" / "f", within=tmp_path, max_bytes=9) is None


def _make(path, kind):
    if kind == "link":
        path.symlink_to(__file__)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"1234")


@pytest.mark.parametrize(
    ("kind", "code"),
    [("link", errno.ELOOP), ("pipe", errno.EINVAL), ("folder", errno.EISDIR), ("large", errno.EFBIG)],
)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, kind, code):
    """A link is not followed, a pipe does not block, a folder and a huge file are told apart."""
    _make(tmp_path / "f", kind)
    with pytest.raises(OSError) as caught:
        safe_open.read(tmp_path / "f", within=tmp_path, max_bytes=3)
    assert caught.value.errno == code


def test_link_on_the_way_is_refused_at_any_depth(tmp_path):
    """A folder that is a link is not entered, wherever it stands."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "f").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "again").symlink_to("deep")
    for path in ("link/deep/f", "real/again/f"):
        with pytest.raises(NotADirectoryError):
            safe_open.read(tmp_path / path, within=tmp_path, max_bytes=3)


def test_way_out_is_no_way(tmp_path):
    """A path with `..` is a fault of the program, not a way out."""
    with pytest.raises(ValueError, match="leads out"), safe_open.folder(tmp_path / ".." / "x", within=tmp_path):
        pass


def test_made_folder_may_exist(tmp_path):
    """Making `jobs/` twice is no error; no descriptor stays open."""
    before = len(names("/proc/self/fd"))
    safe_open.make_folder(tmp_path / "jobs", within=tmp_path)
    safe_open.make_folder(tmp_path / "jobs", within=tmp_path)
    assert safe_open.read(tmp_path / "jobs" / "f", within=tmp_path, max_bytes=3) is None
    assert (tmp_path / "jobs").is_dir()
    assert len(names("/proc/self/fd")) == before


def test_what_is_refused_is_closed_again(tmp_path):
    """A folder or a pipe in a file's place costs no descriptor, however often it is looked at."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = len(names("/proc/self/fd"))
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match=name):
            safe_open.read(tmp_path / name, within=tmp_path, max_bytes=9)
    assert len(names("/proc/self/fd")) == before
