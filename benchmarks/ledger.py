"""
What the ledger costs, on this disk: `python benchmarks/ledger.py [FOLDER]`.

Prints medians in milliseconds of the verbs that every run pays for, on an empty
ledger and on one with 100,000 finished runs, the start with those, and what an
idle ledger burns. Takes some 20 seconds. Verbs are synced to the disk, so the
disk of FOLDER (default: the temporary folder) is most of what is measured.
"""

import asyncio
import resource
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.sqlite.spending import SharedSpending
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, PaidCall, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave

NOW = "2026-11-24T10:00:00.000Z"
FINISHED = 100_000
ROUNDS = 100
IDLE_S = 5


async def median_ms(verb: Callable[[int], Awaitable[object]], rounds: int = ROUNDS) -> float:
    times = []
    for n in range(rounds):
        begun = perf_counter()
        await verb(n)
        times.append(perf_counter() - begun)
    return statistics.median(times) * 1000


async def verbs(ledger: SqliteLedger, mark: str) -> dict[str, float]:
    """Return the median of each verb; *mark* keeps this round's saves apart from others'."""
    runs: list[Run] = []

    async def admit(n: int) -> None:
        save = Save(f"{mark}_input.txt", Kind.CHAT, f"{mark}{n}", "q" * 2000, {}, f"sha256:{mark}{n}")
        admission = await ledger.admit(save, on_new_save=OnNewSave.REPLACE, now=NOW)
        assert admission.run is not None
        runs.append(admission.run)

    async def call(run: Run, key: str) -> None:
        paid = PaidCall(key, "llm", "m", {"messages": ["p" * 2000]}, 100, 0.000_01)
        assert await ledger.intend(run.run_id, 1, paid, ceilings=Ceilings(of_user=True), now=NOW) is None
        await ledger.record(run.run_id, key, {"text": "r" * 1000}, Usage(500, 100, 0.000_01, 1), now=NOW)

    async def sixteen(n: int) -> None:
        await asyncio.gather(*(call(runs[0], f"{n}/{k}") for k in range(16)))

    result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
    return {
        "admit": await median_ms(admit),
        "claim": await median_ms(lambda n: ledger.claim(runs[n].run_id, now=NOW)),
        "intend + record, 1": await median_ms(lambda n: call(runs[n], "only")),
        "intend + record, each of 16": await median_ms(sixteen, ROUNDS // 4) / 16,
        "finish": await median_ms(lambda n: ledger.finish(runs[n].run_id, 1, result, now=NOW)),
        "published": await median_ms(lambda n: ledger.published(runs[n].run_id)),
        "pending": await median_ms(lambda _: ledger.pending()),
        "unpublished": await median_ms(lambda _: ledger.unpublished()),
        "count": await median_ms(lambda _: ledger.count()),
        "spent_usd": await median_ms(lambda _: ledger.spent_usd(now=NOW)),
        "usage": await median_ms(lambda _: ledger.usage(runs[1].run_id)),
        "recent(20)": await median_ms(lambda _: ledger.recent(20)),
    }


def fill(path: Path) -> None:
    """Add finished runs of one conversation with a call each, as months of use would leave them."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN")
    db.execute(
        f"""
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {FINISHED})
        INSERT INTO runs (run_id, path, kind, conversation, digest, predecessor, status, created_at, started_at,
                          completed_at, attempt, published, result, options, prompt)
        SELECT 'old' || n, 'full_input.txt', 'chat', 'full0', 'sha256:' || n, 'old' || (n - 1), 'complete',
               '{NOW}', '{NOW}', '{NOW}', 1, 1, '{{}}', '{{}}', hex(zeroblob(250)) FROM n
        """  # noqa: S608 (our own constants)
    )
    db.execute(
        f"""
        INSERT INTO calls (run_id, key, what, model, state, attempt, day, spent_nano, reserved_tokens, started_at,
                           request, reply)
        SELECT run_id, 'only', 'llm', 'm', 'done', 1, '2026-11-24', 10, 100, '{NOW}', '{{}}', '{{}}' FROM runs
        WHERE run_id LIKE 'old%'
        """  # noqa: S608 (our own constants)
    )
    db.execute("COMMIT")
    db.close()


async def start(path: Path) -> tuple[SqliteLedger, float]:
    """Do what a daemon asks at its start; return the milliseconds."""
    begun = perf_counter()
    ledger = SqliteLedger.open(path, shared=SharedSpending(path.with_name("spending.db"), "here"))
    await ledger.reclaim(now=NOW)
    for ask in (ledger.pending, ledger.unpublished, ledger.known, ledger.count):
        await ask()
    return ledger, (perf_counter() - begun) * 1000


async def idle_cpu_percent() -> float:
    def cpu_s() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    before = cpu_s()
    await asyncio.sleep(IDLE_S)
    return (cpu_s() - before) / IDLE_S * 100


async def measure(path: Path) -> None:
    ledger, start_ms = await start(path)
    few = await verbs(ledger, "few")
    await ledger.aclose()
    fill(path)
    ledger, full_start_ms = await start(path)
    full = await verbs(ledger, "full")
    print(f"{'ms, median':30}{'empty':>10}{f'{FINISHED:,} runs':>16}")
    for name, ms in {"start": start_ms, **few}.items():
        print(f"{name:30}{ms:10.3f}{({'start': full_start_ms} | full)[name]:16.3f}")
    print(f"{'idle CPU':30}{await idle_cpu_percent():25.4f} %")
    await ledger.aclose()


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / "ledger.db"
        asyncio.run(measure(path))
        print(f"{'file':30}{path.stat().st_size / 1e6:23.1f} MB")


if __name__ == "__main__":
    main()
