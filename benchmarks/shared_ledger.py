"""
What a ledger in Postgres costs: `python benchmarks/shared_ledger.py`.

Starts a server of its own on this machine's disk, durable, over a unix socket; where there is none, it says so and
ends. Prints medians of the verbs that every run pays for, how much several programs get through together, and what
handing out costs. About half a minute. A network between program and server adds its round trip to each verb: three or
four of them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers.postgres_server import PostgresServer, why_not

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, PaidCall, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave

NOW = "2026-11-24T10:00:00.000Z"
ROUNDS = 100
AT_ONCE = 16
FOR_S = 3.0
RUNS = 400
DONE = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")


async def median_ms(verb: Callable[[int], Awaitable[object]], rounds: int = ROUNDS) -> float:
    times = []
    for n in range(rounds):
        begun = perf_counter()
        await verb(n)
        times.append(perf_counter() - begun)
    return statistics.median(times) * 1000


def a_save(mark: str) -> Save:
    return Save(f"{mark}_input.txt", Kind.CHAT, mark, "q" * 2000, {}, f"sha256:{mark}")


async def call(ledger, run: Run, key: str) -> None:
    paid = PaidCall(key, "llm", "m", {"messages": ["p" * 2000]}, 100, 0.000_01)
    assert await ledger.intend(run.run_id, 1, paid, ceilings=Ceilings(), now=NOW) is None
    await ledger.record(run.run_id, key, {"text": "r" * 1000}, Usage(500, 100, 0.000_01, 1), now=NOW)


async def verbs(url: str) -> dict[str, float]:
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

    ledger = PostgresLedger.open(url, "bench")
    runs: list[Run] = []

    async def admit(n: int) -> None:
        admission = await ledger.admit(a_save(f"one{n}"), on_new_save=OnNewSave.QUEUE, now=NOW)
        runs.append(admission.run)

    async def sixteen(n: int) -> None:
        await asyncio.gather(*(call(ledger, runs[0], f"{n}/{k}") for k in range(AT_ONCE)))

    found = {
        "admit": await median_ms(admit),
        "dispatch": await median_ms(lambda n: ledger.dispatch(runs[n].run_id, b"p" * 2000)),
        "claim_for": await median_ms(lambda n: ledger.claim_for(runs[n].run_id, 1, now=NOW)),
        "intend + record, 1": await median_ms(lambda n: call(ledger, runs[n], "only")),
        f"intend + record, each of {AT_ONCE}": await median_ms(sixteen, ROUNDS // 4) / AT_ONCE,
        "finish": await median_ms(lambda n: ledger.finish(runs[n].run_id, 1, DONE, now=NOW)),
        "published": await median_ms(lambda n: ledger.published(runs[n].run_id)),
    }
    await ledger.aclose()
    return found


def busy_program(url: str, mark: str, counted) -> None:
    """Make calls for `FOR_S` seconds, `AT_ONCE` at a time, as a worker would."""

    async def work() -> int:
        from rlmwatch.ledger.postgres.ledger import PostgresLedger

        ledger = PostgresLedger.open(url, mark)
        run = (await ledger.admit(a_save(mark), on_new_save=OnNewSave.QUEUE, now=NOW)).run
        run = await ledger.claim_for(run.run_id, 1, now=NOW)
        until, made = perf_counter() + FOR_S, 0

        async def one(k: int) -> None:
            nonlocal made
            while perf_counter() < until:
                await call(ledger, run, f"{k}/{made}")
                made += 1

        await asyncio.gather(*(one(k) for k in range(AT_ONCE)))
        await ledger.aclose()
        return made

    counted.put(asyncio.run(work()))


def calls_per_s(url: str, programs: int) -> float:
    context = multiprocessing.get_context("spawn")
    counted = context.Queue()
    others = [context.Process(target=busy_program, args=(url, f"p{programs}-{n}", counted)) for n in range(programs)]
    for other in others:
        other.start()
    made = sum(counted.get() for _ in others)
    for other in others:
        other.join()
    return made / FOR_S


async def handing_out(url: str) -> dict[str, float]:
    """Send runs to the engine, and have them taken by a worker that does nothing with them."""
    from rlmwatch.cluster.job_queue import JobQueue

    async with JobQueue(url) as handout:
        begun = perf_counter()
        for n in range(RUNS):
            await handout.send(f"r{n}", "bench", f"c{n}")
        sent_s = perf_counter() - begun
        taken = 0
        all_taken = asyncio.Event()

        async def answer(_run_id: str, _worker: int, _cancelled: Callable[[], bool]) -> None:
            nonlocal taken
            taken += 1
            if taken == RUNS:
                all_taken.set()

        begun = perf_counter()
        worker = asyncio.create_task(handout.work(answer, at_once=AT_ONCE))
        await all_taken.wait()
        took_s = perf_counter() - begun
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return {"send": sent_s / RUNS * 1000, f"take, with up to {RUNS} waiting": took_s / RUNS * 1000}


def main() -> None:
    if (reason := why_not()) is not None:
        print(f"not measured: {reason}")
        return
    with PostgresServer(durable=True) as server:
        url = server.database()
        print(f"{'ms, median':36}")
        for name, ms in asyncio.run(verbs(url)).items():
            print(f"{name:36}{ms:10.3f}")
        for name, ms in asyncio.run(handing_out(url)).items():
            print(f"{name:36}{ms:10.3f}")
        print(f"\n{'programs that write at once':36}{'calls/s':>10}")
        for programs in (1, 2, 4, 8):
            print(f"{programs:<36}{calls_per_s(url, programs):10.0f}")


if __name__ == "__main__":
    main()
