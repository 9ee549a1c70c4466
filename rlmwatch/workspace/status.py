"""
The status file of each run, `jobs/<id>.json` (file contract, section 5).

1. The status moves only forward. What stands in the file is read before each write: an ended status stays, and a
   running one does not become pending again.
2. While a run goes on its file is written at most once a second, for each rewrite is carried by a sync tool; at
   once when status, attempt or what a held run waits for changes.
3. A submission that somebody put there and that this run does not answer is never overwritten: the same id may be
   used again while we look away.
4. An ended status is written only by `end`, after all else of the run (see `publish`).
5. A status is read and written under the root's lock: a late update must not come down on an ended one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from rlmwatch.contract.documents import (
    JobStatus,
    Progress,
    StatusCaps,
    StatusFile,
    UsageSoFar,
    dump,
    read_status,
    second,
)
from rlmwatch.contract.json_answer import is_json
from rlmwatch.contract.names import JOBS, InputName, Submission, classify, input_name
from rlmwatch.contract.text import digest
from rlmwatch.errors import InputError
from rlmwatch.runs.model import Run
from rlmwatch.runs.transitions import shown
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.os_errors import cannot

REJECTED = ".rejected"
"""Ending of a job file that could not be answered and was set aside, for its status took its place."""

EVERY_S = 1.0
"""Between two writes of one status file while its run goes on (file contract, section 5)."""

_BEGINS_WITH_TIME = re.compile(r"\d{8}T\d{6}")
"""How a run's id, and so its file's name, begins: with the second of its save."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Live:
    """
    What is known of a run beside the ledger's row, while it goes on.

    Attributes:
        waits_for: What it waits for, in words for the person: a provider that is asked again, or its rate limit.
    """

    progress: Progress | None = None
    usage: UsageSoFar = field(default_factory=UsageSoFar)
    budget: StatusCaps = field(default_factory=StatusCaps)
    model: str | None = None
    waits_for: str | None = None

    @property
    def shown(self) -> Progress | None:
        """How far the run is; where it waits, what for."""
        if self.waits_for is None:
            return self.progress
        return (self.progress or Progress()).model_copy(update={"note": self.waits_for})


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """The daemon that writes: its machine and process."""

    host: str
    pid: int


def job_id(run: Run) -> str:
    """Return the id of *run* for pollers: that of its submission, where it has one, else its own."""
    name = classify(run.path)
    return name.job_id if isinstance(name, Submission) else run.run_id


def build(run: Run, *, live: Live, by: DaemonProcess, now: str) -> StatusFile:
    """Return the status of *run* as pollers see it. Pure; an ended run's says nothing of *now*."""
    name = input_name(run.path)
    result = run.result
    return StatusFile(
        job_id=job_id(run),
        kind=run.kind,
        status=JobStatus(shown(run)),
        outcome=result.outcome.value if result else None,
        partial=result.partial if result else False,
        input=run.path,
        output=_output(run, name),
        input_digest=run.digest,
        save_number=run.number,
        created_at=run.created_at,
        started_at=run.started_at,
        completed_at=run.completed_at,
        updated_at=(run.completed_at or now) if run.status.ended else now,
        progress=live.shown,
        usage=UsageSoFar(**asdict(result.usage)) if result else live.usage,
        budget=live.budget,
        answer=result.answer if result else None,
        error=result.error if result else run.held_for or live.waits_for,
        attempt=run.attempt,
        pid=by.pid,
        host=by.host,
        model=(result.model if result else None) or live.model or (run.frozen or {}).get("model"),
        notes=(*run.enclosed.get("notes", ()), *(result.notes if result else ())),
    )


def _output(run: Run, name: InputName | None) -> str | None:
    if name is None:
        return None
    answer = run.result.answer if run.result else None
    in_json = run.wants_json is not None and (answer is None or is_json(answer))  # half of a JSON value is a text
    return name.json_output if in_json else name.output


@dataclass(slots=True)
class _LastWrite:
    """What was last written of a run, and what waits to be."""

    about: tuple[JobStatus, int, str | None]
    at: datetime
    waiting: StatusFile | None = None


