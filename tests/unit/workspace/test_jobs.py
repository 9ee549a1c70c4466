"""workspace/jobs.py: the folder `jobs/` as a letter box."""

import os

import pytest

from rlmwatch.contract.text import digest
from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace import jobs


@pytest.fixture
def box(tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    return folder


def test_a_look_tells_ids_and_requests_apart(tmp_path, box):
    """Submissions, statuses and cancel requests are listed by id; anything else is passed over."""
    for name in (
        "20261124T091502Z-chat-7f3a9c.json",
        "a.json",
        "a.cancel",
        "b.cancel",
        ".syncthing.rlmwatch-x.tmp",
        "a.json.rejected",
        "a.sync-conflict-20261124-091502-ABCDEFG.json",
        "-no-id.json",
        "notes.txt",
    ):
        (box / name).write_text("x")
    found = jobs.look(tmp_path)
    assert set(found.jobs) == {"20261124T091502Z-chat-7f3a9c", "a"}
    assert found.cancels == {name: (box / f"{name}.cancel").stat().st_mtime for name in "ab"}


def test_an_unchanged_folder_is_not_listed(tmp_path, box):
    """A folder where nothing came or went since costs one stat."""
    (box / "a.json").write_text("x")
    seen = jobs.look(tmp_path)
    assert jobs.look(tmp_path, unless_ns=seen.changed_ns) is None
    os.utime(box, ns=(seen.changed_ns + 1, seen.changed_ns + 1))
    assert jobs.look(tmp_path, unless_ns=seen.changed_ns).jobs == ("a",)


def test_a_folder_that_is_missing_is_empty_and_a_link_is_refused(tmp_path):
    """Without `jobs/` there is nothing; a link in its place is not followed."""
    assert jobs.look(tmp_path) == jobs.Box()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "jobs").symlink_to("elsewhere")
    with pytest.raises(WorkspaceError, match="link"):
        jobs.look(tmp_path)


def test_what_is_handed_in_is_whole_and_makes_the_folder(tmp_path):
    """A submission and a request appear under their names at once, also where `jobs/` is missing."""
    jobs.submitted(tmp_path, "a", b"{}")
    jobs.ask_to_cancel(tmp_path, "a", b"now")
    assert {file.name: file.read_bytes() for file in (tmp_path / "jobs").iterdir()} == {
        "a.json": b"{}",
        "a.cancel": b"now",
    }
    (tmp_path / "jobs" / "b.cancel").mkdir()  # a folder is no request
    assert set(jobs.look(tmp_path).cancels) == {"a"}
    assert jobs.cancels_handled(tmp_path, ["a", "b", "c"]) == 1
    assert jobs.cancels_handled(tmp_path, ["a"]) == 0


def test_what_is_set_aside_is_never_missing_under_its_name(tmp_path, box):
    """A rejected file gets a second name and keeps the first, until its status takes that."""
    (box / "a.json").write_text("half")
    assert jobs.set_aside(tmp_path, "a") == "a.json.rejected"
    assert jobs.set_aside(tmp_path, "a") == "a.json.rejected"
    assert (box / "a.json").read_text() == (box / "a.json.rejected").read_text() == "half"
    (box / "a.json").unlink()
    (box / "a.json").write_text("another")
    assert jobs.set_aside(tmp_path, "a") == "a.json.rejected-2"
    assert (box / "a.json.rejected").read_text() == "half"
    assert jobs.set_aside(tmp_path, "gone") is None


def test_the_digest_is_that_of_the_whole_file(tmp_path, box):
    """However large a file is, its digest is that of all its bytes."""
    (box / "a.json").write_bytes(b"x" * 3_000_000)
    assert jobs.digest_of(tmp_path, "a") == digest(b"x" * 3_000_000)
    assert jobs.digest_of(tmp_path, "b") is None


def test_files_of_ended_runs_are_told_from_the_rest(tmp_path, box):
    """Of many files those are named that are the status of an ended run; what is half or asks is not among them."""
    ended = '{"status": "%s", "input_digest": "sha256:x"}'
    for name, text in {
        "done": ended % "complete",
        "failed": ended % "failed",
        "runs": ended % "running",
        "asks": '{"status": "pending", "task": "x"}',
        "lies": '{"status": "complete", "task": "x"}',
        "half": '{"status": "comp',
        "list": "[1]",
    }.items():
        (box / f"{name}.json").write_text(text)
    assert jobs.ended(tmp_path, ["done", "failed", "runs", "asks", "lies", "half", "list", "gone"]) == {
        "done",
        "failed",
    }
