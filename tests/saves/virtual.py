"""The golden saves in virtual time: contract and settle, on the replayer's disk and a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from saves.replay import Event, File, Trace, body, play
from watchdog import events as watchdog_events

from rlmwatch.contract.names import input_name
from rlmwatch.watch.observer import PathEvent, translate
from rlmwatch.watch.settle import Due, Settling, WhereOpen, keeps_still

_DIRECTORY = {
    "created": watchdog_events.DirCreatedEvent,
    "moved": watchdog_events.DirMovedEvent,
    "deleted": watchdog_events.DirDeletedEvent,
    "modified": watchdog_events.DirModifiedEvent,
}
_FILE = {
    "created": watchdog_events.FileCreatedEvent,
    "moved": watchdog_events.FileMovedEvent,
    "deleted": watchdog_events.FileDeletedEvent,
    "modified": watchdog_events.FileModifiedEvent,
    "closed": watchdog_events.FileClosedEvent,
    "opened": watchdog_events.FileOpenedEvent,
    "closed_no_write": watchdog_events.FileClosedNoWriteEvent,
}

AFTER_S = 30.0
"""Virtual time after the last recorded event, so that every wait of the rule ends."""


@dataclass(frozen=True)
class Run:
    """One run: what was read, and when."""

    t: float
    path: str
    content: str
    whole: bool


@dataclass
class Virtual:
    """
    A watcher without disk and clock.

    Attributes:
        leases: Whether the file system knows who has a file open.
        rescan_s: Seconds between walks; None for none: events alone.
    """

    trace: Trace
    leases: bool = True
    rescan_s: float | None = None
    runs: list[Run] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._settling = Settling()
        self._files: dict[str, File] = {}
        self._digests = {path: was.get("content", "") for path, was in self.trace["before"].items()}
        self._read: dict[str, tuple[str, int]] = {}
        self._held: dict[str, tuple[float, bytes]] = {}
        self._now = 0.0
        self._rescans = 0

    def play(self) -> list[Run]:
        """Play the whole trace and return its runs."""
        steps = [(t, event, {p: replace(f) for p, f in disk.files.items()}) for t, event, disk in play(self.trace)]
        for path, was in self.trace["before"].items():
            self._files[path] = File(was.get("content", ""), *[self.trace["contents"].get(was.get("content"), 0)] * 2)
            self._read[path] = self._look(path)
        for t, event, files in steps:
            self._until(t)
            self._files = files
            if event is not None:
                self._event(event)
        self._until(self._now + AFTER_S)
        return self.runs

    def _until(self, t: float) -> None:
        """Let the time pass until *t*."""
        while (due := min(self._timers(), default=t)) < t:
            self._now = max(self._now, due)
            if self.rescan_s and self._now >= self._next_rescan():
                self._rescans += 1
                self._walk("")
            self._read_due()
        self._now = max(self._now, t)

    def _timers(self) -> Iterator[float]:
        next_due = self._settling.next_due()
        if next_due is not None:
            yield next_due
        if self.rescan_s:
            yield self._next_rescan()

    def _next_rescan(self) -> float:
        return (self._rescans + 1) * (self.rescan_s or 0)

    def _event(self, event: Event) -> None:
        kind = (_DIRECTORY if event.is_directory else _FILE).get(event.type)
        if kind is None or self.rescan_s:
            return
        for path, seen in translate(kind(event.src, event.dest or "")):
            if seen is PathEvent.FOLDER:
                self._walk(f"{path}/")
            elif input_name(path) is None:
                continue
            elif seen is PathEvent.DONE:
                self._settling.done(path, now=self._now)
            elif seen is PathEvent.WRITING:
                self._settling.writing(path, now=self._now)
            else:
                self._settling.gone(path)

    def _walk(self, prefix: str) -> None:
        for path in self._files:
            wanted = path.startswith(prefix) and input_name(path) is not None
            if wanted and self._read.get(path) != self._look(path) and path not in self._settling:
                self._settling.writing(path, now=self._now)

    def _read_due(self) -> None:
        for due in self._settling.due(now=self._now):
            file = self._files.get(due.path)
            if due.probe and file is not None and not self.leases:
                self._settling.unknown(due.path)
            elif (due.probe or due.recheck) and self.leases and file is not None and file.writers:
                if not self._keeps_still(due, file):
                    self._settling.busy(due.path, now=self._now)
                    continue
                self._settling.read(due.path)
                self._take(due.path, file)
            else:
                self._settling.read(due.path)
                self._take(due.path, file)

    def _keeps_still(self, due: Due, file: File) -> bool:
        """Whether an open file is a save; the recordings open every file to read, too."""
        text = body(file.content, file.full)[: file.upto]
        since, held = self._held.get(due.path, (self._now, text))
        self._held[due.path] = since, held = (since, held) if held == text else (self._now, text)
        return due.where_open is WhereOpen.JUDGE and keeps_still(
            text, unchanged_s=self._now - since, write_only=False, closed=due.closed
        )

    def _take(self, path: str, file: File | None) -> None:
        if file is None:
            return
        self._read[path] = self._look(path)
        if file.link:
            self.refused.append(path)
        elif file.upto and (not file.complete or self._digests.get(path) != file.content):
            self.runs.append(Run(self._now, path, file.content, file.complete))
            self._digests[path] = file.content
            self._settling.admitted(path, now=self._now)

    def _look(self, path: str) -> tuple[str, int]:
        return self._files[path].content, self._files[path].upto
