"""Input that cannot be answered, and folders that cannot take an answer: what the person is told (file contract, 4)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.conftest import Shared
from system.harness import Home, as_an_ordinary_user

BAD_INPUTS = {
    "latin1": (b"one\nGr\xfc\xdfe\n", ("line 2, column 3", "0xFC", "UTF-8")),
    "nul": (b"text\0text", ("line 1, column 5", "NUL")),
    "odd-utf16": (b"\xff\xfeH\0i\0\xd8", ("UTF-16",)),
    "unknown-key": (b"---\ntokns: 5\n---\nhello", ("line 2", "tokns", "did you mean", "tokens")),
    "bad-value": (b"---\nmodel: x\ntokens: many\n---\nhello", ("line 3", "tokens")),
    "bad-yaml": (b"---\ntokens: [1\n---\nhello", ("line",)),
    "conflict": (b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other\n", ("line 1", "conflict")),
    "context-in-chat": (b"---\ncontext: notes.txt\n---\nhello", ("context", "job")),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_unreadable_input_is_explained_and_asks_nothing(shared: Shared, name: str):
    """The error file says what is wrong with an input, and where; no call is made; a fixed save is asked."""
    raw, words = BAD_INPUTS[name]
    before = shared.provider.count
    shared.home.save(f"bad/{name}_input.txt", raw)
    shared.daemon.wait("run.failed", path=f"bad/{name}_input.txt", outcome="bad_input")
    said = shared.home.read(f"bad/{name}_error.txt")
    assert all(word in said for word in words), said
    assert shared.provider.count == before
    status = shared.home.status_of(f"bad/{name}_input.txt")
    assert (status["status"], status["outcome"]) == ("failed", "bad_input")
    assert status["error"] in said
    shared.home.save(f"bad/{name}_input.txt", f"fixed {name}")
    shared.daemon.answered(f"bad/{name}_output.txt")
    assert not shared.home.exists(f"bad/{name}_error.txt")


def test_a_note_with_a_head_of_its_own_is_answered(shared: Shared):
    """Obsidian's keys go nowhere, and the status says so; nothing of the head is sent."""
    head = "---\ntags: [a, b]\naliases:\ncreated: 2026-11-28\ntemperature: 0\n---\n"
    shared.home.save("vault/own_input.md", f"{head}a question\n")
    shared.daemon.answered("vault/own_output.md")
    assert shared.home.read("vault/own_output.md") == "re: a question\n"
    status = shared.home.status_of("vault/own_input.md")
    assert status["notes"] == ["not used, of the front matter: `tags`, `aliases`, `created`"]
    assert all("aliases" not in str(call.body) for call in shared.provider.calls)


def test_a_failed_save_leaves_the_last_good_answer(shared: Shared):
    """The answer before stays where it is when a later save cannot be answered."""
    shared.home.save("good_input.txt", "a good one")
    shared.daemon.answered("good_output.txt")
    shared.home.save("good_input.txt", b"\xff\xfe\xfd")
    shared.daemon.wait("run.failed", path="good_input.txt")
    assert shared.home.read("good_output.txt") == "re: a good one\n"
    assert shared.home.exists("good_error.txt")


def test_an_input_of_50_mb_is_an_error_for_the_person(shared: Shared):
    """A 50 MB input is refused in words that name the data file; nothing is sent."""
    before = shared.provider.count
    shared.home.save("huge_input.txt", b"a line of text of some length\n" * 1_750_000)
    shared.daemon.wait("run.failed", path="huge_input.txt", outcome="bad_input")
    assert "huge_data.txt" in shared.home.read("huge_error.txt")
    assert "10 MB" in shared.home.read("huge_error.txt")
    assert shared.provider.count == before


def test_folders_links_and_pipes_with_an_inputs_name_are_refused(shared: Shared):
    """A folder, a link or a FIFO named like an input starts nothing, says so in the log, and harms nobody."""
    odd = shared.home.workspace / "odd"
    odd.mkdir()
    outside = shared.home.root / "outside.txt"
    outside.write_text("a secret of somebody else")
    (odd / "link_input.txt").symlink_to(outside)
    os.mkfifo(odd / "fifo_input.txt")
    (odd / "folder_input.txt").mkdir()
    (odd / "folder_input.txt" / "inner_input.txt").write_text("inside the odd folder")
    shared.daemon.answered("odd/folder_input.txt/inner_output.txt")
    shared.home.save("odd/real_input.txt", "beside the odd ones")
    shared.daemon.answered("odd/real_output.txt")
    shared.daemon.wait("save.refused", path="odd/link_input.txt")
    # No writer ever closes a FIFO, so no event says that it is done: a walk or a writer's end does.
    fd = os.open(odd / "fifo_input.txt", os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b"through a pipe")
    os.close(fd)
    shared.daemon.wait("save.refused", path="odd/fifo_input.txt")
    assert shared.asked("a secret of somebody else") == []
    assert shared.asked("through a pipe") == []


def test_a_folder_that_cannot_take_the_answer_costs_nothing_and_waits(home: Home, provider: OpenAIServer):
    """With the output's name taken by a folder, or a read-only folder, no call is made; it goes on when fixed."""
    closed = home.workspace / "closed"
    home.save("closed/a_input.txt", "from a read-only folder")
    closed.chmod(0o555)
    taken = home.workspace / "b_output.txt"
    taken.mkdir()
    home.save("b_input.txt", "its output is a folder")
    home.save("c_input.txt", "one that can be answered")
    with home.daemon(before=as_an_ordinary_user()) as daemon:
        daemon.answered("c_output.txt")
        daemon.wait("workspace.waiting", path="closed/a_input.txt", why=lambda why: "permission denied" in why)
        daemon.wait("workspace.waiting", path="b_input.txt", why=lambda why: "is a folder" in why)
        daemon.wait("error_file.not_written")
        assert provider.count == 1
        home.appears("b_error.txt", str(taken))
        assert home.status_of("b_input.txt")["status"] == "pending"
        closed.chmod(0o755)
        taken.rmdir()
        daemon.answered("closed/a_output.txt")
        daemon.answered("b_output.txt")
    assert provider.count == 3
    assert not home.exists("b_error.txt")


def test_a_workspace_that_goes_missing_is_waited_for(home: Home, provider: OpenAIServer):
    """While the workspace is away the daemon says so and lives on; what was saved there meanwhile is answered."""
    home.save("a_input.txt", "before")
    away = home.root / "away"
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        home.workspace.rename(away)
        daemon.wait("watch.paused")
        (away / "a_input.txt").write_text("saved while it was away")
        away.rename(home.workspace)
        daemon.answered("a_output.txt", 2)
    assert home.turns("a_state.json") == ["before", "saved while it was away"]
    assert provider.count == 2


def test_a_workspace_that_is_missing_at_the_start_is_a_clear_error(home: Home):
    """`rlmwatch run` on a folder that is not there ends with status 2 and says how to make it."""
    done = home.cli("run", str(home.root / "nowhere"))
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "rlmwatch init" in done.stderr
    file = Path(home.root / "a_file")
    file.write_text("")
    done = home.cli("run", str(file))
    assert done.returncode == 2
    assert "is not a folder" in done.stderr
