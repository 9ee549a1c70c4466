"""
Starts Python programs from a process that has imported rlmwatch already: what takes a start half a second is done once.

    process = start(["-m", "rlmwatch", "jobs"], env=…, cwd=…, stdout=subprocess.PIPE)
    process.wait()

What is started is a process of its own, with its own environment, folder, streams and exit status, that does what
`python <arguments>` does; only that its imports were made before it was forked. `TEST_START=exec` starts every
program as a person does; so does `start` by itself where this system has no pidfd, and tests that are about starting.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import rlmwatch

PROGRAM = Path(rlmwatch.__file__).parent.parent
"""The rlmwatch that the tests import is the one that they start."""
IMPORTED = ("rlmwatch.cli.main", "rlmwatch.cli.run", "aiohttp", "exa_py", "platformdirs", "procrastinate", "psycopg")
"""What the fork server imports: the daemon, and what it loads when it is needed."""
STATUS = 8
"""Bytes of a number that the fork server sends."""
Files = tuple[int, int, int]


class Started:
    """A program that the fork server started; as far as tests need it, a `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], line: socket.socket, pipes: Mapping[str, IO[str]]) -> None:
        self.args = [sys.executable, *args]
        self.returncode: int | None = None
        self.stdout, self.stderr = pipes.get("stdout"), pipes.get("stderr")
        self._line = line
        self._lock = threading.Lock()
        self.pid = self._number()

    def _number(self) -> int:
        raw = self._line.recv(STATUS, socket.MSG_WAITALL)
        if len(raw) < STATUS:
            raise RuntimeError(f"the fork server is gone; it was to tell of {self.args}")
        return int.from_bytes(raw, sys.byteorder, signed=True)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative for a signal; raise TimeoutExpired where it runs for *timeout* seconds."""
        with self._lock:
            if self.returncode is None:
                if not select.select([self._line], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                self.returncode = self._number()
                self._line.close()
            return self.returncode

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(9)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return all that it writes until it ends; it is killed where it runs for *timeout* seconds."""
        said = {"stdout": "", "stderr": ""}

        def read(stream: str, pipe: IO[str]) -> None:
            with pipe:
                said[stream] = pipe.read()

        readers = [
            threading.Thread(target=read, args=(stream, pipe))
            for stream, pipe in (("stdout", self.stdout), ("stderr", self.stderr))
            if pipe is not None
        ]
        for reader in readers:
            reader.start()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            for reader in readers:
                reader.join()
        return said["stdout"], said["stderr"]


Process = subprocess.Popen[str] | Started


class ForkServer:
    """The process that forks the others, seen from the tests."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(PROGRAM)}
        command = [sys.executable, "-P", __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._orders = ours
        self._lock = threading.Lock()

    def start(self, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, **streams: int | None) -> Started:
        """Fork a process that does what `python <args>` does."""
        ours, theirs = socket.socketpair()
        pipes: dict[str, IO[str]] = {}
        files = [os.open(os.devnull, os.O_RDONLY)]
        for name in ("stdout", "stderr"):
            if streams.get(name) == subprocess.PIPE:
                read, write = os.pipe()
                pipes[name] = os.fdopen(read, encoding="utf-8")
            else:
                write = os.open(os.devnull, os.O_WRONLY) if streams.get(name) == subprocess.DEVNULL else os.dup(2)
            files.append(write)
        with self._lock:
            socket.send_fds(self._orders, [b"x"], [theirs.fileno(), *files])
        for file in files:
            os.close(file)
        theirs.close()
        order = json.dumps({"args": list(args), "env": dict(env), "cwd": str(cwd)}).encode()
        ours.sendall(len(order).to_bytes(STATUS, sys.byteorder) + order)
        return Started(args, ours, pipes)

    def close(self) -> None:
        """End it. What it started goes on."""
        self._orders.close()
        self._process.wait()


_ONE_AT_A_TIME = threading.Lock()


@cache
def _fork_server() -> ForkServer:
    return ForkServer()


def fork_server() -> ForkServer:
    """Return the one fork server of this process; safe to call from several threads."""
    with _ONE_AT_A_TIME:
        return _fork_server()


@contextmanager
def closed_at_last() -> Iterator[None]:
    """End the fork server, if there was any, after the block."""
    yield
    if _fork_server.cache_info().currsize:
        fork_server().close()
        _fork_server.cache_clear()


def start(
    args: Sequence[str],
    *,
    before: Sequence[str] = (),
    env: Mapping[str, str],
    cwd: Path,
    fresh: bool = False,
    **streams: int | None,
) -> Process:
    """
    Start `python <args>` without input.

    Args:
        args: `-m module …`, `-c program …` or `file …`.
        before: A command that starts it.
        env: The whole environment.
        cwd: The working folder.
        fresh: Start it as a person does, with nothing imported.
        streams: `stdout` and `stderr`: `subprocess.PIPE` (of UTF-8 text), `subprocess.DEVNULL`, or ours.
    """
    if before or fresh or os.environ.get("TEST_START") == "exec" or not hasattr(os, "pidfd_open"):
        command = [*before, sys.executable, *args]
        return subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, text=True, **streams)
    return fork_server().start(args, env=env, cwd=cwd, **streams)


# In the fork server


def serve(orders: socket.socket) -> dict[str, Any] | None:
    """Fork for each order; return in the child, with what it is to do, or None where no order can come any more."""
    for name in IMPORTED:
        __import__(name)
    gc.freeze()
    running: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in running:
                poll.unregister(ready)
                pid, line = running.pop(ready)
                _tell(line, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                line.close()
                os.close(ready)
                continue
            sent, files, _, _ = socket.recv_fds(orders, 1, 4)
            if not sent:
                return None
            pid = os.fork()
            if not pid:
                return _born(files)
            line = socket.socket(fileno=files[0])
            for file in files[1:]:
                os.close(file)
            _tell(line, pid)
            watched = os.pidfd_open(pid)
            running[watched] = pid, line
            poll.register(watched, select.POLLIN)


def _tell(line: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody waits for it any more
        line.sendall(number.to_bytes(STATUS, sys.byteorder, signed=True))


def _born(files: Sequence[int]) -> dict[str, Any]:
    """In a new process: take its streams, close all else, and return the order."""
    with socket.socket(fileno=os.dup(files[0])) as line:
        size = int.from_bytes(line.recv(STATUS, socket.MSG_WAITALL), sys.byteorder)
        order: dict[str, Any] = json.loads(line.recv(size, socket.MSG_WAITALL))
    for number, file in enumerate(files[1:]):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["cwd"])
    return order


def become(args: Sequence[str]) -> None:
    """Do what `python <args>` does."""
    first, *others = args
    if first == "-m":
        sys.argv, sys.path[:0] = others, [str(Path.cwd())]
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[:0] = ["-c", *others[1:]], [""]
        exec(compile(others[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})  # noqa: S102
    else:
        sys.argv, sys.path[:0] = [*args], [str(Path(first).parent)]
        runpy.run_path(first, run_name="__main__")


def end(status: object) -> None:
    """
    End this process as `sys.exit(status)` does, but for the last step.

    That frees every module, which takes 80 ms where their memory is shared with the fork server.
    """
    if not isinstance(status, int | None):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        order = serve(orders)
        if order is not None:
            orders.detach()
    if order is not None:
        try:
            become(order["args"])
        except SystemExit as ended:
            end(ended.code)
        end(0)
