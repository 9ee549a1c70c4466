"""
The loop that turns changes of the workspace into runs.

    observer ─ event ─▶ settled reader ─ content ─▶ save filter ─ save ─▶ ledger
                              ▲
    scan ───── differs ───────┘

Each input whose signature differs from the one that was read last counts as
being written. So the start, lost events, folders that appear, and folders
without events are one mechanism: a walk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.contract.names import CancelRequest, InputName, Submission, classify
from rlmwatch.errors import LedgerError, WorkspaceError
from rlmwatch.runs.model import Save, Signature
from rlmwatch.watch.mounts import Mounts, remote
from rlmwatch.watch.namesakes import Namesakes
from rlmwatch.watch.observer import Fault, Observer, PathEvent
from rlmwatch.watch.save_filter import Ports, SaveFilter, WatchConfig
from rlmwatch.watch.scan import skipped
from rlmwatch.watch.settled_reader import SettledReader
from rlmwatch.watch.still_typing import Typed
from rlmwatch.watch.walk import WHILE_UP, Walk, report, report_too_deep, report_unwatched, walk
from rlmwatch.watch.wrong_names import WrongNames
from rlmwatch.workspace.snapshot import Absent, Content, NotAFile, Unreadable

log = structlog.get_logger()

BROUGHT_AGAIN_S = 0.25
"""How often it is looked whether the answer of an input that was brought here has come too."""

RETRY_EVENTS_S = 60.0
"""How often watching is tried again where the kernel refused it; each try is a warning in the log."""


class Watcher:
    """
    Watches one workspace and admits its saves.

    Everything happens on the loop that made it, but reading and walking, which have a worker thread. `first_scan`
    comes first, then `run`; neither may run twice at once.

    Attributes:
        paused: Why nothing is read just now (the root is missing), for people; None while all is well.
    """

    def __init__(self, root: Path, config: WatchConfig, ports: Ports) -> None:
        self.paused: str | None = None
        self._root = root
        self._ports = ports
        self._filter = SaveFilter(config, ports, Namesakes(root))
        self._reader = SettledReader(root)
        self._wrong_names = WrongNames(root, lambda: self.config.name_notes)
        self._signatures: dict[str, Signature] = {}  # of every input as it was read last; a walk compares with it
        self._told: set[str] = set()  # of whose save it was said that the ledger cannot take it
        self._wake = asyncio.Event()
        self._resting = asyncio.Event()
        self._observer = Observer(root, wake=self._wake.set, skip=skipped)
        self._folders: set[str] = set()
        self._unlisted: set[str] = set()
        self._mounts = Mounts(root)
        self._too_deep = False  # some folders are, and that was said
        self._remote: str | None = None
        self._unwatched = 0
        self._begun_anew = False  # since watches were found missing
        self._check_at = self._rescan_at = self._retry_at = 0.0
        self._reason = "start"

    @property
    def config(self) -> WatchConfig:
        """The settings; may be replaced at any time, and then hold for the next content that is read."""
        return self._filter.config

    @config.setter
    def config(self, config: WatchConfig) -> None:
        self._filter.config = config

    @property
    def polling(self) -> bool:
        """Whether events cannot be relied on, so that the folder is walked every `poll_s`."""
        return bool(self._remote or self._unwatched or self._observer.fault)

    @property
    def at_rest(self) -> bool:
        """Whether everything that was seen so far was read and answered for: nothing waits (for `run --once`)."""
        busy = self._reader or self._folders or self._wrong_names.waiting
        return not (busy or self._rescan_at == 0.0 or self.paused)

    async def first_scan(self) -> int:
        """
        Begin to watch, walk the whole folder, and return how many inputs wait for an answer. Admits nothing.

        What is found here, and what changes from here on, is admitted by `run`. A missing root has no inputs: the
        watcher is paused, and `run` goes on when it appears.
        """
        await self._begin()
        return sum([1 async for _ in self._unanswered()])

    async def unanswered(self) -> list[Save]:
        """
        In place of `first_scan`, where nothing is to be admitted: return the saves that wait for an answer.

        One that is just being written is not among them.
        """
        await self._begin()
        return [save async for save in self._unanswered() if save is not None]

    async def under_its_name(self, save: Save) -> Save | None:
        """
        Return *save*, which somebody asked for, as other inputs of its name let it be (`SaveFilter.under_its_name`).

        Raises:
            LedgerError: What is known cannot be read, or a rename not be noted.
        """
        self._filter.knows(await self._ports.queue.known())
        return await self._filter.under_its_name(save)

    async def until_at_rest(self) -> None:
        """Return as soon as `run` has answered for everything that was seen (see `at_rest`)."""
        await self._resting.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Admit saves until *stop* is set; then the observer is stopped too."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                await self._sleep()
                now = clock.monotonic()
                self._take_events(now)
                await self._read_due()
                if not self.paused:
                    await self._wrong_names.tell(clock.monotonic())
                await self._check(now)
                await self._rescan(now)
                self._note_rest()
        finally:
            stopping.cancel()
            await self.stop()

    async def stop(self) -> None:
        """Stop watching. Idempotent; for a watcher whose `run` was never begun."""
        await asyncio.to_thread(self._observer.stop)

    async def alive(self) -> None:
        """Return once the threads that hear of changes have answered; at once where none runs."""
        await self._observer.alive()

    # The four inputs of the loop

    async def _sleep(self) -> None:
        """Wait for an event, the next timer, or stop."""
        timers = [self._check_at]
        if not self.paused:
            dues = (self._reader.next_due(), self._wrong_names.next_due())
            timers += [self._rescan_at, *(due for due in dues if due is not None)]
            timers += [0.0] if self._folders else []
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timers) - clock.monotonic()):
                await self._wake.wait()
        self._wake.clear()

    def _take_events(self, now: float) -> None:
        for path, event in self._observer.take().items():
            match event, classify(path):
                case PathEvent.RESCAN, _:
                    log.warning("watch.events_lost", done="rescan")
                    self._rescan_soon("overflow")
                case PathEvent.FOLDER, _:
                    self._folders.add(path)
                    self._ports.on_change(path, event)
                case PathEvent.GONE, InputName():
                    self._forget(path)
                    self._ports.on_change(path, event)
                case _, InputName():
                    self._reader.changed(path, event, now=now)
                case _, (Submission() | CancelRequest()):
                    self._ports.on_change(path, event)
                case _:
                    self._wrong_names.seen(path, event, now=now)

    async def _read_due(self) -> None:
        """Take care of one batch of the inputs that have come to rest."""
        if self.paused:
            return
        for settled in await self._reader.read(max_bytes=self.config.max_bytes):
            match settled.found:
                case Content() as content:
                    await self._offer(settled.path, content)
                case NotAFile() | Unreadable() as refused:
                    self._refuse(settled.path, refused)
                case Absent():
                    self._forget(settled.path)

    async def _check(self, now: float) -> None:
        """See that the root is still there, with what is mounted in it, and events still come; else begin anew."""
        if now < self._check_at:
            return
        self._check_at = now + self.config.check_s
        fault, mounted = await asyncio.to_thread(lambda: (self._observer.check(), self._mounts.changed()))
        if fault is Fault.ROOT_MISSING:
            self._pause()
        elif self.paused or fault not in (None, Fault.NOT_STARTED):
            log.warning("watch.restarted", root=str(self._root), reason=str(fault and fault.value))
            await self._start_events("restart")
        elif mounted:
            log.info("watch.mounts_changed", root=str(self._root), done="watching anew")
            await self._start_events("restart")
        elif (fault or self._unwatched) and now >= self._retry_at:
            await self._start_events("restart")

    async def _rescan(self, now: float) -> None:
        """Walk the whole folder where that is due, else the folders that appeared."""
        if self.paused or not (now >= self._rescan_at or self._folders):
            return
        whole = now >= self._rescan_at
        folders, self._folders = (set() if whole else self._folders), set()
        result = await asyncio.to_thread(walk, self._root, self._signatures, folders or {""})
        for found in result.differing:
            if found.name.path not in self._reader:
                self._reader.changed(found.name.path, PathEvent.WRITING, now=clock.monotonic())
        self._wrong_names.walked(result.near, result.notes, whole=whole, now=now)
        report(result, self._reason if whole else "folder", known=self._unlisted)
        if result.too_deep and not self._too_deep:
            report_too_deep(result)
        self._too_deep = bool(result.too_deep or (self._too_deep and not whole))
        if whole:
            self._unlisted = {folder.path for folder in result.unlisted}
            await self._after_whole_walk(result)

    # What follows from them

    async def _start_events(self, reason: str) -> None:
        await asyncio.to_thread(self._mounts.changed)  # what is mounted from here on is for the next check
        fault = await asyncio.to_thread(self._observer.restart)
        self._remote = await asyncio.to_thread(remote, self._root)
        self._reader.trust_leases = not self._remote
        self._retry_at = clock.monotonic() + RETRY_EVENTS_S
        if fault is Fault.ROOT_MISSING:
            self._pause()
            return
        if self._remote:
            log.warning("watch.remote_mount", type=self._remote, done="polling", every_s=self.config.poll_s)
        if self.paused:
            log.info("watch.resumed", root=str(self._root))
            self.paused = None
        self._rescan_soon(reason)

    def _pause(self) -> None:
        if self.paused is None:
            self.paused = f"the workspace {self._root} is missing"
            log.error("watch.paused", root=str(self._root), reason="missing", done="waiting for it to come back")
        self._reader.clear()

    def _rescan_soon(self, reason: str) -> None:
        self._rescan_at = 0.0
        self._reason = reason

    def _forget(self, path: str) -> None:
        self._reader.forget(path)
        self._signatures.pop(path, None)

    async def _begin(self) -> None:
        """Begin to watch, and walk the whole folder once."""
        await self._start_events("start")
        self._filter.knows(known := await self._ports.queue.known())
        self._signatures = {path: entry.signature for path, entry in known.items() if entry.signature}
        if not self.paused:
            await self._rescan(clock.monotonic())

    async def _unanswered(self) -> AsyncIterator[Save | None]:
        """Yield each new save among the paths that differ; None for one that is just being written."""
        async for path, found in self._reader.survey(max_bytes=self.config.max_bytes):
            save: Save | None = None
            match found:
                case Content() as content:
                    try:
                        save = await self._filter.open(path, content, at_start=True)
                    except WorkspaceError as error:  # `run` offers it again
                        log.error("save.not_admitted", path=path, reason=str(error), done="will be tried again")  # noqa: TRY400
                    else:
                        if save is None:
                            self._rests(path, content.signature)
                case NotAFile() | Unreadable() as refused:
                    self._refuse(path, refused)
                case Absent():
                    self._forget(path)
            if path in self._reader and (save is None or self._filter.is_new(save)):  # it is for `run`
                yield save

    def _refuse(self, path: str, refused: NotAFile | Unreadable) -> None:
        log.warning("save.refused", path=path, reason=refused.reason)
        lasting = isinstance(refused, NotAFile) or refused.lasting
        self._rests(path, refused.signature if lasting else None)

    async def _offer(self, path: str, content: Content) -> None:
        try:
            save, typed = await self._filter.open(path, content), Typed()
            if save is not None:
                typed = await self._filter.typed(save, content, now=clock.monotonic())
                if typed.rest_s and not self._reader.rests_for(path, typed.rest_s):
                    return
                save = save.continuing(typed.continues)
            if save and await self._filter.may_show_soon(save, now=clock.monotonic()):
                self._reader.look_again(path, at=clock.monotonic() + BROUGHT_AGAIN_S)
                return
            admission = await self._filter.admit(save) if save else None
        except (LedgerError, WorkspaceError) as error:
            log.error("save.not_admitted", path=path, reason=str(error), done="will be tried again")  # noqa: TRY400
            if isinstance(error, LedgerError):
                self._told.add(path)
                await self._ports.save_waits(path, str(error))
            self._reader.look_later(path)
            return
        if path in self._told:
            self._told.remove(path)
            await self._ports.save_waits(path, None)
        self._rests(path, content.signature)
        if save and admission and admission.run:
            self._filter.note_typed(save, content, typed, admission, now=clock.monotonic())
            self._reader.admitted(path)

    def _rests(self, path: str, signature: Signature | None) -> None:
        """Note that *path* was taken care of as it is in *signature*; None: the next walk is to look again."""
        self._reader.rests(path)
        if signature is None:
            self._signatures.pop(path, None)
        else:
            self._signatures[path] = signature

    def _note_rest(self) -> None:
        (self._resting.set if self.at_rest else self._resting.clear)()

    async def _after_whole_walk(self, result: Walk) -> None:
        if not result.unlisted:
            for path in [path for path in self._signatures if path not in result.present]:
                del self._signatures[path]
                if self._reason in WHILE_UP:
                    self._ports.on_change(path, PathEvent.GONE)
        self._ports.on_change("", PathEvent.RESCAN)
        lacking = 0 if self._observer.fault else await asyncio.to_thread(self._observer.unwatched, result.folders)
        if lacking and not self._begun_anew:  # a folder that may be read only now, or was just made, gets its watch so
            self._begun_anew = True
            await self._start_events("restart")
            return
        if lacking and not self._unwatched:
            report_unwatched(result, lacking)
        self._unwatched = lacking
        self._begun_anew = bool(lacking)
        every_s = self.config.poll_s if self.polling else self.config.rescan_s
        self._rescan_at = clock.monotonic() + result.pause_s(every_s, polling=self.polling)
        self._reason = "interval"
