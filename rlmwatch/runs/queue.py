"""
The port to the ledger's runs: admitted, claimed, finished, published.

Each verb is one transaction and durable when it returns; each one that moves a
run names the status it leaves, so it happens once however many ask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from rlmwatch.runs.model import Result, Run, RunStatus, Save, Signature


class OnNewSave(StrEnum):
    """What a later save of a conversation does to its earlier runs (`on_new_save`)."""

    QUEUE = "queue"
    REPLACE = "replace"  # those not yet started end as cancelled, outcome `replaced`
    CANCEL = "cancel"  # also the running one


@dataclass(frozen=True, slots=True)
class Known:
    """
    What the ledger knows of an input path.

    Attributes:
        digest: Digest of its last admitted content; `""` where nothing was admitted (blank) or `again` was asked.
        signature: The file when it was last read; None where it must be read again.
    """

    digest: str
    signature: Signature | None


@dataclass(frozen=True, slots=True)
class Admission:
    """
    What became of a save.

    Attributes:
        run: The new run, or None where the same bytes were admitted last.
        replaced: Pending runs that this save replaced; they have ended.
        to_cancel: Running runs of the conversation that the caller is to cancel.
        outgrown: Running runs of the same question, whose text was the beginning of this one.
    """

    run: Run | None
    replaced: tuple[Run, ...] = ()
    to_cancel: tuple[str, ...] = ()
    outgrown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Precedent:
    """
    What the ledger knows that bears on whether a save was answered elsewhere.

    Attributes:
        open: The highest number of a run of its conversation that has not ended, or whose files are not written yet: it
            will change what lies beside the input, if that is older. 0 where there is none.
        asked_before: Some run had the same bytes, on this path or another.
    """

    open: int
    asked_before: bool


class Queue(Protocol):
    """The runs of one workspace."""

    async def known(self) -> dict[str, Known]:
        """Return what is known of every input path, however old."""
        ...

    async def note(self, path: str, known: Known) -> None:
        """
        Remember how *path* looks now, without admitting anything (blank, same bytes, answered elsewhere).

        The path's last run stays the predecessor of its next.
        """
        ...

    async def admit(self, save: Save, *, on_new_save: OnNewSave, now: str) -> Admission:
        """
        Admit *save*: capture its content as a new pending run, unless its digest is the path's last admitted one.

        The identity of a run is (path, digest, predecessor on that path): the same save twice makes one run. A job
        file has no predecessor: the same bytes under the same id are the same job, whatever lay there in between. A
        save with a `problem` becomes a run that is FAILED at once, outcome `bad_input`, to be published. One that
        encloses a `webhook` becomes a delivery in the same transaction (`runs/deliveries.py`).

        One that `continues` earlier saves of its path ends those of their runs that have not begun, as `replaced`, and
        names those that run, whatever *on_new_save* says.

        The run's number is above `save.after` and above that of every run of the conversation in this ledger.
        """
        ...

    async def precedent(self, save: Save) -> Precedent:
        """Return what is known of *save* before it is admitted, at the same cost however many runs there are."""
        ...

    async def pending(self) -> list[Run]:
        """Return the runs that may be claimed, in order of admission."""
        ...

    async def claim(self, run_id: str, *, now: str) -> Run | None:
        """
        Take the pending run *run_id*: it is RUNNING, its attempt raised; None if another was first.

        `started_at` is set by the first claim only.
        """
        ...

    async def freeze(self, run_id: str, attempt: int, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Fix what must not change between attempts; the first *values* win and are returned.

        Raises:
            Fenced: The run is not RUNNING in this *attempt*.
        """
        ...

    async def hold(self, run_id: str, attempt: int, reason: str, *, now: str) -> Run | None:
        """Put the RUNNING run aside until `release_held`; None if this attempt no longer owns it."""
        ...

    async def release_held(self, *, now: str, conversation: str | None = None) -> list[Run]:
        """
        Make every HELD run pending again (a restart or a reload may have removed the cause), in order of admission.

        Where a *conversation* is given, only its runs.
        The frozen values go where no reply is in its journal: they may name the very model that was wrong.
        """
        ...

    async def finish(self, run_id: str, attempt: int, result: Result, *, now: str) -> Run | None:
        """
        End the RUNNING run; None if this attempt no longer owns it, and nothing was written.

        When it ends COMPLETE, HELD runs of the same conversation that were admitted earlier end FAILED with
        what they were held for, outcome `provider_error`, `error` None: the person has gone on.
        """
        ...

    async def cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        """End a PENDING or HELD run as CANCELLED, with what its attempts used; None if it is in no such state."""
        ...

    async def unpublished(self) -> list[Run]:
        """Return ended runs whose files were not all written, in order of their end."""
        ...

    async def published(self, run_id: str) -> None:
        """Note that answer, memory and status of the ended run lie in the workspace. Idempotent."""
        ...

    async def ended_after(self, run: Run) -> list[Run]:
        """Return the ended runs of the conversation of *run* that were admitted after it, in order of admission."""
        ...

    async def reclaim(self, *, now: str) -> list[Run]:
        """
        Make every RUNNING run pending again: its process is gone. For the one daemon that holds the lock, at start.

        In order of admission. `attempt` and `started_at` stay, and so does the journal.
        """
        ...

    async def get(self, run_id: str) -> Run | None:
        """Return one run."""
        ...

    async def find(self, job_id: str) -> Run | None:
        """Return the run that goes by *job_id* for pollers: by its own id, or the newest of that job file."""
        ...

    async def unknown(self, job_ids: Collection[str]) -> set[str]:
        """Return those of *job_ids* that no run goes by (see `find`), in one look at the ledger."""
        ...

    async def standing(self, job_ids: Collection[str]) -> dict[str, tuple[str, RunStatus]]:
        """Return id and status of the runs that go by *job_ids* (see `find`), in one look at the ledger."""
        ...

    async def open_in(self, conversation: str) -> list[Run]:
        """Return the runs of *conversation* that have not ended, in order of admission."""
        ...

    async def again(self, path: str) -> bool:
        """Forget the last digest of *path*, so that the same bytes are a new save; False where it was never seen."""
        ...

    async def count(self) -> dict[RunStatus, int]:
        """Return how many runs are in each status; every status is there."""
        ...
