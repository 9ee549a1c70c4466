"""An embedded ledger that is carried over to a shared one."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from behaviour.test_ledger import NO_CEILING, a_call, at, in_status, running, told
from servers.postgres_server import PostgresServer, postgres  # noqa: F401 (a fixture)

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import RunStatus, Usage
from rlmwatch.runs.trajectory import StepRecord


async def full(path: Path) -> SqliteLedger:
    """Return a ledger in which everything occurs."""
    ledger = SqliteLedger.open(path)
    for number, status in enumerate(RunStatus):
        await in_status(ledger, status, f"{number}_input.txt")
    run = await running(ledger, "paid\u00e9")
    await ledger.intend(run.run_id, 1, a_call("a"), ceilings=NO_CEILING, now=at(1))
    await ledger.record(run.run_id, "a", {"text": "half \ud83d"}, Usage(1, 2, 0.004, 1), now=at(2))
    await ledger.intend(run.run_id, 1, a_call("b"), ceilings=NO_CEILING, now=at(3, day=25))
    await ledger.step(run.run_id, StepRecord("", 1, 1, "print(1)", "1\0", "ok"))
    return ledger


def without_numbers(facts: list[object]) -> list[object]:
    runs, *rest = facts
    return [[replace(run, seq=0) for run in runs], *rest]


def test_everything_comes_over(tmp_path, postgres: PostgresServer):  # noqa: F811
    """All runs, calls, steps, inputs and sums are in the shared ledger as they were, in their order."""
    from rlmwatch.ledger.postgres.ledger import PostgresLedger
    from rlmwatch.ledger.transfer import move

    url = postgres.database()

    async def tell() -> None:
        old = await full(tmp_path / "ledger.db")
        before, steps = await told(old), [await old.steps(run.run_id) for run in await old.recent(99)]
        await old.aclose()
        moved = await asyncio.to_thread(move, tmp_path / "ledger.db", url, "w")
        assert moved.rows == {"runs": 7, "calls": 2, "steps": 1, "inputs": 7, "deliveries": 0, "spared": 0}
        assert moved.spent_usd == pytest.approx(0.014)
        new = PostgresLedger.open(url, "w")
        assert without_numbers(await told(new)) == without_numbers(before)
        assert [await new.steps(run.run_id) for run in await new.recent(99)] == steps
        assert await new.spent_usd(now=at(1, day=25)) == (0.01, 0.014)
        later = await running(new, "later")  # its numbers go on
        assert (await new.recent(1))[0].run_id == later.run_id
        await new.aclose()

    asyncio.run(tell())


def test_what_was_moved_is_not_moved_again(tmp_path, postgres: PostgresServer):  # noqa: F811
    """A second move is refused and changes nothing, under this name of the workspace or another."""
    from rlmwatch.ledger.postgres.ledger import PostgresLedger
    from rlmwatch.ledger.transfer import move

    url = postgres.database()

    async def tell() -> None:
        await (await full(tmp_path / "ledger.db")).aclose()
        await asyncio.to_thread(move, tmp_path / "ledger.db", url, "w")
        for name, words in (("w", "7 runs of this workspace"), ("other", "same id already")):
            with pytest.raises(LedgerError, match=words):
                await asyncio.to_thread(move, tmp_path / "ledger.db", url, name)
        new = PostgresLedger.open(url, "w")
        assert len(await new.recent(99)) == 7
        assert (await new.spent_usd(now=at(1, day=25)))[1] == 0.014
        await new.aclose()

    asyncio.run(tell())


def test_both_stores_have_the_same_columns(tmp_path, postgres: PostgresServer):  # noqa: F811
    """A column that one store's migrations add is in the other's too, workspace and worker aside."""
    from rlmwatch.ledger.postgres.connection import Server
    from rlmwatch.ledger.sqlite.connection import connect as connect_file

    embedded = connect_file(tmp_path / "ledger.db", create=True)
    tables = [row["name"] for row in embedded.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    tables = [table for table in tables if not table.startswith("sqlite_")]
    ours = {table: {row["name"] for row in embedded.execute(f"PRAGMA table_info({table})")} for table in tables}
    embedded.close()
    shared = Server(postgres.database(), None).open(create=True)
    rows = shared.connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'rlmwatch'"
    ).fetchall()
    shared.connection.close()
    theirs: dict[str, set[str]] = {}
    for row in rows:
        theirs.setdefault(row["table_name"], set()).add(row["column_name"])
    assert set(theirs) == {*tables, "errands", "migrations"}
    for table in tables:
        assert theirs[table] - {"workspace", "worker"} == ours[table], table
