"""
Play attempts: in a bare subprocess, and in the sandbox of a policy. A module for tests, and a program that tests start.

As a program (`play.py VARIANT PYTHON`, see `VARIANTS`) it prints one JSON object, attempt → verdict, so that it can
be run as another user.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sandbox.escapes import ESCAPES, Attempt

from rlmwatch.errors import RlmwatchError
from rlmwatch.sandbox.base import HostFunction, Parameter
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox

CANARY_HEAD = "canary-7c1d"
CANARY = CANARY_HEAD + "-of-the-host"
MEMORY_BYTES = 400 << 20  # less than the default, so that bombs take less time
VARIANTS = {
    "default": Policy(memory_bytes=MEMORY_BYTES),
    "no namespaces": Policy(memory_bytes=MEMORY_BYTES, namespaces=False),
    "no landlock": Policy(memory_bytes=MEMORY_BYTES, landlock="off"),
    "seccomp alone": Policy(memory_bytes=MEMORY_BYTES, namespaces=False, landlock="off"),
}
MAX_HOST_GROWTH_MB = 120
"""What the host may need at its peak over all attempts: a frame of 8 MB, its parts, and Python's own."""

_OPEN_DESCRIPTOR = 77
_NUMBERS = {  # (x86_64, aarch64)
    "openat": (257, 56),
    "kcmp": (312, 272),
    "futex": (202, 98),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "add_key": (248, 217),
    "clone": (56, 220),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "pkey_mprotect": (329, 288),
}
_VICTIM = f"""
import ctypes, os, sys, time
buffer = ctypes.create_string_buffer({CANARY.encode()!r}, 64)
print(ctypes.addressof(buffer), flush=True)
sys.stdin.read()
"""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """
    What became of one attempt.

    Attributes:
        leaked: It got what it wanted, by its own word or because a lure was touched.
        ended: `result`, or the name of the error that ended the session.
        harmed: What the host suffered, if anything.
        told: The last line of the cell's error, or of its output.
    """

    leaked: bool
    ended: str
    harmed: str = ""
    told: str = ""


class Lures:
    """
    Things worth reaching, and whether they were reached.

    Attributes:
        names: What an attempt finds as its names in capitals.
        touched: What the sockets received or accepted.
    """

    def __init__(self, folder: Path, stack: ExitStack, python: str) -> None:
        self.touched: list[str] = []
        self._folder = folder
        self._stack = stack
        self._lock = threading.Lock()
        folder.chmod(0o777)
        self.fresh()
        (folder / "secret.txt").write_text(CANARY)
        victim = subprocess.Popen(
            [python, "-S", "-c", _VICTIM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"SECRET": CANARY},
        )
        stack.callback(self._end, victim)
        address = int(victim.stdout.readline())
        column = 0 if platform.machine() == "x86_64" else 1
        self.names: dict[str, Any] = {
            "CANARY_HEAD": CANARY_HEAD,
            "SECRET_FILE": str(folder / "secret.txt"),
            "FOLDER": str(folder),
            "VICTIM": victim.pid,
            "VICTIM_ADDRESS": address,
            "OPEN_DESCRIPTOR": _OPEN_DESCRIPTOR,
            "NR": {name: numbers[column] for name, numbers in _NUMBERS.items()},
            "TCP_PORT": self._socket("TCP", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))[1],
            "UDP_PORT": self._socket("UDP", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))[1],
            "UNIX_STREAM": self._socket("unix", socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "stream")),
            "UNIX_DATAGRAM": self._socket("unix", socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "datagram")),
            "ABSTRACT": self._socket("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0lure-{os.getpid()}"),
            "ABSTRACT_DATAGRAM": self._socket("abstract", socket.AF_UNIX, socket.SOCK_DGRAM, f"\0lured-{os.getpid()}"),
        }
        for path in folder.iterdir():
            if path.is_socket():
                path.chmod(0o777)
        secret = os.open(folder / "secret.txt", os.O_RDONLY)
        os.dup2(secret, _OPEN_DESCRIPTOR, inheritable=True)
        os.close(secret)
        stack.callback(os.close, _OPEN_DESCRIPTOR)

    def fresh(self) -> None:
        """Have in place what attempts move and remove."""
        for name in ("movable", "removable", "removable2", "planted.py"):
            (self._folder / name).write_text("WORD = 'LEAK'\n")
            (self._folder / name).chmod(0o666)

    def written(self) -> set[str]:
        """Return what the folder holds that we did not put there."""
        ours = {"movable", "removable", "removable2", "planted.py", "secret.txt", "stream", "datagram", "__pycache__"}
        return {path.name for path in self._folder.iterdir()} - ours

    @property
    def prelude(self) -> str:
        """Return the lines that name the lures, in one line."""
        return "; ".join(f"{name} = {value!r}" for name, value in self.names.items()) + "\n"

    def take_touched(self) -> list[str]:
        """Return and forget what was touched."""
        with self._lock:
            touched, self.touched = self.touched, []
            return touched

    def _socket(self, name: str, family: int, kind: int, address: Any) -> Any:
        listening = socket.socket(family, kind)
        listening.bind(address)
        listening.settimeout(0.2)
        if kind == socket.SOCK_STREAM:
            listening.listen()
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    if kind == socket.SOCK_STREAM:
                        listening.accept()[0].close()
                    else:
                        listening.recv(10)
                    with self._lock:
                        self.touched.append(name)

        thread = threading.Thread(target=serve)
        thread.start()
        self._stack.callback(listening.close)
        self._stack.callback(thread.join)
        self._stack.callback(ended.set)
        return listening.getsockname()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.communicate()


