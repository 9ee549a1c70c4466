"""Watchdog on real folders, and what is pinned of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from watchdog import events
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD, inotify_rm_watch
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from rlmwatch import clock
from rlmwatch.watch.observer import MOVE_PAIR_S, Fault, Observer, PathEvent, _ChangeBuffer, translate

DEADLINE_S = 20.0


class Wakes:
    """Counts how often the loop was woken, and lets a test wait for it."""

    def __init__(self) -> None:
        self.number = 0
        self.event = asyncio.Event()

    def __call__(self) -> None:
        self.number += 1
        self.event.set()


@asynccontextmanager
async def observing(root: Path, skipped: str = "skipped") -> AsyncIterator[tuple[Observer, Wakes]]:
    wakes = Wakes()
    observer = Observer(root, wake=wakes, skip=lambda folder: folder == skipped)
    await asyncio.to_thread(observer.start)
    try:
        yield observer, wakes
    finally:
        await asyncio.to_thread(observer.stop)


async def seen(observer: Observer, wakes: Wakes, path: str, what: PathEvent) -> None:
    """Wait until *what* is told of *path*."""
    async with asyncio.timeout(DEADLINE_S):
        while observer.take().get(path) is not what:
            await wakes.event.wait()
            wakes.event.clear()


def until_empty(fd: InotifyFD) -> None:
    """Wait until the library has read that its watches are gone."""
    deadline = clock.monotonic() + DEADLINE_S
    while fd._watch_for_wd and clock.monotonic() < deadline:
        threading.Event().wait(0.001)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (events.FileCreatedEvent("/w/a"), [("/w/a", PathEvent.WRITING)]),
        (events.FileModifiedEvent("/w/a"), [("/w/a", PathEvent.WRITING)]),
        (events.FileClosedEvent("/w/a"), [("/w/a", PathEvent.DONE)]),
        (events.FileMovedEvent("/w/a", "/w/b"), [("/w/a", PathEvent.GONE), ("/w/b", PathEvent.DONE)]),
        (events.FileDeletedEvent("/w/a"), [("/w/a", PathEvent.GONE)]),
        (events.DirCreatedEvent("/w/a"), [("/w/a", PathEvent.FOLDER)]),
        (events.DirMovedEvent("/w/a", "/w/b"), [("/w/b", PathEvent.FOLDER)]),
        (events.FileOpenedEvent("/w/a"), []),
        (events.FileClosedNoWriteEvent("/w/a"), []),
        (events.FileAttribEvent("/w/a"), []),
        (events.DirModifiedEvent("/w/a"), []),
        (events.DirDeletedEvent("/w/a"), []),
    ],
)
def test_what_each_event_means(event: events.FileSystemEvent, told: list[tuple[str, PathEvent]]):
    """A close or a move to a name is done, creation and change are writing, the rest says nothing."""
    assert translate(event) == told


def test_the_private_names_of_watchdog_are_there():
    """What we change in the library has not moved; else ignored folders would be watched and overflows missed."""
    assert InotifyMoveEventGrouper.delay in (0.5, MOVE_PAIR_S)
    assert callable(InotifyWatchGroup._add_callback)
    assert callable(InotifyWatchGroup._add_all_callbacks)
    assert callable(InotifyWatchGroup._recursive_simulate)
    assert callable(InotifyEmitter.build_and_queue_event)
    assert callable(InotifyWatchGroup.on_queue_overflow)
    assert "_inotify" in InotifyEmitter.on_thread_start.__code__.co_names
    assert {"_inotify_fd", "_watch_for_wd"} <= set(InotifyFD.__init__.__code__.co_names)


def test_a_move_out_does_not_hold_back_what_follows(tmp_path: Path):
    """A file that is moved out of the workspace delays other answers by 50 ms at most, not by half a second."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "a_input.txt").write_text("a")

    async def go() -> None:
        async with observing(root) as (observer, _):
            assert InotifyMoveEventGrouper.delay == MOVE_PAIR_S == 0.05
            assert observer._running
            group = next(iter(observer._running[1].emitters))._inotify
            assert group._move_event_grouper._queue.delay == MOVE_PAIR_S

    asyncio.run(go())


def test_a_burst_wakes_the_loop_once(tmp_path: Path):
    """A thousand events between two turns of the loop are one call."""

    async def go() -> None:
        wakes = Wakes()
        inbox = _ChangeBuffer(tmp_path, asyncio.get_running_loop(), wakes)
        for number in range(1000):
            inbox.on_any_event(events.FileModifiedEvent(f"{tmp_path}/{number % 3}_input.txt"))
        inbox.on_any_event(events.FileClosedEvent(f"{tmp_path}/0_input.txt"))
        await wakes.event.wait()
        assert wakes.number == 1
        assert list(inbox.take().items()) == [
            ("1_input.txt", PathEvent.WRITING),
            ("2_input.txt", PathEvent.WRITING),
            ("0_input.txt", PathEvent.DONE),
        ]

    asyncio.run(go())


def test_the_last_change_of_a_path_counts_in_the_order_of_the_last_changes(tmp_path: Path):
    """However long the loop is busy, no more is kept than one change per path."""

    async def go() -> None:
        inbox = _ChangeBuffer(tmp_path, asyncio.get_running_loop(), lambda: None)
        for event in (
            events.FileCreatedEvent(f"{tmp_path}/a"),
            events.FileCreatedEvent(f"{tmp_path}/b"),
            events.FileClosedEvent(f"{tmp_path}/a"),
            events.DirCreatedEvent(str(tmp_path)),
            events.FileClosedEvent("/elsewhere/c"),
        ):
            inbox.on_any_event(event)
        assert list(inbox.take().items()) == [("b", PathEvent.WRITING), ("a", PathEvent.DONE)]
        assert inbox.take() == {}

    asyncio.run(go())


