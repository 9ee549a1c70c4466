"""
What becomes of a job file that was read.

1. A submission is admitted; the ledger has the last word on whether it was before.
2. What cannot be answered is set aside and becomes a run that has failed: its status says why, and where the file is.
3. A webhook that the user does not allow is left out, and the status says so.
4. A status of ours that goes on for a run that the ledger does not know is ended: the ledger was lost.
5. A copy of another job's file is passed over, such as a sync tool makes of two versions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from rlmwatch import clock
from rlmwatch.contract.documents import read_status
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import JOBS, Submission
from rlmwatch.errors import InputError, WorkspaceError
from rlmwatch.execution.webhooks import refusal
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import OnNewSave, Queue
from rlmwatch.runs.submitted import NotASubmission
from rlmwatch.settings.model import Settings
from rlmwatch.submissions.cancellation import Cancellations, RunControl, reason
from rlmwatch.workspace import jobs
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.status import lost

BYTES_PER_MB = 1_000_000

LOST = "the record of this run is lost: rlmwatch has a new ledger. An input is asked again by itself, a job is not"

_MACHINE = re.compile(r"[A-Z][A-Z0-9-]*|.+-safeBackup-\d{4}")
"""What OneDrive puts between a name and its ending, for the second of two versions: the machine that had it."""

log = structlog.get_logger()


async def as_it_is(save: Save) -> Save:
    """Return *save*: nothing is looked for that it may mention."""
    return save


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What holds for submissions now.

    Attributes:
        max_bytes: Largest job file.
        accepts: Whether this version has a handler for a kind.
        refusal: Says why a webhook is not allowed; None where it is.
        host: This machine.
        webhook: Where a run of a kind reports that names no address; None for nowhere.
    """

    max_bytes: int
    accepts: Callable[[Kind], bool]
    refusal: Callable[[str], str | None]
    host: str
    webhook: Callable[[Kind], str | None] = field(default=lambda _kind: None)


def rules(settings: Settings, kinds: Collection[Kind], host: str) -> Rules:
    """Return what *settings* say of submissions, for a daemon that can answer *kinds* on *host*."""
    max_bytes = int(settings.max_input_mb * BYTES_PER_MB)
    webhooks = settings.webhooks
    return Rules(max_bytes, kinds.__contains__, partial(refusal, settings=webhooks), host, webhooks.url_for)


@dataclass(frozen=True, slots=True)
class SubmissionAdmission:
    """
    Admits what came into `jobs/`.

    Attributes:
        captured: Returns a save with what its preset and its schema say now.
        attach: Returns a save with what its task mentions.
    """

    root: Root
    queue: Queue
    supervisor: RunControl
    cancellations: Cancellations
    rules: Callable[[], Rules]
    captured: Callable[[Save], Awaitable[Save]]
    attach: Callable[[Save], Awaitable[Save]]

    async def take(self, name: Submission, raw: bytes, found: Save | NotASubmission, *, unknown: bool) -> None:
        """
        Take in what was *found* in the job file *name*, whose bytes are *raw*.

        Args:
            name: The job file.
            raw: Its bytes.
            found: What they are.
            unknown: Whether no run goes by that id, as far as is known.

        Raises:
            LedgerError, WorkspaceError: It is to be tried again.
        """
        if isinstance(found, Save) and (of := await self._copied(name, found)) is not None:
            found = NotASubmission(f"a copy of the file of job {of}", copy=True)
        if isinstance(found, Save):
            await self._admit(name, await self._judged(name, found))
            return
        if found.copy:
            log.info("job.passed_over", path=name.path, why=found.reason)
        elif unknown:
            await self._end_lost(name, raw)

    async def _copied(self, name: Submission, save: Save) -> str | None:
        """Return the job whose submission, byte for byte, lies here under a name that OneDrive makes."""
        for dash in re.finditer("-", name.job_id):
            of = name.job_id[: dash.start()]
            if of and _MACHINE.fullmatch(name.job_id[dash.end() :]):
                run = await self.queue.find(of)
                if run is not None and run.digest == save.digest:
                    return of
        return None

    async def _judged(self, name: Submission, save: Save) -> Save:
        """Return *save* as it is admitted: with a note on what is not allowed; what cannot be answered is set aside."""
        rules = self.rules()
        save = await self.attach(await self.captured(save))
        if save.problem is None and not rules.accepts(save.kind):
            save = replace(save, problem=f"this version cannot answer the kind {save.kind}")
        if save.problem is not None:
            digest = await asyncio.to_thread(jobs.digest_of, self.root.path, name.job_id)
            aside = await asyncio.to_thread(jobs.set_aside, self.root.path, name.job_id)
            problem = save.problem if aside is None else f"{save.problem}\nThe file is kept as {JOBS}/{aside}"
            return replace(
                save, kind=Kind.JOB, prompt="", options={}, enclosed={}, digest=digest or save.digest, problem=problem
            )
        webhook = save.enclosed.get("webhook")
        if webhook is not None and (refused := rules.refusal(webhook)) is not None:
            log.warning("webhook.refused", path=name.path, why=refused)
            rest = {key: value for key, value in save.enclosed.items() if key != "webhook"}
            return replace(save, enclosed={**rest, "notes": [*rest.get("notes", ()), refused]})
        if webhook is None and (usual := rules.webhook(save.kind)) is not None:
            return replace(save, enclosed={**save.enclosed, "webhook": usual})
        return save

    async def _admit(self, name: Submission, save: Save) -> None:
        now = clock.utc()
        admission = await self.queue.admit(save, on_new_save=OnNewSave.QUEUE, now=now)
        run = admission.run
        if run is None:
            known = await self.queue.find(name.job_id)
            log.info("job.known", path=name.path, digest=save.digest)
            if known is not None and known.status.ended and known.digest == save.digest:
                self.supervisor.publish(known)  # its status was overwritten, as sync tools do
            return
        log.info("save.admitted", path=save.path, run=run.run_id, kind=str(save.kind), problem=save.problem)
        if not run.status.ended and self.cancellations.wanted(name.job_id):
            ended = await self.queue.cancel(run.run_id, reason(name.job_id), now=now)
            admission = replace(admission, run=ended or run)
        self.supervisor.admitted(admission)

    async def _end_lost(self, name: Submission, raw: bytes) -> None:
        """End a status that goes on for a run of this machine that the ledger does not know (rule 4)."""
        with suppress(InputError, WorkspaceError):
            status = read_status(raw, job_id=name.job_id)
            ours = status.input_digest and status.host == self.rules().host
            goes_on = ours and not status.status.ended
            if goes_on and await asyncio.to_thread(lost, self.root, status, why=LOST, now=clock.utc()):
                log.warning("run.lost", path=status.input, run=name.job_id)
