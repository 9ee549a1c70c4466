"""
The worker's end of the two pipes: requests of the host come in, frames of the current step go out.

Standard library only. Every frame carries the random id of the step that it belongs to; no step, no frame. Threads
of a cell may call host functions at the same time: one of those that wait reads for all, and hands over.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlmwatch.sandbox.guest.frames import MAX_HOST_BYTES, BadFrame, Buffer, encode

_CHUNK = 1 << 20
_REQUEST = 0  # calls are numbered from 1

# Bound here, so that a cell that replaces them in `os` keeps its hands off ours.
_read, _write, _exit = os.read, os.write, os._exit


class CellInterrupted(KeyboardInterrupt):
    """The cell ran longer than its time limit."""

    __module__ = "builtins"  # how it is named in a traceback


class Interrupts:
    """
    What SIGINT does: it ends the running cell, but never in the middle of a frame.

    Attributes:
        running: Whether a cell runs; at other times the signal is ignored.
    """

    def __init__(self) -> None:
        self.running = False
        self._sheltered = 0
        self._deferred = False

    def handle(self, _signal: int, _frame: object) -> None:
        """Handle the signal; Python calls this in the main thread only."""
        if not self.running:
            return
        if self._sheltered:
            self._deferred = True
            return
        raise CellInterrupted("the cell ran longer than its time limit")

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Let no interrupt in; one that came meanwhile is raised at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._sheltered += 1
        try:
            yield
        finally:
            self._sheltered -= 1
        if self._deferred and self.running:
            self._deferred = False
            raise CellInterrupted("the cell ran longer than its time limit")

    def forget(self) -> None:
        """Begin a cell with a clean slate."""
        self._sheltered = 0
        self._deferred = False


class Channel:
    """
    Frames to and from the host.

    Attributes:
        interrupts: Held off while a frame is exchanged.
    """

    def __init__(self, requests: int, replies: int, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self._requests = requests
        self._replies = replies
        self._buffer = Buffer(max_bytes=MAX_HOST_BYTES, trusted=True)
        self._sending = threading.Lock()
        self._turn = threading.Condition()
        self._reading = False
        self._arrived: dict[int, dict[str, Any]] = {}
        self._waiting: set[int] = set()
        self._last_call = 0
        self._step: str | None = None

    def request(self) -> dict[str, Any]:
        """Wait for the host's next request and begin its step; ends the process when the host is gone."""
        frame = self._next(_REQUEST)
        self._step = frame["id"]
        return frame

    def finish(self, result: dict[str, Any]) -> None:
        """
        End the step with *result*: no frame of it leaves after this one.

        Threads that still wait for a host function are told that the cell has ended.
        """
        data = encode({"id": self._step, **result})
        with self._sending:
            self._step = None
            # Before the result: one of them may be reading, and looks again only after the host's next frame.
            with self._turn:
                for call in self._waiting:
                    self._arrived[call] = {"error": ["RuntimeError", "the cell has ended"]}
                self._turn.notify_all()
            self._send(data)

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """
        Have the host call a function, and return its reply.

        Raises:
            ValueError: The arguments are too large or too nested for one call.
            TypeError: The arguments are not JSON.
            RuntimeError: No cell is running.
        """
        with self.interrupts.held_off():
            with self._turn:
                self._last_call += 1
                call = self._last_call
            step = self._step
            try:
                data = encode({"id": step, "call": call, "name": name, "arguments": arguments})
            except BadFrame as error:
                raise ValueError(f"{name}(): the arguments are too much for one call: {error}") from None
            except TypeError as error:
                raise TypeError(f"{name}(): {error}") from None
            with self._sending:
                if step is None or step != self._step:
                    raise RuntimeError("the cell has ended")
                with self._turn:
                    self._waiting.add(call)
                self._send(data)
            return self._next(call)

    def _next(self, key: int) -> dict[str, Any]:
        """Return the frame for *key*, reading for the others too while nobody else does."""
        while True:
            with self._turn:
                while key not in self._arrived and self._reading:
                    self._turn.wait()
                if key in self._arrived:
                    self._waiting.discard(key)
                    return self._arrived.pop(key)
                self._reading = True
            frame = self._receive()
            with self._turn:
                self._reading = False
                self._arrived[frame.get("call", _REQUEST)] = frame
                self._turn.notify_all()

    def _receive(self) -> dict[str, Any]:
        while True:
            frame = self._buffer.next()
            if frame is not None:
                return frame
            data = _read(self._requests, _CHUNK)
            if not data:
                _exit(0)
            self._buffer.feed(data)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[_write(self._replies, view) :]
