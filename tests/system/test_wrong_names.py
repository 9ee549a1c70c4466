"""A name that looks meant for rlmwatch: the folder says so, and nothing of the file is sent."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from system.conftest import Shared
from system.daemon import DEADLINE_S
from system.harness import POLL_S, Home, asked

from rlmwatch import clock


def gone(home: Home, path: str) -> None:
    """Wait until a file of the workspace is not there."""
    give_up = clock.monotonic() + DEADLINE_S
    while home.exists(path):
        assert clock.monotonic() < give_up, f"{path} is still there"
        time.sleep(POLL_S)


WRONG = {
    "wrong/chat-input.txt": "chat_input.txt",
    "wrong/chat_input.txt.txt": "chat_input.txt",
    "wrong/chat_input (1).txt": "chat_input.txt",
    "wrong/plan_input.docx": "plan_input.txt",
    "wrong/research_promt.txt": "research_prompt.txt",
    "wrong/exa_prompt.txt": "exa_input.txt",
    "input.txt": "chat_input.txt",
}


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_name_is_told_beside_the_file_and_nothing_is_sent(shared: Shared, path: str):
    """Beside a file whose name looks meant stands a note with the right name; nothing of it is sent to anybody."""
    word = f"Secret of {path}"
    shared.home.save(path, word)
    event = shared.daemon.wait("name.wrong", path=path)
    assert WRONG[path] in event["cure"]
    assert WRONG[path] in shared.home.appears(f"{path}.note.txt", "rlmwatch does not answer")
    # A later save is answered, so the wrong name was passed over and not only late.
    later = f"{path.replace('/', '-').replace('.', '-').replace(' ', '-')}_input.txt"
    shared.home.save(later, f"later than {path}")
    shared.daemon.answered(later.replace("_input.", "_output."))
    assert shared.asked(word) == []
    assert len(shared.daemon.seen("name.wrong", path=path)) == 1
    assert shared.daemon.seen("name.wrong", path=f"{path}.note.txt") == []


def test_a_renamed_file_is_answered_and_its_note_goes(shared: Shared):
    """As soon as the file has the right name it is answered, and the note is gone."""
    shared.home.save("renamed/job-input.txt", "renamed question")
    shared.home.appears("renamed/job-input.txt.note.txt", "job_input.txt")
    (shared.home.workspace / "renamed/job-input.txt").rename(shared.home.workspace / "renamed/job_input.txt")
    shared.daemon.answered("renamed/job_output.txt")
    gone(shared.home, "renamed/job-input.txt.note.txt")


def test_a_deleted_file_takes_its_note_along(shared: Shared):
    """The note goes when its file is deleted."""
    shared.home.save("deleted/chat_input.rtf", "{\\rtf1}")
    shared.home.appears("deleted/chat_input.rtf.note.txt")
    (shared.home.workspace / "deleted/chat_input.rtf").unlink()
    gone(shared.home, "deleted/chat_input.rtf.note.txt")


def test_a_note_that_somebody_changed_and_one_that_is_not_ours_stay(shared: Shared):
    """A note that a person has written into, or a file that only has a note's name, is not removed nor replaced."""
    folder = shared.home.workspace / "theirs"
    shared.home.save("theirs/chat-input.txt.note.txt", "my own words")
    shared.home.save("theirs/chat-input.txt", "a question")
    shared.home.save("theirs/exa-input.txt", "a question")
    shared.daemon.wait("name.wrong", path="theirs/chat-input.txt")
    text = shared.home.appears("theirs/exa-input.txt.note.txt")
    shared.home.save("theirs/exa-input.txt.note.txt", text + "and mine")
    for name in ("chat-input.txt", "exa-input.txt"):
        (folder / name).unlink()
    shared.home.save("theirs/job-input.txt", "a question")
    shared.home.appears("theirs/job-input.txt.note.txt")
    (folder / "job-input.txt").unlink()
    gone(shared.home, "theirs/job-input.txt.note.txt")
    assert shared.home.read("theirs/chat-input.txt.note.txt") == "my own words"
    assert shared.home.read("theirs/exa-input.txt.note.txt") == text + "and mine"


