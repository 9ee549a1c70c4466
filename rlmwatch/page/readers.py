"""
Threads that read for the page, apart from those of the daemon: a folder on a disk that hangs must not stop it.

1. The same thing is read once at a time: who asks meanwhile gets that result.
2. Nobody waits longer than `WAIT_S`; what is late goes on, and its thread ends with the process.
3. Of threads that have not come back there are `MAX_THREADS` at most; beyond that `Busy` is raised at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

WAIT_S = 5.0
MAX_THREADS = 16

T = TypeVar("T")


class Busy(Exception):
    """What is asked for cannot be read now."""


class Readers:
    """Reads in threads; of one event loop."""

    def __init__(self, *, wait_s: float = WAIT_S, max_threads: int = MAX_THREADS) -> None:
        self._wait_s = wait_s
        self._max_threads = max_threads
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}

    async def read(self, key: Hashable, work: Callable[[], T]) -> T:
        """
        Return what *work* returns, which blocks; *key* says what is read.

        Raises:
            Busy: It takes too long, or too much does.
            Exception: What *work* raised.
        """
        future = self._under_way.get(key)
        if future is None:
            if len(self._under_way) >= self._max_threads:
                raise Busy
            future = self._begin(key, work)
        try:
            async with asyncio.timeout(self._wait_s):
                result: T = await asyncio.shield(future)
        except TimeoutError:
            raise Busy from None
        return result

    def _begin(self, key: Hashable, work: Callable[[], T]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = self._under_way[key] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            self._under_way.pop(key, None)
            if future.cancelled():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
                future.exception()  # perhaps nobody waits any more

        def run() -> None:
            value, error = None, None
            try:
                value = work()
            except Exception as raised:  # noqa: BLE001 (it belongs to who asked)
                error = raised
            with suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(settle, value, error)

        # A daemon thread: one that hangs must not keep the program from ending.
        threading.Thread(target=run, name="rlmwatch-page", daemon=True).start()
        return future
