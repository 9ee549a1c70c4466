"""
Whether watchdog's threads answer: a probe that goes through all of them and touches nothing in the workspace.

A watch on a file that nobody changes is added and removed. The kernel says so to the thread that reads its events; that
one hands the probe to the emitter's thread, and that one to the thread that calls handlers. So it comes through as an
event does, with one wake-up of each thread.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from watchdog.events import FileModifiedEvent
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
    inotify_rm_watch,
)
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent

_WATCHED = os.fsencode(os.devnull)
_PASSED_ON = PathedInotifyEvent(InotifyEvent(WatchDescriptor(-1), Mask(0), 0, b""), b"\0")  # no path has a NUL


class ProbeEvent(FileModifiedEvent):
    """A probe on its way from the emitter's thread to the handlers' one; of a kind that every filter lets pass."""


class ProbedEmitter(InotifyEmitter):
    """Watchdog's emitter, which passes probes on."""

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = False) -> None:
        """Pass *event* on, a probe as it is."""
        if event is _PASSED_ON:
            self.queue_event(ProbeEvent(""))
        else:
            super().build_and_queue_event(event, full_events=full_events)


class ThreadProbe(WatchCallback):
    """One probe. Made on the loop; everything else may be called in any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._group: InotifyWatchGroup | None = None

    async def answered(self) -> None:
        """Return once it has come through, or cannot any more."""
        await self._answered

    def send(self, fd: InotifyFD, observer: BaseObserver) -> None:
        """Send it through the threads of *fd* and *observer*; where the kernel has no watch for it, it ends."""
        for emitter in observer.emitters:
            if isinstance(emitter, InotifyEmitter):
                self._group = emitter._inotify  # noqa: SLF001 (no public name; tested)
        try:
            watch = fd.add_callback(_WATCHED, InotifyConstants.IN_DELETE_SELF, self, CallbackId(id(self)))
            inotify_rm_watch(fd._inotify_fd, watch)  # noqa: SLF001 (no public name; tested)
        except OSError:
            self.end()

    def end(self) -> None:
        """Note that it has come through, or cannot any more. Idempotent."""
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._settle)

    def on_event(self, event: InotifyEvent) -> None:
        """Pass over: nothing happens to the file."""

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002 (its name there)
        """Hand it to the emitter's thread; one that has stopped takes nothing."""
        if self._group is None:
            self.end()
        else:
            self._group._move_event_grouper.put_event(_PASSED_ON)  # noqa: SLF001 (no public name; tested)

    def on_queue_overflow(self) -> None:
        """End: the kernel may have dropped it, and the thread that says so is alive."""
        self.end()

    def _settle(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
