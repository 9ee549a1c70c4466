"""What the workspace remembers: the turns of a chat, and what was answered before."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import structlog

from rlmwatch.contract.documents import Document, JobStatus, dump, second, well_formed
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn, last_digest, read_edited
from rlmwatch.contract.names import JOBS, InputName
from rlmwatch.errors import InputError, WorkspaceError
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.os_errors import cannot

HAVE_TURNS = (Kind.CHAT, Kind.JOB, Kind.EXA)
"""Kinds whose state file is a list of turns; research keeps a session."""

SETTLE_S = 0.3
"""A file that looks damaged may be half way through an editor's save; they take 11 ms at most (design, section 4)."""

SETTLE_TRIES = 10
"""A file that is damaged and never rests is damaged: a run must not wait for it for ever."""

_DAMAGE = (errno.ELOOP, errno.EINVAL, errno.EFBIG)
"""A link, a pipe or a device, or far too large: no state file of ours, and moved aside like a damaged one."""

_ENDED = tuple(status.value for status in JobStatus if status.ended)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Remembered:
    """
    The memory of a chat.

    Attributes:
        warning: What the person is to know (a damaged file was moved aside); None where all is well.
    """

    state: ChatState
    warning: str | None = None


def load_chat(root: Path, name: InputName, *, now: str) -> Remembered:
    """
    Return what the conversation of *name* remembers; an empty state where there is no file.

    A damaged file is moved aside as `<file>.corrupt-<time>`, never overwritten, and the conversation starts afresh.
    A kind without turns keeps another kind of file: nothing is read, nothing is moved.

    Raises:
        WorkspaceError: It cannot be read, or a newer rlmwatch wrote it; it stays where it is.
    """
    afresh = ChatState(conversation=name.conversation)
    if name.kind not in HAVE_TURNS:
        return Remembered(afresh)
    path = root / name.state
    try:
        state = settled(path, root, ChatState)
    except WorkspaceError as error:
        raise WorkspaceError(f"{path} {error}") from error
    except OSError as error:
        raise cannot("read", path, error) from error
    if isinstance(state, ChatState):
        return Remembered(state)
    if state is None:
        return Remembered(afresh)
    aside = move_aside(path, root, now=now)
    log.warning("memory.moved_aside", path=name.state, to=aside, why=state)
    return Remembered(afresh, f"{name.state} was damaged ({state}) and is now {aside}: this conversation starts afresh")


def append_turn(root: Path, name: InputName, turn: Turn, *, now: str) -> str | None:
    """
    Add *turn* to the conversation of *name*; return what the person is to know, as `load_chat`.

    The file is read here, just before it is written, so that what a person changed during the run stands.
    Idempotent: the turn of a run that is there already is left as it is, and so is the file. Not
    atomic against an edit in the same millisecond: the later of the two writes wins.

    Raises:
        WorkspaceError: The file cannot be read or stored, or a newer rlmwatch wrote it.
    """
    remembered = load_chat(root, name, now=now)
    grown = remembered.state.with_turn(turn)
    if grown is not remembered.state:
        atomic.write(root / name.state, dump(grown, nulls=False), within=root, question=root / name.path)
    return remembered.warning


@dataclass(slots=True)
class AnsweredInputs:
    """
    What was answered before, as the workspace itself shows it: for a daemon whose ledger knows nothing of a path.

    An input was answered when a turn of its state file carries its digest, or the status file of a run that ended,
    however it ended: the ledger, too, does not ask the same bytes again after a failure.

    The status files are read once, at the first question (100,000 of them: some seconds), and not again: make a new
    one after another machine may have answered. Safe to ask from several threads.
    """

    root: Path
    _by_path: dict[str, tuple[str, str]] | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def digest(self, name: InputName) -> str | None:
        """
        Return the digest of the content of *name* that was answered last, by the time of its save; None where none.

        Raises:
            WorkspaceError: The status files or the state file cannot be read.
        """
        try:
            with self._reading:
                if self._by_path is None:
                    self._by_path = dict(_newest_last(self.root))
            found = [self._by_path.get(well_formed(name.path)), self._in_state(name)]
        except OSError as error:
            raise cannot("read what was answered in", self.root, error) from error
        return max((pair for pair in found if pair), key=lambda pair: pair[1], default=(None, ""))[0]

    def _in_state(self, name: InputName) -> tuple[str, str] | None:
        """Return digest and time of the latest turn for *name*."""
        try:
            raw = safe_open.read(self.root / name.state, within=self.root, max_bytes=safe_open.MAX_BYTES)
        except OSError as error:
            if error.errno in (*_DAMAGE, errno.EISDIR):  # no state file of ours
                return None
            raise
        return None if raw is None else last_digest(raw, file=PurePosixPath(name.path).name)


def _newest_last(root: Path) -> list[tuple[str, tuple[str, str]]]:
    """Return (input, (digest, time of the save)) of every ended run that has a status file, in order of time."""
    found: list[tuple[str, tuple[str, str]]] = []
    for status in _statuses(root):
        asked, digest = status.get("input"), status.get("input_digest")
        if status.get("status") in _ENDED and isinstance(asked, str) and isinstance(digest, str) and digest:
            found.append((asked, (digest, str(status.get("created_at") or ""))))
    return sorted(found, key=lambda each: each[1][1])


def _statuses(root: Path) -> Iterator[dict[str, object]]:
    """Yield what can be read of `jobs/*.json`, without the cost of checking every field of 100,000 files."""
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            for file in safe_open.names(jobs):
                if not file.endswith(".json") or file.startswith("."):
                    continue
                try:
                    status = json.loads(safe_open.read_in(jobs, file, max_bytes=safe_open.MAX_BYTES))
                except (OSError, ValueError, RecursionError):  # somebody's broken submission, or gone meanwhile
                    continue
                if isinstance(status, dict):
                    yield status
    except FileNotFoundError:
        return


def settled(path: Path, root: Path, model: type[Document]) -> Document | str | None:
    """
    Return the document in *path* as a *model*; None where there is no file, or what is wrong once it stays the same.

    Raises:
        OSError: It cannot be read.
        WorkspaceError: A newer rlmwatch wrote it.
    """
    seen: bytes | None = None
    wrong = ""
    for _ in range(SETTLE_TRIES):
        try:
            raw = safe_open.read(path, within=root, max_bytes=safe_open.MAX_BYTES)
        except OSError as error:
            if error.errno not in _DAMAGE:
                raise
            return "it is not a plain file, or far too large"
        if raw is None:
            return None
        try:
            return read_edited(raw, model)
        except InputError as error:
            wrong = str(error)
        if raw == seen:
            break
        seen = raw
        time.sleep(SETTLE_S)
    return wrong


def move_aside(path: Path, root: Path, *, now: str) -> str:
    """Give the damaged file *path* a name that nothing has, and return that."""
    stamp = f"{second(now)}Z"
    try:
        with safe_open.folder(path.parent, within=root) as folder:
            taken = set(safe_open.names(folder))
            aside, count = f"{path.name}.corrupt-{stamp}", 1
            while aside in taken:
                count += 1
                aside = f"{path.name}.corrupt-{stamp}-{count}"
            os.rename(path.name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            safe_open.sync(folder)
    except OSError as error:
        raise cannot("move aside", path, error) from error
    return aside
