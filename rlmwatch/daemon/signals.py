"""What the signals do that a daemon heeds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine

import structlog

from rlmwatch.daemon.systemd import Manager
from rlmwatch.daemon.terminal import Terminal

HANGUP_S = 2.0
"""A shell whose window is closed has ended by then, and its terminal with it."""

Reload = Callable[[], Coroutine[None, None, None]]
"""Reads settings and keys again."""

log = structlog.get_logger()


class Signals:
    """
    What the signals do.

    1. SIGINT and SIGTERM stop.
    2. SIGHUP reloads, unless the terminal is gone at which the daemon was started and nobody else manages it: then it
       stops. A shell that ends may send it a moment before, so that is looked at once more.
    3. SIGUSR1, which `rlmwatch reload` sends, reloads also where the terminal is gone (a job that its shell let go).
    4. SIGIO, which a broken lease sends, is ignored.
    """

    def __init__(self, reload: Reload, stop: asyncio.Event, manager: Manager) -> None:
        """Prepare; the signals are heeded in the `with` block."""
        self._reload = reload
        self._stop = stop
        self._manager = manager
        self._reloads: set[asyncio.Task[None]] = set()
        self._terminal = Terminal.at_start()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR1, self._on_reload)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            loop.remove_signal_handler(number)

    def _on_stop(self, number: int) -> None:
        log.info("stop.asked", signal=signal.Signals(number).name)
        self._stop.set()
        # A second one does not wait for running calls.
        asyncio.get_running_loop().remove_signal_handler(number)

    def _on_hangup(self) -> None:
        if not self._stop_without_terminal():
            asyncio.get_running_loop().call_later(HANGUP_S, self._stop_without_terminal)
            self._on_reload()

    def _stop_without_terminal(self) -> bool:
        """Stop where the terminal is gone; return whether it is."""
        lost = self._manager.address is None and self._terminal.lost
        if lost and not self._stop.is_set():
            log.info("stop.asked", signal="SIGHUP", why="the terminal is gone")
            self._stop.set()
        return lost

    def _on_reload(self) -> None:
        task = asyncio.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
