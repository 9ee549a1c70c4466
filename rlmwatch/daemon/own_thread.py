"""Work that may never end: in a thread of its own, which takes none of the pool's and delays no end of the program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(call: Callable[[], T]) -> T:
    """Return what *call* returns; it goes on when this is cancelled."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (it is raised where it is awaited)
            future.set_exception(error)

    threading.Thread(target=run, name="rlmwatch-own", daemon=True).start()
    return await asyncio.wrap_future(future)
