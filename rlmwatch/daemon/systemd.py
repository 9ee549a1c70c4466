"""
Telling the service manager how we are: sd_notify(3), a datagram to `$NOTIFY_SOCKET`.

Without that variable nothing is sent, so the daemon runs the same anywhere.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from rlmwatch.printable import printable

USEC_PER_S = 1_000_000
STATUS_CHARS = 300
"""Of a status: systemd takes no message of more than 4,096 bytes, and an escaped character has ten."""


@dataclass(frozen=True, slots=True)
class Manager:
    """
    The service manager, if there is one.

    Attributes:
        address: The notification socket; None without a manager.
        watchdog_s: Seconds within which the manager wants a ping; None where it wants none.
    """

    address: str | None
    watchdog_s: float | None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Manager:
        """Read what the manager told process *pid* in its environment."""
        wanted = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = int(wanted) / USEC_PER_S if mine and wanted.isdecimal() and int(wanted) > 0 else None
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog)

    def ready(self, status: str) -> None:
        """Say that saves are seen from now on."""
        self._send(f"READY=1\n{_status(status)}")

    def reloading(self, monotonic_s: float) -> None:
        """Say that the settings are read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * USEC_PER_S)}")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(_status(text))

    def ping(self) -> None:
        """Say that the loop still turns."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that we end on purpose."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self.address is None:
            return
        # A leading @ stands for the NUL byte of an abstract socket.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(message.encode(), address)
            except OSError:
                # The manager went away; a daemon that ends for it would lose what it is for.
                return


def _status(text: str) -> str:
    """Return *text* as a status on one line, so that no name in it is a message of its own."""
    return f"STATUS={printable(text[:STATUS_CHARS])}"
