"""
The daemon, one part of which stands still from SIGUSR2 on: `wedge_child.py WORKSPACE PART`.

Composed as `rlmwatch run` composes it. Each part is held up as a fault of its own kind would: by a call that does not
return, a lock that is not given back, a process that is stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlmwatch.daemon.composition import App
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager

LONG_S = 3600.0
MANY_THREADS = 64


def hold(lock: Any) -> None:
    """Take *lock* in a thread that keeps it."""
    taken = threading.Event()

    def keep() -> None:
        with lock:
            taken.set()
            time.sleep(LONG_S)

    threading.Thread(target=keep, daemon=True).start()
    taken.wait()


def fill_threads() -> None:
    """Give every worker thread something that does not end."""
    loop = asyncio.get_running_loop()
    for _ in range(MANY_THREADS):
        loop.run_in_executor(None, time.sleep, LONG_S)


def parts(app: App) -> dict[str, Callable[[], object]]:
    """Return how each part is held up."""
    sandbox: Any = app._builder.sandbox
    fd, dispatcher = app.watcher._observer._running or (None, None)
    assert fd
    assert dispatcher
    (emitter,) = dispatcher.emitters
    loop = asyncio.get_running_loop()
    return {
        "nothing": lambda: None,
        "loop": lambda: time.sleep(LONG_S),
        "ledger": lambda: loop.create_task(app.ledger._read(lambda _db: time.sleep(LONG_S))),
        "worker threads": fill_threads,
        "reader of events": lambda: hold(fd._lock),
        "emitter of events": lambda: hold(emitter._lock),
        "dispatcher of events": lambda: hold(dispatcher._lock),
        "watch over memory": lambda: hold(sandbox.watch._lock),
        "fork server": lambda: os.kill(sandbox._fork_server._spawner._process.pid, signal.SIGSTOP),
    }


async def main(workspace: Path, part: str) -> None:
    """Serve *workspace*."""
    redactor = Redactor()
    configure("json", redactor)
    async with App(locate(workspace), redactor=redactor) as app:
        await app._builder.sandbox.start()

        def wedge() -> None:
            parts(app)[part]()

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, wedge)
        await serve(app, asyncio.Event(), options=StartOptions(), manager=Manager.of(os.environ, os.getpid()))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
