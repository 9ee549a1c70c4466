"""
What lies in a workspace and is not asked, and why: for `status` and `doctor`, with a daemon or without.

1. A name that looks meant for rlmwatch and is none of an input's.
2. An input that is no save: blank, a head without a question, no ready marker.
3. An input that was saved again after it was asked, with the same bytes.

Only what the ledger does not know as it is now is read, and what is small enough to be blank. What is a save is judged
as the daemon judges that runs here; else by the settings as they are written now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Self

from rlmwatch.contract.text import digest
from rlmwatch.daemon.in_force import InForce
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.save_rules import MB
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Known
from rlmwatch.runs.saved import NotASave, to_save
from rlmwatch.settings.model import Settings
from rlmwatch.watch.save_filter import SAME_BYTES_CURE
from rlmwatch.watch.scan import FoundInput, Scan
from rlmwatch.workspace.notes import there
from rlmwatch.workspace.snapshot import Content, snapshot

SHOWN = 100
"""Files that are listed at most."""
READ = 2_000
"""Inputs that are read at most: half a second."""
SMALL = 200
"""Bytes up to which a file that the ledger knows is read too: a blank one is known by its digest before."""
LOOKED_AT = 200
"""Newest runs among which the last one of an input is looked for."""
SAVED_AFTER_S = 2.0
"""Some file systems keep times to 2 s."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """
    One file that is not asked.

    Attributes:
        path: In the workspace.
        because: Why, for a person.
        cure: What to do.
    """

    path: str
    because: str
    cure: str


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What the ledger knows of a workspace; nothing where there is no ledger.

    Attributes:
        known: Each input as it was asked last.
        recent: The newest runs, `LOOKED_AT` of them at most.
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    recent: Sequence[Run] = ()

    @classmethod
    async def of(cls, ledger: Ledger[Any]) -> Self:
        """
        Return what *ledger* knows.

        Raises:
            LedgerError: It cannot be read.
        """
        return cls(await ledger.known(), await ledger.recent(LOOKED_AT))


async def unasked(paths: WorkspacePaths, asked: Asked, settings: Settings, running: InForce | None) -> list[Unasked]:
    """
    Return what is not asked in the workspace, and why; at most `SHOWN`. Reads, and changes nothing.

    Args:
        paths: The workspace.
        asked: What the ledger knows.
        settings: As they are written now.
        running: What the daemon works with; None where none runs.
    """
    held = settings if running is None else running
    max_bytes = int(held.max_input_mb * MB)
    return await asyncio.to_thread(_look, paths, _Rule(held.ready_marker, max_bytes), asked)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What counts as a save."""

    ready_marker: str | None
    max_bytes: int


def _look(paths: WorkspacePaths, rule: _Rule, asked: Asked) -> list[Unasked]:
    scan = Scan(paths.root)
    inputs = [found for found in scan if isinstance(found, FoundInput)]
    names = [
        Unasked(miss.path, miss.wrong, miss.cure(taken=taken))
        for miss in scan.near
        if (taken := there(paths.root, miss)) is not None
    ]
    newest: dict[str, Run] = {}
    for run in asked.recent:
        newest.setdefault(run.path, run)
    changed = [each for each in inputs if each.signature.size <= SMALL or not _as_asked(each, asked.known)]
    contents = (_read(paths, rule, each, newest.get(each.name.path)) for each in changed[:READ])
    return list(islice(sorted((*names, *filter(None, contents)), key=lambda each: each.path), SHOWN))


def _as_asked(found: FoundInput, known: Mapping[str, Known]) -> bool:
    entry = known.get(found.name.path)
    return entry is not None and entry.signature == found.signature


def _read(paths: WorkspacePaths, rule: _Rule, found: FoundInput, last: Run | None) -> Unasked | None:
    """Return why the input *found* is not asked; None where it is, or will be."""
    path, marker, max_bytes = found.name.path, rule.ready_marker, rule.max_bytes
    content = snapshot(paths.root, path, max_bytes=max_bytes)
    if not isinstance(content, Content):
        return None
    save = to_save(found.name, content.raw, content.signature, ready_marker=marker, max_bytes=max_bytes)
    known = last is not None and last.digest == digest(content.raw)
    if isinstance(save, NotASave) and known:
        return None  # it was asked, before it had to have a marker
    if isinstance(save, NotASave):
        return Unasked(path, save.reason, save.cure)
    if last is None or not known:
        return None
    asked_at = datetime.fromisoformat(last.created_at).timestamp()
    if content.signature.mtime_ns / 1e9 <= asked_at + SAVED_AFTER_S or last.completed_at is None:
        return None
    return Unasked(path, "saved again without a change since it was asked", SAME_BYTES_CURE.format(path))
