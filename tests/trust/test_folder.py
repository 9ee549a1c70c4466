"""What a folder may look like when it comes from somebody else: no daemon ends, nobody reads more than before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from system.harness import Home

from rlmwatch.workspace.context import read_context

DEEP = 1_100
"""Folders in folders; Python's own limit of calls in calls is 1,000."""
DEEPER = 2_500
"""A path to the innermost has 5,000 characters; the system takes 4,095."""


def as_link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to("elsewhere")


def as_loop(path: Path) -> None:
    path.symlink_to("jobs")


def as_file(path: Path) -> None:
    path.write_text("not a folder")


@pytest.mark.parametrize("make", [as_link, as_loop, as_file])
def test_something_else_in_the_place_of_jobs_is_waited_for(home: Home, make):
    """The daemon starts, says what is in the way, and answers as soon as that is gone."""
    path = home.workspace / "jobs"
    make(path)
    home.save("chat_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("workspace.waiting", path="chat_input.txt", why=lambda why: "links are not followed" in why)
        home.save("b_chat_input.txt", "later")
        daemon.wait("workspace.waiting", path="b_chat_input.txt")
        assert home.provider.calls == []
        assert daemon.process.poll() is None
        path.unlink()
        daemon.answered("chat_output.txt")
        daemon.answered("b_chat_output.txt")


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_answers_are_as_closed_as_their_question(home: Home, mode: int):
    """Whoever may not read the question may not read answer, memory, status, sources or error either."""
    path = home.workspace / "chat_input.txt"
    path.touch(mode=0o600)
    home.save("chat_input.txt", "a secret")
    path.chmod(mode)
    home.save("open_chat_input.txt", "no secret")
    (home.workspace / "open_chat_input.txt").chmod(0o644)
    home.save("job_input.txt", "---\ntokens: none\n---\nwrong")
    (home.workspace / "job_input.txt").chmod(mode)
    with home.daemon() as daemon:
        daemon.answered("chat_output.txt")
        daemon.answered("open_chat_output.txt")
        daemon.wait("run.failed", path="job_input.txt")

    def mode_of(name: str) -> int:
        return stat.S_IMODE((home.workspace / name).stat().st_mode)

    status = {each["input"]: f"jobs/{each['job_id']}.json" for each in home.statuses()}
    for name in (
        "chat_output.txt",
        "chat_state.json",
        status["chat_input.txt"],
        "job_error.txt",
        status["job_input.txt"],
    ):
        assert mode_of(name) & ~mode == 0, name
    # Control: without it, they would be open.
    assert mode_of("open_chat_output.txt") & 0o044 == 0o044
    assert mode_of(status["open_chat_input.txt"]) & 0o044 == 0o044


def nested(root: Path, depth: int) -> None:
    """Make folders in folders, by descriptor: no path is that long."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        fd = _moved_to("d", fd)
    os.close(os.open("chat_input.txt", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)


def unnested(root: Path, depth: int) -> None:
    """Remove what `nested` made: what cleans up after tests cannot."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        fd = _moved_to("d", fd)
    os.unlink("chat_input.txt", dir_fd=fd)
    for _ in range(depth):
        fd = _moved_to("..", fd)
        os.rmdir("d", dir_fd=fd)
    os.close(fd)


def _moved_to(name: str, fd: int) -> int:
    """Return a descriptor of the folder *name*, seen from that of *fd*, which is closed."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


def test_the_folders_would_be_too_deep(tmp_path):
    """Control: a path to the innermost folder is longer than the system takes."""
    nested(tmp_path, DEEPER)
    with pytest.raises(OSError, match="File name too long"):
        os.scandir(f"{tmp_path}{'/d' * DEEPER}")
    unnested(tmp_path, DEEPER)


def test_folders_that_are_there_at_the_start_and_too_deep_are_passed_over(home: Home):
    """What lies above them is answered, and they are told once."""
    nested(home.workspace, DEEP)
    try:
        home.save("chat_input.txt", "hello")
        with home.daemon() as daemon:
            daemon.answered("chat_output.txt")
            assert len(daemon.seen("watch.too_deep")) == 1
    finally:
        unnested(home.workspace, DEEP)


def test_folders_that_come_later_and_are_too_deep_are_passed_over(home: Home):
    """A daemon that runs goes on, and tells once of what it does not look into."""
    with home.daemon() as daemon:
        nested(home.workspace, DEEPER)
        try:
            daemon.wait("watch.too_deep")
            home.save("chat_input.txt", "hello")
            daemon.answered("chat_output.txt")
            home.save("d/b_chat_input.txt", "not so deep")
            daemon.answered("d/b_chat_output.txt")
            assert len(daemon.seen("watch.too_deep")) == 1
        finally:
            for path in (home.workspace / "d").iterdir():
                if path.is_file():
                    path.unlink()
            unnested(home.workspace, DEEPER)


def test_too_deep_folders_that_are_moved_are_passed_over(home: Home):
    """A tree that was made elsewhere and appears at once, and one that gets another name, end nothing either."""
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir()
    nested(elsewhere, DEEP)
    try:
        with home.daemon() as daemon:
            (elsewhere / "d").rename(home.workspace / "d")
            daemon.wait("watch.too_deep")
            (home.workspace / "d").rename(home.workspace / "e")
            home.save("e/chat_input.txt", "hello")
            daemon.answered("e/chat_output.txt")
            assert len(daemon.seen("watch.too_deep")) == 1
    finally:
        for place in (home.workspace / "d", home.workspace / "e"):
            if place.exists():
                place.rename(elsewhere / "d")
        for path in (elsewhere / "d").iterdir():
            if path.is_file():
                path.unlink()
        unnested(elsewhere, DEEP)


def test_material_in_folders_that_are_too_deep_is_passed_over(tmp_path: Path):
    """A run works with what lies above, and its notes say that there is more."""
    (tmp_path / "many/d").mkdir(parents=True)
    (tmp_path / "many/d/a.txt").write_text("the material")
    nested(tmp_path / "many/d", DEEP)
    try:
        context = read_context(tmp_path, None, ["many"]).context({})
        assert context.value == {"many/d/a.txt": "the material"}
        assert any("passed over in the context" in note for note in context.notes)
    finally:
        (tmp_path / "many/d/a.txt").unlink()
        unnested(tmp_path / "many/d", DEEP)
