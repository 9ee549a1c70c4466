"""
Who answers in this workspace on this machine: one process, whichever user and environment it is of.

Two locks, both given back by the kernel when their process ends, however it ends:

1. `Lock`, a `flock` in the private state folder, keeps the ledger for one process.
2. `FolderLock`, an abstract Unix socket named after the device and inode of the workspace, keeps the folder for one
   process of the machine, whatever its user, state folder and path to the folder. It is no file, so nothing is left or
   synced, and it is no open descriptor of the folder, so the disk can be unmounted. Whoever connects learns who holds
   it. A container with a network of its own does not see it: the folder's mark tells (`hosts.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rlmwatch.errors import WorkspaceBusy, WorkspaceError
from rlmwatch.workspace.os_errors import cannot, cannot_use_state

LOCK = "lock"
"""In the private state folder of a workspace: who answers here, and which folder it is the state of."""
ASK_S = 0.5
"""The holder of a folder answers from a thread of its own, within microseconds; one that does not is stopped."""
_HAND_BACK = b"hand back\n"
_MAX_BYTES = 1000
_CREDENTIALS = struct.Struct("3i")  # unix(7): process, user, group


@dataclass(frozen=True, slots=True)
class Holder:
    """
    The process that holds a workspace.

    Attributes:
        pid: As the kernel tells it; 0 where it is of another container.
        host: The name by which its machine answers; None where it does not say.
        since: RFC 3339.
        serves: Whether it answers whatever is saved, until it is stopped; else it does one thing and ends.
        user: Its user's name or number; None where it is our own.
    """

    pid: int
    host: str | None = None
    since: str | None = None
    serves: bool = False
    user: str | None = None

    def __str__(self) -> str:
        parts = [f"process {self.pid}" if self.pid else "a process in another container"]
        parts += [f"of the user {self.user}"] if self.user is not None else []
        parts += [f"on {self.host}"] if self.host is not None else []
        return f"rlmwatch ({' '.join(parts)}{f', since {self.since}' if self.since else ''})"

    @classmethod
    def told(cls, raw: bytes, pid: int, user: str | None = None) -> Self:
        """Return the holder whose process is *pid*, as far as it says itself in *raw* who it is."""
        try:
            says: dict[str, Any] = json.loads(raw)
            return cls(pid, str(says["host"]), str(says["since"]), bool(says["serves"]), user)
        except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet, or is no rlmwatch
            return cls(pid, user=user)


def _about(*, host: str, pid: int, now: str, serves: bool, **more: str) -> bytes:
    return json.dumps({"pid": pid, "host": host, "since": now, "serves": serves, **more}).encode() + b"\n"


def busy(who: Holder | str) -> WorkspaceBusy:
    """Return the error that says that *who* answers in a workspace."""
    return WorkspaceBusy(f"another {who} answers in this workspace already. Stop it first: Ctrl+C there, or a SIGTERM.")


class Lock:
    """
    The one process that uses the private state of a workspace.

    A file that is left behind locks nothing. A child that was forked and not exec'ed would hold it on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(
        cls, state_folder: Path, *, host: str, pid: int, now: str, serves: bool = False, root: Path | None = None
    ) -> Self:
        """
        Take the lock in *state_folder* (made where it is missing, for this user alone) and write who has it.

        Args:
            state_folder: Of the workspace.
            host: This machine.
            pid: This process.
            now: RFC 3339.
            serves: As in `Holder`.
            root: The workspace, for `nested`.

        Raises:
            WorkspaceBusy: Another process has it; the text says which.
            WorkspaceError: The state folder cannot be used.
        """
        path = state_folder / LOCK
        try:
            state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot_use_state(path, error) from error
        more = {} if root is None else {"workspace": os.fsencode(root).hex()}
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, _about(host=host, pid=pid, now=now, serves=serves, **more), 0)
        except BlockingIOError:
            held = os.pread(fd, _MAX_BYTES, 0)
            os.close(fd)
            raise busy(_of_state(state_folder) or Holder.told(held, 0)) from None
        except OSError as error:
            os.close(fd)
            raise cannot("lock the private state file", path, error) from error
        return cls(fd)

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True)
class FolderLock:
    """
    The one process of this machine that answers in the folder *root*; `take` takes it.

    Attributes:
        root: The workspace, resolved.
        host: The name by which this machine answers.
        now: RFC 3339.
        serves: As in `Holder`.
        on_wanted: Is called from another thread where a daemon that starts asks for the folder.
    """

    root: Path
    host: str
    now: str
    serves: bool
    on_wanted: Callable[[], None] = field(default=lambda: None)
    _name: bytes | None = None
    _socket: socket.socket | None = None
    _thread: threading.Thread | None = None

    def take(self) -> None:
        """
        Take the folder that is at `root` now, in place of one that was there before. Where it is held already, stay.

        Raises:
            WorkspaceBusy: Another process has it; the text says which. This one then holds nothing.
            WorkspaceError: There is no folder.
        """
        try:
            name = _socket_name(self.root)
        except OSError as error:
            self.release()
            raise cannot("use the workspace", self.root, error) from error
        if name == self._name:
            return
        self.release()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.bind(name)
            sock.listen()
        except OSError:
            sock.close()
            raise busy(_of_folder(self.root) or "rlmwatch") from None
        self._name, self._socket = name, sock
        self._thread = threading.Thread(target=self._tell, args=(sock,), name="folder-lock", daemon=True)
        self._thread.start()

    def follow(self) -> str | None:
        """
        Take what is at `root` now, where that is another folder than before; return why another process has it.

        A folder that is missing is held by nobody, and taken when it is back.
        """
        try:
            self.take()
        except WorkspaceBusy as error:
            return str(error)
        except WorkspaceError:
            return None
        return None

    def release(self) -> None:
        """Give the folder back. Idempotent."""
        sock, thread, self._socket, self._thread, self._name = self._socket, self._thread, None, None, None
        if sock is not None and thread is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, without which the name would stay taken
            thread.join(ASK_S)
            sock.close()

    def _tell(self, listening: socket.socket) -> None:
        """Say to everybody who connects who holds the folder, until it is released."""
        about = _about(host=self.host, pid=os.getpid(), now=self.now, serves=self.serves)
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line, suppress(OSError):
                line.settimeout(ASK_S)
                line.sendall(about)
                if line.recv(len(_HAND_BACK)) == _HAND_BACK and _peer(line)[1] in (0, os.geteuid()):
                    self.on_wanted()


