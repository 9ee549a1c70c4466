"""
Several folders, one daemon: one process, each folder with its own ledger, lock, settings and health.

What the folders have in common stands in `shared_parts.py`. The rules are

1. A folder that cannot be served (missing, held by another daemon, wrong settings) is said, and tried again; it does
   not stop the others.
2. One of which nothing was heard for `up_within_s` (its disk does not answer) is said, and waited for; the service
   manager hears that the others are ready.
3. Of two folders, one in the other, the outer one is served, and the inner one's questions are answered there.
4. A reload takes up what was added to or taken out of `workspaces` in the user's `config.toml`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from rlmwatch import clock
from rlmwatch.contract.documents import StatusFile
from rlmwatch.daemon.builder import Parts
from rlmwatch.daemon.composition import App, Role
from rlmwatch.daemon.descriptors import raise_soft_limit
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.own_thread import in_own_thread
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.reloading import note, take_up
from rlmwatch.daemon.service import TICK_S, StartOptions, begin, serve_folder, tick
from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.daemon.show_page import page_beside
from rlmwatch.daemon.signals import Signals
from rlmwatch.daemon.systemd import Manager
from rlmwatch.errors import ConfigError, RlmwatchError, UsageError
from rlmwatch.settings.sources import load, user_config_dir
from rlmwatch.settings.user_folders import expanded
from rlmwatch.settings.workspace_file import WORKSPACE_FILE

NO_METRICS = "metrics are of one folder, and this process serves several; run `rlmwatch run` for each to have them"
RETRY_S = 10.0
"""Between two tries of a folder that could not be served."""
RESOLVE_S = 5.0
"""For which all folders wait to learn where the name of one leads, whose disk may not answer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FolderManager(Manager):
    """
    The service manager as one of the folders sees it.

    Attributes:
        on_ready: Is given how the folder stands, once that is known, and when it changes.
        on_ping: Is told that all parts of the folder's program are alive.
    """

    on_ready: Callable[[str], object] = field(default=lambda _status: None)
    on_ping: Callable[[], None] = field(default=lambda: None)

    def ready(self, status: str) -> None:
        """Note how the folder stands."""
        self.on_ready(status)

    def ping(self) -> None:
        """Note that the folder's program is alive."""
        self.on_ping()


