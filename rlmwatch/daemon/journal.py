"""
The log in systemd's journal, with fields that `journalctl RLMWATCH_RUN=…` asks for.

The journal's native protocol (systemd's "Native Journal Protocol"): one datagram an entry, `NAME=value` a line, a value
with line breaks after its length; where the entry is too long for a datagram, a sealed memfd with the same bytes.

1. Used where standard error is the journal, as `JOURNAL_STREAM` says, and the log is JSON; the message is that line.
2. Nobody waits for the journal: what it does not take at once is written to standard error, as without it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOCKET = Path("/run/systemd/journal/socket")
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Of syslog(3), by the levels of the log."""
FIELDS = {
    "event": "RLMWATCH_EVENT",
    "run": "RLMWATCH_RUN",
    "path": "RLMWATCH_PATH",
    "workspace": "RLMWATCH_WORKSPACE",  # where one process serves several
}
"""Facts of an event that are fields of their own, to be asked for by journalctl."""
_TOO_LONG = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def is_journal(environ: Mapping[str, str], fd: int) -> bool:
    """Whether the descriptor *fd* is the stream to the journal that *environ* names (`JOURNAL_STREAM`)."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def entry(message: str, event: Mapping[str, Any], *, workspace: str | None = None) -> bytes:
    """Return the entry of an *event*, whose whole line is *message*."""
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(PRIORITIES.get(str(event.get("level")), PRIORITIES["info"])),
        "SYSLOG_IDENTIFIER": "rlmwatch",
        **{name: str(event[fact]) for fact, name in FIELDS.items() if event.get(fact) is not None},
    }
    if workspace is not None:
        fields["RLMWATCH_WORKSPACE"] = workspace
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: str) -> bytes:
    raw = value.encode(errors="surrogateescape")
    if b"\n" not in raw:
        return b"%s=%s\n" % (name.encode(), raw)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(raw)), raw)


@dataclass(slots=True)
class SystemdJournal:
    """
    The journal's socket at *address*, which is opened with the first entry.

    Attributes:
        workspace: The folder whose log it is; None where it is of no one folder.
    """

    workspace: str | None = None
    address: Path = SOCKET
    _socket: socket.socket | None = None

    def takes(self, message: str, event: Mapping[str, Any]) -> bool:
        """Send an *event*, whose whole line is *message*; False where the journal does not take it now."""
        raw = entry(message, event, workspace=self.workspace)
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.settimeout(0)
            try:
                self._socket.sendto(raw, str(self.address))
            except OSError as error:
                if error.errno not in _TOO_LONG:
                    raise
                _send_by_file(self._socket, raw, self.address)
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _send_by_file(line: socket.socket, raw: bytes, address: Path) -> None:
    fd = os.memfd_create("rlmwatch-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(raw)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        line.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))], 0, str(address))
    finally:
        os.close(fd)
