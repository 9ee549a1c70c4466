"""What `admit` does where two names meet, and where its memory of the inputs is gone."""

import asyncio
import sqlite3

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import Known, OnNewSave
from rlmwatch.runs.transitions import identity, run_id

NOW = "2026-11-24T10:00:00.000Z"
SAVE = Save("a_input.txt", Kind.CHAT, "a", "q", {}, "sha256:q")


async def admit(ledger: SqliteLedger, save: Save = SAVE):
    return (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run


def change(path, statement, values=()):
    """Change the ledger's file behind the ledger's back."""
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


def test_a_run_whose_name_is_taken_gets_another(tmp_path):
    """Two runs of one second whose names are the same both happen, under two names."""
    whole = identity(SAVE.path, SAVE.digest, "")
    taken = [run_id(NOW, Kind.CHAT, whole, salt=salt) for salt in range(2)]

    async def tell() -> None:
        ledger = SqliteLedger.open(tmp_path / "ledger.db")
        for name in taken:
            other = await admit(ledger, Save(f"{name}_input.txt", Kind.CHAT, "b", "q", {}, "sha256:q"))
            change(tmp_path / "ledger.db", "UPDATE runs SET run_id = ? WHERE run_id = ?", (name, other.run_id))
        run = await admit(ledger)
        assert run.run_id == run_id(NOW, Kind.CHAT, whole, salt=2)
        assert await ledger.get(run.run_id) == run
        await ledger.aclose()

    asyncio.run(tell())


def test_a_lost_memory_of_the_inputs_repeats_nothing(tmp_path):
    """Where the digests of the inputs are gone, the identity of the run still keeps a save from a second run."""

    async def tell() -> None:
        ledger = SqliteLedger.open(tmp_path / "ledger.db")
        assert await admit(ledger) is not None
        change(tmp_path / "ledger.db", "DELETE FROM inputs")
        assert await admit(ledger) is None
        assert await ledger.known() == {"a_input.txt": Known("sha256:q", None)}
        assert len(await ledger.recent(9)) == 1
        await ledger.aclose()

    asyncio.run(tell())