def test_a_handler_never_raises(tmp_path: Path):
    """An event that cannot be understood ends no thread: everything is walked instead."""

    class Broken(events.FileCreatedEvent):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    async def go() -> None:
        inbox = _ChangeBuffer(tmp_path, asyncio.get_running_loop(), lambda: None)
        with capture_logs() as logs:
            inbox.on_any_event(Broken("/w/a"))
        assert logs[0]["event"] == "watch.event_dropped"
        assert inbox.take() == {"": PathEvent.RESCAN}

    asyncio.run(go())


def test_an_event_after_the_loops_end_does_no_harm(tmp_path: Path):
    """The library's threads may outlive the loop by a moment."""
    loop = asyncio.new_event_loop()
    inbox = _ChangeBuffer(tmp_path, loop, lambda: None)
    loop.close()
    inbox.on_any_event(events.FileCreatedEvent(f"{tmp_path}/a"))
    assert inbox.take() == {"a": PathEvent.WRITING}


def test_an_overflow_asks_for_a_walk_after_the_watches_are_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """When the kernel dropped events, the walk comes last, so that nothing falls between."""
    caplog.set_level(logging.CRITICAL)

    async def go() -> None:
        async with observing(tmp_path) as (observer, wakes):
            assert observer._running
            emitter = next(iter(observer._running[1].emitters))
            rebuilt: list[int | None] = []
            emitter._inotify._remove_callbacks = lambda wds, take=emitter._inotify._remove_callbacks: (
                rebuilt.append(len(observer._buffer._changes)),
                take(wds),
            )
            await asyncio.to_thread(emitter._inotify.on_queue_overflow)
            await seen(observer, wakes, "", PathEvent.RESCAN)
            assert rebuilt == [0]
            (tmp_path / "a_input.txt").write_text("a")
            await seen(observer, wakes, "a_input.txt", PathEvent.DONE)

    asyncio.run(go())


def test_folders_without_a_watch_are_counted(tmp_path: Path):
    """The kernel's own list says how many folders are watched."""
    for name in ("a", "b/c", "skipped"):
        (tmp_path / name).mkdir(parents=True)

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            assert observer.unwatched(4) == 0
            assert observer.unwatched(6) == 2
            assert observer.check() is None
            await asyncio.to_thread(observer.stop)
            assert observer.unwatched(4) == 4
            assert observer.check() is Fault.NOT_STARTED

    asyncio.run(go())


def test_watches_that_the_kernel_took_back(tmp_path: Path):
    """A workspace that was unmounted and mounted again looks the same, and has no watch: that is seen."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            assert observer._running
            fd = observer._running[0]
            for wd in list(fd._watch_for_wd):  # what an unmount does to us, without the right to mount
                assert inotify_rm_watch(fd._inotify_fd, wd) == 0
            await asyncio.to_thread(until_empty, fd)
            assert observer.check() is Fault.WATCHES_GONE
            assert await asyncio.to_thread(observer.restart) is None
            assert observer.check() is None

    asyncio.run(go())


def test_a_missing_root_cannot_be_watched(tmp_path: Path):
    """A root that is not there is said, and watched when it has come."""

    async def go() -> None:
        root = tmp_path / "late"
        async with observing(root) as (observer, wakes):
            assert observer.fault is Fault.ROOT_MISSING
            assert observer.check() is Fault.ROOT_MISSING
            await asyncio.to_thread(root.mkdir)
            assert await asyncio.to_thread(observer.restart) is None
            await asyncio.to_thread((root / "a_input.txt").write_text, "a")
            await seen(observer, wakes, "a_input.txt", PathEvent.DONE)

    asyncio.run(go())


def test_threads_end_with_the_observer(tmp_path: Path):
    """Stopping leaves no thread behind, and stopping twice is fine."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            assert observer._running
            fd, library = observer._running
            emitters = list(library.emitters)
            await asyncio.to_thread(observer.stop)
            await asyncio.to_thread(observer.stop)
            assert not any(thread.is_alive() for thread in (fd, library, *emitters))

    asyncio.run(go())


def test_files_that_move_with_their_folder_are_gone_from_there(tmp_path: Path):
    """Each file below a renamed folder is told of by its old and its new name; those of skipped folders are not."""
    for name in ("a/x_input.txt", "a/b/y_input.txt", "a/skipped/z_input.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("hello")

    async def go() -> None:
        async with observing(tmp_path, skipped="a/skipped") as (observer, wakes):
            (tmp_path / "a").rename(tmp_path / "c")
            told: dict[str, PathEvent] = {}
            async with asyncio.timeout(DEADLINE_S):
                while "c/b/y_input.txt" not in told:
                    await wakes.event.wait()
                    wakes.event.clear()
                    told |= observer.take()
            assert told == {
                "c": PathEvent.FOLDER,
                "a/x_input.txt": PathEvent.GONE,
                "c/x_input.txt": PathEvent.DONE,
                "a/b/y_input.txt": PathEvent.GONE,
                "c/b/y_input.txt": PathEvent.DONE,
            }

    asyncio.run(go())
