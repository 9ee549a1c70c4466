"""
What changed in the workspace, as the kernel says it: watchdog's events, made safe.

`Observer` runs watchdog in its own threads and hands changes to the asyncio
loop. Every way in which watchdog 7.1 was seen to lose events is met here:

    fault                                      answer
    kernel queue overflowed                    `RESCAN` is asked for, once the watches are rebuilt
    a handler raises: the thread dies          the handler only notes, and catches everything
    a slow handler: the queue grows            changes are stored per path, the last one wins
    a thread died, root deleted, replaced,     `check` says so; `restart` begins anew
    unmounted, mounted over
    watches ran out (max_user_watches)         `unwatched` compares the kernel's list with the folders
    instances ran out (max_user_instances)     `start` says so: the caller polls
    a move out holds back all others 0.5 s     `MOVE_PAIR_S`
    network and FUSE mounts                    `mounts.remote` says so: the caller polls
    folders nested 1,000 deep: `os.walk`       our own walks, which do not call themselves, nor go into
    is a RecursionError, and the thread dies   folders without a watch

Folders whose files can never be inputs get no watch.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import islice
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

from rlmwatch.watch.observer_probe import ProbedEmitter, ProbeEvent, ThreadProbe

log = structlog.get_logger()

MOVE_PAIR_S = 0.05
"""
How long watchdog waits for the other half of a move, in seconds; its own 0.5 holds back every later event as long.
Both halves are adjacent in the kernel's queue, so they come in one read or in two in succession.
"""

EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
"""What is asked of the kernel: not who opens or reads files, which would be most of the events of a busy folder."""


class PathEvent(Enum):
    """What happened to a path."""

    WRITING = "writing"  # created or modified
    DONE = "done"  # closed after writing, or moved to this name
    GONE = "gone"  # deleted, or moved to another name
    FOLDER = "folder"  # a folder appeared: to be walked
    RESCAN = "rescan"  # events were lost: everything is to be walked


class Fault(Enum):
    """Why events cannot be relied on as things stand."""

    ROOT_MISSING = "root_missing"
    ROOT_REPLACED = "root_replaced"
    THREAD_DIED = "thread_died"
    WATCHES_GONE = "watches_gone"
    NOT_STARTED = "not_started"


def translate(event: FileSystemEvent) -> list[tuple[str, PathEvent]]:
    """Return what *event* of watchdog says, path by path; nothing where it does not matter."""
    source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
    meanings: dict[tuple[str, bool], list[tuple[str, PathEvent]]] = {
        ("created", False): [(source, PathEvent.WRITING)],
        ("modified", False): [(source, PathEvent.WRITING)],
        ("closed", False): [(source, PathEvent.DONE)],
        ("moved", False): [(source, PathEvent.GONE), (target, PathEvent.DONE)],
        ("deleted", False): [(source, PathEvent.GONE)],
        ("created", True): [(source, PathEvent.FOLDER)],
        ("moved", True): [(target, PathEvent.FOLDER)],
    }
    return meanings.get((event.event_type, event.is_directory), [])


class Observer:
    """
    Watchdog on one workspace.

    Made and used on the loop's thread; `start`, `restart` and `stop` block for some milliseconds per 1,000 folders,
    so they belong in a worker thread.

    Attributes:
        fault: What the last `check` or `start` found; None while events can be relied on.
    """

    def __init__(self, root: Path, *, wake: Callable[[], None], skip: Callable[[str], bool]) -> None:
        """
        Make an observer that is not started.

        Args:
            root: The workspace.
            wake: Called on the loop when there is something to `take`: once per batch, not per event.
            skip: Whether a folder (POSIX path inside the workspace) needs no watch.
        """
        self.fault: Fault | None = Fault.NOT_STARTED
        self._root = root
        self._buffer = _ChangeBuffer(root, asyncio.get_running_loop(), wake)
        self._skip = skip
        self._identity: tuple[int, int] | None = None
        self._running: tuple[InotifyFD, BaseObserver] | None = None
        self._changing = threading.Lock()  # held while it stops or a probe is sent
        self._probe: ThreadProbe | None = None

    def start(self) -> Fault | None:
        """
        Begin to watch; when this returns None, every later change will be seen.

        Where the kernel refuses (no instance left, no watch left for the root) or the root is missing, the reason is
        returned and logged, nothing is left running, and it may be tried again.
        """
        try:
            status = self._root.stat()
            self._identity = (status.st_dev, status.st_ino)
            self._running = self._begin()
            self.fault = None
            if self._watches(at_most=1) == 0:  # watchdog passes over a folder that may not be listed, even the root
                self.stop()
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
            self.fault = Fault.ROOT_MISSING if missing else Fault.NOT_STARTED
            log.warning("watch.no_events", root=str(self._root), reason=error.strerror, done="polling")
        return self.fault

    def stop(self) -> None:
        """Stop and join every thread. Idempotent."""
        with self._changing:
            running, self._running = self._running, None
            if running is not None:
                fd, observer = running
                observer.stop()
                observer.join()
                if fd.is_alive():
                    fd.stop()
                    fd.join()
            if self._probe is not None:
                self._probe.end()

    def restart(self) -> Fault | None:
        """Stop, and start on what is now at the root's path. What happened in between is not seen: rescan after it."""
        self.stop()
        return self.start()

    def check(self) -> Fault | None:
        """
        Say whether events can be relied on: the root is still the folder that is watched, and every thread lives.

        Costs one `stat`. A root that was deleted, replaced, unmounted or
        mounted over often makes no event at all.
        """
        try:
            status = self._root.stat()
        except OSError:
            self.fault = Fault.ROOT_MISSING
            return self.fault
        if self._running is None:
            self.fault = Fault.NOT_STARTED
        elif (status.st_dev, status.st_ino) != self._identity:
            self.fault = Fault.ROOT_REPLACED
        elif not self._alive(*self._running):
            self.fault = Fault.THREAD_DIED
        elif not self._running[0]._watch_for_wd:  # noqa: SLF001 (the kernel's own list costs 2 µs a watch; tested)
            self.fault = Fault.WATCHES_GONE  # unmounted and mounted again: the same identity, but no watch
        else:
            self.fault = None
        return self.fault

    async def alive(self) -> None:
        """
        Return once a probe has come through every thread of watchdog; at once where none runs.

        A thread that died lets nobody wait: `check` says so, and `stop` ends the probe.
        """
        self._probe = probe = ThreadProbe()
        self._buffer.on_probe = probe.end
        await asyncio.to_thread(self._send, probe)
        await probe.answered()

    def _send(self, probe: ThreadProbe) -> None:
        with self._changing:
            if self._running is None or not self._alive(*self._running):
                probe.end()
            else:
                probe.send(*self._running)

    def take(self) -> dict[str, PathEvent]:
        """
        Return what changed since the last call, oldest change first: POSIX paths inside the workspace, `""` for it.

        Of several changes of one path the last counts.
        """
        return self._buffer.take()

    def unwatched(self, folders: int) -> int:
        """
        Return how many of *folders* folders have no watch, by the kernel's own list; 0 where it cannot be read.

        watchdog passes silently over folders for which the kernel has no watch left.
        """
        watches = self._watches()
        return 0 if watches is None else max(0, folders - watches)

    def _watches(self, at_most: int | None = None) -> int | None:
        """Return how many watches the kernel lists for us, counted up to *at_most*; None where it lists none at all."""
        if self._running is None:
            return 0
        number = self._running[0]._inotify_fd  # noqa: SLF001 (no public name; tested)
        try:
            with Path(f"/proc/self/fdinfo/{number}").open(encoding="ascii") as lines:
                return sum(1 for _ in islice((line for line in lines if line.startswith("inotify ")), at_most))
        except OSError:
            return None

    def _begin(self) -> tuple[InotifyFD, BaseObserver]:
        InotifyMoveEventGrouper.delay = MOVE_PAIR_S
        # It warns when a folder is watched twice, as one in a tree that appears at once is: by its parent's walk and
        # by its own event. Harmless; and where warnings are errors, the warning would end its reader thread.
        warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
        fd = InotifyFD()
        fd.start()
        observer = BaseObserver(_emitter(self._skipped, self._buffer.lost), inotify_fd=fd)
        try:
            # Not recursive for watchdog, which would walk folders that appear on its own; `_emitter` does that.
            observer.schedule(self._buffer, str(self._root), recursive=False, event_filter=EVENTS)
            observer.start()
        except BaseException:
            fd.stop()
            fd.join()
            raise
        return fd, observer

    def _skipped(self, path: bytes) -> bool:
        return self._skip(self._buffer.below(os.fsdecode(path)) or "")

    @staticmethod
    def _alive(fd: InotifyFD, observer: BaseObserver) -> bool:
        emitters = observer.emitters
        return fd.is_alive() and observer.is_alive() and bool(emitters) and all(e.is_alive() for e in emitters)