@contextmanager
def lures(python: str = sys.executable) -> Iterator[Lures]:
    """Lay the lures, one of which is a process of *python*, and take them away."""
    os.environ["SECRET"] = CANARY
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lures-", ignore_cleanup_errors=True)))
        stack.callback(os.environ.pop, "SECRET", None)
        yield Lures(folder, stack, python)


def play_bare(attempts: Sequence[Attempt]) -> dict[str, Verdict]:
    """Play the *attempts* that can leak in bare subprocesses with all rights of this one."""
    with lures() as laid:

        def one(attempt: Attempt) -> tuple[str, Verdict]:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", laid.prelude + attempt.code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(_OPEN_DESCRIPTOR,),
                start_new_session=True,
            )
            try:
                output, _ = process.communicate(b"typed by a person", timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
            leaked = b"LEAK" in output if "output" not in attempt.name else len(output) > 8 << 20
            return attempt.name, Verdict(leaked, f"status {process.returncode}", told=_last(output[-300:].decode()))

        # Those that write want the folder to themselves; two processors want no more than two.
        with ThreadPoolExecutor(2) as pool:
            return dict(pool.map(one, [attempt for attempt in attempts if attempt.leaks]))


async def play_sandboxed(
    policy: Policy, attempts: Sequence[Attempt], python: str = sys.executable
) -> dict[str, Verdict]:
    """Play the *attempts* under *policy*, each in a session of its own, some at a time."""
    sandbox = ProcessSandbox(policy, python=python)
    verdicts: dict[str, Verdict] = {}
    with lures(python) as laid:
        await sandbox.start()
        turns = asyncio.Semaphore(5)  # most of them wait most of the time

        async def one(attempt: Attempt) -> None:
            async with turns:
                verdicts[attempt.name] = await _play(sandbox, laid, attempt)

        try:
            await asyncio.gather(*(one(attempt) for attempt in attempts))
            after = await _works(sandbox)
        finally:
            await sandbox.aclose()
        left = [*laid.take_touched(), *sorted(laid.written())]
        verdicts["all"] = Verdict(bool(left), "result" if after else "no session any more", told=" ".join(left))
    return verdicts


async def _play(sandbox: ProcessSandbox, laid: Lures, attempt: Attempt) -> Verdict:
    session = await sandbox.open({"context": "hello"})
    before_mb = _peak_mb()
    try:
        result = await session.run_cell(
            laid.prelude + attempt.code, timeout_s=attempt_limit(attempt), functions=OFFERED
        )
        leaked = "LEAK" in result.stdout if "output" not in attempt.name else len(result.stdout) > 1 << 20
        verdict = Verdict(leaked, "killed" if result.killed else "result", told=_last(result.error or result.stdout))
        if session.alive:
            may_be_broken = attempt.group in ("disturbing", "frames")  # it breaks no session but its own
            after = await session.run_cell(
                "print(6 * 7, context)", timeout_s=2 if may_be_broken else 30, functions=OFFERED
            )
            if after.stdout != "42 hello\n" and not may_be_broken:
                verdict = dataclasses.replace(verdict, harmed=f"the session: {after.stdout} {after.error}")
    except RlmwatchError as error:
        verdict = Verdict(False, type(error).__name__, told=getattr(error, "reason", ""))
    except Exception as error:  # noqa: BLE001 (that is what must not happen)
        verdict = Verdict(False, type(error).__name__, harmed=repr(error))
    finally:
        await session.close()
    grown = _peak_mb() - before_mb
    return dataclasses.replace(verdict, harmed=f"{grown} MB") if grown > MAX_HOST_GROWTH_MB else verdict


def attempt_limit(attempt: Attempt) -> float:
    """Return the time limit of its cell: short where it will not end by itself."""
    return 0.4 if attempt.group in ("disturbing", "frames") else attempt.seconds


async def _works(sandbox: ProcessSandbox) -> bool:
    session = await sandbox.open({"context": "hello"})
    result = await session.run_cell("print(context)", timeout_s=30)
    await session.close()
    return result.stdout == "hello\n"


async def _echo(text: str) -> str:
    return text


async def _slow() -> str:
    await asyncio.sleep(0.02)
    return "slow"


async def _large() -> str:
    return "x" * 1_000_000


OFFERED = (
    HostFunction("echo", _echo, (Parameter("text"),)),
    HostFunction("slow", _slow),
    HostFunction("large", _large),
)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:160]


