"""
What stands between a settled content and the ledger.

A content becomes a run unless it is

1. not a save: blank, or without the ready marker;
2. of a kind that this version has no handler for;
3. answered already, as the conversation's own files show (a branch that was
   switched, a backup that was restored, a folder that came from another machine),
   unless it was asked for `again`, or an answer is under way that will change them;
4. the bytes that were admitted last on this path, or on the path that it had
   before (`namesakes.py`), the ledger's word, and the material that goes with
   them is the same too.

Where the name belongs to another conversation, which is written a little otherwise,
the run has failed at once, and says so.

A content that is still being typed rests longer first, and its run makes way for none but its own beginnings
(`still_typing.py`); not where the person has set `on_new_save` or `ready_marker`.

Every refusal is logged with its reason. A content that may be about to show as
answered waits a moment: a sync tool, git, or who renames a folder file by file,
may bring the state file after the input.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import InputName, input_name
from rlmwatch.contract.text import decode, is_blank
from rlmwatch.runs.model import Save, Signature
from rlmwatch.runs.queue import Admission, Known, OnNewSave, Queue
from rlmwatch.runs.saved import NotASave, to_save
from rlmwatch.watch.namesakes import Namesakes, Renamed, Taken
from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.still_typing import Typed, Typing, Written
from rlmwatch.workspace.snapshot import Content

log = structlog.get_logger()

BROUGHT_S = 3.0
"""How long the state file may come after an input that was brought, or has a new name; sync tools take 1 or 2 s."""

WRITTEN_S = 0.5
"""
The same where a known input was written here and now, with bytes that were asked before: git and `cp` write the files
of a folder within milliseconds, and a person says "go on" more than once.
"""

BROUGHT_NS = 2_000_000_000
"""
A file whose content is this much older than its last change of any kind was renamed, restored, or copied with
its times. What a person saves has both times at once. Both are the file system's: no clock is compared with another.
FAT keeps times to 2 s.
"""

TYPED_BYTES = 200_000
"""Nobody types a text that is longer; it need not be compared, which would take time of the loop."""

SAME_BYTES_CURE = "to ask it once more, change anything, or: rlmwatch again {}"

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
        webhook: Where a run of a kind reports its end; None for nowhere.
        name_notes: Whether a note is written beside a file whose name looks meant for us.
        sees_typing: Whether a text that keeps growing counts as one question that is still typed.
    """

    ready_marker: str | None = None
    max_bytes: int = MAX_INPUT_BYTES
    on_new_save: OnNewSave = OnNewSave.QUEUE
    check_s: float = 2.0
    rescan_s: float = 60.0
    poll_s: float = 5.0
    webhook: Callable[[Kind], str | None] = field(default=lambda _kind: None)
    name_notes: bool = True
    sees_typing: bool = True


async def _without_material(_save: Save) -> bool:
    return False


async def _uncounted(_path: str) -> None:
    """Nobody counts them."""


async def _untold(_path: str, _why: str | None) -> None:
    return None


async def _as_it_is(save: Save) -> Save:
    return save


class Shown(Protocol):
    """What the folder shows of an input: whether these bytes were answered last, and the highest number of a save."""

    @property
    def answered(self) -> bool: ...  # noqa: D102

    @property
    def number(self) -> int: ...  # noqa: D102


