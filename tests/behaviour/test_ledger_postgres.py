"""What every ledger promises, kept by Postgres; and what only a shared one has to promise."""

import asyncio
from pathlib import Path

import pytest
from behaviour.test_ledger import DONE, NO_CEILING, LedgerSuite, a_call, admitted, at, running, saved, told
from servers.postgres_server import PostgresServer, postgres  # noqa: F401 (a fixture)

from rlmwatch.errors import CeilingReached, ConfigError, LedgerError
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Usage
from rlmwatch.runs.queue import OnNewSave


@pytest.fixture(scope="module")
def migrated(postgres: PostgresServer) -> str:  # noqa: F811
    """A database with the newest schema, to be copied."""
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

    url = postgres.database()
    asyncio.run(PostgresLedger.open(url, "w").aclose())
    return url


@pytest.fixture
def shared(postgres: PostgresServer, migrated: str) -> str:  # noqa: F811
    """A database of the test's own."""
    return postgres.database(migrated)


class TestPostgresLedger(LedgerSuite):
    @pytest.fixture(autouse=True)
    def _databases(self, postgres, migrated):  # noqa: F811
        self._server, self._migrated, self._urls = postgres, migrated, {}

    def make(self, folder: Path):
        from rlmwatch.ledger.postgres.ledger import PostgresLedger

        if folder not in self._urls:
            self._urls[folder] = self._server.database(self._migrated)
        return PostgresLedger.open(self._urls[folder], "w")


def opened(url: str, workspace: str | None = "w"):
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

    return PostgresLedger.open(url, workspace)


# Workspaces


def test_workspaces_do_not_see_each_other(shared):
    """Two workspaces in one database have inputs, runs and counts of their own, also for the same path and bytes."""

    async def tell() -> None:
        ours, theirs = opened(shared, "ours"), opened(shared, "theirs")
        run = await admitted(ours, "q")
        before = await told(theirs)
        other = await admitted(theirs, "q")
        assert other.run_id != run.run_id
        assert [each.run_id for each in await ours.pending()] == [run.run_id]
        assert [each.run_id for each in await ours.recent(9)] == [run.run_id]
        assert await ours.find(other.run_id) is None
        assert await ours.unknown([run.run_id, other.run_id]) == {other.run_id}
        await theirs.claim(other.run_id, now=at(1))
        assert await ours.reclaim(now=at(2)) == []
        assert (await ours.count())["running"] == 0
        assert await ours.release_held(now=at(2)) == []
        await theirs.finish(other.run_id, 1, DONE, now=at(3))
        assert await ours.unpublished() == []
        assert not await ours.again("never_input.txt")
        await ours.again("chat_input.txt")
        assert (await theirs.known())["chat_input.txt"].digest == "sha256:q"
        assert before[2:4] == [{}, dict.fromkeys(await ours.count(), 0)]
        await ours.aclose()
        await theirs.aclose()

    asyncio.run(tell())


def test_a_ceiling_is_the_users_over_all_workspaces(shared):
    """What one workspace spends counts against the ceiling of the others in the same ledger."""

    async def tell() -> None:
        ours, theirs = opened(shared, "ours"), opened(shared, "theirs")
        for ledger, fits in ((ours, True), (theirs, False)):
            run = await running(ledger)
            asking = ledger.intend(run.run_id, 1, a_call(usd=0.6), ceilings=Ceilings(per_day_usd=1.0), now=at(1))
            if fits:
                await asking
            else:
                with pytest.raises(CeilingReached):
                    await asking
        await ours.aclose()
        await theirs.aclose()

    asyncio.run(tell())


