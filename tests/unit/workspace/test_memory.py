"""What the workspace remembers, on a real folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from rlmwatch.contract.documents import dump
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.names import input_name
from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace.memory import SETTLE_S, append_turn, load_chat

NOW = "2026-11-23T09:15:02.123Z"
CHAT = input_name("notes/plan_input.txt")
STATE = "notes/plan_state.json"
ASIDE = "plan_state.json.corrupt-20261123T091502Z"


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "jobs").mkdir()
    return tmp_path


def _turn(run_id="r1", **said):
    return Turn(**{"run_id": run_id, "at": NOW, "input": "q", "answer": "a", **said})


def test_chat_without_a_file_begins_empty(root):
    """A conversation that has no state file begins afresh, and nobody is warned."""
    found = load_chat(root, CHAT, now=NOW)
    assert (found.state.turns, found.state.conversation, found.warning) == ((), "notes/plan", None)
    assert names(root / "notes") == []


def test_turn_is_remembered_once(root):
    """A turn that is added twice is there once, and the second time the file is left alone."""
    assert append_turn(root, CHAT, _turn(), now=NOW) is None
    before = (root / STATE).stat()
    assert append_turn(root, CHAT, _turn(answer="another"), now=NOW) is None
    assert (root / STATE).stat().st_mtime_ns == before.st_mtime_ns
    assert [turn.answer for turn in load_chat(root, CHAT, now=NOW).state.turns] == ["a"]


def test_state_file_is_for_people(root):
    """A state file is indented UTF-8, without keys that say nothing."""
    append_turn(root, CHAT, _turn(answer="Grüße"), now=NOW)
    text = (root / STATE).read_text(encoding="utf-8")
    assert '\n      "answer": "Grüße"' in text
    assert "null" not in text
    assert json.loads(text)["schema_version"] == 1


def test_edits_by_hand_survive_the_next_turn(root):
    """What a person deleted stays deleted, what a person changed or added stays."""
    for run in ("r1", "r2"):
        append_turn(root, CHAT, _turn(run), now=NOW)
    values = json.loads((root / STATE).read_text())
    del values["turns"][0]
    values["turns"][0] |= {"answer": "corrected", "stars": 5}
    values["mine"] = True
    (root / STATE).write_text(json.dumps(values))
    append_turn(root, CHAT, _turn("r3"), now=NOW)
    after = json.loads((root / STATE).read_text())
    assert after["mine"] is True
    assert [(turn["run_id"], turn["answer"], turn.get("stars")) for turn in after["turns"]] == [
        ("r2", "corrected", 5),
        ("r3", "a", None),
    ]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"turns": [{"input": 1}]}', b"\xff"])
def test_damaged_file_is_moved_aside_whole(root, damage):
    """A damaged state file is kept under another name, and the person is told both names."""
    (root / STATE).write_bytes(damage)
    found = load_chat(root, CHAT, now=NOW)
    assert found.state.turns == ()
    assert STATE in found.warning
    assert ASIDE in found.warning
    assert (root / "notes" / ASIDE).read_bytes() == damage
    assert not (root / STATE).exists()
    assert load_chat(root, CHAT, now=NOW).warning is None


def test_two_damaged_files_of_one_second_are_both_kept(root):
    """Nothing that was moved aside is overwritten by the next."""
    for damage in (b"1", b"2", b"3"):
        (root / STATE).write_bytes(damage)
        load_chat(root, CHAT, now=NOW)
    kept = [(root / "notes" / (ASIDE + end)).read_bytes() for end in ("", "-2", "-3")]
    assert kept == [b"1", b"2", b"3"]


def test_damage_that_an_editor_is_about_to_mend_is_waited_for(root, monkeypatch):
    """A state file that is read in the middle of an editor's save is no damaged file."""
    (root / STATE).write_bytes(b"")
    whole = dump(load_chat(root, input_name("other_input.txt"), now=NOW).state.with_turn(_turn()))
    waited = []

    def the_editor_goes_on(seconds):
        waited.append(seconds)
        (root / STATE).write_bytes(whole)

    monkeypatch.setattr(time, "sleep", the_editor_goes_on)
    found = load_chat(root, CHAT, now=NOW)
    assert found.warning is None
    assert len(found.state.turns) == 1
    assert waited == [SETTLE_S]


def test_damage_that_never_rests_is_damage(root, monkeypatch):
    """A run does not wait for ever for a state file that something keeps writing to."""
    (root / STATE).write_bytes(b"{")
    waited = []

    def something_goes_on(seconds):
        waited.append(seconds)
        (root / STATE).write_bytes(b"{" * len(waited))

    monkeypatch.setattr(time, "sleep", something_goes_on)
    assert ASIDE in load_chat(root, CHAT, now=NOW).warning
    assert sum(waited) < 5


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_moved_aside(root, kind):
    """A link in the state file's place is not followed, a pipe is not waited for."""
    (root / "outside.json").write_bytes(b'{"turns": [{"input": "secret", "answer": "secret"}]}')
    if kind == "link":
        (root / STATE).symlink_to(root / "outside.json")
    else:
        os.mkfifo(root / STATE)
    found = load_chat(root, CHAT, now=NOW)
    assert (found.state.turns, ASIDE in found.warning) == ((), True)
    assert (root / "outside.json").exists()


def test_file_of_a_newer_rlmwatch_is_left_where_it_is(root):
    """A state file with a newer schema is neither read nor moved nor written."""
    raw = b'{"schema_version": 2}'
    (root / STATE).write_bytes(raw)
    with pytest.raises(WorkspaceError, match=r"plan_state\.json was written by a newer rlmwatch"):
        load_chat(root, CHAT, now=NOW)
    with pytest.raises(WorkspaceError):
        append_turn(root, CHAT, _turn(), now=NOW)
    assert (root / STATE).read_bytes() == raw


def test_folder_in_the_state_files_place_is_named(root):
    """A folder with the state file's name is left alone, and the person is told."""
    (root / STATE).mkdir()
    with pytest.raises(WorkspaceError, match="a folder stands where this file belongs"):
        load_chat(root, CHAT, now=NOW)


def test_session_of_another_kind_is_no_damaged_chat(root):
    """A research input that front matter sends to the chat handler does not lose its session."""
    (root / "research_session.json").write_bytes(b'{"turns": [{"question": "of another shape"}]}')
    found = load_chat(root, input_name("research_prompt.txt"), now=NOW)
    assert (found.state.turns, found.warning) == ((), None)
    assert (root / "research_session.json").exists()
