"""
Bytes that a session can read: how a large value gets in without going through a pipe.

The host writes a piece into memory without a name, the worker makes a str of it, then comes the next: no side ever
holds the value twice. The worker's descriptor can only read.
"""

from __future__ import annotations

import asyncio
import os
import threading

PIECE_CHARS = 4 * 1024 * 1024
MIN_CHARS = 64 * 1024
"""Shorter values go in a frame, which is quicker then."""


class SharedBytes:
    """The shared bytes of one session. Owns its descriptor."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("context")
        self._writing = threading.Lock()

    def reader(self) -> int:
        """Return a new descriptor that can only read; it is the caller's."""
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    async def put(self, piece: str) -> int:
        """
        Make *piece* the shared bytes, and return how many there are.

        Raises:
            ValueError: There is no memory for them.
        """
        try:
            return await asyncio.to_thread(self._put, piece)
        except OSError as error:
            raise ValueError(f"no memory to hand a value over: {error.strerror}") from error

    def clear(self) -> None:
        """Give the memory back. Idempotent."""
        with self._writing:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give everything back, after a `put` whose caller was cancelled. Idempotent."""
        with self._writing:  # the number may belong to another file as soon as it is closed
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _put(self, piece: str) -> int:
        total = 0
        rest = memoryview(piece.encode("utf-8", "surrogatepass"))
        with self._writing:
            while rest and self._descriptor >= 0:
                written = os.pwrite(self._descriptor, rest, total)
                total += written
                rest = rest[written:]
        return total
