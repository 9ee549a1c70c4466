"""
What ends a run before its time: a request in `jobs/`, or that its question was deleted.

1. `jobs/<id>.cancel` ends the run that goes by that id, wherever it is. The request is removed once the run has
   ended and its status says so, so that a crash in between loses no cancel.
2. One for a run that has ended, or whose id is unknown for `CANCEL_KEPT_S`, is removed; until then it waits for a
   submission that may still be on its way.
3. An input or a job file that is gone for `GONE_S` ends its runs. The same bytes, put back, are asked anew.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from rlmwatch import clock
from rlmwatch.contract.names import CancelRequest, InputName, Submission, classify, key
from rlmwatch.errors import WorkspaceError
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Admission, Queue
from rlmwatch.runs.submitted import conversation
from rlmwatch.watch.observer import PathEvent
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.status import job_id

GONE_S = 0.25
"""
Rest after which a deleted file counts as deleted. Editors that delete and write anew take 11 ms at most (160 recorded
saves); a person who cancels waits for this, and the connection is to be closed within 0.5 s.
"""

CANCEL_KEPT_S = 24 * 3600.0
"""How long a cancel waits for its job, which may come later through a sync tool that was off for the night."""

JUDGED_AT_ONCE = 5_000
"""Requests in one question to the ledger: some 10 ms, so that a paid call's reply does not wait."""

SHOWN_JOBS = 5
"""Ids in one line of the log; the rest is counted: somebody may put thousands of requests there."""

log = structlog.get_logger()


class RunControl(Protocol):
    """What the supervisor does for job files and cancel requests."""

    def admitted(self, admission: Admission) -> None:
        """Take in a new run, publish those that it replaced, cancel those that it cancels."""
        ...

    async def end(self, run_id: str, reason: str) -> bool:
        """Cancel a run wherever it is. False where it had ended, or is not here."""
        ...

    def publish(self, run: Run) -> None:
        """Write the files of the ended *run*."""
        ...


def reason(job: str) -> str:
    """Return why a run ended that was asked to by a request."""
    return f"cancelled by {jobs.cancel_path(job)}"


def _names(job_ids: Sequence[str]) -> str:
    more = len(job_ids) - SHOWN_JOBS
    return ", ".join(job_ids[:SHOWN_JOBS]) + (f" and {more} more" if more > 0 else "")


