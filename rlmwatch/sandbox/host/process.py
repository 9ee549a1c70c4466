"""
Sessions as locked-down processes of this machine (Linux).

`ProcessSandbox` has them forked from a zygote; a `ProcessSession` is the host's side of one. What comes from a worker
is never trusted: a frame that breaks the protocol kills it, and whatever it does within the protocol, it could have
done by calling what the cell was offered.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import structlog

from rlmwatch.errors import SandboxUnavailable
from rlmwatch.sandbox.base import (
    REQUIRED,
    CellResult,
    HostFunction,
    JsonValue,
    Report,
    ReportLine,
    SessionDied,
    Variable,
)
from rlmwatch.sandbox.guest.frames import BadFrame, encode_trusted
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host import fork_server
from rlmwatch.sandbox.host.fork_server import Child, ForkServer
from rlmwatch.sandbox.host.memory import MemoryLimits, MemoryWatch
from rlmwatch.sandbox.host.results import cell_result, variables
from rlmwatch.sandbox.host.shared import MIN_CHARS, PIECE_CHARS, SharedBytes
from rlmwatch.sandbox.host.step import HostProcess, Overtime, Step
from rlmwatch.sandbox.host.wire import Wire, WireClosed

log = structlog.get_logger()

_READY_S = 20.0  # a fork and a lockdown take 5 ms
_SET_S = 60.0  # a piece takes some milliseconds
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


class ProcessSession:
    """
    One worker, as its host sees it. Implements `Session`.

    Attributes:
        pid: Its process id, for people and tests.
    """

    def __init__(self, child: Child, wire: Wire, shared: SharedBytes, watch: MemoryWatch) -> None:
        self.pid = child.pid
        self._process = HostProcess(child.process)
        self._wire = wire
        self._shared = shared
        self._names: tuple[Variable, ...] = ()  # as after the last cell
        self._offered: list[dict[str, Any]] = []
        self._watch = watch
        self._watched: int | None = None
        self._ended_for = ""

    @property
    def alive(self) -> bool:
        """Whether another cell can run."""
        return self._process.alive

    async def run_cell(self, code: str, *, timeout_s: float, functions: Sequence[HostFunction] = ()) -> CellResult:
        """Run *code*; see `Session.run_cell`."""
        request: dict[str, Any] = {"op": "run", "code": code}
        declared = [_declaration(function) for function in functions]
        if declared != self._offered:
            request["functions"] = declared
        self._offered = declared
        step = Step(self._process, self._wire, timeout_s, {function.name: function for function in functions})
        try:
            frame = await self._exchange(step, request)
        except Overtime:
            error = f"The code ran longer than {timeout_s:g} s and did not stop when it was asked to: it was killed."
            return CellResult(
                error=error,
                lost=await self._kill(),
                killed=True,
                seconds=step.seconds,
                host_seconds=step.host_seconds,
            )
        try:
            result = cell_result(
                frame,
                seconds=step.seconds,
                host_seconds=step.host_seconds,
                interrupted=step.nudged > 0,
            )
        except BadFrame as problem:
            raise await self._violated(problem) from problem
        self._names = result.names
        return result

    async def close(self) -> None:
        """End the session at once. Idempotent."""
        await self._kill()

    async def handshake(self, hello: str, run: str) -> None:
        """
        Wait until the worker has locked itself down, and see for ourselves that it has; then watch its memory.

        Raises:
            SandboxUnavailable: It could not, or the kernel says that it has not.
        """
        try:
            frame, _ = await asyncio.wait_for(self._wire.read(), _READY_S)
        except (WireClosed, BadFrame, TimeoutError) as problem:
            raise SandboxUnavailable(
                "a sandbox ended while it locked itself down: `rlmwatch doctor` says at which layer",
            ) from problem
        if frame.get("id") != hello or "ready" not in frame:
            layer, reason, cure = frame.get("refused", ("protocol", "no greeting", ""))
            raise SandboxUnavailable(f"{layer}: {reason}. {cure}")
        problem_found = fork_server.filtered(self.pid)
        if problem_found or not self._process.runs():
            raise SandboxUnavailable(problem_found or "a sandbox ended while it locked itself down")
        self._watched = self._watch.add(self.pid, run, self._end)
        log.debug("sandbox.ready", pid=self.pid, layers=[layer[:2] for layer in frame["ready"]])

    async def initialize(self, values: Mapping[str, JsonValue], seed: int | None) -> None:
        """Give the session the *values* that are put back when overwritten, and seed `random`."""
        await self._report({"op": "seed", "seed": seed})
        for name, value in values.items():
            await self._set(name, value)

    async def _set(self, name: str, value: JsonValue) -> None:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is not a name for a variable")
        plain = isinstance(value, str)
        text = value if plain else json.dumps(value, allow_nan=False)
        request = {"op": "set", "name": name, "plain": plain}
        if len(text) <= MIN_CHARS:
            frame = await self._report(request | {"value": value})
        else:
            frame = await self._handed_over(text, request)
        if "problem" in frame:
            raise ValueError(str(frame["problem"]))

    async def _handed_over(self, text: str, request: dict[str, Any]) -> dict[str, Any]:
        """Hand *text* over by shared bytes, piece by piece, and return what the worker says at the end."""
        try:
            for start in range(0, len(text), PIECE_CHARS):
                size = await self._shared.put(text[start : start + PIECE_CHARS])
                last = start + PIECE_CHARS >= len(text)
                frame = await self._report(request | {"bytes": size, "last": last})
                if "problem" in frame:
                    break
        finally:
            self._shared.clear()
        return frame

    async def _report(self, request: dict[str, Any]) -> dict[str, Any]:
        """Exchange a request that runs no cell."""
        step = Step(self._process, self._wire, _SET_S, {})
        try:
            frame = await self._exchange(step, request)
            if "names" in frame:
                self._names = variables(frame["names"])
        except (Overtime, BadFrame) as problem:
            raise await self._violated(problem) from problem
        return frame

    async def _exchange(self, step: Step, request: dict[str, Any]) -> dict[str, Any]:
        """Do one step; a session that it did not end as it should is gone."""
        if not self.alive:
            why = self._ended_for or "it was closed"
            raise SessionDied(f"The Python session ended: {why}.", reason="crashed", lost=await self._kill())
        try:
            data = encode_trusted({**request, "id": step.id})
            self._process.resume()
            frame = await step.run(data)
        except Overtime:
            raise
        except WireClosed as problem:
            lost = await self._kill()
            log.info("sandbox.crashed", pid=self.pid)
            why = self._ended_for or "its process crashed, ran out of memory, or was ended by the code"
            raise SessionDied(f"The Python session ended: {why}.", reason="crashed", lost=lost) from problem
        except BadFrame as problem:
            raise await self._violated(problem) from problem
        except BaseException:
            await self._kill()
            raise
        self._process.pause()
        return frame

    async def _violated(self, problem: Exception) -> SessionDied:
        log.warning("sandbox.violated", pid=self.pid, problem=str(problem)[:200])
        text = "The Python session was ended: the code interfered with how the session talks to its host."
        return SessionDied(text, reason="violated", lost=await self._kill())

    async def _kill(self) -> tuple[str, ...]:
        """Kill the worker, give everything back, and return the names that are lost."""
        lost = tuple(variable.name for variable in self._names)
        self._names = ()
        if self._watched is not None:
            self._watch.remove(self._watched)
        self._wire.close()
        self._shared.close()
        await self._process.kill()
        return lost

    def _end(self, why: str) -> None:
        self._ended_for = why
        self._process.end()


class ProcessSandbox:
    """
    Sessions in processes that lock themselves down. Implements `Sandbox`.

    Attributes:
        policy: Which layers, how much.
        python: The interpreter that cells run on; only its standard library is theirs.
        watch: Ends sessions that hold too much memory.
    """

    def __init__(
        self, policy: Policy | None = None, *, python: str = sys.executable, limits: MemoryLimits | None = None
    ) -> None:
        self.policy = policy or Policy()
        self.python = python
        self.watch = MemoryWatch(limits or MemoryLimits.on_this_machine(self.policy.memory_bytes))
        self._fork_server = ForkServer(python)

    async def probe(self) -> Report:
        """Find out by trying what this machine offers. Raises nothing."""
        if sys.platform != "linux":
            cure = "Use Linux; chat needs no sandbox."
            return Report((ReportLine("system", "refused", f"no process sandbox on {sys.platform}", cure),))
        return await asyncio.to_thread(fork_server.probe, self.policy, self.python)

    async def alive(self) -> None:
        """Ask the zygote and the thread that looks at memory; see `Sandbox.alive`."""
        await asyncio.to_thread(self.watch.answer)
        await asyncio.to_thread(self._fork_server.answer)

    async def start(self) -> None:
        """Start the zygote, which takes 0.1 s. Idempotent; see `Sandbox.start`."""
        await asyncio.to_thread(self._fork_server.start)

    async def open(self, values: Mapping[str, JsonValue], *, seed: int | None = None, run: str = "") -> ProcessSession:
        """Open a session; see `Sandbox.open`."""
        hello = secrets.token_hex(8)
        wire, shared, theirs = _channels()
        forking = asyncio.ensure_future(asyncio.to_thread(self._fork_server.fork, self.policy, hello, theirs))
        try:
            child = await asyncio.shield(forking)
        except BaseException:
            wire.close()  # a session that is born nevertheless ends by that
            shared.close()
            forking.add_done_callback(_abandon)
            raise
        session = ProcessSession(child, wire, shared, self.watch)
        try:
            await session.handshake(hello, run)
            await session.initialize(values, seed)
        except BaseException:
            await session.close()
            raise
        return session

    async def aclose(self) -> None:
        """End the zygote and with it every session. Idempotent."""
        await asyncio.to_thread(self._fork_server.close)


def _channels() -> tuple[Wire, SharedBytes, tuple[int, int, int]]:
    """
    Return what a session is reached by, and the three descriptors that are its own.

    Raises:
        OSError: No descriptor is left; those that were made are closed.
    """
    with ExitStack() as made:
        theirs_in, requests = _closed_by(made, *os.pipe())
        replies, theirs_out = _closed_by(made, *os.pipe())
        shared = SharedBytes()
        made.callback(shared.close)
        theirs = (theirs_in, theirs_out, shared.reader())
        for pipe in (requests, replies):
            with suppress(OSError):  # the user's share of pipe memory is used up: smaller is slower, no more
                _enlarge(pipe)
        made.pop_all()
        return Wire(requests, replies), shared, theirs


def _closed_by(stack: ExitStack, *descriptors: int) -> tuple[int, ...]:
    for descriptor in descriptors:
        stack.callback(os.close, descriptor)
    return descriptors


def _abandon(forking: asyncio.Future[Child]) -> None:
    if not forking.cancelled() and forking.exception() is None:
        os.close(forking.result().process)


def _enlarge(pipe: int) -> None:
    fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


def _declaration(function: HostFunction) -> dict[str, Any]:
    return {
        "name": function.name,
        "doc": function.doc,
        "errors": list(function.errors),
        "record": function.record,
        "parameters": [
            {"name": parameter.name} | ({} if parameter.default is REQUIRED else {"default": parameter.default})
            for parameter in function.parameters
        ],
    }
