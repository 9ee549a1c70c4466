"""
Jobs from anywhere: submit, poll, cancel, by files alone.

    client = Client(workspace)
    job = client.submit("Sum up the minutes", data=minutes, tokens=200)
    while not job.ended:
        time.sleep(0.5)
        job = client.status(job.job_id)
    print(job.answer)

Any process that can write into the folder may use it, on this machine or, through a sync tool, on another; the
daemon may be up, down, or be killed in the middle. Nothing is kept in between: a job's id is all that one needs.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from pydantic import JsonValue, ValidationError

from rlmwatch import clock
from rlmwatch.contract.documents import JobStatus, Progress, StatusFile, SubmissionFile, UsageSoFar, dump, second
from rlmwatch.contract.faults import in_words
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import JOBS, Submission, classify
from rlmwatch.contract.options import Keywords
from rlmwatch.errors import InputError, UsageError
from rlmwatch.workspace import jobs as box
from rlmwatch.workspace import polling
from rlmwatch.workspace.locate import find

POLL_S = 0.5
"""Between two looks at a job while waiting: as the founding loop does."""

LOOK_AGAIN_S = 0.05
LOOKS = 3
"""Where no file is there, it is looked for again: some mounts take a file's name away for a moment to replace it."""


class Options(Keywords, total=False):
    """
    What may be said of a job beside its task; each has the meaning of the front matter's key, see `RunOptions`.

    Attributes:
        data_path: File or folder of the workspace to work on, in place of `data`.
        webhook: Where to report the end, if the user's own configuration allows that host.
    """

    data_path: str | None
    webhook: str | None
    handler: str | None
    context: str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job as its file says, at one moment.

    Attributes:
        outcome: Why it ended as it did; None before.
        answer: The answer, or the text so far of one that was cut short or cancelled.
        partial: Whether the answer was cut short.
        error: Why there is no answer, or what a held job waits for.
        progress: How far it is; None before it began.
        notes: Things worth knowing that are no errors.
        created_at: When it was submitted; like all times RFC 3339 in UTC.
        attempt: How often it was begun: more than once after a crash.
    """

    job_id: str
    kind: Kind
    status: JobStatus
    outcome: str | None = None
    answer: str | None = None
    partial: bool = False
    error: str | None = None
    usage: UsageSoFar = field(default_factory=UsageSoFar)
    progress: Progress | None = None
    notes: tuple[str, ...] = ()
    model: str | None = None
    input: str = ""
    output: str | None = None
    created_at: str = ""
    started_at: str | None = None
    completed_at: str | None = None
    attempt: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.status.ended


class Client:
    """
    The jobs of one workspace. Nothing is kept open; safe to use from any thread, and by any number of processes.

    Attributes:
        root: The workspace.
    """

    def __init__(self, workspace: str | os.PathLike[str] | None = None) -> None:
        """
        Name the workspace.

        Args:
            workspace: The folder; default is `RLMWATCH_WORKSPACE`, else the current folder if it is a workspace.

        Raises:
            UsageError: There is no such folder, or none was named.
        """
        self.root = find(None if workspace is None else Path(workspace))

    def submit(self, task: str, data: JsonValue = None, **options: Unpack[Options]) -> Job:
        """
        Hand in a job and return at once; its file is there, whole, when this returns.

        One plain call when there is no data, no tools and no `max_steps` above 1; a run of the engine otherwise.

        Args:
            task: What to do.
            data: What to work on, a text or any JSON value: the variable `context` of the run.
            options: See `Options`.

        Raises:
            InputError: An option that does not exist, or a value that it cannot have.
            WorkspaceError: The job cannot be stored.
        """
        now = clock.utc()
        job_id = f"{second(now)}Z-{Kind.JOB}-{secrets.token_hex(6)}"
        given = {name: value for name, value in options.items() if value is not None}
        submission = _checked(
            {"status": "pending", "job_id": job_id, "task": task, "data": data, "created_at": now, **given}
        )
        box.submitted(self.root, job_id, dump(submission, nulls=False))
        kind = submission.handler or Kind.JOB
        return Job(job_id, kind, JobStatus.PENDING, input=f"{JOBS}/{job_id}.json", created_at=now)

    def status(self, job_id: str) -> Job:
        """
        Return the job as it is now. A file that is just being written by others counts as pending.

        Raises:
            UsageError: There is no such job.
        """
        name = classify(f"{JOBS}/{job_id}.json")
        if isinstance(name, Submission):
            for _ in range(LOOKS):
                try:
                    found = polling.status(self.root, job_id)
                except InputError:
                    return Job(job_id, Kind.JOB, JobStatus.PENDING, input=name.path)
                if found is not None:
                    return _job(found)
                time.sleep(LOOK_AGAIN_S)
        raise UsageError(f"{job_id}: no such job in {self.root}")

    def cancel(self, job_id: str) -> Job:
        """
        Ask that a job end, and return it as it is now: it ends as soon as the daemon sees that, or never began.

        What came so far is kept, and what was spent is booked. Nothing happens where it has ended.

        Raises:
            UsageError: There is no such job.
            WorkspaceError: The request cannot be stored.
        """
        job = self.status(job_id)
        if not job.ended:
            box.ask_to_cancel(self.root, job_id, f"asked at {clock.utc()}\n".encode())
        return job

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """
        Return the job once it has ended, or as it is after *timeout* seconds.

        Raises:
            UsageError: There is no such job.
        """
        until = None if timeout is None else clock.monotonic() + timeout
        while True:
            job = self.status(job_id)
            left = POLL_S if until is None else min(POLL_S, until - clock.monotonic())
            if job.ended or left <= 0:
                return job
            time.sleep(left)

    def jobs(self) -> Iterator[Job]:
        """Yield every run of the workspace that has a status file, newest first by its id, one read each."""
        return map(_job, polling.statuses(self.root))


def _checked(values: Mapping[str, Any]) -> SubmissionFile:
    try:
        return SubmissionFile.model_validate(dict(values))
    except ValidationError as wrong:
        faults = (f"{'.'.join(map(str, each['loc']))}: {in_words(each)}" for each in wrong.errors(include_url=False))
        raise InputError(f"submit(): {'; '.join(faults)}") from None


def _job(found: StatusFile) -> Job:
    return Job(
        job_id=found.job_id,
        kind=found.kind,
        status=found.status,
        outcome=found.outcome,
        answer=found.answer,
        partial=found.partial,
        error=found.error,
        usage=found.usage,
        progress=found.progress,
        notes=found.notes,
        model=found.model,
        input=found.input,
        output=found.output,
        created_at=found.created_at,
        started_at=found.started_at,
        completed_at=found.completed_at,
        attempt=found.attempt,
    )


__all__ = ["Client", "Job", "JobStatus", "Options"]
