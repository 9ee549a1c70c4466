"""
The host's side of the zygote: start it, have sessions forked, end it. Also the probe, which is started alike.

Everything here blocks for some milliseconds and is called in a thread; nothing belongs to an event loop.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlmwatch.errors import SandboxUnavailable
from rlmwatch.sandbox.base import Report, ReportLine
from rlmwatch.sandbox.guest.frames import QUESTION
from rlmwatch.sandbox.guest.lockdown import Policy

START_S = 30.0  # a cold disk; it takes 0.1 s
_PROBE_S = 20.0
_END_S = 5.0
_PACKAGE = str(Path(__file__).parents[2])

# The package's own __init__ files are left out: they are not part of what runs in there.
_LAUNCH = """
import sys, types
for name in ("", ".sandbox", ".sandbox.guest"):
    package = sys.modules["rlmwatch" + name] = types.ModuleType("rlmwatch" + name)
    package.__path__ = [sys.argv[1] + name.replace(".", "/")]
from rlmwatch.sandbox.guest.zygote import main
main()
"""
# The order of sets of str is the same in each session, so that a replayed run does what it did; and no local time.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "TZ": "UTC0"}

_SERVICE_CURE = (
    "A filter of the service or container kills it. In a systemd unit: SystemCallFilter=@system-service "
    "chroot landlock_create_ruleset landlock_add_rule landlock_restrict_self, and SystemCallErrorNumber=EPERM."
)
_LAYERS = {
    "process": "own session, dies with its host",
    "identity": "never real root",
    "namespaces": "own namespaces",
    "limits": "memory, processor time, descriptors",
    "landlock": "no files",
    "seccomp": "few system calls",
}


@dataclass(frozen=True, slots=True)
class Child:
    """
    A forked session.

    Attributes:
        pid: Its process id, for `/proc` only.
        process: A descriptor of the process, for signals: it means this process and no later one.
    """

    pid: int
    process: int


class ForkServer:
    """
    A running zygote.

    Attributes:
        python: The interpreter.
    """

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._spawner: _Spawner | None = None

    def start(self) -> None:
        """
        Start the zygote if it does not run. Idempotent.

        Raises:
            SandboxUnavailable: It does not start; what it said.
        """
        with self._lock:
            self._start()

    def fork(self, policy: Policy, hello: str, descriptors: tuple[int, int, int]) -> Child:
        """
        Fork a session; a zygote that died meanwhile is replaced.

        Args:
            policy: How the session locks itself down.
            hello: The id of its first frame.
            descriptors: Requests, replies and shared bytes as the session has them. They are closed here, so that no
                caller who was cancelled closes them while they are sent.

        Raises:
            SandboxUnavailable: No session can be forked.
            OSError: The machine has no process, memory or descriptor left for it now.
        """
        message = json.dumps({"policy": asdict(policy), "hello": hello}).encode()
        try:
            with self._lock:
                return self._fork(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, message: bytes, descriptors: tuple[int, int, int]) -> Child:
        for _ in range(2):
            control = self._start()
            answer, received = b"", list[int]()
            with suppress(OSError):
                socket.send_fds(control, [message], list(descriptors))
                answer, received, _, _ = socket.recv_fds(control, 4096, 1)
            if received:
                return Child(json.loads(answer)["pid"], received[0])
            if answer:
                # An answer without its descriptor: the kernel drops one that finds no room in our table.
                problem = {"errno": errno.EMFILE, "error": os.strerror(errno.EMFILE), **json.loads(answer)}
                raise OSError(problem["errno"], f"no process for a sandbox: {problem['error']}")
            self._stop()
        raise SandboxUnavailable("the process that sandboxes are forked from ends at once")

    def answer(self) -> None:
        """
        Return once the zygote has answered; at once where none runs.

        One that does not answer within `START_S` is ended, with its sessions; the next `fork` starts another.
        """
        with self._lock:
            if self._control is not None:
                answer = b""
                with suppress(OSError):
                    self._control.send(QUESTION)
                    answer = self._control.recv(16)
                if not answer:
                    self._stop()

    def close(self) -> None:
        """End the zygote, and with it every session. Idempotent."""
        with self._lock:
            self._stop()

    def _start(self) -> socket.socket:
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._spawner = _Spawner(self.python, theirs)
            ours.settimeout(START_S)
            with suppress(OSError):
                if ours.recv(16):
                    self._control = ours
                    return ours
        finally:
            if self._control is None:
                ours.close()
        raise SandboxUnavailable(f"{self.python} does not start as a sandbox: {self._spawner.end() or 'no word'}")

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._spawner is not None:
            self._spawner.end()
            self._spawner = None


class _Spawner:
    """
    The zygote as a process, and the thread that started it and stays until it ends.

    The kernel ends a process "with its parent" when the *thread* that started it ends; so that must be one that lasts.

    Raises:
        SandboxUnavailable: The interpreter cannot be started.
    """

    def __init__(self, python: str, control: socket.socket) -> None:
        self._command = _command(python, "serve", str(control.fileno()))
        self._control = control.fileno()
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr_text = ""
        self._thread = threading.Thread(target=self._spawn, name="rlmwatch-zygote", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._process is None:
            raise SandboxUnavailable(f"{python} cannot be started: {self._stderr_text}")

    def end(self) -> str:
        """Wait until the process ends, kill it where it does not, and return the last of what it said."""
        self._thread.join(_END_S)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join()
        return self._stderr_text

    def _spawn(self) -> None:
        with os.fdopen(os.memfd_create("said"), "w+b") as stderr_text:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (our own interpreter)
                    self._command,
                    env=_ENVIRONMENT,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr_text,
                    pass_fds=(self._control,),
                    start_new_session=True,
                )
            except OSError as problem:
                self._stderr_text = str(problem)
                return
            finally:
                self._started.set()
            self._process.wait()
            stderr_text.seek(0)
            self._stderr_text = stderr_text.read().decode(errors="replace").strip()[-500:]


def probe(policy: Policy, python: str = sys.executable) -> Report:
    """Find out in a throw-away process which layers this machine offers. Raises nothing."""
    try:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter)
            _command(python, "probe", json.dumps(asdict(policy))),
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as problem:
        return Report((ReportLine("interpreter", "refused", f"{python}: {problem.strerror}"),))
    timer = threading.Timer(_PROBE_S, process.kill)
    timer.start()
    try:
        with process:
            return Report(tuple(_listen(process)))
    finally:
        timer.cancel()


def filtered(pid: int) -> str:
    """Return why the process *pid* is not under a seccomp filter as far as the kernel says, or an empty str."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError as error:
        return f"/proc/{pid}/status cannot be read ({error.strerror})"
    facts = {key: status.get(key, "").split() for key in ("Seccomp", "NoNewPrivs", "CapEff", "CapPrm", "Uid")}
    if facts["Seccomp"] != ["2"] or facts["NoNewPrivs"] != ["1"]:
        return f"seccomp is not in force (Seccomp: {' '.join(facts['Seccomp'])})"
    if "0" in facts["Uid"]:
        return "it is still real root"
    if any(int(word, 16) for key in ("CapEff", "CapPrm") for word in facts[key]):
        return "it holds capabilities"
    return ""


