"""
Bytes that a session can read: how a large value gets in without a frame.

The host writes them into memory without a name; the worker has a descriptor that can only read. They are given back
as soon as the worker has made its own value of them.
"""

from __future__ import annotations

import asyncio
import os
import threading

_CHUNK_CHARS = 4 * 1024 * 1024  # encoded piece by piece, so that no second whole copy is made


class Shared:
    """The shared bytes of one session. Owns its descriptor."""

    MIN_CHARS = 64 * 1024
    """Shorter values go in a frame, which is quicker then."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("context")
        self._writing = threading.Lock()
        self._wanted = True

    def reader(self) -> int:
        """Return a new descriptor that can only read; it is the caller's."""
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    async def put(self, text: str) -> int:
        """
        Make *text* the shared bytes, and return how many there are.

        Raises:
            ValueError: There is no memory for them.
        """
        try:
            return await asyncio.to_thread(self._put, text)
        except OSError as error:
            raise ValueError(f"no memory for a value of {len(text):,} characters: {error.strerror}") from error

    def clear(self) -> None:
        """Give the memory back. Idempotent."""
        with self._writing:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give everything back; a `put` that runs in its thread stops. Idempotent."""
        self._wanted = False
        with self._writing:  # the number may belong to another file as soon as it is closed
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _put(self, text: str) -> int:
        total = 0
        with self._writing:
            for start in range(0, len(text), _CHUNK_CHARS):
                if not self._wanted:
                    break
                rest = memoryview(text[start : start + _CHUNK_CHARS].encode("utf-8", "surrogatepass"))
                while rest:
                    written = os.pwrite(self._descriptor, rest, total)
                    total += written
                    rest = rest[written:]
        return total
