"""
Runs, journal, trajectory and webhooks behind their ports, whatever the store.

Each verb is one transaction (or its own part of a shared one) in the writer
thread and durable when it returns. A verb whose caller stops waiting happens
all the same. Every verb raises `LedgerError` where the store cannot be used;
then it has done nothing, and may be asked again. Only where the connection to a
server breaks during the commit, it may have happened: the text says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar

from rlmwatch.ledger import calls, deliveries, runs, steps
from rlmwatch.ledger.statement import Db
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.deliveries import Delivery
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import JournalEntry, PaidCall, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import Admission, Known, OnNewSave
from rlmwatch.runs.trajectory import StepRecord

D = TypeVar("D", bound=Db)


class Verbs(Generic[D]):
    """
    Implements the ports `Queue`, `Journal`, `Trajectory` and `Deliveries`.

    The docstrings of the ports say what each verb promises.
    """

    def __init__(self, writer: Writer[D]) -> None:
        self._writer = writer

    async def aclose(self) -> None:
        """Carry out what was asked before, then close the store. Idempotent."""
        await self._writer.aclose()

    # The queue

    async def known(self) -> dict[str, Known]:
        """See `Queue.known`. Reads every input path, however old."""
        return await self._writer.do(runs.known, writes=False)

    async def note(self, path: str, known: Known) -> None:
        """See `Queue.note`."""
        await self._writer.do(lambda db: runs.note(db, path, known))

    async def admit(self, save: Save, *, on_new_save: OnNewSave, now: str) -> Admission:
        """See `Queue.admit`."""
        return await self._writer.do(lambda db: runs.admit(db, save, on_new_save=on_new_save, now=now))

    async def pending(self) -> list[Run]:
        """See `Queue.pending`."""
        return await self._writer.do(runs.pending, writes=False)

    async def claim(self, run_id: str, *, now: str) -> Run | None:
        """See `Queue.claim`."""
        return await self._writer.do(lambda db: runs.claim(db, run_id, now=now))

    async def pin(self, run_id: str, attempt: int, pinned: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Queue.pin`."""
        return await self._writer.do(lambda db: runs.pin(db, run_id, attempt, pinned))

    async def hold(self, run_id: str, attempt: int, reason: str, *, now: str) -> Run | None:  # noqa: ARG002 (the port)
        """See `Queue.hold`."""
        return await self._writer.do(lambda db: runs.hold(db, run_id, attempt, reason))

    async def release_held(self, *, now: str) -> list[Run]:  # noqa: ARG002 (the port)
        """See `Queue.release_held`."""
        return await self._writer.do(runs.release_held)

    async def finish(self, run_id: str, attempt: int, result: Result, *, now: str) -> Run | None:
        """See `Queue.finish`."""
        return await self._writer.do(lambda db: runs.finish(db, run_id, attempt, result, now=now))

    async def cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        """See `Queue.cancel`."""
        return await self._writer.do(lambda db: runs.cancel(db, run_id, reason, now=now))

    async def unpublished(self) -> list[Run]:
        """See `Queue.unpublished`."""
        return await self._writer.do(runs.unpublished, writes=False)

    async def published(self, run_id: str) -> None:
        """See `Queue.published`."""
        await self._writer.do(lambda db: runs.published(db, run_id))

    async def adopt(self, *, now: str) -> list[Run]:  # noqa: ARG002 (the port)
        """See `Queue.adopt`."""
        return await self._writer.do(runs.adopt)

    async def get(self, run_id: str) -> Run | None:
        """See `Queue.get`."""
        return await self._writer.do(lambda db: runs.get(db, run_id), writes=False)

    async def find(self, job_id: str) -> Run | None:
        """See `Queue.find`."""
        return await self._writer.do(lambda db: runs.find(db, job_id), writes=False)

    async def unknown(self, job_ids: Collection[str]) -> set[str]:
        """See `Queue.unknown`."""
        return await self._writer.do(lambda db: runs.unknown(db, job_ids), writes=False)

    async def open_in(self, conversation: str) -> list[Run]:
        """See `Queue.open_in`."""
        return await self._writer.do(lambda db: runs.open_in(db, conversation), writes=False)

    async def again(self, path: str) -> bool:
        """See `Queue.again`."""
        return await self._writer.do(lambda db: runs.again(db, path))

    async def count(self) -> dict[RunStatus, int]:
        """See `Queue.count`."""
        return await self._writer.do(runs.count, writes=False)

    async def recent(self, limit: int, conversation: str | None = None) -> list[Run]:
        """Return the *limit* runs that were admitted last, newest first; of one *conversation* where it is given."""
        return await self._writer.do(lambda db: runs.recent(db, limit, conversation), writes=False)

    # The journal

    async def intend(
        self, run_id: str, attempt: int, call: PaidCall, *, ceilings: Ceilings, now: str
    ) -> JournalEntry | None:
        """See `Journal.intend`."""
        return await self._writer.do(lambda db: calls.intend(db, run_id, attempt, call, ceilings=ceilings, now=now))

    async def record(self, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
        """See `Journal.record`."""
        await self._writer.do(lambda db: calls.record(db, run_id, key, reply, usage, now=now))

    async def release(self, run_id: str, key: str, *, now: str) -> None:
        """See `Journal.release`."""
        await self._writer.do(lambda db: calls.release(db, run_id, key, now=now))

    async def lose(self, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
        """See `Journal.lose`."""
        await self._writer.do(lambda db: calls.lose(db, run_id, key, usage=usage, now=now))

    async def entries(self, run_id: str) -> list[JournalEntry]:
        """See `Journal.entries`."""
        return await self._writer.do(lambda db: calls.entries(db, run_id), writes=False)

    async def spent_usd(self, *, now: str) -> tuple[float, float]:
        """See `Journal.spent_usd`."""
        return await self._writer.do(lambda db: calls.spent_usd(db, now=now), writes=False)

    async def usage(self, run_id: str) -> Usage:
        """
        Return what the run used so far, over all attempts; nothing for a run that is not there.

        1. A reply that is kept counts with its usage.
        2. A call that was lost counts with its usage where that is known, else with its reservation; so does one that
           was in flight when its attempt ended, though nobody has called it lost yet.
        3. A call that is in flight now, or was released, counts nothing.
        """
        return await self._writer.do(lambda db: calls.usage(db, run_id), writes=False)

    # The trajectory

    async def step(self, run_id: str, record: StepRecord) -> None:
        """See `Trajectory.step`."""
        await self._writer.do(lambda db: steps.step(db, run_id, record))

    async def steps(self, run_id: str) -> list[StepRecord]:
        """See `Trajectory.steps`."""
        return await self._writer.do(lambda db: steps.steps(db, run_id), writes=False)

    # Webhooks

    async def deliveries(self) -> list[Delivery]:
        """See `Deliveries.deliveries`."""
        return await self._writer.do(deliveries.deliveries, writes=False)

    async def tried(self, run_id: str, said: str, *, due_at: str | None, now: str) -> None:
        """See `Deliveries.tried`."""
        await self._writer.do(lambda db: deliveries.tried(db, run_id, said, due_at=due_at, now=now))
