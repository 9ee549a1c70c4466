"""
Whether this daemon answers in its workspace: `rlmwatch.toml` names this host, and can be understood.

1. The file is read again only after it has changed, in a worker thread.
2. Where it is wrong, what was last known holds: whoever answered goes on, with the last good settings. Where nothing
   is known yet this daemon answers nothing, since neither `host` nor the caps are known.
3. Where it is to be moved to this host (`--take-over`) and is wrong, it is moved when it is right.
4. What is wrong stands in the log and in `rlmwatch_error.txt` beside the file until it is fixed. Then the settings are
   read again, without being asked.
5. Where it sets something else than what holds, the settings are read again once it was the same at two looks: an
   editor may empty the file before it writes it. Another `host` alone, which the daemon writes itself, changes no
   settings; nor does a file that is missing: the disk may be.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.reloading import take_up
from rlmwatch.errors import ConfigError, WorkspaceError
from rlmwatch.runs.model import Signature
from rlmwatch.settings.sources import values_of
from rlmwatch.settings.workspace_file import WORKSPACE_FILE, parse, read_text
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.hosts import Host, Mine, Theirs, host_rule, take_over
from rlmwatch.workspace.snapshot import look

ERROR_FILE = "rlmwatch_error.txt"
AFTERWARDS = "rlmwatch reads the file again by itself when it has changed."

log = structlog.get_logger()


@dataclass(slots=True)
class HostTurn:
    """
    Whose turn it is in the workspace of *app*.

    Attributes:
        other: The other host that answers here; None where it is this one.
        problem: What is wrong with the workspace's settings; None where nothing is.
        taking_over: Whether the folder is still to be moved to this host.
    """

    app: App
    other: Host | None = None
    problem: str | None = None
    taking_over: bool = False
    _known: bool = False
    _read: bool = False
    _at_rest: bool = False
    _signature: Signature | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows yet who answers here, and under which caps."""
        return self.problem is not None and not self._known

    def take_over(self) -> None:
        """
        Move the folder to this host; where its file is wrong, `look` does it when that is right.

        Raises:
            WorkspaceError: The file cannot be written.
        """
        self.taking_over = True
        with suppress(ConfigError):
            move_here(self.app)
            self.taking_over = False

    def _rule(self) -> Mine | Theirs:
        if self.taking_over:
            self.take_over()
        return host_rule(self.app.paths.root, self.app.me, now=clock.utc())

    async def look(self) -> None:
        """Look whether the file has changed, and take over what it says. Costs some 0.2 ms where it has not."""
        root = self.app.paths.root
        signature = await asyncio.to_thread(look, root, WORKSPACE_FILE)
        if self._read and signature == self._signature:
            if not self._at_rest and signature is not None:
                self._at_rest = True
                await self._take_up_changes()
            return
        self._read, self._signature, self._at_rest = True, signature, False
        problem = await asyncio.to_thread(self.app.workspace_problem)
        if problem is None:
            try:
                rule = await asyncio.to_thread(self._rule)
                self.other = rule.host if isinstance(rule, Theirs) else None
            except WorkspaceError as error:  # a folder that is missing or full changes nothing
                log.warning("host.unknown", why=str(error))
                if self.taking_over:
                    self._read = False
                    problem = str(error)
            except ConfigError as error:
                problem = str(error)
        if problem is not None:
            await self._report(problem)
            return
        self._known = True
        await asyncio.to_thread(_withdraw, root)
        if self.problem is not None or self.app.lacks_workspace_settings:
            self.problem = None
            await take_up(self.app)

    async def _take_up_changes(self) -> None:
        """Read the settings again where `rlmwatch.toml` sets something else than what holds."""
        if self.problem is not None:
            return
        with suppress(ConfigError):  # it has changed once more: the next look sees that
            values = await asyncio.to_thread(lambda: parse(self.app.paths.root, read_text(self.app.paths.root)))
            if values_of(values) != self.app.config.loaded.workspace_values:
                await take_up(self.app)

    async def _report(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            done = "answering nothing" if self.in_doubt else "the last good settings stay"
            log.error("settings.wrong", why=problem, done=done)
            await asyncio.to_thread(_tell, self.app.paths.root, f"{problem}\n{done}. {AFTERWARDS}\n")


def move_here(app: App) -> None:
    """
    Make this host the one that answers in the workspace.

    Raises:
        ConfigError: The file is wrong.
        WorkspaceError: The file cannot be written.
    """
    before = take_over(app.paths.root, app.me, now=clock.utc())
    log.info("host.taken_over", host=app.host, before=before and before.name)


def _tell(root: Path, text: str) -> None:
    try:
        atomic.write(root / ERROR_FILE, text.encode("utf-8", "replace"), within=root)
    except WorkspaceError as error:
        log.warning("settings.not_told", why=str(error))


def _withdraw(root: Path) -> None:
    """Remove our error file; one of a conversation that is called `rlmwatch` stays."""
    try:
        raw = safe_open.read(root / ERROR_FILE, within=root, max_bytes=safe_open.MAX_BYTES)
        if raw is not None and raw.rstrip().endswith(AFTERWARDS.encode()):
            atomic.remove(root / ERROR_FILE, within=root)
    except (OSError, WorkspaceError) as error:
        log.warning("settings.not_told", why=str(error))