def test_a_ceiling_holds_to_the_last_digit_over_many_programs(shared):
    """Calls that several programs intend at the same moment do not exceed the ceiling together."""

    async def tell() -> None:
        ledgers = [opened(shared) for _ in range(4)]
        run = await running(ledgers[0])
        answers = await asyncio.gather(
            *(
                ledger.intend(run.run_id, 1, a_call(f"{n}/{k}", 0.1), ceilings=Ceilings(per_day_usd=1.0), now=at(1))
                for n in range(5)
                for k, ledger in enumerate(ledgers)
            ),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers if answer is not None] == [CeilingReached] * 10
        for ledger in ledgers:
            await ledger.aclose()

    asyncio.run(tell())


def test_of_many_programs_one_gets_the_run(shared):
    """However many programs ask for a run at once, one gets it."""

    async def tell() -> None:
        ledgers = [opened(shared) for _ in range(4)]
        run = await admitted(ledgers[0], "q")
        claims = await asyncio.gather(*(ledger.claim(run.run_id, now=at(1)) for ledger in ledgers for _ in range(4)))
        assert len([claim for claim in claims if claim is not None]) == 1
        for ledger in ledgers:
            await ledger.aclose()

    asyncio.run(tell())


# Failures


def test_a_server_that_was_restarted_is_found_again(migrated):
    """After the database was restarted the ledger goes on by itself, and nothing that was committed is lost."""

    async def tell() -> None:
        with PostgresServer() as server:
            url = server.database()
            ledger = opened(url)
            run = await admitted(ledger, "q")
            server.stop()
            with pytest.raises(LedgerError, match="cannot be used"):
                await ledger.claim(run.run_id, now=at(1))
            server.start()
            assert (await ledger.claim(run.run_id, now=at(1))).attempt == 1
            server.stop()
            server.start()
            assert (await ledger.get(run.run_id)).attempt == 1  # a lost connection alone is no error
            await ledger.aclose()

    asyncio.run(tell())


def test_a_program_that_stands_still_holds_nobody_up_for_long(shared):
    """A program that stops in the middle of a transaction loses it, and the others go on."""
    from rlmwatch.ledger.postgres.connection import Server
    from rlmwatch.ledger.statement import Statement

    async def tell() -> None:
        ledger = opened(shared)
        run = await admitted(ledger, "q")
        still = Server(shared, "w", standstill_s=1)
        db = still.open(create=False)
        still.begin(db, writes=True)
        assert db.execute(Statement("SELECT 1 AS one")).fetchone() == {"one": 1}
        assert (await ledger.claim(run.run_id, now=at(1))).attempt == 1
        still.close(db)
        await ledger.aclose()

    asyncio.run(tell())


def test_an_older_program_refuses_a_newer_ledger(shared):
    """A ledger that a newer rlmwatch wrote is refused with both numbers and the cure, and stays as it is."""
    from rlmwatch.ledger.postgres import connection as pg_connection
    from rlmwatch.ledger.postgres.schema import NEWEST

    with pg_connection.connect(shared) as connection:
        connection.execute("INSERT INTO migrations (number) VALUES (%s)", [NEWEST + 1])
    with pytest.raises(LedgerError, match=rf"version {NEWEST + 1}.*up to {NEWEST}.*Upgrade rlmwatch"):
        opened(shared)


def test_programs_that_start_at_once_migrate_once(postgres):  # noqa: F811
    """Any number of programs may start on an empty database at the same moment."""
    url = postgres.database()

    async def tell() -> None:
        ledgers = await asyncio.gather(*(asyncio.to_thread(opened, url) for _ in range(8)))
        await admitted(ledgers[0], "q")
        assert len(await ledgers[7].recent(9)) == 1
        for ledger in ledgers:
            await ledger.aclose()

    asyncio.run(tell())


def test_an_unreachable_ledger_is_said_without_its_password():
    """A wrong address is told with database and host, and never with the password."""
    with pytest.raises(LedgerError, match=r"books on 127\.0\.0\.1") as told_error:
        opened("postgresql://me:hunter2@127.0.0.1:1/books")
    assert "hunter2" not in str(told_error.value)
    assert told_error.value.__cause__ is None
    with pytest.raises(ConfigError, match="postgresql://"):
        opened("postgresql://[")


