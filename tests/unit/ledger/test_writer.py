"""The writer thread: order, shared transactions, failures, reopening."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlmwatch.errors import LedgerDiskError, LedgerError
from rlmwatch.ledger.sqlite.connection import File
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.writer import GROUP_MAX, Writer
from rlmwatch.runs.queue import Known


def with_writer(path: Path, tell: Callable[[Writer], Awaitable[None]]) -> None:
    async def run() -> None:
        writer = Writer(File(path))
        writer.start()
        try:
            await tell(writer)
        finally:
            await writer.aclose()

    asyncio.run(run())


def put(path: str) -> Callable[[sqlite3.Connection], None]:
    def verb(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO inputs (path, digest) VALUES (?, '')", (path,))

    return verb


def paths(db: sqlite3.Connection) -> list[str]:
    return [row["path"] for row in db.execute("SELECT path FROM inputs ORDER BY path")]


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond *n_bytes*: writes fail as on a broken disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_rule_1_verbs_happen_in_the_order_of_asking(tmp_path):
    """A later verb sees what an earlier one did, also when nobody waited in between."""

    async def tell(writer: Writer) -> None:
        seen = await asyncio.gather(*(f for n in range(5) for f in (writer.do(put(str(n))), writer.do(paths))))
        assert [len(s) for s in seen[1::2]] == [1, 2, 3, 4, 5]

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_2_verbs_that_wait_share_a_transaction(tmp_path):
    """While one transaction is under way, all that come meanwhile are committed by one more."""

    async def tell(writer: Writer) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def slow(_: sqlite3.Connection) -> None:
            entered.set()
            assert go_on.wait(30)

        first = asyncio.ensure_future(writer.do(slow))
        await asyncio.to_thread(entered.wait)
        begun: list[str] = []
        writer._db.set_trace_callback(begun.append)
        rest = [asyncio.ensure_future(writer.do(put(str(n)))) for n in range(100)]
        await asyncio.sleep(0)  # all have asked
        go_on.set()
        await asyncio.gather(first, *rest)
        assert [sql for sql in begun if sql.startswith(("BEGIN", "COMMIT"))] == ["COMMIT", "BEGIN IMMEDIATE", "COMMIT"]

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_3_a_verb_that_raises_undoes_only_itself(tmp_path):
    """What a refused verb had written is undone, and nothing that was asked together with it."""

    def refused(db: sqlite3.Connection) -> None:
        put("refused")(db)
        raise LookupError("no")

    async def tell(writer: Writer) -> None:
        answers = await asyncio.gather(
            writer.do(put("a")), writer.do(refused), writer.do(put("b")), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), LookupError, type(None)]
        assert await writer.do(paths) == ["a", "b"]

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_2_a_group_is_not_endless(tmp_path):
    """A thousand verbs at once are all carried out, in groups, so that the first need not wait for the last."""

    async def tell(writer: Writer) -> None:
        n = 3 * GROUP_MAX + 1
        await asyncio.gather(*(writer.do(put(f"{i:06}")) for i in range(n)))
        assert len(await writer.do(paths, writes=False)) == n

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_3_a_verb_that_does_not_fit_fails_alone(tmp_path):
    """Where the disk has no room for one large answer, small ones that were asked with it are stored."""

    async def tell(writer: Writer) -> None:
        await writer.do(put("before"))
        with file_size_limit(1_000_000):
            answers = await asyncio.gather(
                writer.do(put("a")), writer.do(put("x" * 5_000_000)), writer.do(put("b")), return_exceptions=True
            )
            assert [type(answer) for answer in answers] == [type(None), LedgerDiskError, type(None)]
            assert str(tmp_path / "ledger.db") in str(answers[1])
            assert await writer.do(paths, writes=False) == ["a", "b", "before"]
        await writer.do(put("after"))
        assert "after" in await writer.do(paths)

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_4_the_ledger_works_again_once_the_disk_does(tmp_path):
    """While the disk takes nothing every verb says so and does nothing; afterwards the same ledger goes on."""

    async def tell(writer: Writer) -> None:
        await writer.do(put("before"))
        with file_size_limit(0):
            for n in range(3):
                with pytest.raises(LedgerError, match="goes on by itself"):
                    await writer.do(put(str(n)))
        assert await writer.do(paths) == ["before"]
        await writer.do(put("after"))
        assert await writer.do(paths) == ["after", "before"]

    with_writer(tmp_path / "ledger.db", tell)


def test_rule_4_a_ledger_that_was_damaged_at_work_says_so(tmp_path):
    """Damage that shows while the daemon works is told with file and cure, and no verb hangs."""
    path = tmp_path / "ledger.db"

    async def tell(writer: Writer) -> None:
        await asyncio.gather(*(writer.do(put(f"{n:05}" * 20)) for n in range(1000)))
        await writer.do(lambda db: db.execute("SELECT 1"))
        db = sqlite3.connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        writer._db.execute("PRAGMA cache_size = 0")
        writer._db.execute("PRAGMA shrink_memory")
        for _ in range(2):
            with pytest.raises(LedgerError, match="is damaged"):
                await writer.do(paths, writes=False)

    with_writer(path, tell)


def test_a_fault_of_ours_is_not_blamed_on_the_disk(tmp_path):
    """A verb that breaks a rule of the tables raises what SQLite says, and the next verb works."""

    async def tell(writer: Writer) -> None:
        await writer.do(put("a"))
        with pytest.raises(sqlite3.IntegrityError):
            await writer.do(put("a"))
        await writer.do(put("b"))

    with_writer(tmp_path / "ledger.db", tell)


def test_a_closed_ledger_says_so(tmp_path):
    """A verb after the end is an error at once; what was asked before it is carried out."""

    async def run() -> None:
        writer = Writer(File(tmp_path / "ledger.db"))
        writer.start()
        asked = [asyncio.ensure_future(writer.do(put(str(n)))) for n in range(10)]
        await asyncio.sleep(0)
        await writer.aclose()
        await writer.aclose()
        await asyncio.gather(*asked)
        with pytest.raises(LedgerError, match="closed"):
            await writer.do(paths)

    asyncio.run(run())
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.db"]  # the log is folded in


def test_a_loop_that_ended_takes_nobody_with_it(tmp_path):
    """A caller whose event loop ended before the answer came does no harm to the next."""
    writer = Writer(File(tmp_path / "ledger.db"))
    writer.start()
    entered, go_on = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> None:
        entered.set()
        assert go_on.wait(30)
        put("late")(db)

    async def gives_up() -> None:
        asking = asyncio.ensure_future(writer.do(slow))
        await asyncio.to_thread(entered.wait)
        asking.cancel()

    async def goes_on() -> None:
        assert await writer.do(paths) == ["late"]
        await writer.aclose()

    asyncio.run(gives_up())
    go_on.set()
    asyncio.run(goes_on())


def test_another_process_may_write_meanwhile(tmp_path):
    """`rlmwatch again` in another process and the daemon write to one ledger, and none loses anything."""
    path = tmp_path / "ledger.db"
    other = (
        "import asyncio, sys; from pathlib import Path\n"
        "from rlmwatch.ledger.sqlite.ledger import SqliteLedger; from rlmwatch.runs.queue import Known\n"
        "async def main():\n"
        "    ledger = SqliteLedger.open(Path(sys.argv[1]))\n"
        "    for n in range(100): await ledger.note(f'theirs{n}', Known('', None))\n"
        "    await ledger.aclose()\n"
        "asyncio.run(main())\n"
    )

    async def run() -> None:
        ledger = SqliteLedger.open(path)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", other, str(path), stderr=subprocess.PIPE)
        ours = 0
        ended = asyncio.ensure_future(process.communicate())
        while not ended.done():
            await ledger.note(f"ours{ours}", Known("", None))
            ours += 1
        assert (await ended, process.returncode) == ((None, b""), 0)
        assert len(await ledger.known()) == 100 + ours
        await ledger.aclose()

    asyncio.run(run())
