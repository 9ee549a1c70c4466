"""
What stands between a settled content and the ledger.

A content becomes a run unless it is

1. not a save: blank, or without the ready marker;
2. of a kind that this version has no handler for;
3. answered already, where the ledger knows nothing of the path: the digests in
   the conversation's own files are asked (an empty or lost ledger, a folder
   that came from another machine);
4. the bytes that were admitted last on this path, the ledger's word, and the
   material that goes with them is the same too.

Every refusal is logged with its reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import InputName, input_name
from rlmwatch.contract.text import is_blank
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import Admission, Known, OnNewSave, Queue
from rlmwatch.runs.saved import NotASave, to_save
from rlmwatch.watch.observer import PathEvent
from rlmwatch.workspace.snapshot import Content

log = structlog.get_logger()

MAX_INPUT_BYTES = 10_000_000
"""`max_input_mb` of the file contract: long material belongs in the data file."""


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """
    What a person may set about watching.

    Attributes:
        ready_marker: Last non-blank line that makes a content a save; None for off.
        max_bytes: Largest input.
        on_new_save: What a later save does to earlier runs of its conversation.
        check_s: Seconds between two looks at the root and the threads; a missing root is seen that late.
        rescan_s: Seconds between two walks where events work, at least (`Walk.pause_s`): a safety net, 30 ms for
            20,000 names.
        poll_s: Seconds between two walks where they do not (network mounts, no watch left), at least.
    """

    ready_marker: str | None = None
    max_bytes: int = MAX_INPUT_BYTES
    on_new_save: OnNewSave = OnNewSave.QUEUE
    check_s: float = 2.0
    rescan_s: float = 60.0
    poll_s: float = 5.0


async def _without_material(_save: Save) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Ports:
    """
    What the watcher needs of the program around it.

    Attributes:
        queue: The ledger's runs.
        answered: Digest of the input that the conversation's files say was answered last, or None. Asked only for
            paths that the ledger does not know. Must not raise.
        on_admitted: Called with every new run, at once, on the loop.
        accepts: Whether this version has a handler for a kind.
        on_change: Called with what is for others to judge: submissions and cancel requests that change below `jobs/`
            (and our own status files, which have the same names), inputs that are gone, folders that appear; and, by a
            RESCAN of `""`, that the whole folder was walked and events may have been lost.
        material_changed: Whether the material of a save of known bytes is another than when it was asked.
    """

    queue: Queue
    answered: Callable[[InputName], Awaitable[str | None]]
    on_admitted: Callable[[Admission], None]
    accepts: Callable[[Kind], bool]
    on_change: Callable[[str, PathEvent], None]
    material_changed: Callable[[Save], Awaitable[bool]] = field(default=_without_material)


@dataclass(slots=True)
class SaveFilter:
    """
    Contents in, runs out.

    Attributes:
        config: May be replaced at any time.
    """

    config: WatchConfig
    _ports: Ports
    _digests: dict[str, str] = field(default_factory=dict)

    def knows(self, known: Mapping[str, Known]) -> None:
        """Take over what the ledger knows."""
        self._digests = {path: entry.digest for path, entry in known.items()}

    def is_new(self, save: Save) -> bool:
        """Whether *save* is, as far as is known here, not the one admitted last on its path."""
        return self._digests.get(save.path) != save.digest

    async def open(self, path: str, content: Content) -> Save | None:
        """
        Return *content* of the input *path* as a save; None where rules 1 to 3 are against it. Admits nothing.

        A refusal is logged, and noted in the ledger where it holds for good.

        Raises:
            ValueError: *path* is not an input's.
            LedgerError: A refusal could not be noted.
        """
        name, config = input_name(path), self.config
        if name is None:
            raise ValueError(f"{path!r} is not an input")
        save = to_save(
            name, content.raw, content.signature, ready_marker=config.ready_marker, max_bytes=config.max_bytes
        )
        if isinstance(save, NotASave):
            await self._refuse(name, content, save)
            return None
        if not self._ports.accepts(save.kind):
            log.info("save.unsupported", path=name.path, kind=str(save.kind), done="left for a version that has one")
            return None
        if name.path not in self._digests and await self._ports.answered(name) == save.digest:
            await self._note(name.path, Known(save.digest, content.signature))
            log.info("save.already_answered", path=name.path, digest=save.digest)
            return None
        return save

    async def admit(self, save: Save) -> Admission:
        """
        Hand *save* to the ledger, which has the last word on rule 4.

        Raises:
            LedgerError: It was not admitted, and should be offered again.
        """
        admission = await self._ports.queue.admit(save, on_new_save=self.config.on_new_save, now=clock.utc())
        self._digests[save.path] = save.digest
        if admission.run is None and await self._ports.material_changed(save):
            await self._ports.queue.again(save.path)
            admission = await self._ports.queue.admit(save, on_new_save=self.config.on_new_save, now=clock.utc())
        if admission.run is None:
            log.info("save.same_bytes", path=save.path, digest=save.digest)
            return admission
        log.info(
            "save.admitted",
            path=save.path,
            run=admission.run.run_id,
            kind=str(save.kind),
            problem=save.problem,
            replaced=[run.run_id for run in admission.replaced],
        )
        self._ports.on_admitted(admission)
        return admission

    async def _refuse(self, name: InputName, content: Content, refusal: NotASave) -> None:
        log.info("save.skipped", path=name.path, reason=refusal.reason)
        # A path that the ledger does not know stays so, or nobody would ask what was answered there (rule 3). And
        # what is not a save because the marker is missing may become one by a change of the setting alone.
        if name.path in self._digests and is_blank(content.raw):
            await self._note(name.path, Known(self._digests[name.path], content.signature))

    async def _note(self, path: str, known: Known) -> None:
        await self._ports.queue.note(path, known)
        self._digests[path] = known.digest
