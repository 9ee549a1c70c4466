"""A queue of runs in a dict: the port's meaning for one process, nothing durable."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import InputName
from rlmwatch.errors import LedgerError
from rlmwatch.execution.folder_history import ShownAnswer
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import Admission, Known, OnNewSave, Precedent
from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.save_filter import Ports


@dataclass
class MemoryQueue:
    """
    `known`, `note`, `admit`, `again`, `get`, `precedent` and `pending` of the port; the watcher needs no more.

    Attributes:
        broken: While set, `admit` fails as a full disk would make it.
        asked: How often `known` was asked.
    """

    inputs: dict[str, Known] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    broken: bool = False
    asked: int = 0

    async def known(self) -> dict[str, Known]:
        self.asked += 1
        return dict(self.inputs)

    async def note(self, path: str, known: Known) -> None:
        self.inputs[path] = known

    async def admit(self, save: Save, *, on_new_save: OnNewSave, now: str) -> Admission:
        if self.broken:
            raise LedgerError("no room")
        last = self.inputs.get(save.path)
        self.inputs[save.path] = Known(save.digest, save.signature)
        if last and last.digest == save.digest:
            return Admission(None)
        failed = Result(RunStatus.FAILED, Outcome.BAD_INPUT, error=save.problem) if save.problem else None
        run = Run(
            run_id=f"run-{len(self.runs)}",
            seq=len(self.runs),
            path=save.path,
            kind=save.kind,
            conversation=save.conversation,
            prompt=save.prompt,
            options=save.options,
            digest=save.digest,
            status=failed.status if failed else RunStatus.PENDING,
            created_at=now,
            result=failed,
        )
        replaced: tuple[Run, ...] = ()
        if on_new_save is not OnNewSave.QUEUE:
            replaced = tuple(r for r in await self.pending() if r.conversation == save.conversation)
            self.runs = [replace(r, status=RunStatus.CANCELLED) if r in replaced else r for r in self.runs]
        self.runs.append(run)
        self.saves.append(save)
        return Admission(run, replaced)

    async def precedent(self, save: Save) -> Precedent:
        waits = any(run.conversation == save.conversation for run in await self.pending())
        return Precedent(int(waits), any(run.digest == save.digest for run in self.runs))

    async def pending(self) -> list[Run]:
        return [run for run in self.runs if run.status is RunStatus.PENDING]

    async def get(self, run_id: str) -> Run | None:
        return next((run for run in self.runs if run.run_id == run_id), None)

    async def again(self, path: str) -> bool:
        if path not in self.inputs:
            return False
        self.inputs[path] = Known("", None)
        return True

    def prompts(self, path: str | None = None) -> list[str]:
        """Return what was admitted, in order, of one path or of all."""
        return [save.prompt for save in self.saves if path in (None, save.path)]


@dataclass
class Answered:
    """What the conversations' own files say was answered."""

    digests: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: InputName, digest: str, *, known: bool, wait: bool) -> ShownAnswer:
        self.asked.append(name.path)
        return ShownAnswer(self.digests.get(name.path) == digest, 0)


@dataclass
class Surroundings:
    """Everything around a watcher, and what it was told."""

    queue: MemoryQueue = field(default_factory=MemoryQueue)
    answered: Answered = field(default_factory=Answered)
    admissions: list[Admission] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    kinds: set[Kind] = field(default_factory=lambda: set(Kind))

    def _changed(self, path: str, seen: PathEvent) -> None:
        if path.startswith("jobs/"):
            self.jobs.append(path)

    def ports(self) -> Ports:
        queue: Any = self.queue  # a part of the port
        return Ports(
            queue=queue,
            shows=self.answered,
            on_admitted=self.admissions.append,
            accepts=self.kinds.__contains__,
            on_change=self._changed,
        )