def _socket_name(root: Path) -> bytes:
    """Return the socket's name for the folder at *root*: the same through every path, link and bind mount to it."""
    found = root.stat()
    return b"\0rlmwatch/%d:%d:%d" % (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)


def _peer(line: socket.socket) -> tuple[int, int]:
    """Return process and user at the other end, as the kernel knows them."""
    pid, uid, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def ask_back(root: Path) -> bool:
    """Ask the command that holds the folder *root* to give it back; False where nobody holds it."""
    return _of_folder(root, _HAND_BACK) is not None


def holder_of_folder(root: Path) -> Holder | None:
    """Return which process of this machine answers in *root*; None where none does."""
    return _of_folder(root)


def _of_folder(root: Path, request: bytes = b"") -> Holder | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
        line.settimeout(ASK_S)
        try:
            line.connect(_socket_name(root))
        except OSError as error:
            return Holder(0) if isinstance(error, TimeoutError | BlockingIOError) else None
        pid, uid = _peer(line)
        raw = b""
        with suppress(OSError):
            raw = line.recv(_MAX_BYTES)
            line.sendall(request)
    return Holder.told(raw, pid, None if uid == os.geteuid() else user_name(uid))


def user_name(uid: int) -> str:
    """Return the name of the user *uid*; the number where `/etc/passwd` has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def holder(state_folder: Path, root: Path) -> Holder | None:
    """Return which process of this machine holds the workspace *root*, or its *state_folder*; None where none does."""
    return _of_state(state_folder) or _of_folder(root)


def is_served(state_folder: Path, root: Path) -> bool:
    """Whether who holds the workspace answers whatever is saved; False where nobody holds it."""
    who = holder(state_folder, root)
    return who is not None and who.serves


def _of_state(state_folder: Path) -> Holder | None:
    """
    Return who holds the lock in *state_folder*; None where nobody does.

    Asks the kernel's own list, so that looking never gets in the way of somebody who takes the lock.
    """
    path = state_folder / LOCK
    try:
        found = path.stat()
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        written = path.read_bytes()
    except OSError:
        return None
    # `1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF`, the device in hexadecimal (proc_locks(5)).
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    fields = [line.split() for line in held]
    pid = next((each[4] for each in fields if each[1] == "FLOCK" and device in each), None)
    return None if pid is None else Holder.told(written, max(0, int(pid)))


def known_states(states: Path) -> dict[Path, Path]:
    """Return the private state folders in *states*, and the workspace of each, as far as that is written there."""
    found = {}
    for file in states.glob(f"*/{LOCK}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found[file.parent] = Path(os.fsdecode(bytes.fromhex(json.loads(file.read_bytes())["workspace"])))
    return found


def known_workspaces(states: Path) -> list[Path]:
    """Return the workspaces whose private state lies in *states*, as far as they are written there."""
    return list(known_states(states).values())


def workspace_id(root: Path) -> str:
    """
    Return the name of *root*'s private state folder: its own name and a hash of its resolved path.

    The same folder has the same id, through whatever link it is reached.
    """
    resolved = root.resolve()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", resolved.name).strip("-.")[:40] or "root"
    return f"{readable}-{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12]}"
