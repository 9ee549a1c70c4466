"""
Who answers in this workspace: one daemon on this machine, and one machine of all that share the folder.

On one machine a `flock` in the private state folder decides; between machines `host` in `rlmwatch.toml`, which the
sync tool carries.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from rlmwatch.errors import ConfigError, WorkspaceBusy
from rlmwatch.settings.workspace_file import WORKSPACE_FILE, parse, parse_toml, read_text
from rlmwatch.workspace import atomic
from rlmwatch.workspace.os_errors import cannot

log = structlog.get_logger()


class Lock:
    """
    The one daemon of this workspace on this machine.

    The kernel gives the lock back when the process ends, however it ends; a file that is left behind locks nothing.
    A child that was forked and not exec'ed would hold it on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, state_folder: Path, *, host: str, pid: int, now: str, serves: bool = False) -> Self:
        """
        Take the lock in *state_folder* (made where it is missing, for this user alone) and write who has it.

        Args:
            state_folder: Of the workspace.
            host: This machine.
            pid: This process.
            now: RFC 3339.
            serves: Whether it answers whatever is saved, until it is stopped; else it does one thing and ends.

        Raises:
            WorkspaceBusy: Another process has it; the text says which.
            WorkspaceError: The state folder cannot be used.
        """
        path = state_folder / "lock"
        try:
            state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot("use the private state file", path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"pid": pid, "host": host, "since": now, "serves": serves}).encode() + b"\n", 0)
        except BlockingIOError:
            holder = os.pread(fd, 1000, 0)
            os.close(fd)
            who = _describe(holder)
            raise WorkspaceBusy(f"another {who} answers in this workspace already. Stop it first.") from None
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


def _describe(holder: bytes) -> str:
    """Return who wrote *holder* into the lock file, for people."""
    try:
        who = json.loads(holder)
        return f"rlmwatch (process {who['pid']} on {who['host']}, since {who['since']})"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        return "rlmwatch"


def holder(state_folder: Path) -> str | None:
    """Return who holds the lock in *state_folder*, for people; None where nobody does."""
    written = _held(state_folder)
    return None if written is None else _describe(written)


def is_served(state_folder: Path) -> bool:
    """Whether who holds the lock in *state_folder* answers whatever is saved; False where nobody holds it."""
    written = _held(state_folder)
    try:
        return written is not None and bool(json.loads(written)["serves"])
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        return False


def _held(state_folder: Path) -> bytes | None:
    """
    Return what the holder of the lock in *state_folder* wrote; None where nobody holds it.

    Asks the kernel's own list, so that looking never gets in the way of somebody who takes the lock.
    """
    path = state_folder / "lock"
    try:
        found = path.stat()
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        written = path.read_bytes()
    except OSError:
        return None
    # `1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF`, the device in hexadecimal (proc_locks(5)).
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return written if any(" FLOCK " in line and device in line.split() for line in held) else None


def named_host(root: Path) -> str | None:
    """
    Return the machine that answers in *root*, as `rlmwatch.toml` says; None where it names none.

    Raises:
        ConfigError, WorkspaceError: As `host_rule`.
    """
    return parse(root, read_text(root)).get("host") or None


def workspace_id(root: Path) -> str:
    """
    Return the name of *root*'s private state folder: its own name and a hash of its resolved path.

    The same folder has the same id, through whatever link it is reached.
    """
    resolved = root.resolve()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", resolved.name).strip("-.")[:40] or "root"
    return f"{readable}-{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Mine:
    """This machine answers."""


@dataclass(frozen=True, slots=True)
class Theirs:
    """Another machine, *host*, answers; this one stays idle and says so."""

    host: str


def host_rule(root: Path, me: str, *, now: str) -> Mine | Theirs:
    """
    Return whether this machine answers in *root*; where nobody is named, it names itself first.

    Two machines that both find nobody, before the sync tool carried anything, both answer until it has; then the
    file that won decides at the next look.

    Args:
        root: The workspace.
        me: This machine's name.
        now: For the comment beside the line that it writes.

    Raises:
        ConfigError: `rlmwatch.toml` is not TOML, or its `host` is not text.
        WorkspaceError: It cannot be read or written.
    """
    host = parse(root, read_text(root)).get("host")
    if host:
        return Mine() if host == me else Theirs(host)
    _set_host(root, me, now=now)
    return Mine()


def take_over(root: Path, me: str, *, now: str) -> str | None:
    """
    Make this machine the one that answers in *root*; return the one that did before, if another did.

    Raises:
        ConfigError, WorkspaceError: As `host_rule`.
    """
    before = parse(root, read_text(root)).get("host") or None
    if before == me:
        return None
    _set_host(root, me, now=now)
    return before


def _set_host(root: Path, me: str, *, now: str) -> None:
    """
    Write `host` into `rlmwatch.toml` and leave all else as it is: comments, order, line ends.

    What was edited is parsed again: it is written only if it says exactly what it said, and the new host.
    """
    path = root / WORKSPACE_FILE
    text = read_text(root)
    wanted = {**parse(root, text), "host": me}
    edited = _with_host(path, text, me, now=now)
    if parse_toml(path, edited) != wanted:
        raise _unsafe(path, me)
    atomic.write(path, edited.encode(), within=root)
    log.info("owner.host_written", host=me)


def _with_host(path: Path, text: str, me: str, *, now: str) -> str:
    """Return *text* with the host *me*: in its line where it has one, else in a new one behind the other keys."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        if "host" in document:
            document["host"] = me
        else:
            host = tomlkit.string(me).comment(f"answers here since {now}; `rlmwatch run --take-over` moves it")
            host.trivia.trail = "\r\n" if "\r\n" in text else "\n"
            document.add("host", host)
        return document.as_string()
    except TOMLKitError as error:
        raise _unsafe(path, me) from error


def _unsafe(path: Path, me: str) -> ConfigError:
    return ConfigError(f"{path}: `host` cannot be changed safely. Write it yourself: host = {json.dumps(me)}")
