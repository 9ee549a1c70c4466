"""What is shown of several folders: each word with its folder, and none taken away by another one's."""

from __future__ import annotations

from rlmwatch.cli.view.questions import Heading
from rlmwatch.cli.view.several import SeveralState


def heard(state: SeveralState, name: str, folder: str, why: str = "it is held") -> None:
    level = "info" if name == "ready" else "warning"
    facts = {"event": name, "level": level, "folder": folder, "why": f"{folder}: {why}", "done": "waiting"}
    state.hear(facts, at="10:00")


def test_one_folder_does_not_take_away_what_another_has_said():
    """A folder that becomes ready clears its own notice, and leaves those of the others."""
    state = SeveralState(Heading("several folders"))
    heard(state, "folder.busy", "~/one")
    heard(state, "folder.busy", "~/two")
    heard(state, "ready", "~/two")
    assert [notice.what for notice in state.notices] == ["~/one: it is held. Waiting"]
    heard(state, "ready", "~/one")
    assert state.notices == []


def test_a_folder_that_waits_does_not_make_the_daemon_wait():
    """The heading says how the daemon is; that one folder is busy stands in a notice."""
    state = SeveralState(Heading("several folders", state="Starting"))
    heard(state, "ready", "~/one")
    before = state.heading.state
    heard(state, "folder.busy", "~/two")
    assert state.heading.state == before
