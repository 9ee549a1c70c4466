"""What a folder may look like when it comes from somebody else: no daemon ends, nobody reads more than before."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from system.harness import Home


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
        daemon.wait("save.not_admitted", path="chat_input.txt", reason=lambda why: "links are not followed" in why)
        home.save("b_chat_input.txt", "later")
        daemon.wait("save.not_admitted", path="b_chat_input.txt")
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