@dataclass(slots=True)
class FolderDaemon:
    """
    One of the folders.

    Attributes:
        root: As it was named, whole.
        options: For the next try.
        since: When it was taken up, in monotonic seconds.
        stop: Set where it is to be served no longer.
        app: Its program, once that has begun; None while there is none.
        standing: How it stands, in words; `""` until that is known.
        is_alive: Whether its program has shown a sign of life since the service manager was pinged last.
    """

    root: Path
    options: StartOptions
    since: float
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    app: App | None = None
    standing: str = ""
    is_alive: bool = False
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class SeveralFolders:
    """
    Serves folders side by side.

    Attributes:
        named: The folders of the command line; none for those of the user's `workspaces`.
        options: How the person started it: said of the folders that are there at the start.
        flags: Settings of the command line, over all others.
        environ: Where variables are looked up.
        manager: The service manager.
        redactor: Takes secrets out of the log.
        tell: Is told the page's address; None where nobody reads along.
        statuses_of: Returns what is given each status of a run in a folder, from any thread; None where nobody looks.
        on_served: Is told which program serves a folder, and None where none does any more.
        up_within_s: For so long a folder may stand nowhere before the others are ready without it.
    """

    named: Sequence[Path]
    options: StartOptions
    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    manager: Manager
    redactor: Redactor
    tell: Callable[[str], None] | None = None
    statuses_of: Callable[[Path], Callable[[StatusFile], None]] | None = None
    on_served: Callable[[Path, App | None], None] = field(default=lambda _root, _app: None)
    up_within_s: float = 30.0
    _shared: SharedParts = field(default_factory=SharedParts)
    _folders: dict[Path, FolderDaemon] = field(default_factory=dict)
    _places: dict[Path, Path] = field(default_factory=dict)
    _left: set[Path] = field(default_factory=set)
    _again: asyncio.Event = field(default_factory=asyncio.Event)
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self, stop: asyncio.Event) -> None:
        """
        Serve all of them until *stop*.

        Raises:
            ConfigError: The user's own settings are wrong.
        """
        raise_soft_limit()
        wanted = await self._wanted()
        try:
            with Signals(self.reload, stop, self.manager):
                self._take_up(wanted, self.options)
                self._report()
                while not await tick(stop, TICK_S):
                    self._ping()
                    self._name_those_not_up()
        finally:
            await asyncio.gather(*(self._leave(folder) for folder in self._folders.values()))
            await self._shared.aclose()
        self.manager.stopping()
        log.info("stopped")

    async def reload(self) -> None:
        """Read the settings of all folders again, and which folders there are; those that failed are tried at once."""
        async with self._reloading:  # a program may send a signal for each of its folders
            await self._reload()

    async def _reload(self) -> None:
        self.manager.reloading(clock.monotonic())
        try:
            wanted = await self._wanted()
        except ConfigError as error:
            log.error("reload.failed", why=str(error), done="the last good settings stay")  # noqa: TRY400 (a person's matter)
            wanted = list(self._folders)
        gone = [root for root in self._folders if root not in wanted]
        gone += [root for root in self._folders if _outer(root, wanted) and not _outer(root, self._folders)]
        self._left |= set(gone)
        await asyncio.gather(*(self._leave(self._folders.pop(root)) for root in dict.fromkeys(gone)))
        await asyncio.gather(*(self._read_again(each.root, each.app) for each in self._folders.values() if each.app))
        self._take_up(wanted, StartOptions())
        again, self._again = self._again, asyncio.Event()
        again.set()
        self._report()

    async def _read_again(self, root: Path, app: App) -> None:
        """Read the settings of a folder again; nobody waits for long for one whose disk does not answer."""
        structlog.contextvars.bind_contextvars(workspace=str(root))
        try:
            async with asyncio.timeout(self.up_within_s):
                await take_up(app)
        except TimeoutError:
            log.error("reload.failed", why=self._not_up(), done="the last good settings stay")  # noqa: TRY400

    async def _wanted(self) -> list[Path]:
        """
        Return the folders to be served, each once.

        Raises:
            ConfigError: The user's own settings are wrong.
        """

        def named() -> list[Path]:
            user_dir = user_config_dir(self.environ)
            loaded = load(user_dir=user_dir, workspace=None, environ=self.environ, flags=self.flags)
            return [expanded(path).absolute() for path in self.named or loaded.settings.workspaces]

        return list(dict.fromkeys(await asyncio.gather(*map(self._resolved, await asyncio.to_thread(named)))))

    async def _resolved(self, path: Path) -> Path:
        """Return *path* without links; as it was last, or is, where its disk does not answer."""
        with suppress(OSError, RuntimeError):  # whoever serves it says what is wrong
            async with asyncio.timeout(RESOLVE_S):
                self._places[path] = await in_own_thread(path.resolve)
        return self._places.get(path, path)

    def _take_up(self, wanted: Sequence[Path], options: StartOptions) -> None:
        for root in wanted:
            if root not in self._folders:
                folder = self._folders[root] = FolderDaemon(root, options, clock.monotonic())
                folder.task = asyncio.create_task(self._keep(folder))
        if not wanted:
            log.warning("workspaces.none", cure="write folders into `workspaces` in your config.toml, and reload")

    async def _leave(self, folder: FolderDaemon) -> None:
        """Serve *folder* no longer; runs that go on are ended as at a stop of the daemon."""
        folder.stop.set()
        if folder.task is not None:
            if folder.app is None:  # it waits for something, which may take long
                folder.task.cancel()
            await asyncio.gather(folder.task, return_exceptions=True)
        log.info("workspace.left", workspace=str(folder.root))

    async def _keep(self, folder: FolderDaemon) -> None:
        """Serve *folder* until it is left; where that fails, again after `RETRY_S` or at a reload."""
        structlog.contextvars.bind_contextvars(workspace=str(folder.root))
        while not folder.stop.is_set():
            fault = None
            try:
                await self._serve(folder)
                continue
            except (RlmwatchError, OSError) as error:
                why = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 (logged where it is news)
                why, fault = f"a fault in rlmwatch: {type(error).__name__}: {error}", error
            finally:
                folder.app = None
            if self._stands(folder, f"not served: {why}"):
                if fault is not None:
                    log.error("workspace.fault", exc_info=fault)
                log.warning("workspace.not_served", workspace=str(folder.root), why=why, again_in_s=RETRY_S)
            await self._until_again(folder)

    async def _serve(self, folder: FolderDaemon) -> None:
        options, folder.options = folder.options, replace(folder.options, take_over=False)
        if (outer := _outer(folder.root, self._folders)) is not None:
            raise UsageError(
                f"{folder.root} lies in {outer}, which is served instead: its questions are answered there, unless "
                f"{folder.root / WORKSPACE_FILE} names a host. Take one of the two out of the list."
            )
        paths = await in_own_thread(lambda: locate(folder.root, self.environ))
        app = App(
            paths,
            environ=self.environ,
            flags=self.flags,
            parts=Parts(
                shared=self._shared,
                on_status=None if self.statuses_of is None else self.statuses_of(folder.root),
                left_out=self._left | self._folders.keys(),
            ),
            redactor=self.redactor,
            role=Role.DAEMON,
        )
        manager = FolderManager(
            self.manager.address,
            self.manager.watchdog_s,
            on_ready=lambda status: self._stands(folder, status),
            on_ping=lambda: setattr(folder, "is_alive", True),
        )
        async with app, page_beside(app, self.tell):
            await begin(app, options)
            await note(app)
            if (metrics := app.config.loaded.settings.metrics) is not None:
                log.warning("metrics.unavailable", at=metrics, why=NO_METRICS, done="the folder is served without")
            folder.app = app
            self.on_served(folder.root, app)
            try:
                await serve_folder(app, folder.stop, options=options, manager=manager)
            finally:
                self.on_served(folder.root, None)

    async def _until_again(self, folder: FolderDaemon) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (folder.stop, self._again)]
        await asyncio.wait(waits, timeout=RETRY_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _stands(self, folder: FolderDaemon, standing: str) -> bool:
        """Note how *folder* stands; return whether that is news."""
        if standing == folder.standing:
            return False
        folder.standing = standing
        self._report()
        return True

    def _name_those_not_up(self) -> None:
        """Say which folders stand nowhere yet, and wait for them no longer."""
        for folder in self._folders.values():
            if not folder.standing and clock.monotonic() >= folder.since + self.up_within_s:
                self._stands(folder, f"not served: {self._not_up()}")
                log.warning("workspace.not_served", workspace=str(folder.root), why=self._not_up())

    def _not_up(self) -> str:
        return f"nothing was heard of it for {self.up_within_s:g} s: its disk does not answer, or is very slow"

    def _report(self) -> None:
        """Tell the service manager how the folders stand, once that is known of each."""
        folders = list(self._folders.values())
        if all(folder.standing for folder in folders):
            served = [folder for folder in folders if folder.standing.startswith("watching ")]
            others = [f"{folder.root}: {folder.standing.splitlines()[0]}" for folder in folders if folder not in served]
            self.manager.ready("; ".join([f"watching {len(served)} of {len(folders)} folders", *others]))

    def _ping(self) -> None:
        """Ping the service manager where every program that runs has shown a sign of life since the last time."""
        running = [folder for folder in self._folders.values() if folder.app is not None]
        if self.manager.address is not None and all(folder.is_alive for folder in running):
            self.manager.ping()
            for folder in running:
                folder.is_alive = False


def _outer(root: Path, folders: Iterable[Path]) -> Path | None:
    """Return which of *folders* the folder *root* lies in; None where it lies in none."""
    return next((other for other in folders if other in root.parents), None)