def stage(folder: Path) -> dict[str, str]:
    """
    Copy what a play needs into *folder* for any user to read, and return its environment and the interpreter.

    The interpreter is copied only where it lies in somebody's home. A copy is started by a script that says where its
    shared library is now: the path that was built into it leads to where this user may not look.
    """
    import structlog

    root = Path(__file__).parents[2]
    folder.chmod(0o755)
    shutil.copytree(root / "rlmwatch", folder / "rlmwatch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "tests/sandbox", folder / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(structlog.__file__).parent, folder / "structlog", ignore=shutil.ignore_patterns("__pycache__"))
    return {"python": _reachable_python(folder), "PYTHONPATH": str(folder)}


def _reachable_python(folder: Path) -> str:
    python = Path(os.path.realpath(sys.executable))
    library = Path(os.__file__).parent
    if all(part.stat().st_mode & 0o001 for path in (python, library) for part in path.parents):
        return str(python)
    copied = folder / "python" / library.relative_to(sys.base_prefix)
    left_out = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "config-*", "ensurepip", "lib2to3")
    shutil.copytree(library, copied, ignore=left_out, symlinks=True)
    (folder / "python/bin").mkdir()
    for shared in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
        shutil.copy2(shared, folder / "python/lib")
    program = shutil.copy2(python, folder / "python/bin" / python.name)
    starter = folder / "start-python"
    starter.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{folder}/python/lib" exec "{program}" "$@"\n')
    starter.chmod(0o755)
    return str(starter)


def play_as(user: int | None, variant: str) -> dict[str, Verdict]:
    """Play all under the *variant* in a host process of the *user* (None: this one's)."""
    with tempfile.TemporaryDirectory(prefix="play-", ignore_cleanup_errors=True) as folder:
        staged = stage(Path(folder))
        program = subprocess.run(
            [staged["python"], f"{folder}/sandbox/play.py", variant, staged["python"]],
            env={"PYTHONPATH": staged["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"},
            **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
            cwd="/",
            capture_output=True,
            timeout=400,
            check=False,
        )
    assert program.returncode == 0, program.stderr.decode()[-2000:]
    return {name: Verdict(**told) for name, told in json.loads(program.stdout.splitlines()[-1]).items()}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    played = asyncio.run(play_sandboxed(VARIANTS[sys.argv[1]], ESCAPES, sys.argv[2]))
    sys.stdout.write(json.dumps({name: dataclasses.asdict(verdict) for name, verdict in played.items()}) + "\n")