class _ChangeBuffer(FileSystemEventHandler):
    """Where watchdog's threads leave what changed, and the loop takes it."""

    def __init__(self, root: Path, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._prefix = os.path.join(root, "")  # noqa: PTH118 (the closing slash is wanted)
        self._loop = loop
        self._wake = wake
        self._lock = threading.Lock()
        self._changes: dict[str, PathEvent] = {}
        self.on_probe: Callable[[], None] = lambda: None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note *event*. An error here would end watchdog's thread for good, so none leaves."""
        try:
            if isinstance(event, ProbeEvent):
                self.on_probe()
            else:
                self._note(translate(event))
        except Exception:
            log.exception("watch.event_dropped", done="rescan")
            self.lost()

    def lost(self) -> None:
        """Note that events were lost, and a probe with them."""
        self.on_probe()
        self._note([(self._prefix, PathEvent.RESCAN)])

    def take(self) -> dict[str, PathEvent]:
        with self._lock:
            changes, self._changes = self._changes, {}
        return changes

    def below(self, path: str) -> str | None:
        """Return *path* relative to the root; None where it is the root or outside."""
        return path[len(self._prefix) :].rstrip("/") or None if path.startswith(self._prefix) else None

    def _note(self, changes: list[tuple[str, PathEvent]]) -> None:
        with self._lock:
            asleep = not self._changes
            for path, seen in changes:
                below = self.below(path) or ""
                if below or seen is PathEvent.RESCAN:
                    self._changes.pop(below, None)  # to the end: the order is that of the last change
                    self._changes[below] = seen
            wake = asleep and bool(self._changes)
        if wake:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended, and nobody listens
                log.debug("watch.loop_ended")


def _emitter(skip: Callable[[bytes], bool], lost: Callable[[], None]) -> type[InotifyEmitter]:
    """
    Return watchdog's emitter with three things changed.

    1. Skipped folders, and what is in them, get no watch.
    2. An overflow is reported.
    3. What is in a folder that appears is not reported; the folder is, and whoever is told walks it.

    watchdog can watch a tree or a single folder, not a tree without some of its branches. The names with an
    underscore are not public; should one move, tests fail, and the effect is more watches than needed, no more.
    """

    class Folders(InotifyWatchGroup):
        def _add_all_callbacks(self, path: bytes) -> None:
            for folder in _folders(path, skip):
                self._add_callback(folder)

        def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:  # noqa: ARG002 (its name there)
            return []

        def on_queue_overflow(self) -> None:
            super().on_queue_overflow()  # rebuilds the watches; a rescan before it could miss what comes in between
            lost()

    class Emitter(ProbedEmitter):
        def __init__(self, event_queue: object, watch: ObservedWatch, **options: object) -> None:
            super().__init__(event_queue, watch, **options)  # type: ignore[arg-type]  # passed through as they came

        def on_thread_start(self) -> None:
            self._inotify = Folders(
                self._inotify_fd,
                os.fsencode(self.watch.path),
                is_recursive=True,
                event_mask=self.get_event_mask_from_filter(),
            )

        def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = False) -> None:
            super().build_and_queue_event(event, full_events=full_events)
            if not isinstance(event, PathedInotifyEvent) and event[0].ev.is_directory:
                for source, target in _moved_files(event[0].path, event[1].path, skip):
                    self.queue_event(FileMovedEvent(os.fsdecode(source), os.fsdecode(target)))

    return Emitter


def _folders(top: bytes, skip: Callable[[bytes], bool]) -> Iterator[bytes]:
    """
    Yield *top* and the folders below it, but those to be skipped and what is in them.

    Each is listed only after it was taken: whoever adds a watch first misses nothing that comes later.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        if not skip(folder):
            yield folder
            waiting += [entry.path for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]


def _moved_files(source: bytes, target: bytes, skip: Callable[[bytes], bool]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (old path, new path) of the files that moved with the folder *source*, but those of skipped folders."""
    for folder in _folders(target, lambda folder: skip(source + folder.removeprefix(target))):
        before = source + folder.removeprefix(target)
        for entry in _entries(folder):
            if not entry.is_dir(follow_symlinks=False):
                yield before + b"/" + entry.name, entry.path


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    """Return what is in *folder*; nothing where it cannot be listed, or has gone."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
