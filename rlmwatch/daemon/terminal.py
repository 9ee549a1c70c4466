"""
Whether the terminal at which this program was started is gone: its window was closed, the line to it broke.

The kernel sends SIGHUP then, and so may a person who wants the settings to be read again. The two are told apart by the
terminal itself: one that is gone can no longer be opened as /dev/tty, nor is a stream at it a terminal any more.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Self

STREAMS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Terminal:
    """
    What was a terminal when the program began.

    Attributes:
        controlling: Whether it had a controlling terminal.
        streams: Its standard streams at a terminal.
        outlives: Whether it was started to go on without (nohup).
    """

    controlling: bool
    streams: tuple[int, ...]
    outlives: bool

    @classmethod
    def at_start(cls) -> Self:
        """Look now; before a handler for SIGHUP is set."""
        streams = tuple(number for number in STREAMS if os.isatty(number))
        return cls(_has_one(), streams, signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)

    @property
    def lost(self) -> bool:
        """Whether it is gone, and this program with it is to end."""
        if self.outlives:
            return False
        return (self.controlling and not _has_one()) or not all(os.isatty(number) for number in self.streams)


def _has_one() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True
