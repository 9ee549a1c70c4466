"""cli/view/daemon.py: what the view begins with."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from rlmwatch import clock
from rlmwatch.cli.view.daemon import show_earlier
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.runs.model import Outcome, Result, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave


@pytest.fixture
def paths(tmp_path):
    for name in ("w", "state", "config"):
        (tmp_path / name).mkdir()
    return WorkspacePaths((tmp_path / "w").resolve(), tmp_path / "state", tmp_path / "config")


async def answered(ledger, name, now):
    save = Save(f"{name}_input.txt", Kind.CHAT, name, "?", {}, f"sha256:{name}")
    run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=now)).run
    await ledger.claim(run.run_id, now=now)
    await ledger.finish(run.run_id, 1, Result(RunStatus.COMPLETE, Outcome.SUCCESS, f"re: {name}"), now=now)


def test_after_a_restart_the_view_shows_what_was_answered_today(paths):
    """Questions of this day (UTC), oldest first, then those that wait; nothing of an earlier day."""

    async def look():
        ledger, shown, now = ledger_of(paths, {}), ViewState(Heading("~")), clock.utc()
        try:
            await answered(ledger, "old", "2020-01-01T00:00:00Z")
            await answered(ledger, "one", now)
            await answered(ledger, "two", now)
            save = Save("next_input.txt", Kind.CHAT, "next", "?", {}, "sha256:next")
            await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=now)
            await show_earlier(SimpleNamespace(ledger=ledger, host="here"), shown.take)
        finally:
            await ledger.aclose()
        return [(row.name, row.word, row.text) for row in shown.rows.values()]

    assert asyncio.run(look()) == [
        ("one_input.txt", "answered", "re: one"),
        ("two_input.txt", "answered", "re: two"),
        ("next_input.txt", "waiting", ""),
    ]