def _listen(process: subprocess.Popen[bytes]) -> list[ReportLine]:
    assert process.stdout  # noqa: S101 (a pipe was asked for)
    assert process.stdin  # noqa: S101
    assert process.stderr  # noqa: S101
    lines: list[ReportLine] = []
    trying = "interpreter"
    for line in process.stdout:
        report: dict[str, Any] = json.loads(line)
        if "trying" in report:
            lines += [ReportLine(trying, "on", _LAYERS[trying])] if trying in _LAYERS else []
            trying = report["trying"]
        elif "refused" in report:
            layer, reason, cure = report["refused"]
            return [*[known for known in lines if known.layer != layer], ReportLine(layer, "refused", reason, cure)]
        else:
            problem = filtered(process.pid)
            cure = "Make /proc readable for this user (ProtectProc=default, no hidepid)."
            host = ReportLine("host", "refused", problem, cure) if problem else ReportLine("host", "on", "checked")
            process.stdin.close()
            return [*(ReportLine(*layer) for layer in report["layers"]), host]
    code = process.wait()
    stderr_text = process.stderr.read().decode(errors="replace").strip()[-500:]
    if code == -signal.SIGSYS:
        return [*lines, ReportLine(trying, "refused", "killed by SIGSYS", _SERVICE_CURE)]
    return [*lines, ReportLine(trying, "refused", f"ended with status {code}: {stderr_text}")]


def _command(python: str, *what: str) -> list[str]:
    # -s -P -S as -I has them; -E would also shut out the two variables that we set ourselves.
    return [python, "-s", "-P", "-S", "-X", "utf8", "-c", _LAUNCH, _PACKAGE, *what, str(os.getpid())]
