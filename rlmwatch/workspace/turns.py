"""
What a person does with a whole conversation: take its last turn back, or go on from it under another name.

Nobody may answer in the conversation meanwhile; the caller has seen to that. A crash at any point is repaired by doing
it once more: what says that it was done comes last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath

from rlmwatch.contract.documents import dump
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn
from rlmwatch.contract.names import InputName, key
from rlmwatch.contract.session import SessionState
from rlmwatch.contract.transcript import of_undo
from rlmwatch.errors import UsageError
from rlmwatch.workspace import atomic, safe_open, transcript
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.memory import load_chat
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.publish import show_turn
from rlmwatch.workspace.session import session_of


@dataclass(frozen=True, slots=True)
class TakenBack:
    """
    What was taken back.

    Attributes:
        previous: The turn whose answer is in the output now; None where there is none, and no output.
        in_transcript: Whether the transcript has the turn, with a line that says so.
    """

    turn: Turn
    previous: Turn | None
    in_transcript: bool


def take_back(root: Root, name: InputName, *, now: str, marks: bool = True) -> TakenBack:
    """
    Take the last turn of the conversation of *name* back: output first, then transcript, then memory.

    Args:
        root: The workspace.
        name: The input.
        now: RFC 3339.
        marks: Whether an answer has its line (`contract/marks.py`).

    Raises:
        UsageError: There is no turn, or another input of the conversation has the last one.
        WorkspaceError: Something cannot be read or stored.
    """
    root.check()
    state = _load(root, name, now=now)
    if not state.turns:
        raise UsageError(f"{name.path}: nothing to take back: {PurePosixPath(name.state).name} has no turn")
    *before, turn = state.turns
    if not _is_of(turn, name):
        raise UsageError(f"{name.path}: the last turn of this conversation is that of {turn.file}: name that file")
    previous = next((had for had in reversed(before) if _is_of(had, name)), None)
    show_turn(root, name, previous, instead_of=turn, marks=marks)
    atomic.remove(root.path / name.sources, within=root.path)
    kept = transcript.exists(root, name)
    if kept:
        transcript.add(root, name, of_undo(turn, at=now), now=now)
    state = state.model_copy(update={"turns": tuple(before), "undone": (*(state.undone or ()), turn)})
    _store(root, name, state)
    return TakenBack(turn, previous, kept)


def fork(root: Root, name: InputName, new: InputName, *, now: str) -> int:
    """
    Copy the memory of the conversation of *name* to that of the input *new*, and return how many turns it has.

    Raises:
        UsageError: There is nothing to copy, or *new* has a memory already.
        WorkspaceError: Something cannot be read or stored.
    """
    root.check()
    state = _load(root, name, now=now)
    if not state.turns:
        raise UsageError(f"{name.path}: nothing to branch from: {PurePosixPath(name.state).name} has no turn")
    file = PurePosixPath(new.path).name
    turns = tuple(turn.model_copy(update={"file": file} if turn.file else {}) for turn in state.turns)
    copy = state.model_copy(update={"conversation": new.conversation, "turns": turns, "undone": None})
    if os.path.lexists(root.path / new.state) and _raw(root, new) != dump(copy, nulls=False):
        raise UsageError(f"{new.state} is there already: choose another name")
    _store(root, new, copy)
    return len(turns)


def _is_of(turn: Turn, name: InputName) -> bool:
    return turn.file is None or key(turn.file) == key(PurePosixPath(name.path).name)


def _load(root: Root, name: InputName, *, now: str) -> ChatState | SessionState:
    if name.kind is Kind.RESEARCH:
        return session_of(root, name).load(now=now)[0]
    return load_chat(root.path, name, now=now).state


def _store(root: Root, name: InputName, state: ChatState | SessionState) -> None:
    atomic.write(root.path / name.state, dump(state, nulls=False), within=root.path, question=root.path / name.path)


def _raw(root: Root, name: InputName) -> bytes | None:
    path = root.path / name.state
    try:
        return safe_open.read(path, within=root.path, max_bytes=safe_open.MAX_STATE_BYTES)
    except OSError as error:
        raise cannot("read", path, error) from error
