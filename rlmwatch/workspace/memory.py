"""What the workspace remembers: the turns of a chat, and what was answered before."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import structlog

from rlmwatch.contract.documents import Document, JobStatus, dump, json_object, second
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Remark, Turn, read_edited, remarks, whole_number
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

_ENDING = ".json"
_STATUSES = tuple(status.value for status in JobStatus)
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


def append_turn(root: Path, name: InputName, turn: Turn, *, later: Collection[str] = (), now: str) -> str | None:
    """
    Add *turn* to the conversation of *name*, before those of *later* runs.

    Returns what the person is to know, as `load_chat`.


    The file is read here, just before it is written, so that what a person changed during the run stands.
    Idempotent: the turn of a run that is there already is left as it is, and so is the file. Not
    atomic against an edit in the same millisecond: the later of the two writes wins.

    Raises:
        WorkspaceError: The file cannot be read or stored, or a newer rlmwatch wrote it.
    """
    remembered = load_chat(root, name, now=now)
    grown = remembered.state.with_turn(turn, later=later)
    if grown is not remembered.state:
        atomic.write(root / name.state, dump(grown, nulls=False), within=root, question=root / name.path)
    return remembered.warning


def beside(root: Path, name: InputName) -> Sequence[Remark]:
    """
    Return what the turns of *name* in its conversation's own file say, oldest first; none where there is no such file.

    Raises:
        WorkspaceError: It cannot be read.
    """
    path = root / name.state
    try:
        raw = safe_open.read(path, within=root, max_bytes=safe_open.MAX_STATE_BYTES)
    except OSError as error:
        if error.errno in (*_DAMAGE, errno.EISDIR):  # no state file of ours
            return ()
        raise cannot("read", path, error) from error
    return () if raw is None else remarks(raw, file=PurePosixPath(name.path).name)


@dataclass(frozen=True, slots=True)
class ShownRun:
    """
    A run as its status file shows it.

    Attributes:
        number: Of its save; 0 where an older rlmwatch wrote the file.
        saved_at: As the machine's clock said that admitted it.
        ended: Whether it has ended; else it waits, runs or is held on the machine that admitted it.
        answered, failed: Whether it has ended and wrote an answer, an error.
    """

    run_id: str
    input: str
    digest: str
    number: int
    saved_at: str
    ended: bool
    answered: bool
    failed: bool


def job_ids(root: Path) -> list[str]:
    """
    Return the ids of all files `jobs/<id>.json`; 20,000 of them take some 20 ms. Reads none.

    Raises:
        WorkspaceError: The folder cannot be listed.
    """
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            found = [file for file in safe_open.names(jobs) if file.endswith(_ENDING) and not file.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot("list", root / JOBS, error) from error
    return [file.removesuffix(_ENDING) for file in found]


def shown_runs(root: Path, ids: Iterable[str]) -> list[ShownRun]:
    """
    Return the runs among *ids* that have a status file; some 60 µs each.

    Not every field is checked, and what is no status of ours is passed over: somebody's submission, a broken file.

    Raises:
        WorkspaceError: The folder cannot be read.
    """
    found = []
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            for job_id in ids:
                with suppress(OSError, InputError):
                    status = json_object(safe_open.read_in(jobs, job_id + _ENDING, max_bytes=safe_open.MAX_BYTES))
                    if (run := _shown(job_id, status)) is not None:
                        found.append(run)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot("read what was answered in", root, error) from error
    return found


def _shown(job_id: str, status: dict[str, object]) -> ShownRun | None:
    asked, digest = status.get("input"), status.get("input_digest")
    if status.get("status") not in _STATUSES or not (isinstance(asked, str) and isinstance(digest, str) and digest):
        return None
    ended = status["status"] in _ENDED
    return ShownRun(
        run_id=job_id,
        input=asked,
        digest=digest,
        number=whole_number(status.get("save_number")),
        saved_at=str(status.get("created_at") or ""),
        ended=ended,
        answered=ended and status.get("answer") is not None,
        failed=ended and status.get("error") is not None,
    )


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
            raw = safe_open.read(path, within=root, max_bytes=safe_open.MAX_STATE_BYTES)
        except OSError as error:
            if error.errno not in _DAMAGE:
                raise
            if error.errno == errno.EFBIG:
                return f"it is larger than {safe_open.MAX_STATE_BYTES // 1_000_000} MB"
            return "it is not a plain file"
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