def _due(last: _LastWrite, at: datetime) -> bool:
    """Whether a second has passed, in either direction: a clock that was set back must not silence a run."""
    return abs(at - last.at) >= timedelta(seconds=EVERY_S)


@dataclass(slots=True)
class StatusBoard:
    """
    Keeps the status files of the runs that go on. Safe to call from several threads.

    Attributes:
        root: The workspace.
        by: Who writes.
        on_status: Is given each status of a run, also one that waits for its second, under the root's lock and so from
            any thread; None where nobody looks.
    """

    root: Root
    by: DaemonProcess
    on_status: Callable[[StatusFile], None] | None = None
    _written: dict[str, _LastWrite] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether something waits for its second: asked once a second, so it takes no lock."""
        return any(last.waiting is not None for last in list(self._written.values()))

    def progress_of(self, run_id: str) -> Progress | None:
        """Return how far a run is, where that waits for its second; None where its file says it already."""
        last = self._written.get(run_id)
        return last.waiting.progress if last is not None and last.waiting is not None else None

    def update(self, run: Run, live: Live | None = None, *, now: str) -> bool:
        """
        Say where *run* is; False where that waits for its second (see `flush`), or may not be written (rules 1, 3, 4).

        Of an ended run what waits is dropped: a file deleted meanwhile would come back as a run that goes on.

        Raises:
            WorkspaceError: It cannot be stored.
        """
        with self.root.status_lock:
            if run.status.ended:
                self._written.pop(run.run_id, None)
                if self.on_status is not None:
                    self.on_status(build(run, live=live or Live(), by=self.by, now=now))
                return False
            status = build(run, live=live or Live(), by=self.by, now=now)
            if self.on_status is not None:
                self.on_status(status)
            at = datetime.fromisoformat(now)
            about = (status.status, status.attempt, run.held_for)
            last = self._written.get(run.run_id)
            if last and last.about == about and not _due(last, at):
                if last.waiting is None or last.waiting.updated_at <= now:  # threads may come in another order
                    last.waiting = status
                return False
            self._written[run.run_id] = _LastWrite(about, at)
            return self._write(run.run_id, status)

    def flush(self, *, now: str) -> int:
        """
        Write what waited for its second; return how many. To be called about once a second.

        Raises:
            WorkspaceError: One cannot be stored; it is not tried again before its next update.
        """
        written = 0
        at = datetime.fromisoformat(now)
        with self.root.status_lock:
            for run_id, last in [each for each in self._written.items() if _due(each[1], at)]:
                if last.waiting is None:
                    del self._written[run_id]  # its next update is due at once, if there is one
                    continue
                status, last.waiting, last.at = last.waiting, None, at
                written += self._write(run_id, status.model_copy(update={"updated_at": now}))
        return written

    def _write(self, run_id: str, status: StatusFile) -> bool:
        """Write *status* if it may be written."""
        standing = _standing(self.root, status)
        if isinstance(standing, _Strange) or (standing and standing.status.ended):
            self._written.pop(run_id, None)
            return False
        if standing and standing.status.stage > status.status.stage:
            earlier = {"status": standing.status, "started_at": status.started_at or standing.started_at}
            status = status.model_copy(update=earlier)
        return _store(self.root, status)


def end(
    root: Root, run: Run, *, warnings: tuple[str, ...], by: DaemonProcess, now: str, progress: Progress | None = None
) -> bool:
    """
    Write the status of the ended *run*; False where it stands there already, or rule 3 forbids.

    Budget and progress are taken over from what stands there. The ledger is the truth: another ended status is
    overwritten. Repeated by another process it leaves the file alone.

    Args:
        root: The workspace.
        run: With how it ended.
        warnings: What the person is to know.
        by: Who writes.
        now: RFC 3339.
        progress: How far it came, where that was not written before.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    with root.status_lock:
        status = build(run, live=Live(), by=by, now=now)
        standing = _standing(root, status)
        if isinstance(standing, _Strange):
            log.warning("status.submission_in_place", path=f"{JOBS}/{status.job_id}.json", run=run.run_id)
            return False
        status = status.model_copy(update={"notes": (*status.notes, *warnings)})
        if standing is not None and standing.input_digest == status.input_digest:
            earlier = {
                "budget": standing.budget,
                "progress": standing.progress,
                "model": status.model or standing.model,
            }
            status = status.model_copy(update=earlier)
            if progress is not None and not standing.status.ended:
                status = status.model_copy(update={"progress": progress})
            if standing.status.ended:
                before = [note for note in standing.notes if note not in status.notes]
                same = {"pid": standing.pid, "host": standing.host, "notes": (*status.notes, *before)}
                status = status.model_copy(update=same)
        return _store(root, status)


