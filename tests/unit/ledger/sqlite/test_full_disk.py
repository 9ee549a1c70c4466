"""ledger/sqlite/ledger.py: what was paid for is kept while the disk is full."""

import asyncio
import sqlite3

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import LedgerDiskError
from rlmwatch.ledger.sqlite.connection import File
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, Outcome, PaidCall, Result, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave

NOW = "2026-11-24T09:00:00Z"


class Disk(File):
    """A ledger's file on a disk that is full for the next *failures_left* transactions that write."""

    failures_left = 0

    def begin(self, db, *, writes):
        if writes and Disk.failures_left:
            Disk.failures_left -= 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        super().begin(db, writes=writes)


def on_a_disk(path, tell):
    """Have *tell* done with a ledger on such a disk, in which a run of a chat is under way."""

    async def work():
        Disk.failures_left = 0
        writer = Writer(Disk(path))
        writer.start()
        ledger = SqliteLedger(writer)
        try:
            save = Save("chat_input.txt", Kind.CHAT, "chat", "?", {}, "sha256:1")
            run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run
            await tell(ledger, await ledger.claim(run.run_id, now=NOW))
        finally:
            await ledger.aclose()

    asyncio.run(work())


def test_a_paid_reply_and_the_end_of_its_run_are_stored_once_there_is_space(tmp_path):
    """Intent, reply and end wait for the disk, in their order; nothing is dropped and nothing happens twice."""

    async def tell(ledger, run):
        for verb in ("intend", "record", "finish"):
            Disk.failures_left = 2
            if verb == "intend":
                call = PaidCall("k", "llm", "m", {})
                assert await ledger.intend(run.run_id, 1, call, ceilings=Ceilings(), now=NOW) is None
            elif verb == "record":
                await ledger.record(run.run_id, "k", {"text": "dear"}, Usage(1, 1, 0.5, 1), now=NOW)
            else:
                done = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="dear")
                assert (await ledger.finish(run.run_id, 1, done, now=NOW)).status is RunStatus.COMPLETE
            assert Disk.failures_left == 0
        (entry,) = await ledger.entries(run.run_id)
        assert (entry.state, entry.reply) == (CallState.DONE, {"text": "dear"})

    on_a_disk(tmp_path / "ledger.db", tell)


def test_a_new_save_is_refused_while_the_disk_is_full(tmp_path):
    """What was not paid for is not kept in memory: the watcher offers it again."""

    async def tell(ledger, _run):
        Disk.failures_left = 2
        save = Save("b_input.txt", Kind.CHAT, "b", "?", {}, "sha256:2")
        with pytest.raises(LedgerDiskError, match="the disk is full"):
            await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)

    on_a_disk(tmp_path / "ledger.db", tell)
