"""
The research session in the workspace: read, booked, extended; one at a time.

A daemon and a script may use the same session:

1. Whoever runs in it, publishes into it or changes its caps holds its lock, in the
   folder of all private state of that user; the kernel gives it back when the
   process ends.
2. Inside one process, changes of a session happen one after another: a note of
   what was spent that comes late takes nothing back.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from rlmwatch.contract.documents import dump
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.names import InputName
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.errors import WorkspaceBusy, WorkspaceError
from rlmwatch.workspace import atomic
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.memory import move_aside, settled
from rlmwatch.workspace.os_errors import cannot, cannot_use_state

_changing = threading.Lock()
"""Held from reading a session to writing it: bookings of a run come from several threads."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SessionFile:
    """
    The session stored in *path*, which lies in *root*.

    Attributes:
        conversation: Its name, for the file.
        question: The input; None for a session of Python.
    """

    root: Path
    path: Path
    conversation: str
    question: Path | None = None

    def load(self, *, now: str) -> tuple[SessionState, str | None]:
        """
        Return the session, and what the person is to know; a damaged file is moved aside first.

        Raises:
            WorkspaceError: It cannot be read, or a newer rlmwatch wrote it.
        """
        afresh = SessionState(conversation=self.conversation)
        try:
            found = settled(self.path, self.root, SessionState)
        except WorkspaceError as error:
            raise WorkspaceError(f"{self.path} {error}") from error
        except OSError as error:
            raise cannot("read", self.path, error) from error
        if isinstance(found, SessionState):
            return found, None
        if found is None:
            return afresh, None
        aside = move_aside(self.path, self.root, now=now)
        log.warning("session.moved_aside", path=self.path.name, to=aside, why=found)
        return afresh, f"{self.path.name} was damaged ({found}) and is now {aside}: this session starts afresh"

    def change(self, change: Callable[[SessionState], SessionState], *, now: str) -> SessionState:
        """
        Store the session as *change* makes it of what is there; nothing is written where it makes the same.

        Another process that changes it meanwhile is kept out by its lock (see `SessionLock`), not by this.

        Raises:
            WorkspaceError: It cannot be read or stored.
        """
        with _changing:
            before, _ = self.load(now=now)
            after = change(before)
            if after != before:
                atomic.write(self.path, dump(after, nulls=False), within=self.root, question=self.question)
            return after

    def book(self, run_id: str, used: Used, turn: Turn | None, *, later: Collection[str] = (), now: str) -> None:
        """
        Book what a run used so far, and its exchange once there is one, before those of *later* runs. Idempotent.

        Raises:
            WorkspaceError: It cannot be read or stored.
        """

        def booked(state: SessionState) -> SessionState:
            state = state.booked(run_id, used)
            return state if turn is None else state.with_turn(turn, later=later)

        self.change(booked, now=now)


def session_of(root: Root, name: InputName) -> SessionFile:
    """Return the session file of the conversation of *name*."""
    return SessionFile(
        root.path, root.path / f"{name.conversation}_session.json", name.conversation, root.path / name.path
    )


class SessionLock:
    """Held by whoever uses a session on this machine."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, state_folder: Path, session: Path) -> Self:
        """
        Take the lock of the session file *session*.

        Args:
            state_folder: The folder of all private state: a daemon's and a script's must be the same.
            session: The session's file.

        Raises:
            WorkspaceBusy: Another run uses it now.
            WorkspaceError: The state folder cannot be used.
        """
        name = hashlib.sha256(os.fsencode(session.resolve())).hexdigest()[:24]
        path = state_folder / "sessions" / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot_use_state(path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise WorkspaceBusy(f"another run uses the session {session} now") from None
        return cls(fd)

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
