"""
Standard output and standard error that never make the program wait.

A terminal that was stopped (Ctrl+S) and a pipe that nobody reads take nothing. Written to directly, they would hold the
event loop, and with it every run and the answer to SIGTERM. So a thread writes what cannot be written at once.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

WAITING_BYTES = 1 << 20
"""Of standard error, what waits for its reader at most: some 5,000 lines of the log."""
LAST_WORDS_S = 0.5
"""How long the end of the program waits for standard error to be taken."""
_PIECE = 1 << 16
_SURE_BYTES = select.PIPE_BUF
"""What a pipe that polls as writable takes without a wait (pipe(7))."""


class BackgroundStream(io.TextIOBase):
    """
    A text stream over a descriptor. What it does not take at once is written by a thread.

    What is written arrives whole and in order, unless *limit* bytes wait already: then it is dropped, and the number
    of dropped lines is logged (`log.lines_dropped`) once there is room. What the encoding lacks is escaped.

    Attributes:
        error: Why something could not be written: the reader went away (nothing is tried any more), the disk is full.
    """

    def __init__(self, fd: int, encoding: str, *, limit: int | None) -> None:
        """
        Prepare; the first write starts the thread.

        Args:
            fd: Stays open.
            encoding: Of the reader.
            limit: Bytes that wait at most; None for no limit.
        """
        self.error: OSError | None = None
        self._fd = fd
        mode = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        self._is_pipe = stat.S_ISFIFO(mode)
        self._encoding = encoding
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._moved = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the reader."""
        return self._encoding

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether a terminal reads."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    @property
    def behind(self) -> bool:
        """Whether something was written that its reader has not taken yet."""
        return self._bytes > 0

    def flush(self) -> None:
        """Do nothing: the thread writes as fast as it is read."""

    def write(self, text: str) -> int:
        """Write *text*, or hand it to the thread; never waits and never raises: see `error`."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._moved:
            if isinstance(self.error, BrokenPipeError) or not data:
                return len(text)
            if self._limit is not None and self._bytes + len(data) > self._limit:
                self._dropped += max(1, text.count("\n"))
                return len(text)
            if not self._bytes and self._takes(data):
                self._put(data)
                return len(text)
            self._waiting.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name=f"stream-{self._fd}", daemon=True)
                self._thread.start()
            self._moved.notify_all()
        return len(text)

    def drain(self, timeout_s: float | None) -> bool:
        """Wait until all is written, at most *timeout_s*; return whether it is."""
        with self._moved:
            return self._moved.wait_for(lambda: not self._bytes, timeout_s)

    def _write(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            self._put(data)
            with self._moved:
                self._bytes -= len(data)
                dropped, self._dropped = (self._dropped, 0) if not self._bytes else (0, self._dropped)
                self._moved.notify_all()
            if dropped:
                import structlog

                log = structlog.get_logger()
                log.warning("log.lines_dropped", lines=dropped, why="nobody read them")

    def _takes(self, data: bytes) -> bool:
        """Return whether *data* can be written without a wait. A terminal never promises that."""
        if not self._is_pipe or len(data) > _SURE_BYTES:
            return self._is_file
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _put(self, data: bytes) -> None:
        """Write *data*, unless nobody can read it any more; what does not fit on a full disk is lost."""
        view = memoryview(data)
        try:
            while view and not isinstance(self.error, BrokenPipeError):
                try:
                    view = view[os.write(self._fd, view[:_PIECE]) :]
                except BlockingIOError:  # another program has set the descriptor so
                    select.select((), (self._fd,), ())
        except OSError as error:
            self.error = error


@contextmanager
def background_streams() -> Iterator[None]:
    """
    Replace `sys.stdout` and `sys.stderr` in the block; at its end the output is waited for, the log only shortly.

    Raises:
        OSError: Standard output could not be written; `BrokenPipeError` where its reader went away, as `| head` does.
    """
    before = sys.stdout, sys.stderr
    out, err = (_over(stream, limit) for stream, limit in zip(before, (None, WAITING_BYTES), strict=True))
    sys.stdout, sys.stderr = out or before[0], err or before[1]
    try:
        yield
        if out is not None:
            out.drain(None)
            if out.error is not None:
                raise out.error
    finally:
        if err is not None:
            err.drain(LAST_WORDS_S)
        sys.stdout, sys.stderr = before


def _over(stream: TextIO | None, limit: int | None) -> BackgroundStream | None:
    """Return a background stream to where *stream* writes; None where it has no descriptor (a test's own stream)."""
    if stream is None:
        return None
    with suppress(OSError, ValueError):
        stream.flush()
        return BackgroundStream(stream.fileno(), stream.encoding or "utf-8", limit=limit)
    return None


def in_foreground(stream: BackgroundStream) -> bool:
    """Whether the terminal *stream* is ours to draw on: its shell may have put us into the background."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:  # a pipe, or not the terminal that controls us
        return True


def terminal_for_view() -> BackgroundStream | None:
    """Return the terminal on which this program may draw: both its streams are at it, and it is in the foreground."""
    err = sys.stderr
    if isinstance(err, BackgroundStream) and err.isatty() and sys.stdout.isatty() and in_foreground(err):
        return err
    return None
