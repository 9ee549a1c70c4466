"""watch/observer_probe.py, with watchdog's own threads held up at the locks that they take for each event."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, Mask, WatchDescriptor

from rlmwatch.watch.observer import Observer, PathEvent

DEADLINE_S = 20.0
IN_Q_OVERFLOW = 0x4000


@asynccontextmanager
async def observing(root: Path) -> AsyncIterator[tuple[Observer, asyncio.Event]]:
    woken = asyncio.Event()
    observer = Observer(root, wake=woken.set, skip=lambda _: False)
    await asyncio.to_thread(observer.start)
    try:
        yield observer, woken
    finally:
        await asyncio.to_thread(observer.stop)


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Hold *lock* in another thread."""
    has_it, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            give_back.wait(DEADLINE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    has_it.wait(DEADLINE_S)
    try:
        yield
    finally:
        give_back.set()
        holder.join()


def locks(observer: Observer) -> dict[str, Any]:
    """Return the lock that each thread takes for each event."""
    assert observer._running
    fd, dispatcher = observer._running
    (emitter,) = dispatcher.emitters
    return {"reader": fd._lock, "emitter": emitter._lock, "dispatcher": dispatcher._lock}


async def until_alive(observer: Observer) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await observer.alive()


def test_the_private_names_of_watchdog_are_there():
    """What the probe goes by has not moved in the library; else a wedged thread would go unnoticed."""
    assert "_move_event_grouper" in InotifyWatchGroup.__dataclass_fields__
    assert "_inotify" in InotifyEmitter.__init__.__code__.co_names
    assert "_inotify_fd" in InotifyFD.__init__.__code__.co_names


@pytest.mark.parametrize("wedged", ["reader", "emitter", "dispatcher"])
def test_each_thread_of_watchdog_must_pass_the_probe_on(tmp_path: Path, wedged: str):
    """While one of the three threads stands still no probe comes through; when it goes on, it does."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            for _ in range(3):  # the control
                await until_alive(observer)
            with held(locks(observer)[wedged]):
                asking = asyncio.create_task(observer.alive())
                done, _ = await asyncio.wait([asking], timeout=0.3)
                assert not done
            async with asyncio.timeout(DEADLINE_S):
                await asking
            await until_alive(observer)

    asyncio.run(go())


def test_a_probe_is_no_change_of_the_workspace(tmp_path: Path):
    """Probes leave nothing to take, wake nobody and keep no watch; a real change is seen as before."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, woken):
            for _ in range(3):
                await until_alive(observer)
            assert observer.take() == {}
            assert not woken.is_set()
            assert observer._watches() == 1
            (tmp_path / "a_input.txt").write_text("a")
            seen: dict[str, PathEvent] = {}
            async with asyncio.timeout(DEADLINE_S):
                while seen.get("a_input.txt") is not PathEvent.DONE:
                    await woken.wait()
                    woken.clear()
                    seen |= observer.take()
            assert observer.check() is None

    asyncio.run(go())


def test_where_nothing_runs_the_answer_comes_at_once(tmp_path: Path):
    """An observer that polls, since the kernel has nothing left for it, is not wedged."""

    async def go() -> None:
        observer = Observer(tmp_path / "missing", wake=lambda: None, skip=lambda _: False)
        await asyncio.to_thread(observer.start)
        await until_alive(observer)

    asyncio.run(go())


def test_a_thread_that_died_lets_nobody_wait(tmp_path: Path):
    """A dead thread is no wedged one: the answer comes, and `check` says what is wrong."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            assert observer._running
            observer._running[1].stop()
            await asyncio.to_thread(observer._running[1].join)
            await until_alive(observer)

    asyncio.run(go())


def test_stopping_ends_a_probe_that_is_under_way(tmp_path: Path):
    """A restart of the observer loses no probe for good: whoever waits for it goes on."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            with held(locks(observer)["reader"]):
                asking = asyncio.create_task(observer.alive())
                stopping = asyncio.create_task(asyncio.to_thread(observer.stop))
                await asyncio.wait([asking], timeout=0.1)
            async with asyncio.timeout(DEADLINE_S):
                await asking
                await stopping

    asyncio.run(go())


def test_an_overflow_of_the_kernels_queue_ends_a_probe(tmp_path: Path):
    """A probe that the kernel may have dropped with other events is waited for no longer."""

    async def go() -> None:
        async with observing(tmp_path) as (observer, _):
            assert observer._running
            with held(locks(observer)["emitter"]):
                asking = asyncio.create_task(observer.alive())
                await asyncio.wait([asking], timeout=0.1)
                assert not asking.done()
                overflow = InotifyEvent(WatchDescriptor(-1), Mask(IN_Q_OVERFLOW), 0, b"")
                await asyncio.to_thread(observer._running[0].handle_event, overflow)
                async with asyncio.timeout(DEADLINE_S):
                    await asking
            await until_alive(observer)

    asyncio.run(go())
