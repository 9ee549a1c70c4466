"""The view of several folders that one daemon serves: each row and notice names its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.daemon import DaemonView, shortened, show_earlier
from rlmwatch.cli.view.questions import STATES, Heading, ViewState
from rlmwatch.contract.documents import StatusFile
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.logging import Redactor

OF_ALL = frozenset({"ready", "stopping"})
"""Events of one folder that say how the daemon itself is."""


class SeveralState(ViewState):
    """What is shown of several folders: what one of them says does not take away what another has said."""

    def hear(self, event: Mapping[str, Any], *, at: str) -> bool:
        """Take in an *event* of the log, as `ViewState` does, of the folder that it names."""
        name, folder = str(event.get("event")), str(event.get("folder", ""))
        before, state = self.notices, self.heading.state
        changed = super().hear(event, at=at)
        others = [notice for notice in before if not notice.what.startswith(folder) and notice not in self.notices]
        self.notices = [*others, *self.notices]
        if name in STATES and name not in OF_ALL:
            self.heading = replace(self.heading, state=state)
        return changed


class SeveralView(DaemonView):
    """Shows the folders of one daemon in this process, in place of its log."""

    def __init__(self, stream: BackgroundStream, redactor: Redactor) -> None:
        """Take the log's events from now on."""
        super().__init__(stream, SeveralState(Heading("several folders", state="Starting")), redactor)
        self._begun = True  # what earlier daemons left is shown folder by folder
        self._served: dict[Path, App] = {}
        self._new: list[tuple[Path, App]] = []

    def statuses_of(self, root: Path) -> Callable[[StatusFile], None]:
        """Return what is given each status of a run in *root*."""

        def on_status(status: StatusFile) -> None:
            self.viewer.on_status(_labelled(status, root))

        return on_status

    def served(self, root: Path, app: App | None) -> None:
        """Note that *root* is served by *app*, or is not any more."""
        if app is None:
            self._served.pop(root, None)
        else:
            self._served[root] = app
            self._new.append((root, app))
        self._app = next(iter(self._served.values()), None)
        self.viewer.on_folders("1 folder" if len(self._served) == 1 else f"{len(self._served)} folders")

    def on_terminal(self) -> AbstractAsyncContextManager[None]:
        """Show the folders in the block."""
        return self.shown_in_block()

    async def _refresh(self, shown: ViewState) -> bool:
        new, self._new = self._new, []
        for root, app in new:
            if app is self._served.get(root):
                await show_earlier(app, partial(_take, shown, root))
        return await super()._refresh(shown) or bool(new)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        root = event.get("workspace")
        if not isinstance(root, str) or event.get("event") == "workspace.not_served":
            super()._on_event(event)
            return
        folder = shortened(Path(root))
        key = "path" if "path" in event else "why"
        joined = f"{folder}/{event[key]}" if key == "path" else f"{folder}: {event.get(key, '')}"
        super()._on_event({**event, key: joined, "folder": folder})


def _take(shown: ViewState, root: Path, status: StatusFile) -> bool:
    return shown.take(_labelled(status, root))


def _labelled(status: StatusFile, root: Path) -> StatusFile:
    return status.model_copy(update={"input": f"{shortened(root)}/{status.input}"})
