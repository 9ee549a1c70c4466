"""
What a program of a shared ledger runs beside its own work: connections, and what goes on in the background.

    sweeping      finds what a dead worker left, and what waits without a job
    monitoring    hears of runs that move, for a daemon that follows its own
    working       answers dispatched runs here

Every daemon and every worker sweeps: no machine must stay up for the others to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self

import structlog

from rlmwatch.cluster.job_queue import LEASE_S, AnswerRun, JobQueue
from rlmwatch.cluster.run_monitor import RunMonitor
from rlmwatch.errors import LedgerError
from rlmwatch.ledger.postgres.ledger import PostgresLedger

SWEEP_S = 1.0
"""Three short reads; a dead worker's runs go on at most this long after its lease is over."""

log = structlog.get_logger()


class ClusterNode:
    """
    One program's part in the cluster of a shared ledger. An asynchronous context manager.

    Attributes:
        jobs: Offers dispatched runs to workers.
        monitor: Knows where they are.
    """

    def __init__(self, url: str, ledger: PostgresLedger) -> None:
        self.ledger = ledger
        self.jobs = JobQueue(url)
        self.monitor = RunMonitor(ledger, url)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """
        Connect, and begin to sweep.

        Raises:
            LedgerError: The database cannot be used.
        """
        await self._stack.enter_async_context(self.jobs)
        self._in_background(self._sweep(), "sweep")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def start_monitor(self) -> None:
        """Begin to hear of runs that move."""
        self._in_background(self.monitor.run(), "monitor")

    def start_worker(self, answer: AnswerRun, *, at_once: int) -> None:
        """Begin to answer dispatched runs, *at_once* at a time."""
        self._in_background(self.jobs.work(answer, at_once=at_once), "worker")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Carry *work* out until the end of the program; then cancel it and wait."""
        task = asyncio.create_task(work, name=name)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)

    async def _sweep(self) -> None:
        failing = False
        while True:
            try:
                await sweep(self.ledger, self.jobs)
                failing = False
            except LedgerError as error:
                if not failing:
                    log.warning("sweep.waits", why=str(error))
                failing = True
            except Exception:
                log.exception("sweep.fault")
            await asyncio.sleep(SWEEP_S)


async def sweep(ledger: PostgresLedger, jobs: JobQueue) -> None:
    """
    Find what nobody would go on with: runs of workers that died, their jobs, and runs that wait without a job.

    Any number of programs may sweep at once, and each step may be the last one before a crash: what is left is found by
    the next.

    Raises:
        LedgerError: The database cannot be used.
    """
    for run in await ledger.reclaim_orphans(LEASE_S):
        log.warning("run.orphan_reclaimed", run=run.run_id, path=run.path, attempt=run.attempt)
    await jobs.retry_stalled()
    for waiting in await ledger.unsent():
        log.info("run.sent_again", run=waiting.run_id)
        await jobs.send(waiting.run_id, waiting.workspace, waiting.conversation)