def test_what_happened_while_nobody_watched_is_found_at_the_start(home: Home):
    """A note whose file went while the daemon was down goes at the next start; a file that came then is told."""
    home.save("a/chat-input.txt", "one")
    home.save("b/chat-input.txt", "two")
    home.save("c/meeting.note.txt", "no note of ours")
    with home.daemon() as daemon:
        daemon.wait("name.wrong", path="a/chat-input.txt")
        home.appears("a/chat-input.txt.note.txt")
        home.appears("b/chat-input.txt.note.txt")
    (home.workspace / "a/chat-input.txt").unlink()
    (home.workspace / "b/chat-input.txt").rename(home.workspace / "b/chat_input.txt")
    home.save("d/Chat Input.txt", "three")
    with home.daemon() as daemon:
        daemon.answered("b/chat_output.txt")
        daemon.wait("name.wrong", path="d/Chat Input.txt")
        gone(home, "a/chat-input.txt.note.txt")
        gone(home, "b/chat-input.txt.note.txt")
        home.appears("d/Chat Input.txt.note.txt")
    assert home.read("c/meeting.note.txt") == "no note of ours"


def test_run_once_says_it_too(home: Home):
    """`run --once` writes the notes before it ends, and asks nothing of such a file."""
    home.save("chat-input.txt", "one")
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 0, done.stderr
    assert "chat_input.txt" in home.read("chat-input.txt.note.txt")
    assert home.provider is not None
    assert asked(home.provider, "one") == []


def test_a_dry_run_writes_no_note(home: Home):
    """`run --dry-run` writes nothing, no note either."""
    home.save("chat-input.txt", "one")
    assert home.cli("run", "--dry-run", str(home.workspace)).returncode == 0
    assert not home.exists("chat-input.txt.note.txt")


def test_notes_can_be_switched_off_and_are_few_in_one_folder(home: Home):
    """Of many wrong names in one folder twenty have a note; with `name_notes = false` none has, and the log tells."""
    for number in range(40):
        home.save(f"many/chat_input ({number}).txt", "one")
    with home.daemon() as daemon:
        daemon.wait("name.more_wrong", folder="many")
    assert len(list((home.workspace / "many").glob("*.note.txt"))) == 20
    shutil.rmtree(home.workspace / "many")
    home.set("name_notes = false\n")
    home.save("one/chat-input.txt", "one")
    with home.daemon() as daemon:
        daemon.wait("name.wrong", path="one/chat-input.txt")
        home.save("two/chat-input.txt", "one")
        daemon.wait("name.wrong", path="two/chat-input.txt")
    assert list(Path(home.workspace).rglob("*.note.txt")) == []


def test_status_and_doctor_say_what_is_not_asked_and_why(home: Home):
    """`status` and `doctor` name each file that is not asked, why, and what to do, also while no daemon runs."""
    home.set('ready_marker = "//send"\n')
    home.save("asked_input.txt", "a question\n//send\n")
    with home.daemon() as daemon:
        daemon.answered("asked_output.txt")
    home.save("chat-input.txt", "one")
    home.save("blank_input.txt", " \n")
    home.save("head_input.txt", "---\ntokens: 20\n---\n//send\n")
    home.save("unready_input.txt", "not ready yet")
    home.save("new_input.txt", "to be asked at the next start\n//send\n")
    os.utime(home.workspace / "asked_input.txt", (time.time() + 60, time.time() + 60))  # noqa: TID251 (a save in the future)
    done = home.cli("status", "--json", "--workspace", str(home.workspace))
    found = {each["path"]: each for each in json.loads(done.stdout)["not_asked"]}
    assert {path: each["because"] for path, each in found.items()} == {
        "asked_input.txt": "saved again without a change since it was asked",
        "blank_input.txt": "blank",
        "chat-input.txt": "an underscore (_) belongs between its words",
        "head_input.txt": "front matter without a question",
        "unready_input.txt": "the last line is not the ready marker //send",
    }
    assert "chat_input.txt" in found["chat-input.txt"]["cure"]
    plain = home.cli("status", "--workspace", str(home.workspace)).stdout
    assert "rlmwatch again asked_input.txt" in plain
    doctor = json.loads(home.cli("doctor", "--json", str(home.workspace)).stdout)
    assert {line["found"].split(":")[0] for line in doctor if line["what"] == "not asked"} == set(found)


def test_what_is_not_asked_is_said_in_the_log_with_what_to_do(shared: Shared):
    """A blank file, a head without a question, and unchanged bytes each say what to do."""
    shared.home.save("said/blank_input.txt", "\n")
    assert "question" in shared.daemon.wait("save.skipped", path="said/blank_input.txt")["cure"]
    shared.home.save("said/head_input.txt", "---\ntokens: 20\n---\n")
    assert "---" in shared.daemon.wait("save.skipped", path="said/head_input.txt")["cure"]
    shared.home.save("said/same_input.txt", "the same")
    shared.daemon.answered("said/same_output.txt")
    shared.home.save("said/same_input.txt", "the same")
    assert "rlmwatch again" in shared.daemon.wait("save.same_bytes", path="said/same_input.txt")["cure"]
