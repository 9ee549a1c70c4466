"""
Offers dispatched runs to workers, by procrastinate: the only file that names it.

What travels is a run's id. One job at a time per conversation (its lock), in the
order of sending. Nothing here is the truth: a job that is lost, doubled, or left
by a worker that died changes nothing in the ledger; `claim_for` decides who
answers, and each sweep sends again what waits without a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import psycopg
import structlog

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.postgres.connection import Server, with_settings
from rlmwatch.ledger.postgres.job_tables import prepare

if TYPE_CHECKING:
    from procrastinate import App, JobContext

QUEUE = "rlmwatch"
TASK = "rlmwatch.answer"
HEARTBEAT_S = 1.0
LEASE_S = 5.0
"""
A worker that was not heard of for this long is taken for dead. Five heartbeats, and as long as a person waits without
wondering; procrastinate's own 30 s is not. A worker that was only slow loses its runs, and nothing else.
"""
FORGET_S = 120.0
"""After this long a silent worker's own row goes; a machine that slept longer registers anew."""
POLL_S = 2.0
"""For jobs whose notification was lost."""
GRACE_S = 5.0
"""As the supervisor's: what a stopping worker gives its running calls."""
AGAIN_S = 1.0

T = TypeVar("T")

log = structlog.get_logger()


class AnswerRun(Protocol):
    """Answers one run."""

    async def __call__(self, run_id: str, worker: int, cancelled: Callable[[], bool]) -> None:
        """
        Answer *run_id* as *worker*.

        Its task is cancelled where the run is to end, and then *cancelled* is true, or where the worker is to stop.
        """
        ...


class JobQueue:
    """The queue of dispatched runs. An asynchronous context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """
        Connect, and bring procrastinate's tables up to date.

        Raises:
            LedgerError: The database cannot be used.
        """
        from procrastinate import App, PsycopgConnector

        _into_our_log("procrastinate", "psycopg.pool")
        self._app: App = App(
            connector=PsycopgConnector(conninfo=with_settings(self._url), min_size=1, max_size=4, timeout=10)
        )
        try:
            await asyncio.to_thread(prepare, self._url)
            await self._stack.enter_async_context(self._app.open_async())
        except psycopg.Error as error:
            raise Server(self._url, None).explain(error) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, run_id: str, workspace: str, conversation: str) -> None:
        """
        Offer *run_id* to the workers; where it waits for one already, nothing happens.

        Raises:
            LedgerError: The database cannot be used.
        """
        from procrastinate.exceptions import AlreadyEnqueued

        deferrer = self._app.configure_task(
            TASK, queue=QUEUE, lock=f"{workspace}\n{conversation}", queueing_lock=run_id
        )
        try:
            await _reached(self._url, deferrer.defer_async(run_id=run_id))
        except AlreadyEnqueued:
            return

    async def abort(self, run_id: str) -> None:
        """
        Tell whoever works on *run_id* to end it.

        Raises:
            LedgerError: The database cannot be used.
        """
        manager = self._app.job_manager
        for job in await _reached(self._url, manager.list_jobs_async(queueing_lock=run_id, queue=QUEUE)):
            if job.id is not None:
                await _reached(self._url, manager.cancel_job_by_id_async(job.id, abort=True, delete_job=True))

    async def retry_stalled(self) -> None:
        """
        Offer the jobs of workers that died to others; they keep their place in the queue.

        Raises:
            LedgerError: The database cannot be used.
        """
        from procrastinate.exceptions import ConnectorException, UniqueViolation
        from procrastinate.jobs import Status

        manager = self._app.job_manager
        stalled = await _reached(self._url, manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=LEASE_S))
        for job in stalled:
            try:
                await _reached(self._url, manager.retry_job(job))
            except UniqueViolation:
                # The run was sent again meanwhile; this job would only keep its conversation's lock.
                await _reached(self._url, manager.finish_job(job, Status.FAILED, delete_job=True))
            except ConnectorException as error:
                # Somebody else swept, or the worker was only slow and has just ended it.
                log.debug("job.moved_meanwhile", job=job.id, why=str(error.__cause__))

    async def work(self, answer: AnswerRun, *, at_once: int) -> None:
        """Have *answer* answer dispatched runs, *at_once* at a time, until cancelled; then end cleanly."""
        self._app.task(name=TASK, queue=QUEUE, pass_context=True)(_job(answer))
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=at_once,
                    fetch_job_polling_interval=POLL_S,
                    abort_job_polling_interval=POLL_S,
                    shutdown_graceful_timeout=GRACE_S,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=FORGET_S,
                )
            except Exception as error:  # noqa: BLE001 (the database went away, or forgot this worker: register anew)
                log.warning("worker.registers_again", why=" ".join(str(error).split()))
            await asyncio.sleep(AGAIN_S)


def _job(answer: AnswerRun) -> Callable[..., Awaitable[None]]:
    from procrastinate.job_context import AbortReason

    async def job(context: JobContext, run_id: str) -> None:
        worker = context.job.worker_id
        if worker is not None:
            await answer(run_id, worker, lambda: context.abort_reason() is AbortReason.USER_REQUEST)

    return job


async def _reached(url: str, request: Awaitable[T]) -> T:
    """Return what *request* brings; a database that cannot be used is a `LedgerError`, in the ledger's words."""
    from procrastinate.exceptions import ConnectorException

    try:
        return await request
    except ConnectorException as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.Error):
            explained = Server(url, None).explain(cause)
            if isinstance(explained, LedgerError):
                raise explained from None
        raise


class _ToStructlog(logging.Handler):
    """Passes a library's warnings on to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("procrastinate.warning", who=record.name, what=" ".join(record.getMessage().split()))


def _into_our_log(*names: str) -> None:
    for name in names:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.handlers = [_ToStructlog()]
