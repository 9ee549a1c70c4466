"""
The view of a daemon that runs elsewhere (`rlmwatch status --watch`), from what it writes.

1. Rows come from the status files in `jobs/`, whoever wrote them: another user, another machine. They are read again
   only where the folder's time has moved, and of them those that have changed.
2. What was spent comes from the ledger, where this user has one of this workspace; nothing is written.
3. Who answers is asked of the folder's lock, or stands in `rlmwatch.toml`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rlmwatch import clock
from rlmwatch.cli.layout import below_home
from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.cli.view.screen import LineByLine, screen_on
from rlmwatch.cli.view.viewer import Viewer
from rlmwatch.cli.waiting import interruptible
from rlmwatch.contract.documents import StatusFile, read_status
from rlmwatch.contract.names import JOBS
from rlmwatch.daemon.logging import Redactor, observe
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import CeilingUnknown, ConfigError, InputError, LedgerError, UsageError, WorkspaceError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.waiting import NOT_RUNNING
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load, own_name
from rlmwatch.settings.user_folders import home
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.liveness import seen_now
from rlmwatch.workspace.owner import Holder, holder
from rlmwatch.workspace.polling import ENDING
from rlmwatch.workspace.status import job_id

NEWEST = 100
"""Status files that are looked at, beside those that are known to go on; by their names, which begin with a time."""
ENDED = 40
"""Ended questions that are shown."""
SETTINGS_EVERY_S = 5.0
ENDS = "Ctrl+C ends this view"


def watch_folder(paths: WorkspacePaths) -> int:
    """
    Show what goes on in a workspace until Ctrl+C; return the exit status.

    Raises:
        UsageError: Nobody could see it.
        ConfigError: The user's own settings are wrong.
    """
    stream = sys.stdout
    if not isinstance(stream, BackgroundStream):
        raise UsageError("--watch needs a terminal or a pipe to write to")
    return asyncio.run(_watch(paths, stream))


async def _watch(paths: WorkspacePaths, stream: BackgroundStream) -> int:
    folder = WatchedFolder(paths)
    ended: list[Exception] = []
    with interruptible() as leave:

        def failed(error: Exception) -> None:
            ended.append(error)
            leave.set()

        viewer = Viewer(
            shown=ViewState(Heading(below_home(paths.root, home()), ends=ENDS)),
            screen=screen_on(stream, os.environ) if stream.isatty() else LineByLine(stream),
            refresh=folder.refresh,
            polls=True,
            failed=failed,
        )
        observe(viewer.on_event, Redactor(), level=logging.WARNING)
        try:
            async with viewer.on_terminal():
                await leave.wait()
        finally:
            await folder.aclose()
    if ended:
        raise ended[0]
    return 0


@dataclass(slots=True)
class WatchedFolder:
    """What the files of a workspace say, and its ledger."""

    paths: WorkspacePaths
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _ledger: Ledger[Any] | None = None
    _settings: Settings | None = None
    _settings_at: float = float("-inf")
    _problem: str | None = None  # of the workspace's own settings, as it was told last
    _host: str | None = None
    _go_on: set[str] = field(default_factory=set)  # files of runs that have not ended, by the ledger
    _times: tuple[int, int] = (-1, -2)  # of the folder with the status files, as it was seen last, and before that
    _files: dict[str, tuple[tuple[int, int, int], StatusFile]] = field(default_factory=dict)

    async def refresh(self, shown: ViewState) -> bool:
        """
        Bring *shown* up to date; return whether anything has changed.

        Raises:
            ConfigError: The user's own settings are wrong.
        """
        now = clock.monotonic()
        changed = False
        if now - self._settings_at >= SETTINGS_EVERY_S:
            self._settings_at = now
            problem = await asyncio.to_thread(self._read_settings)
            if problem != self._problem:
                self._problem = problem
                wrong = {"event": "settings.wrong", "level": "error", "why": problem}
                changed = shown.hear({"event": "reloaded"} if problem is None else wrong, at=local_time(clock.utc()))
            await self._ask_ledger()
        statuses = await asyncio.to_thread(self._statuses)
        changed |= shown.show(statuses)
        before, ceilings = shown.heading, self._settings.ceilings if self._settings else None
        spent = await self._spent(of_user=ceilings is None or ceilings.per == "user")
        shown.heading = replace(
            before,
            answers=next((status.model for status in reversed(statuses) if status.model), ""),
            spent_usd=spent,
            ceiling_usd=None if spent is None or ceilings is None else ceilings.max_cost_usd_per_day,
            state=await asyncio.to_thread(self._who_answers),
        )
        return changed or shown.heading != before

    async def aclose(self) -> None:
        """Close the ledger. Idempotent."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await ledger.aclose()

    def _read_settings(self) -> str | None:
        """Read the user's settings and whose turn it is; return what is wrong with the workspace's own."""
        self._settings = load(user_dir=self.paths.user_dir, workspace=None, environ=self.environ).settings
        try:
            host = named_host(self.paths.root)
            self._host = None if host is None else host.name
            load(user_dir=self.paths.user_dir, workspace=self.paths.root, environ=self.environ)
        except (ConfigError, WorkspaceError) as error:
            return str(error)
        return None

    async def _ask_ledger(self) -> None:
        """Open the ledger, where there is one now, and ask it which runs go on, however old they are."""
        try:
            if self._ledger is None:
                self._ledger = await asyncio.to_thread(ledger_if_any, self.paths, self.environ)
            if self._ledger is None:
                return
            go_on = {f"{job_id(run)}{ENDING}" for run in await self._ledger.open_runs()}
        except LedgerError:  # what the files say is enough
            return
        if go_on - self._go_on:
            self._times = (-1, -2)
        self._go_on = go_on

    async def _spent(self, *, of_user: bool) -> float | None:
        """Return what was spent today; None where that cannot be known here."""
        if self._ledger is None:
            return None
        try:
            return (await self._ledger.spent_usd(now=clock.utc(), of_user=of_user))[0]
        except (LedgerError, CeilingUnknown):
            return None

    def _who_answers(self) -> str:
        who = holder(self.paths.state, self.paths.root)
        if who is not None:
            return answers_here(who)
        if self._host is not None and self._host != own_name(self.paths.user_dir, self.environ, socket.gethostname()):
            return f"{self._host} answers in this folder, as rlmwatch.toml says"
        return NOT_RUNNING

    def _statuses(self) -> list[StatusFile]:
        """Return the status of what goes on, and of what has ended last, oldest first."""
        root = self.paths.root
        try:
            with safe_open.folder(root / JOBS, within=root) as jobs:
                time = os.fstat(jobs).st_mtime_ns
                if (time, time) != self._times:  # a file system's clock has steps: once the same is not enough
                    self._times = (self._times[1], time) if self._times[1] == time else (-1, time)
                    self._read_changed(jobs)
        except OSError:
            self._files.clear()
        found = sorted((seen_now(status, root) for _, status in self._files.values()), key=lambda each: each.created_at)
        ended = {status.job_id for status in [each for each in found if each.status.ended][-ENDED:]}
        return [status for status in found if not status.status.ended or status.job_id in ended]

    def _read_changed(self, jobs: int) -> None:
        names = sorted((name for name in safe_open.names(jobs) if _is_status(name)), reverse=True)
        go_on = {name for name, (_, status) in self._files.items() if not status.status.ended} | self._go_on
        files = {}
        for name in {*names[:NEWEST], *(go_on & set(names))}:
            try:
                at = os.stat(name, dir_fd=jobs, follow_symlinks=False)
                signature = (at.st_ino, at.st_size, at.st_mtime_ns)
                known = self._files.get(name)
                if known is not None and known[0] == signature:
                    files[name] = known
                    continue
                raw = safe_open.read_in(jobs, name, max_bytes=safe_open.MAX_BYTES)
                files[name] = (signature, read_status(raw, job_id=name.removesuffix(ENDING)))
            except (OSError, InputError):  # gone meanwhile, or no status
                continue
        self._files = files


def _is_status(name: str) -> bool:
    return name.endswith(ENDING) and not name.startswith(".")


def answers_here(who: Holder) -> str:
    """Return, for people, which process answers in the folder."""
    parts = [f"process {who.pid}" if who.pid else "a process in another container"]
    parts += [f"of the user {who.user}"] if who.user is not None else []
    parts += [f"on {who.host}"] if who.host is not None else []
    parts += [f"answers here since {local_time(who.since)}"] if who.since else ["answers here"]
    return " ".join(parts)


def local_time(at: str) -> str:
    """Return the RFC 3339 time *at* as the person's clock shows it; with the day, where that is not today's."""
    try:
        time = datetime.fromisoformat(at).astimezone()
    except ValueError:
        return "?"
    today = datetime.fromisoformat(clock.utc()).astimezone().date()
    return time.strftime("%H:%M" if time.date() == today else "%Y-%m-%d %H:%M")