@dataclass(slots=True)
class Cancellations:
    """The cancel requests and deletions of one workspace. Used on one loop."""

    root: Root
    queue: Queue
    supervisor: RunControl
    _requested: set[str] = field(default_factory=set)
    _waiting: set[str] = field(default_factory=set)
    _deleted: dict[str, float] = field(default_factory=dict)

    @property
    def at_rest(self) -> bool:
        """Whether everything that was seen was judged; requests that wait for their job do not count."""
        return not (self._requested or self._deleted)

    def next_due(self) -> float | None:
        """Return when there is something to do next, in monotonic seconds; None where nothing is."""
        return 0.0 if self._requested else min(self._deleted.values(), default=None)

    def changed(self, path: str, event: PathEvent, *, now: float) -> bool:
        """Note what was seen of *path*; False where it is neither a cancel request nor a deletion."""
        match event, classify(path):
            case PathEvent.GONE, InputName() | Submission():
                self._deleted[path] = now + GONE_S
            case ((PathEvent.WRITING | PathEvent.DONE), CancelRequest(job_id=job)):
                self._requested.add(job)
            case ((PathEvent.WRITING | PathEvent.DONE), Submission()):
                self._deleted.pop(path, None)
                return False
            case _:
                return False
        return True

    def listed(self, requests: Iterable[str]) -> None:
        """Note which requests are there; what was known of others is forgotten."""
        present = set(requests)
        self._waiting &= present
        self._requested |= present

    def published(self, run: Run) -> bool:
        """Note that *run* has ended and its status says so; True where a request was about it."""
        about = {run.run_id, job_id(run)} & self._waiting
        self._requested |= about
        return bool(about)

    def wanted(self, job: str) -> bool:
        """Whether there is a request for *job*."""
        return job in self._waiting or job in self._requested

    async def carry_out(self, written: Mapping[str, float] | None = None) -> None:
        """
        Judge the requests that came (rules 1 and 2).

        Args:
            written: When each was written, in seconds since 1970, where that is known.

        Raises:
            LedgerError, WorkspaceError: Those that are left are to be judged again.
        """
        requested = list(self._requested)
        for at in range(0, len(requested), JUDGED_AT_ONCE):
            await self._judge(requested[at : at + JUDGED_AT_ONCE], written or {})

    async def _judge(self, some: Sequence[str], written: Mapping[str, float]) -> None:
        standing = await self.queue.standing(some)
        now = datetime.fromisoformat(clock.utc()).timestamp()
        waits: dict[str, list[str]] = defaultdict(list)  # why → jobs
        done: dict[str, list[str]] = defaultdict(list)
        for job in some:
            run_id, status = standing.get(job, ("", None))
            open_here = status is not None and not status.ended
            if open_here and await self.supervisor.end(run_id, reason(job)):
                log.info("run.cancelling", run=run_id, by=jobs.cancel_path(job))
                self._waiting.add(job)
                self._requested.discard(job)
            elif (open_here or status is None) and now - written.get(job, now) < CANCEL_KEPT_S:
                if job not in self._waiting:
                    waits["it does not answer" if open_here else "no such run here yet"].append(job)
            else:
                ended = "no such run" if status is None else "it had ended"
                done["done" if job in self._waiting else ended].append(job)
        for why, kept in waits.items():
            log.info("cancel.kept", job=_names(kept), why=why)
            self._waiting.update(kept)
        removed = {job for each in done.values() for job in each}
        if removed:
            await asyncio.to_thread(jobs.cancels_handled, self.root.path, removed)
            self._waiting -= removed
        for why, gone in done.items():
            log.info("cancel.removed", job=_names(gone), why=why)
        self._requested.difference_update(some)

    async def end_deleted(self) -> None:
        """
        End the runs whose question is gone for good (rule 3).

        Raises:
            LedgerError, WorkspaceError: Those that are left are to be judged again.
        """
        now = clock.monotonic()
        for path in [path for path, at in self._deleted.items() if at <= now]:
            if await asyncio.to_thread(self._is_gone, path):
                await self._end_all_of(path)
            self._deleted.pop(path, None)

    async def _end_all_of(self, path: str) -> None:
        name = classify(path)
        where = conversation(name) if isinstance(name, Submission) else getattr(name, "conversation", "")
        runs = [run for run in await self.queue.open_in(where) if run.path == path]
        if runs and isinstance(name, InputName):
            await self.queue.again(path)
        for run in runs:
            if await self.supervisor.end(run.run_id, f"cancelled: {path} was deleted"):
                log.info("run.cancelling", run=run.run_id, path=path, by="its question was deleted")

    def _is_gone(self, path: str) -> bool:
        """
        Whether *path* is not there, nor under the same name written otherwise, in a workspace that is. Blocks.

        Raises:
            WorkspaceError: The workspace is not there.
        """
        try:
            self.root.check()
        except WorkspaceError:
            self.root = self.root.reopened()
            return False  # the whole folder was replaced: that deletes no question
        file = self.root.path / path
        try:
            file.lstat()
        except FileNotFoundError:
            return not _renamed(file)
        except NotADirectoryError:
            return True
        except OSError:
            return False
        return False


def _renamed(file: Path) -> bool:
    """Whether the folder of *file* holds the same name in another letter case or normal form (`names.key`)."""
    wanted = key(file.name)
    try:
        with os.scandir(file.parent) as entries:
            return any(key(entry.name) == wanted for entry in entries)
    except OSError:
        return False
