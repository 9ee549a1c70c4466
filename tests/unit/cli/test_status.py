"""cli/status.py: what waits, and why."""

import asyncio
import json
import socket
import subprocess

import pytest

from rlmwatch.cli import show
from rlmwatch.cli.status import _whole
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.polling import statuses
from rlmwatch.workspace.status import DaemonProcess, StatusBoard

NOW = "2026-11-24T09:00:00Z"


@pytest.fixture
def place(tmp_path):
    """A workspace in which a daemon that was killed has left a held, a running and two waiting runs."""
    for name in ("workspace", "state", "config"):
        (tmp_path / name).mkdir()
    place = WorkspacePaths((tmp_path / "workspace").resolve(), tmp_path / "state", tmp_path / "config")
    child = subprocess.Popen(["true"])
    child.wait()
    asyncio.run(left_behind(place, child.pid))
    return place


async def left_behind(place, pid):
    board = StatusBoard(Root.open(place.root), DaemonProcess(socket.gethostname(), pid))
    ledger = ledger_of(place, {})
    try:
        for name in ("held", "works", "works", "new"):
            save = Save(f"{name}_input.txt", Kind.CHAT, name, "?", {}, f"sha256:{name}")
            run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run
            if run is None:  # the second save of that conversation
                save = Save(f"{name}_input.txt", Kind.CHAT, name, "??", {}, "sha256:2")
                run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run
            elif name != "new":
                run = await ledger.claim(run.run_id, now=NOW)
            if name == "held":
                run = await ledger.hold(run.run_id, 1, "set OPENAI_API_KEY", now=NOW)
            board.update(run, now=NOW)
    finally:
        await ledger.aclose()


def test_what_waits_is_listed_with_its_reason_and_one_word_for_each_state(place):
    """Held, left by a dead daemon, behind an earlier save, and a submission: none is called running, each says why."""
    (place.root / "jobs/mine.json").write_text('{"status": "pending", "task": "count"}')
    facts = asyncio.run(_whole(place))
    said = {(each.input, each.status, each.why.partition(" (")[0]) for each in facts.waiting}
    assert said == {
        ("held_input.txt", "held", "set OPENAI_API_KEY"),
        ("works_input.txt", "pending", "the rlmwatch that worked on it"),
        ("works_input.txt", "pending", "an earlier save of its conversation comes first"),
        ("new_input.txt", "pending", "rlmwatch does not run here now"),
        ("jobs/mine.json", "pending", "rlmwatch does not run here now"),
    }
    assert facts.runs == {"pending": 3, "held": 1}


def test_show_and_jobs_have_the_same_word(place):
    """Whatever a status file says, the ledger's row and the verbs agree."""
    for found in statuses(place.root):
        if found.input_digest:
            assert asyncio.run(show._find(place, found.job_id)).status == found.status
    assert json.loads(json.dumps(sorted(found.status for found in statuses(place.root))))[0] == "held"


def test_what_was_asked_before_a_ready_marker_was_set_is_not_called_unasked(place):
    """An old question without the marker has its answer; a new one without it is named."""
    from rlmwatch.contract.text import digest

    async def asked(raw):
        ledger = ledger_of(place, {})
        try:
            save = Save("old_input.txt", Kind.CHAT, "old", "?", {}, digest(raw))
            await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)
        finally:
            await ledger.aclose()

    for name in ("old", "new"):
        (place.root / f"{name}_input.txt").write_bytes(b"What?\n")
    asyncio.run(asked(b"What?\n"))
    (place.root / "rlmwatch.toml").write_text('ready_marker = "//send"\n')
    assert [each.path for each in asyncio.run(_whole(place)).not_asked] == ["new_input.txt"]
