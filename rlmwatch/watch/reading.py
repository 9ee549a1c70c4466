"""Look at paths that are due: the part of the watcher that waits for the disk, run in a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.runs.model import Signature
from rlmwatch.watch.settle import Due, WhereOpen
from rlmwatch.workspace.snapshot import Changed, Content, Snapshot, WriterState, look, snapshot, write_only, writer

BATCH_FILES = 64
"""Files looked at before the loop goes on: some 5 ms of a local disk, so that other events are not kept waiting."""

BATCH_BYTES = 32 * 1024 * 1024
"""Content held at once, about; what is left of a batch waits for the next. Inputs are small, but may be 10 MB each."""


@dataclass(frozen=True, slots=True)
class Look:
    """
    What was seen of one path.

    Attributes:
        writer: What the probes found; FREE where none was asked for.
        snapshot: The file; None where its writer is not known to be through, unless it was to be noted or judged.
        sighted: The file as it was at an UNKNOWN probe, unopened; to see later if it grew.
        write_only: Who was seen to have it open only to write, where it was to be judged.
    """

    path: str
    writer: WriterState
    snapshot: Snapshot | None = None
    sighted: Signature | None = None
    write_only: str | None = None


def look_at(root: Path, dues: Sequence[Due], *, max_bytes: int, trust_leases: bool) -> list[Look]:
    """
    Probe and read the first of *dues*: at most `BATCH_FILES`, fewer where they come to more than `BATCH_BYTES`.

    Without *trust_leases* a free lease proves nothing (others write to a network mount too), and counts as UNKNOWN.
    """
    looks: list[Look] = []
    held = 0
    for due in dues[:BATCH_FILES]:
        seen = _look_at(root, due, max_bytes, trust_leases=trust_leases)
        looks.append(seen)
        if isinstance(seen.snapshot, Content | Changed):
            held += len(seen.snapshot.raw or b"")
        if held > BATCH_BYTES:
            break
    return looks


def _look_at(root: Path, due: Due, max_bytes: int, *, trust_leases: bool) -> Look:
    if due.probe:
        answer = writer(root, due.path)
        if answer is WriterState.BUSY:
            return _where_open(root, due, max_bytes)
        if answer is WriterState.UNKNOWN or not trust_leases:
            return Look(due.path, WriterState.UNKNOWN, sighted=look(root, due.path))
    seen = snapshot(root, due.path, max_bytes=max_bytes)
    if due.recheck and isinstance(seen, Content) and writer(root, due.path) is WriterState.BUSY:
        return Look(due.path, WriterState.BUSY)
    return Look(due.path, WriterState.FREE, seen)


def _where_open(root: Path, due: Due, max_bytes: int) -> Look:
    match due.where_open:
        case WhereOpen.NOTE:
            return Look(due.path, WriterState.BUSY, snapshot(root, due.path, max_bytes=max_bytes))
        case WhereOpen.JUDGE:
            seen = snapshot(root, due.path, max_bytes=max_bytes)
            return Look(due.path, WriterState.BUSY, seen, write_only=write_only(root, due.path))
        case _:
            return Look(due.path, WriterState.BUSY)