class Shows(Protocol):
    """Asks the conversation's own files about the bytes *digest* of an input, whose path the ledger knows or not."""

    async def __call__(self, name: InputName, digest: str, *, known: bool, wait: bool) -> Shown:
        """
        Return what they show. Without *wait*, what takes long to read is left out while it is not read yet.

        Raises:
            WorkspaceError, LedgerError: They cannot be read now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """
    What the watcher needs of the program around it.

    Attributes:
        queue: The ledger's runs.
        shows: What the conversation's own files show of a content.
        on_admitted: Called with every new run, at once, on the loop.
        accepts: Whether this version has a handler for a kind.
        on_change: Called with what is for others to judge: submissions and cancel requests that change below `jobs/`
            (and our own status files, which have the same names), inputs that are gone, folders that appear; and, by a
            RESCAN of `""`, that the whole folder was walked and events may have been lost.
        material_changed: Whether the material of a save of known bytes is another than when it was asked.
        on_same_bytes: Called with the path of a save that is not asked, since its bytes were.
        captured: Returns a save with what its preset and its schema say now.
        save_waits: Is told, for the person, why the save of a path cannot be admitted now; None once it was.
        attach: Returns a save with what its question mentions, as that is now.
    """

    queue: Queue
    shows: Shows
    on_admitted: Callable[[Admission], None]
    accepts: Callable[[Kind], bool]
    on_change: Callable[[str, PathEvent], None]
    material_changed: Callable[[Save], Awaitable[bool]] = field(default=_without_material)
    on_same_bytes: Callable[[str], Awaitable[None]] = field(default=_uncounted)
    save_waits: Callable[[str, str | None], Awaitable[None]] = field(default=_untold)
    attach: Callable[[Save], Awaitable[Save]] = field(default=_as_it_is)
    captured: Callable[[Save], Awaitable[Save]] = field(default=_as_it_is)


@dataclass(slots=True)
class SaveFilter:
    """
    Contents in, runs out.

    Attributes:
        config: May be replaced at any time.
    """

    config: WatchConfig
    _ports: Ports
    _names: Namesakes
    _digests: dict[str, str] = field(default_factory=dict)
    _awaited: dict[str, tuple[str, float]] = field(default_factory=dict)  # what waits: its digest, and until when
    _typing: Typing = field(default_factory=Typing)

    def knows(self, known: Mapping[str, Known]) -> None:
        """Take over what the ledger knows."""
        self._digests = {path: entry.digest for path, entry in known.items()}
        self._names.know(self._digests)

    def is_new(self, save: Save) -> bool:
        """Whether *save* is, as far as is known here, not the one admitted last on its path."""
        return self._digests.get(save.path) != save.digest

    async def open(self, path: str, content: Content, *, at_start: bool = False) -> Save | None:
        """
        Return *content* of the input *path* as a save; None where rules 1 to 3 are against it. Admits nothing.

        A refusal is logged, and noted in the ledger where it holds for good.

        Args:
            path: The input.
            content: All of it.
            at_start: Whether it may have been there long before this program.

        Raises:
            ValueError: *path* is not an input's.
            WorkspaceError, LedgerError: It cannot be known now, or a refusal not be noted.
        """
        name, config = input_name(path), self.config
        if name is None:
            raise ValueError(f"{path!r} is not an input")
        read = to_save(
            name, content.raw, content.signature, ready_marker=config.ready_marker, max_bytes=config.max_bytes
        )
        if isinstance(read, NotASave):
            await self._refuse(name, content, read)
            return None
        if not self._ports.accepts(read.kind):
            log.info("save.unsupported", path=name.path, kind=str(read.kind), done="left for a version that has one")
            return None
        if (save := await self.under_its_name(read)) is None:
            return None
        # A file that was written just now is no old question: it need not wait until all status files are read.
        wait = at_start or _brought(content.signature)
        shown = await self._ports.shows(name, save.digest, known=path in self._digests, wait=wait)
        if shown.answered and self._is_another(save) and not await self._changes_soon(save, shown.number):
            await self._note(path, Known(save.digest, content.signature))
            self._awaited.pop(path, None)
            log.info("save.already_answered", path=path, digest=save.digest)
            return None
        save = await self._ports.captured(save)
        url = config.webhook(save.kind)
        return replace(
            save, after=shown.number, enclosed=save.enclosed if url is None else {**save.enclosed, "webhook": url}
        )

    async def may_show_soon(self, save: Save, *, now: float) -> bool:
        """
        Whether *save* is to wait, and be opened again a little later: its answer may be on its way into the folder.

        Never for what a person writes new: only for bytes that were asked before, and for a file that was brought.

        Raises:
            LedgerError: It cannot be known now.
        """
        digest, until = self._awaited.get(save.path, ("", now))
        if digest != save.digest:
            if not self._is_another(save) or not (_brought(save.signature) or await self._asked_before(save)):
                return False
            written_here = save.path in self._digests and not _brought(save.signature)
            until = now + (WRITTEN_S if written_here else BROUGHT_S)
            self._awaited[save.path] = (save.digest, until)
        if now < until:
            return True
        del self._awaited[save.path]
        return False

    async def typed(self, save: Save, content: Content, *, now: float) -> Typed:
        """
        Return what *save*, of *content*, is to those before it on its path: typing, or not (`still_typing.py`).

        Raises:
            LedgerError: It cannot be known now whether those were answered.
        """
        if save.path not in self._typing or not self._sees_typing(save, content):
            return Typed()
        written = _written(save, content)
        earlier = self._typing.grows_from(save.path, written, now=now)
        if earlier is None:
            return Typed()
        run = await self._ports.queue.get(earlier)
        answered = run is not None and run.published and run.result is not None and run.result.answer is not None
        typed = self._typing.judge(save.path, written, answered=answered, now=now)
        # A sync tool has waited for a rest itself, and brings the next save later than we would wait for.
        return replace(typed, rest_s=0.0) if _brought(save.signature) else typed

    def note_typed(self, save: Save, content: Content, typed: Typed, admission: Admission, *, now: float) -> None:
        """Note what *save* was admitted as: the next one on its path may go on with it."""
        run = admission.run
        if run is not None and self._sees_typing(save, content):
            written = _written(save, content)
            self._typing.admitted(save.path, written, typed, run_id=run.run_id, number=run.number, now=now)

    def _sees_typing(self, save: Save, content: Content) -> bool:
        return self.config.sees_typing and save.problem is None and len(content.raw) <= TYPED_BYTES

    def _is_another(self, save: Save) -> bool:
        """Whether *save* differs from the last one on its path, and nobody asked for that `again`."""
        return self._digests.get(save.path) not in ("", save.digest)

    async def _changes_soon(self, save: Save, number: int) -> bool:
        """Whether an answer is under way that will change what lies beside *save*, which is of the save *number*."""
        return save.path in self._digests and (await self._ports.queue.precedent(save)).open > number

    async def _asked_before(self, save: Save) -> bool:
        precedent = await self._ports.queue.precedent(save)
        return precedent.asked_before and precedent.open == 0

    async def admit(self, save: Save) -> Admission:
        """
        Hand *save* to the ledger, which has the last word on rule 4.

        Raises:
            LedgerError, WorkspaceError: It was not admitted, and should be offered again.
        """
        save = await self._ports.attach(save)
        admission = await self._ports.queue.admit(save, on_new_save=self.config.on_new_save, now=clock.utc())
        self._digests[save.path] = save.digest
        self._names.know([save.path])
        if admission.run is None and await self._ports.material_changed(save):
            await self._ports.queue.again(save.path)
            admission = await self._ports.queue.admit(save, on_new_save=self.config.on_new_save, now=clock.utc())
        if admission.run is None:
            log.info("save.same_bytes", path=save.path, digest=save.digest, cure=SAME_BYTES_CURE.format(save.path))
            await self._ports.on_same_bytes(save.path)
            return admission
        log.info(
            "save.admitted",
            path=save.path,
            run=admission.run.run_id,
            kind=str(save.kind),
            problem=save.problem,
            continues=save.continues,
            replaced=[run.run_id for run in admission.replaced],
        )
        self._ports.on_admitted(admission)
        return admission

    async def under_its_name(self, save: Save) -> Save | None:
        """
        Return *save* as other inputs of its name let it be; None where it was renamed and is known.

        Raises:
            LedgerError: The rename could not be noted.
        """
        if not self._names.others(save.path):
            return save
        match await asyncio.to_thread(self._names.judge, save.path):
            case Renamed(before):
                digest = self._digests.pop(before, "")
                if not digest:  # moved on already, or to be asked again
                    self._names.forget(before)
                    return save
                same = digest == save.digest
                await self._note(save.path, Known(digest, save.signature if same else None))
                await self._ports.queue.note(before, Known("", None))
                self._names.forget(before)
                log.info("save.renamed", path=save.path, before=before, digest=digest)
                return None if same else save
            case Taken(by):
                return replace(save, prompt="", options={}, problem=_taken(save.path, by))
            case None:
                return save

    async def _refuse(self, name: InputName, content: Content, refusal: NotASave) -> None:
        log.info("save.skipped", path=name.path, reason=refusal.reason, cure=refusal.cure)
        # A path that the ledger does not know stays so, or nobody would ask what was answered there (rule 3). And
        # what is not a save because the marker is missing may become one by a change of the setting alone.
        if name.path in self._digests and is_blank(content.raw):
            await self._note(name.path, Known(self._digests[name.path], content.signature))

    async def _note(self, path: str, known: Known) -> None:
        await self._ports.queue.note(path, known)
        self._digests[path] = known.digest
        self._names.know([path])


def _written(save: Save, content: Content) -> Written:
    return Written(save.digest, save.options, save.prompt, decode(content.raw))


def _brought(signature: Signature | None) -> bool:
    """Whether the file of *signature* came with a content that was written elsewhere or earlier."""
    return signature is not None and signature.ctime_ns - signature.mtime_ns >= BROUGHT_NS


def _taken(path: str, by: str) -> str:
    return (
        f"{path} was not asked: its name differs only in letter case or in how its accents are stored from {by}, which "
        "is a conversation already; on many systems the two are one file. Give one of them another name"
    )
