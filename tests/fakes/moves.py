"""
Every legal move of a run, as the ledger's statements are held against it.

    PENDING ── claim ──▶ RUNNING ── finish_… ──▶ COMPLETE │ FAILED │ CANCELLED
     ▲  │  ◀── reclaim ─   │
     │  └─ cancel, refuse ─┼──▶ CANCELLED, FAILED
     │                     ▼
     └─── release ─────  HELD ── cancel, supersede ──▶ CANCELLED, FAILED

What a move does beside the status (attempt, times, result) stands in the port, `runs/queue.py`. An ended run does not
move.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rlmwatch.runs.model import RunStatus


class Event(StrEnum):
    """What happens to a run."""

    CLAIM = "claim"  # a worker takes it
    HOLD = "hold"  # it waits for a person to remove the cause
    RELEASE = "release"  # the cause may be gone
    FINISH_COMPLETE = "finish_complete"
    FINISH_FAILED = "finish_failed"
    FINISH_CANCELLED = "finish_cancelled"
    CANCEL = "cancel"  # ended before a worker took it (again): by a person, or replaced by a later save
    RECLAIM = "reclaim"  # its process is gone
    REFUSE = "refuse"  # admitted with a problem: nothing to work on
    SUPERSEDE = "supersede"  # held, and a later run of its conversation was answered


MOVES: Final[Mapping[Event, Mapping[RunStatus, RunStatus]]] = MappingProxyType(
    {
        Event.CLAIM: {RunStatus.PENDING: RunStatus.RUNNING},
        Event.HOLD: {RunStatus.RUNNING: RunStatus.HELD},
        Event.RELEASE: {RunStatus.HELD: RunStatus.PENDING},
        Event.FINISH_COMPLETE: {RunStatus.RUNNING: RunStatus.COMPLETE},
        Event.FINISH_FAILED: {RunStatus.RUNNING: RunStatus.FAILED},
        Event.FINISH_CANCELLED: {RunStatus.RUNNING: RunStatus.CANCELLED},
        Event.CANCEL: {RunStatus.PENDING: RunStatus.CANCELLED, RunStatus.HELD: RunStatus.CANCELLED},
        Event.RECLAIM: {RunStatus.RUNNING: RunStatus.PENDING},
        Event.REFUSE: {RunStatus.PENDING: RunStatus.FAILED},
        Event.SUPERSEDE: {RunStatus.HELD: RunStatus.FAILED},
    }
)
"""For each event, the statuses that it may find, and where each one goes."""


def apply(status: RunStatus, event: Event) -> RunStatus:
    """
    Return the status to which *event* moves a run.

    Raises:
        ValueError: No run moves so from *status*: a fault of the program, not of a person.
    """
    moves = MOVES[event]
    if status not in moves:
        raise ValueError(f"{event} moves a run that is {' or '.join(moves)}, and this one is {status}")
    return moves[status]
