"""The host's end of a session's two pipes: frames out and in, never blocking, half ones resumed."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from typing import Any

from rlmwatch.sandbox.guest.frames import Buffer

_CHUNK = 1 << 18


class WireClosed(Exception):
    """The other side is gone."""


class Wire:
    """
    Frames to and from one worker. Owns both descriptors.

    Bytes that did not fit the pipe stay here until `flush`; bytes of a frame that is not whole stay until `read`.
    """

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = requests
        self._replies = replies
        self._incoming = Buffer()
        self._outgoing: deque[memoryview] = deque()
        os.set_blocking(requests, False)
        os.set_blocking(replies, False)

    @property
    def backlog(self) -> int:
        """How many bytes wait to be flushed."""
        return sum(map(len, self._outgoing))

    def post(self, data: bytes) -> None:
        """
        Send *data*, or what of it fits the pipe now; the rest is for `flush`.

        Raises:
            WireClosed: The worker is gone.
        """
        self._outgoing.append(memoryview(data))
        self._push()

    async def flush(self) -> None:
        """
        Send what is left; as slow as the worker reads.

        Raises:
            WireClosed: The worker is gone.
        """
        while self._outgoing:
            await _until_ready(self._requests, writing=True)
            self._push()

    async def read(self) -> tuple[dict[str, Any], int]:
        """
        Return the next frame, and how many bytes it was.

        Cancelling loses nothing: what has come is kept for the next read.

        Raises:
            WireClosed: The worker is gone.
            BadFrame: What came is no frame that we take.
        """
        while True:
            frame = self._incoming.next()
            if frame is not None:
                return frame, self._incoming.last_bytes
            await _until_ready(self._replies, writing=False)
            try:
                data = os.read(self._replies, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                raise WireClosed
            self._incoming.feed(data)

    def close(self) -> None:
        """Give back both descriptors. Idempotent."""
        for descriptor in (self._requests, self._replies):
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)
        self._requests = self._replies = -1
        self._outgoing.clear()

    def _push(self) -> None:
        while self._outgoing:
            try:
                sent = os.write(self._requests, self._outgoing[0])
            except BlockingIOError:
                return
            except BrokenPipeError:
                raise WireClosed from None
            rest = self._outgoing.popleft()[sent:]
            if rest:
                self._outgoing.appendleft(rest)


async def _until_ready(descriptor: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    (loop.add_writer if writing else loop.add_reader)(descriptor, wake)
    try:
        await ready
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(descriptor)
