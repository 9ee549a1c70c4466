"""A program on a terminal of its own, driven as a person does: type, and wait for what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rlmwatch import clock

DEADLINE_S = 30.0
"""Seconds after which a wait gives up: the thing did not happen."""

ESC, CTRL_O, CTRL_X = "\x1b", "\x0f", "\x18"

_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|.)|[\x00-\x09\x0b-\x1f]")
"""What moves the cursor or sets a colour, and is not text."""


@dataclass
class Terminal:
    """
    A running program.

    Attributes:
        shown: Everything that it wrote so far, without control sequences.
    """

    process: subprocess.Popen[bytes]
    master: int
    shown: str = ""
    _raw: bytes = field(default=b"", repr=False)

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self.master, keys.encode())

    def see(self, text: str, n: int = 1) -> None:
        """Wait until *text* was shown *n* times in all."""
        deadline = clock.monotonic() + DEADLINE_S
        while self.shown.count(text) < n:
            left = deadline - clock.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{self.process.args} did not show {text!r}: {self.shown[-2000:]!r}")

    def end(self) -> int:
        """Wait until the program has ended, and return its exit status."""
        while self._read(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S)

    def _read(self, seconds: float) -> bool:
        """Take in what it writes; False where it has ended, or writes nothing for *seconds*."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.master, 65_536)
        except OSError:  # EIO: the program's side is closed
            return False
        self._raw += piece
        self.shown = _CONTROL.sub("", self._raw.decode(errors="replace"))
        return bool(piece)


def resize(shown: Terminal, rows: int, columns: int) -> None:
    """Give the window another size, as its user does with the mouse."""
    fcntl.ioctl(shown.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    shown.process.send_signal(signal.SIGWINCH)  # the kernel sends it only to those whose controlling terminal it is


@contextmanager
def terminal(*command: str, cwd: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Start *command* on a terminal; skip where the program is missing. It is ended with the block."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env={**env, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(DEADLINE_S)
        os.close(master)
