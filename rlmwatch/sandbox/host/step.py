"""
One step of a session, on the host: a request, the host functions that its cell calls, its result.

The clock of a cell stands still while a host function runs for it. At its limit it is asked to stop, by a signal every
0.2 s for a second; then `Overtime`. From the limit on host functions are refused, so the second is the last.
"""

from __future__ import annotations

import asyncio
import secrets
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from os import close
from typing import Any

from rlmwatch import clock
from rlmwatch.sandbox.base import CellError, Failure, HostFunction
from rlmwatch.sandbox.guest.frames import BadFrame, encode_trusted
from rlmwatch.sandbox.host.wire import Wire

INTERRUPT_S = 0.2
NUDGES = 5
MAX_CALLS = 64  # at once, as many as threads; more wait in the pipe
MAX_CALL_BYTES = 32 * 1024 * 1024  # of arguments at once; more wait in the pipe
MAX_BACKLOG_BYTES = 8 * 1024 * 1024  # of replies that the worker does not read; no further call is taken until it does
_DEATH_S = 5.0


class Overtime(Exception):
    """The cell did not stop when it was asked to."""


class HostProcess:
    """A worker's process, by a descriptor that no other process can come to stand for. Owns it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def alive(self) -> bool:
        """Whether it was not killed by us, and still runs."""
        return self._descriptor >= 0 and self.runs()

    def runs(self) -> bool:
        """Whether the kernel still has it."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(0)

    def resume(self) -> None:
        """Let it run."""
        self._send(signal.SIGCONT)

    def pause(self) -> None:
        """Stop all its threads."""
        self._send(signal.SIGSTOP)

    def interrupt(self) -> None:
        """Ask its cell to stop."""
        self._send(signal.SIGINT)

    def end(self) -> None:
        """Kill it; whoever waits for it finds out. Not after `kill` was called."""
        self._send(signal.SIGKILL)

    async def kill(self) -> None:
        """Kill it and wait until it is gone. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            loop.add_reader(descriptor, gone.set)
            with suppress(TimeoutError):  # it can hang in the kernel; it runs no code any more
                await asyncio.wait_for(gone.wait(), _DEATH_S)
        finally:
            loop.remove_reader(descriptor)
            close(descriptor)

    def _send(self, what: signal.Signals) -> None:
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, what)


class Step:
    """
    One step.

    Attributes:
        id: Random; each frame of the step carries it, so that none of another step passes.
        seconds: How long the worker ran, so far.
        host_seconds: How long it waited for host functions, so far.
        nudged: How often it was asked to stop.
    """

    def __init__(
        self, process: HostProcess, wire: Wire, timeout_s: float, functions: Mapping[str, HostFunction]
    ) -> None:
        self.id = secrets.token_hex(8)
        self.seconds = 0.0
        self.host_seconds = 0.0
        self.nudged = 0
        self._process = process
        self._wire = wire
        self._timeout_s = timeout_s
        self._functions = functions
        self._calls: dict[asyncio.Task[dict[str, Any]], int] = {}
        self._numbers: set[int] = set()
        self._seen_at = clock.monotonic()
        self._nudged_at = 0.0

    async def run(self, request: bytes) -> dict[str, Any]:
        """
        Send *request*, serve the cell's calls, and return the frame that ends the step.

        Host functions that still run then are cancelled.

        Raises:
            WireClosed: The worker is gone.
            BadFrame: It broke the protocol.
            Overtime: The cell did not stop; the worker still runs.
            Exception: What a host function raised.
        """
        self._wire.post(request)
        reading: asyncio.Task[tuple[dict[str, Any], int]] | None = None
        flushing: asyncio.Task[None] | None = None
        try:
            while True:
                if reading is None and self._room():
                    reading = asyncio.create_task(self._wire.read())
                if flushing is None and self._wire.backlog:
                    flushing = asyncio.create_task(self._wire.flush())
                tasks = [task for task in (reading, flushing, *self._calls) if task is not None]
                done, _ = await asyncio.wait(tasks, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
                self._account()
                if flushing is not None and flushing in done:
                    flushing.result()
                    flushing = None
                for call in [call for call in self._calls if call in done]:
                    self._reply(call)
                if reading is not None and reading in done:
                    frame, size = reading.result()
                    reading = None
                    if frame.get("id") != self.id:
                        raise BadFrame("a frame of no step, or of another")
                    if "call" not in frame:
                        return frame
                    self._begin_call(frame, size)
                self._hurry()
        finally:
            await _cancelled([task for task in (reading, flushing, *self._calls) if task is not None])

    def _room(self) -> bool:
        return (
            len(self._calls) < MAX_CALLS
            and sum(self._calls.values()) < MAX_CALL_BYTES
            and self._wire.backlog < MAX_BACKLOG_BYTES
        )

    def _account(self) -> None:
        now = clock.monotonic()
        if self._calls:
            self.host_seconds += now - self._seen_at
        else:
            self.seconds += now - self._seen_at
        self._seen_at = now

    def _patience(self) -> float | None:
        """Return how long nothing need happen before the cell is hurried; None while a host function runs."""
        if self._calls:
            return None
        if not self.nudged:
            return max(0.0, self._timeout_s - self.seconds)
        return max(0.0, self._nudged_at + INTERRUPT_S - self._seen_at)

    def _hurry(self) -> None:
        if self._patience() != 0.0:
            return
        if self.nudged == NUDGES:
            raise Overtime
        self._process.interrupt()
        self.nudged += 1
        self._nudged_at = self._seen_at

    def _begin_call(self, frame: dict[str, Any], size: int) -> None:
        number, name, arguments = frame["call"], frame.get("name"), frame.get("arguments")
        if type(number) is not int or number < 1 or not isinstance(name, str) or not isinstance(arguments, dict):
            raise BadFrame("no call of a function")
        if number in self._numbers:
            raise BadFrame("two calls with one number")
        if self.nudged:
            self._answer(number, {"error": ["TimeoutError", "the cell has passed its time limit"]})
            return
        self._numbers.add(number)
        self._calls[asyncio.create_task(self._call(number, name, arguments))] = size

    async def _call(self, number: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            function = self._functions.get(name)
            if function is None:
                raise CellError("NameError", f"{name[:100]}() is not offered to this cell")  # noqa: TRY301
            value = await function.call(**function.checked(arguments))
        except CellError as error:
            return {"call": number, "error": [error.name, error.text]}
        if not isinstance(value, (list, tuple)):
            return {"call": number, "value": value}
        failures = {place: [item.name, item.text] for place, item in enumerate(value) if isinstance(item, Failure)}
        kept = [None if isinstance(item, Failure) else item for item in value]
        return {"call": number, "value": kept, "failures": failures}

    def _reply(self, call: asyncio.Task[dict[str, Any]]) -> None:
        del self._calls[call]
        reply = call.result()
        number = reply.pop("call")
        self._numbers.discard(number)
        self._answer(number, reply)

    def _answer(self, number: int, reply: dict[str, Any]) -> None:
        head = {"id": self.id, "call": number}
        try:
            data = encode_trusted(head | reply)
        except BadFrame as error:
            data = encode_trusted(head | {"error": ["ValueError", str(error)]})
        self._wire.post(data)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
