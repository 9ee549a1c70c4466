"""A daemon of which any part stands still is noticed by its service manager: the pings stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from system.daemon import DEADLINE_S
from system.harness import Home

WEDGE_CHILD = Path(__file__).with_name("wedge_child.py")
WATCHDOG_S = 3.0
"""What the manager wants, three times as long as the daemon takes from ping to ping; it acts after this silence."""
PINGS = 4
"""In a row are a daemon that lives; so many after the fault are none that noticed it."""


@contextmanager
def manager(home: Home) -> Iterator[socket.socket]:
    """A service manager that wants pings."""
    home.variables |= {
        "NOTIFY_SOCKET": str(home.root / "notify"),
        "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(home.root / "notify"))
        listening.settimeout(DEADLINE_S)
        yield listening


def hear_pings(listening: socket.socket) -> None:
    """Wait until PINGS have come from now on."""
    listening.setblocking(False)
    try:
        while True:
            listening.recv(4096)
    except BlockingIOError:
        pass
    listening.settimeout(DEADLINE_S)
    heard = 0
    while heard < PINGS:
        heard += listening.recv(4096) == b"WATCHDOG=1"


def silent(listening: socket.socket) -> bool:
    """Return whether the daemon falls silent for as long as the manager waits, within a few pings."""
    listening.settimeout(WATCHDOG_S)
    for _ in range(2 * PINGS):
        try:
            listening.recv(4096)
        except TimeoutError:
            return True
    return False


@pytest.mark.parametrize(
    "part",
    [
        "nothing",
        "loop",
        "ledger",
        "worker threads",
        "reader of events",
        "emitter of events",
        "dispatcher of events",
        "watch over memory",
        "fork server",
    ],
)
def test_the_pings_stop_when_a_part_stands_still(home: Home, part: str):
    """The service manager hears no ping within its watchdog's time once a part stands still; else they go on."""
    with manager(home) as listening, home.daemon(program=[str(WEDGE_CHILD), str(home.workspace), part]) as daemon:
        hear_pings(listening)
        os.kill(daemon.pid, signal.SIGUSR2)
        if part == "nothing":  # the control
            hear_pings(listening)
            return
        assert silent(listening)
        daemon.kill()
