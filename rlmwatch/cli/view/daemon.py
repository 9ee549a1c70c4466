"""The view of the daemon that runs in this process (`rlmwatch run` at a terminal)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from rlmwatch import clock
from rlmwatch.cli.output import say
from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.questions import KEPT, ViewState
from rlmwatch.cli.view.screen import screen_on
from rlmwatch.cli.view.viewer import Viewer
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.logging import Redactor, configure, observe
from rlmwatch.errors import CeilingUnknown, LedgerError
from rlmwatch.runs.model import RunStatus
from rlmwatch.workspace.status import DaemonProcess, Live, build

DAY = len("2026-11-28")
FAULTS = 3
"""Of which the tracebacks are kept."""

log = structlog.get_logger()


class DaemonView:
    """
    Shows a daemon of this process, in place of its log.

    Attributes:
        viewer: Is handed what happens, by composition: `Parts.on_status` and the log.
    """

    def __init__(self, stream: BackgroundStream, shown: ViewState, redactor: Redactor) -> None:
        """Take the log's events from now on."""
        self._app: App | None = None
        self._unshown: dict[App, str] = {}  # whose earlier questions are to be shown, and the name of its folder
        self._faults: deque[str] = deque(maxlen=FAULTS)
        self.viewer = Viewer(
            shown=shown,
            screen=screen_on(stream, os.environ),
            refresh=self._refresh,
            redact=redactor.text,
            failed=lambda error: self._failed(error, redactor),
            at_end="Stopped",
        )
        observe(self._on_event, redactor)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if "traceback" in event:
            self._faults.append(f"{event.get('event')}: {event['traceback']}")
        self.viewer.on_event(event)

    @asynccontextmanager
    async def of(self, app: App) -> AsyncIterator[None]:
        """Show *app* in the block. Faults of rlmwatch are written below the last frame, for whoever reports them."""
        self._app = app
        self._unshown[app] = ""
        async with self.shown_in_block():
            yield

    @asynccontextmanager
    async def shown_in_block(self) -> AsyncIterator[None]:
        """Show the view in the block, and faults of rlmwatch below its last frame."""
        try:
            async with self.viewer.on_terminal():
                yield
        finally:
            for fault in self._faults:
                say(fault)

    async def _refresh(self, shown: ViewState) -> bool:
        app = self._app
        if app is None:
            return False
        rows, before = shown.rows, shown.heading
        if not before.state:
            await self._show_earlier(shown)
        spent, ceiling = await self._spending(app)
        shown.heading = replace(
            before,
            answers="nothing answers" if app.config.model is None else app.describe(),
            spent_usd=spent,
            ceiling_usd=ceiling,
        )
        return shown.heading != before or shown.rows is not rows

    async def _show_earlier(self, shown: ViewState) -> None:
        """Show what was asked before; where a ledger cannot be read now, the next time."""
        for app, folder in list(self._unshown.items()):
            with suppress(LedgerError):
                await show_earlier(app, partial(shown.take, folder=folder))
                self._unshown.pop(app, None)

    async def _spending(self, app: App) -> tuple[float | None, float | None]:
        """Return what was spent today, and the ceiling of that; None each where it is not known, or there is none."""
        ceilings = app.config.loaded.settings.ceilings
        return await spent_today(app, of_user=ceilings.per == "user"), ceilings.max_cost_usd_per_day

    def _failed(self, error: Exception, redactor: Redactor) -> None:
        configure("text", redactor)
        log.error("view.failed", exc_info=error, done="the log is written in its place")


async def show_earlier(app: App, take: Callable[[StatusFile], object]) -> None:
    """Show the questions that were answered on this day (of UTC, as ceilings count), and those that wait."""
    by = DaemonProcess(app.host, os.getpid())
    today = clock.utc()[:DAY]
    for run in reversed(await app.ledger.recent(KEPT)):
        if run.status.ended and (run.completed_at or "")[:DAY] == today:
            take(build(run, live=Live(), by=by, now=clock.utc()))
    for run in await app.ledger.open_runs():
        if run.status in (RunStatus.PENDING, RunStatus.HELD):
            status = build(run, live=Live(), by=by, now=clock.utc())
            if run.status is RunStatus.PENDING:
                status = status.model_copy(update={"status": JobStatus.PENDING, "error": None})
            take(status)


async def spent_today(app: App, *, of_user: bool) -> float | None:
    """Return what was spent today, in *app*'s workspace or in all *of_user*; None where that cannot be known now."""
    try:
        return (await app.ledger.spent_usd(now=clock.utc(), of_user=of_user))[0]
    except (LedgerError, CeilingUnknown):
        return None