def lost(root: Root, status: StatusFile, *, why: str, now: str) -> bool:
    """
    End the *status* that goes on for a run that nobody knows any more; False where something else stands there now.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    ended = {"status": JobStatus.FAILED, "outcome": "error", "error": why, "completed_at": now, "updated_at": now}
    with root.status_lock:
        standing = _standing(root, status)
        if isinstance(standing, _Strange) or standing is None or standing.status.ended:
            return False
        return _store(root, standing.model_copy(update=ended))


def prune(root: Root, *, now: str, keep_days: float) -> int:
    """
    Remove the status files of runs that ended more than *keep_days* ago; return how many.

    Names that begin with a later time are not even looked at, so 100,000 young files cost one listing. What is no
    ended status stays: submissions, runs that go on or are held, other people's files.

    Raises:
        WorkspaceError: The folder cannot be read, or a file not removed.
    """
    cutoff = datetime.fromisoformat(now) - timedelta(days=keep_days)
    young = second(cutoff.astimezone(UTC).isoformat())
    removed = 0
    root.check()
    try:
        with safe_open.folder(root.path / JOBS, within=root.path) as jobs:
            for file in safe_open.names(jobs):
                if file.endswith(".json") and not _is_young(file, young) and _ended_before(jobs, file, cutoff):
                    os.unlink(file, dir_fd=jobs)
                    removed += 1
                    for beside in (file.removesuffix(".json") + ".cancel", file + REJECTED):
                        with suppress(FileNotFoundError):
                            os.unlink(beside, dir_fd=jobs)
    except FileNotFoundError:
        return removed
    except OSError as error:
        raise cannot("remove old status files in", root.path / JOBS, error) from error
    if removed:
        log.info("status.pruned", files=removed, keep_days=keep_days)
    return removed


def _is_young(file: str, young: str) -> bool:
    """Whether the name of *file* begins with a time that is not before *young*."""
    return _BEGINS_WITH_TIME.match(file) is not None and file >= young


def _ended_before(jobs: int, file: str, cutoff: datetime) -> bool:
    """Whether *file* is the status of a run that ended before *cutoff*."""
    try:
        if os.stat(file, dir_fd=jobs, follow_symlinks=False).st_mtime > cutoff.timestamp():
            return False
        status = read_status(
            safe_open.read_in(jobs, file, max_bytes=safe_open.MAX_BYTES), job_id=file.removesuffix(".json")
        )
        ended_at = status.completed_at or status.updated_at
        return status.status.ended and datetime.fromisoformat(ended_at) < cutoff
    except (OSError, InputError, ValueError, TypeError):  # gone, or no status file of ours
        return False


class _Strange:
    """In a status file's place stands a submission that its run does not answer."""


def _standing(root: Root, status: StatusFile) -> StatusFile | _Strange | None:
    """Return what stands where *status* is to go; None where nothing does, or nothing that counts."""
    path = root.path / JOBS / f"{status.job_id}.json"
    try:
        raw = safe_open.read(path, within=root.path, max_bytes=safe_open.MAX_BYTES)
    except OSError:  # a link, a folder: the write says what is to be done, where it matters
        return None
    if raw is None:
        return None
    try:
        standing = read_status(raw, job_id=status.job_id)
    except InputError:
        return None
    if standing.input_digest or digest(raw) == status.input_digest:
        return standing
    return _Strange()


def _store(root: Root, status: StatusFile) -> bool:
    """Write *status* into a workspace that is there, making `jobs/` where it is missing."""
    root.check()
    jobs = root.path / JOBS
    try:
        safe_open.make_folder(jobs, within=root.path)
    except OSError as error:
        raise cannot("make", jobs, error) from error
    return atomic.write(
        jobs / f"{status.job_id}.json", dump(status), within=root.path, question=root.path / status.input
    )
