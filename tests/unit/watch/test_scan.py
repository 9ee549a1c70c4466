"""The walk over a folder."""

from __future__ import annotations

import os
from pathlib import Path

from rlmwatch.contract.ignored import MAX_FOLDERS
from rlmwatch.watch.scan import FoundInput, Scan, UnlistedFolder
from rlmwatch.watch.walk import _outermost, walk
from rlmwatch.workspace.snapshot import signature


def paths(root: Path, start: str = "") -> list[str]:
    return sorted(found.name.path for found in Scan(root, start) if isinstance(found, FoundInput))


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("hello")


def test_every_input_is_found_with_its_signature(tmp_path: Path):
    """Inputs are found in every folder, and nothing else is."""
    put(tmp_path, "chat_input.txt", "a/b/c/x_input.md", "a/research_prompt.txt", "a/notes.txt", "chat_output.txt")
    assert paths(tmp_path) == ["a/b/c/x_input.md", "a/research_prompt.txt", "chat_input.txt"]
    assert paths(tmp_path, "a/b") == ["a/b/c/x_input.md"]
    found = [item for item in Scan(tmp_path, "a/b/c") if isinstance(item, FoundInput)]
    assert found[0].signature == signature((tmp_path / "a/b/c/x_input.md").stat())


def test_ignored_folders_and_jobs_are_not_gone_into(tmp_path: Path):
    """A million files of a package manager cost nothing, nor do a year of status files."""
    put(tmp_path, ".git/x_input.txt", "node_modules/a/x_input.txt", "jobs/x_input.txt", "jobs/old/x_input.txt", "a/y")
    scan = Scan(tmp_path)
    assert list(scan) == []
    assert scan.folders == 3  # the root, jobs and a: jobs needs a watch
    assert paths(tmp_path, "node_modules/a") == []


def test_links_to_folders_are_not_gone_into(tmp_path: Path):
    """A link to a folder is passed over, so a loop of links does no harm."""
    put(tmp_path, "a/x_input.txt")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert paths(tmp_path) == ["a/x_input.txt"]


def test_what_is_no_file_is_found_so_that_it_can_be_refused(tmp_path: Path):
    """A link or a pipe with an input's name is not passed over in silence; a folder is a folder."""
    (tmp_path / "l_input.txt").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "p_input.txt")
    (tmp_path / "f_input.txt").mkdir()
    assert paths(tmp_path) == ["l_input.txt", "p_input.txt"]


def test_a_missing_root_is_said(tmp_path: Path):
    """A root that is not there is not taken for an empty one."""
    scan = Scan(tmp_path / "gone")
    assert list(scan) == [UnlistedFolder("", "missing")]
    assert not scan.complete


def test_a_folder_that_went_meanwhile_is_nothing(tmp_path: Path):
    """A folder that is deleted during a walk is no fault."""
    assert list(Scan(tmp_path, "gone")) == []


def test_a_walk_returns_what_differs(tmp_path: Path):
    """Only inputs that look other than when they were read are read again."""
    put(tmp_path, "a_input.txt", "b_input.txt", "c/c_input.txt")
    known = {name: signature((tmp_path / name).stat()) for name in ("a_input.txt", "c/c_input.txt")}
    put(tmp_path, "c/c_input.txt")
    result = walk(tmp_path, known, {""})
    assert sorted(found.name.path for found in result.differing) == ["b_input.txt", "c/c_input.txt"]
    assert result.present == {"a_input.txt", "b_input.txt", "c/c_input.txt"}
    assert result.folders == 2


def test_a_folder_in_another_is_walked_once():
    """A deep tree that appears at once is walked once, not once per folder."""
    assert _outermost({"a", "a/b", "a/b/c", "ab", "a-b", "d/e"}) == ["a", "a-b", "ab", "d/e"]
    assert _outermost({"", "a", "b/c"}) == [""]


def test_too_deep_folders_are_passed_over(tmp_path: Path):
    """They are not listed and count for no watch; the walk is complete, so what was deleted above is known."""
    deep = "/".join(["d"] * MAX_FOLDERS)
    put(tmp_path, f"{deep}/x_input.txt", f"{deep}/d/y_input.txt", f"{deep}/d/d/z_input.txt")
    long = "/".join(["x" * 250] * 12)
    put(tmp_path, f"{long}/z_input.txt")
    scan = Scan(tmp_path)
    assert [found.name.path for found in scan if isinstance(found, FoundInput)] == [f"{deep}/x_input.txt"]
    assert (scan.complete, scan.folders) == (True, 1 + MAX_FOLDERS + 11)
    assert scan.too_deep in (f"{deep}/d", long)
    start = Scan(tmp_path, f"{deep}/d/d")
    assert (list(start), start.too_deep) == ([], f"{deep}/d/d")
    assert Scan(tmp_path, "x" * 250).too_deep is None
