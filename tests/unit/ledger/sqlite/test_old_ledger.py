"""
A ledger of an earlier version opens, and its runs go on.

`ledger_of_9b7099b.sql` is what that commit wrote: one run each that was answered, answered and not published (with a
webhook), killed in the middle, held, waiting, and refused.
"""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.deliveries import Delivery
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, Outcome, PaidCall, Result, RunStatus, Save, Signature, Usage
from rlmwatch.runs.queue import Known, OnNewSave
from rlmwatch.runs.trajectory import StepRecord

DUMP = Path(__file__).with_name("ledger_of_9b7099b.sql")
NOW = "2026-11-24T11:00:00.000Z"
SIGNATURE = Signature(9, 1, 2, 3)
PAID = Usage(20, 30, 0.004, 1)
DONE, HOOKED = "20261124T100000Z-chat-9a7bed", "20261124T100300Z-job-958ac0"
KILLED, HELD = "20261124T100500Z-chat-ceb1cc", "20261124T100700Z-chat-a622c7"
WAITING, BAD = "20261124T100900Z-chat-8a48d9", "20261124T101000Z-chat-3fa13e"


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    db = sqlite3.connect(path)
    db.executescript(DUMP.read_text())
    db.close()
    return path


def test_its_schema_is_todays(old, tmp_path):
    """A new ledger has the tables, indexes and triggers of the old one, to the letter."""

    def schema(path: Path) -> list[tuple[str, ...]]:
        db = connect(path, create=True)
        rows = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.close()
        return [*map(tuple, rows), ("version", str(version))]

    assert schema(old) == schema(tmp_path / "new.sqlite3")


def test_everything_in_it_is_read_as_it_was_written(old):
    """Runs, inputs, calls, steps, webhooks and sums are what the old version stored."""

    async def tell() -> None:
        ledger = SqliteLedger.open(old)
        assert await ledger.known() == {
            f"{name}_input.txt": Known(f"sha256:{name}{minute}", SIGNATURE)
            for name, minute in {"done": 0, "killed": 5, "held": 7, "waiting": 9, "bad": 10}.items()
        }
        assert [run.run_id for run in await ledger.recent(9)] == [BAD, WAITING, HELD, KILLED, HOOKED, DONE]
        assert [run.run_id for run in await ledger.pending()] == [WAITING]
        assert [run.run_id for run in await ledger.unpublished()] == [HOOKED, BAD]
        statuses = {RunStatus.COMPLETE: 2, RunStatus.FAILED: 1, RunStatus.CANCELLED: 0}
        assert await ledger.count() == {s: statuses.get(s, 1) for s in RunStatus}
        assert await ledger.spent_usd(now=NOW) == (0.018, 0.018)
        done = await ledger.get(DONE)
        assert (done.published, done.prompt, done.options) == (True, "question of done", {"tokens": 200})
        notes, pages = ("half \ud83d",), '{"pages": []}'
        assert done.result == Result(
            RunStatus.COMPLETE, Outcome.SUCCESS, "42", usage=PAID, notes=notes, model="m-1", sources=pages
        )
        assert await ledger.usage(DONE) == PAID
        assert await ledger.steps(DONE) == [
            StepRecord("", 1, 1, "answer(42)", "42", "answered", 42, PAID, "2026-11-24T10:01:00.000Z", 0.5, 0.1)
        ]
        assert (await ledger.find("hooked")).enclosed == {"data": [1, 2], "webhook": "https://example.org/hook"}
        assert await ledger.unknown(["hooked", DONE, "other"]) == {"other"}
        assert (await ledger.get(BAD)).result.error == "no text"
        await ledger.aclose()

    asyncio.run(tell())


def test_its_runs_go_on(old):
    """What was killed is reclaimed and pays nothing twice, what was held is released, what ended is published."""

    async def tell() -> None:
        ledger = SqliteLedger.open(old)
        assert [run.run_id for run in await ledger.reclaim(now=NOW)] == [KILLED]
        run = await ledger.claim(KILLED, now=NOW)
        assert (run.attempt, run.frozen) == (2, {"model": "m-1", "messages": []})
        assert await ledger.freeze(KILLED, 2, {"model": "other"}) == {"model": "m-1", "messages": []}
        again = PaidCall("/1/a/0", "llm", "m-1", {"messages": ["q"]}, 200, 0.01)
        paid = await ledger.intend(KILLED, 2, again, ceilings=Ceilings(), now=NOW)
        assert paid is not None
        assert (paid.state, paid.reply) == (CallState.DONE, {"text": "paid for"})
        in_flight = PaidCall("/1/b/0", "llm", "m-1", {"messages": ["q"]}, 200, 0.01)
        assert await ledger.intend(KILLED, 2, in_flight, ceilings=Ceilings(), now=NOW) is None
        assert [entry.state for entry in await ledger.entries(KILLED)] == [
            CallState.DONE,
            CallState.LOST,
            CallState.INTENT,
        ]
        assert [(run.run_id, run.frozen) for run in await ledger.release_held(now=NOW)] == [(HELD, None)]
        assert await ledger.deliveries() == []
        await ledger.published(HOOKED)
        assert await ledger.deliveries() == [
            Delivery(HOOKED, "https://example.org/hook", 0, "2026-11-24T10:03:00.000Z")
        ]
        same = Save("done_input.txt", Kind.CHAT, "done", "q", {}, "sha256:done0", SIGNATURE)
        assert (await ledger.admit(same, on_new_save=OnNewSave.QUEUE, now=NOW)).run is None
        await ledger.aclose()

    asyncio.run(tell())
