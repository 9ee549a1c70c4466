"""The view of several folders that one daemon serves: each row and notice names its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rlmwatch.cli.layout import below_home
from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.daemon import DaemonView, spent_today
from rlmwatch.cli.view.questions import STATES, Heading, ViewState
from rlmwatch.contract.documents import StatusFile
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.logging import Redactor
from rlmwatch.settings.user_folders import home

OF_ALL = frozenset({"ready", "stopping"})
"""Events of one folder that say how the daemon itself is."""


class SeveralState(ViewState):
    """What is shown of several folders: what one of them says does not take away what another has said."""

    def hear(self, event: Mapping[str, Any], *, at: str) -> bool:
        """Take in an *event* of the log, as `ViewState` does, of the folder that it names."""
        name, folder = str(event.get("event")), str(event.get("folder") or "")
        state = self.heading.state
        others = [notice for notice in self.notices if notice.folder != folder]
        self.notices = [notice for notice in self.notices if notice.folder == folder]
        changed = super().hear(event, at=at)
        self.notices = [*others, *self.notices]
        if name in STATES and name not in OF_ALL:
            self.heading = replace(self.heading, state=state)
        return changed


class SeveralView(DaemonView):
    """Shows the folders of one daemon in this process, in place of its log."""

    def __init__(self, stream: BackgroundStream, redactor: Redactor) -> None:
        """Take the log's events from now on."""
        super().__init__(stream, SeveralState(Heading("several folders", state="Starting")), redactor)
        self._served: dict[Path, App] = {}

    def statuses_of(self, root: Path) -> Callable[[StatusFile], None]:
        """Return what is given each status of a run in *root*."""
        return partial(self.viewer.on_status, folder=below_home(root, home()))

    def served(self, root: Path, app: App | None) -> None:
        """Note that *root* is served by *app*, or is not any more."""
        before = self._served.pop(root, None)
        if before is not None:
            self._unshown.pop(before, None)
        if app is not None:
            self._served[root] = app
            self._unshown[app] = below_home(root, home())
        self._app = next(iter(self._served.values()), None)
        self.viewer.on_folders("1 folder" if len(self._served) == 1 else f"{len(self._served)} folders")

    def on_terminal(self) -> AbstractAsyncContextManager[None]:
        """Show the folders in the block."""
        return self.shown_in_block()

    async def _spending(self, app: App) -> tuple[float | None, float | None]:
        """Return the same of all folders together; a ceiling that holds for each of them is none of their sum."""
        if app.config.loaded.settings.ceilings.per == "user":
            return await super()._spending(app)
        each = [await spent_today(one, of_user=False) for one in list(self._served.values())]
        known = [spent for spent in each if spent is not None]
        return (sum(known) if len(known) == len(each) else None), None

    def _on_event(self, event: Mapping[str, Any]) -> None:
        root = event.get("workspace")
        if not isinstance(root, str):
            super()._on_event(event)
            return
        folder = below_home(Path(root), home())
        if event.get("event") == "workspace.not_served":
            super()._on_event({**event, "workspace": folder, "folder": folder})
            return
        key = "path" if "path" in event else "why"
        joined = f"{folder}/{event[key]}" if key == "path" else f"{folder}: {event.get(key, '')}"
        super()._on_event({**event, key: joined, "folder": folder})
