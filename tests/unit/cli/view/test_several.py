"""What is shown of several folders: each word with its folder, and none taken away by another one's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.statuses import status

from rlmwatch import clock
from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.questions import Heading
from rlmwatch.cli.view.several import SeveralState, SeveralView
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.logging import Redactor
from rlmwatch.errors import LedgerError
from rlmwatch.runs.model import Run, RunStatus


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


def test_a_folder_whose_name_begins_like_another_one_is_another_one():
    """`~/one` becomes ready; what `~/one more` has said stays."""
    state = SeveralState(Heading("several folders"))
    heard(state, "folder.busy", "~/one more")
    heard(state, "folder.busy", "~/one")
    heard(state, "ready", "~/one")
    assert [notice.folder for notice in state.notices] == ["~/one more"]
    for number in range(20):
        heard(state, "folder.busy", "~/one", str(number))
    assert len(state.notices) < 10


class Folder:
    """One folder's program, as the view asks it: its ledger may not be read yet."""

    host = "here"

    def __init__(self, *, spent: float, per: str) -> None:
        self.spent = spent
        self.readable = True
        self.ledger = self
        ceilings = SimpleNamespace(per=per, max_cost_usd_per_day=1.0)
        self.config = SimpleNamespace(
            model=object(), loaded=SimpleNamespace(settings=SimpleNamespace(ceilings=ceilings))
        )

    def describe(self) -> str:
        return "small"

    async def spent_usd(self, *, now: str, of_user: bool) -> tuple[float, float]:
        return (3.0 if of_user else self.spent), 0.0

    async def recent(self, _limit: int) -> list[Run]:
        if not self.readable:
            raise LedgerError("locked")
        return []

    async def open_runs(self) -> list[Run]:
        now = clock.utc()
        return [Run("1", 1, "a_input.txt", Kind.CHAT, "a", "?", {}, "x", RunStatus.PENDING, now)]


@pytest.fixture
def view():
    reader, writer = os.pipe()
    yield SeveralView(BackgroundStream(writer, "utf-8", limit=None), Redactor())
    os.close(reader)
    os.close(writer)


def refreshed(view: SeveralView, *folders: Folder) -> list[tuple[str, bool]]:
    shown = view.viewer.shown
    shown.hear({"event": "ready", "level": "info"}, at="10:00")
    for number, folder in enumerate(folders):
        view.served(Path(f"/folder{number}"), folder)  # type: ignore[arg-type]
    asyncio.run(view._refresh(shown))
    return list(shown.rows)


def test_a_ledger_that_cannot_be_read_now_hides_no_other_folder(view):
    """What was asked before is shown of the others, and of that folder once it can be read; the view goes on."""
    first, second = Folder(spent=0, per="user"), Folder(spent=0, per="user")
    first.readable = False
    assert refreshed(view, first, second) == ["/folder1/1"]
    first.readable = True
    asyncio.run(view._refresh(view.viewer.shown))
    assert sorted(view.viewer.shown.rows) == ["/folder0/1", "/folder1/1"]


@pytest.mark.parametrize(("per", "heading"), [("user", (3.0, 1.0)), ("workspace", (0.75, None))])
def test_the_heading_has_the_spending_of_all_folders(view, per, heading):
    """Together; a ceiling of each folder is no ceiling of their sum."""
    refreshed(view, Folder(spent=0.5, per=per), Folder(spent=0.25, per=per))
    about = view.viewer.shown.heading
    assert (about.spent_usd, about.ceiling_usd) == heading


def test_a_status_of_each_folder_has_its_own_row(view):
    """Two folders may have a run with the same id."""

    async def look():
        async with view.viewer.on_terminal():
            for root in ("/one", "/two"):
                view.statuses_of(Path(root))(status("a_input.txt", "running", job_id="1"))
            await asyncio.sleep(0)
            return [row.name for row in view.viewer.shown.rows.values()]

    assert asyncio.run(look()) == ["/one/a_input.txt", "/two/a_input.txt"]