# Runs that are handed out


def test_a_parcel_stays_until_its_run_is_published(shared):
    """What a worker needs of the folder is kept once, serves every attempt, and goes when the answer lies there."""

    async def tell() -> None:
        ledger, worker = opened(shared), opened(shared, None)
        run = await admitted(ledger, "q")
        await ledger.dispatch(run.run_id, b"first\x00")
        await ledger.dispatch(run.run_id, b"second")
        assert (await worker.dispatched(run.run_id)).payload == b"first\x00"
        claimed = await worker.claim_for(run.run_id, 7, now=at(1))
        await worker.report_progress(run.run_id, claimed.attempt + 1, '{"n": 0}')  # another attempt's
        await worker.report_progress(run.run_id, claimed.attempt, '{"n": 1}')
        [seen] = (await ledger.dispatch_states()).values()
        assert (seen.status, seen.attempt, seen.progress) == ("running", 1, {"n": 1})
        await worker.finish(run.run_id, claimed.attempt, DONE, now=at(2))
        assert (await ledger.dispatch_states())[run.run_id].status == "complete"
        await ledger.published(run.run_id)
        assert await ledger.dispatch_states() == {}
        assert await worker.dispatched(run.run_id) is None
        await ledger.aclose()
        await worker.aclose()

    asyncio.run(tell())


def test_a_worker_asks_by_run_ids_alone(shared):
    """A worker, which belongs to no workspace, can do all that an attempt needs."""

    async def tell() -> None:
        ledger, worker = opened(shared), opened(shared, None)
        run = await admitted(ledger, "q")
        await worker.claim_for(run.run_id, 7, now=at(1))
        await worker.freeze(run.run_id, 1, {"model": "m"})
        assert await worker.intend(run.run_id, 1, a_call(), ceilings=NO_CEILING, now=at(1)) is None
        await worker.record(run.run_id, a_call().key, {"t": 1}, Usage(1, 1, 0.001, 1), now=at(1))
        assert (await worker.usage(run.run_id)).llm_calls == 1
        assert (await worker.finish(run.run_id, 1, DONE, now=at(2))).status.ended
        assert (await ledger.admit(saved("q"), on_new_save=OnNewSave.QUEUE, now=at(3))).run is None
        await ledger.aclose()
        await worker.aclose()

    asyncio.run(tell())


def test_the_page_reads_a_workspace_s_own_runs_and_changes_nothing(shared, tmp_path):
    """Who looks on at a shared ledger sees the runs of one workspace, in a transaction that cannot write."""
    from rlmwatch.daemon.show_page import _ledgers
    from rlmwatch.ledger import overview
    from rlmwatch.ledger.statement import Statement
    from rlmwatch.page.facts import WorkspaceAt

    async def story() -> str:
        ledger = opened(shared, "here/notes-1a2b")
        try:
            return (await admitted(ledger, "q")).run_id
        finally:
            await ledger.aclose()

    run_id = asyncio.run(story())
    ledger_at = _ledgers(shared, "here")
    with ledger_at(WorkspaceAt(tmp_path / "notes-1a2b", tmp_path)) as db:
        assert [run.run_id for run in overview.newest_summaries(db)] == [run_id]
        assert overview.counts(db) == {"pending": 1}
    with ledger_at(WorkspaceAt(tmp_path / "other-3c4d", tmp_path)) as db:
        assert overview.newest_summaries(db) == []
    with pytest.raises(LedgerError, match="read-only"), ledger_at(WorkspaceAt(tmp_path / "x", tmp_path)) as db:
        db.execute(Statement("DELETE FROM runs"))
    with pytest.raises(LedgerError), _ledgers(f"{shared}_gone", "here")(WorkspaceAt(tmp_path / "x", tmp_path)):
        pass
