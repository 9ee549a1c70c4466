"""
What lies in a workspace and is not asked, and why: for `status` and `doctor`, with a daemon or without.

1. A name that looks meant for rlmwatch and is none of an input's.
2. An input that is no save: blank, a head without a question, no ready marker.
3. An input that was saved again after it was asked, with the same bytes.

Only what the ledger does not know as it is now is read, and what is small enough to be blank.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from rlmwatch.contract.text import digest
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.save_rules import MB
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import ConfigError
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Known
from rlmwatch.runs.saved import NotASave, to_save
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load
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


async def unasked(paths: WorkspacePaths) -> list[Unasked]:
    """
    Return what is not asked in the workspace, and why; at most `SHOWN`. Reads, and changes nothing.

    Raises:
        LedgerError: What was asked cannot be read.
        ConfigError: The user's own settings are wrong.
    """
    known: Mapping[str, Known] = {}
    runs: list[Run] = []
    ledger = await asyncio.to_thread(ledger_if_any, paths)
    if ledger is not None:
        try:
            known, runs = await ledger.known(), await ledger.recent(LOOKED_AT)
        finally:
            await ledger.aclose()
    return await asyncio.to_thread(_look, paths, _settings(paths), known, runs)


def _settings(paths: WorkspacePaths) -> Settings:
    try:
        return load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ).settings
    except ConfigError:  # a workspace whose file is wrong can still be looked at
        return load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings


def _look(paths: WorkspacePaths, settings: Settings, known: Mapping[str, Known], runs: list[Run]) -> list[Unasked]:
    scan = Scan(paths.root)
    inputs = [found for found in scan if isinstance(found, FoundInput)]
    names = [
        Unasked(miss.path, miss.wrong, miss.cure(taken=taken))
        for miss in scan.near
        if (taken := there(paths.root, miss)) is not None
    ]
    newest: dict[str, Run] = {}
    for run in runs:
        newest.setdefault(run.path, run)
    changed = [each for each in inputs if each.signature.size <= SMALL or not _as_asked(each, known)]
    contents = (_read(paths, settings, each, newest.get(each.name.path)) for each in changed[:READ])
    return list(islice(sorted((*names, *filter(None, contents)), key=lambda each: each.path), SHOWN))


def _as_asked(found: FoundInput, known: Mapping[str, Known]) -> bool:
    entry = known.get(found.name.path)
    return entry is not None and entry.signature == found.signature


def _read(paths: WorkspacePaths, settings: Settings, found: FoundInput, last: Run | None) -> Unasked | None:
    """Return why the input *found* is not asked; None where it is, or will be."""
    path, max_bytes = found.name.path, int(settings.max_input_mb * MB)
    content = snapshot(paths.root, path, max_bytes=max_bytes)
    if not isinstance(content, Content):
        return None
    marker = settings.ready_marker
    save = to_save(found.name, content.raw, content.signature, ready_marker=marker, max_bytes=max_bytes)
    if isinstance(save, NotASave):
        return Unasked(path, save.reason, save.cure)
    if last is None or last.digest != digest(content.raw):
        return None
    asked_at = datetime.fromisoformat(last.created_at).timestamp()
    if content.signature.mtime_ns / 1e9 <= asked_at + SAVED_AFTER_S or last.completed_at is None:
        return None
    return Unasked(path, "saved again without a change since it was asked", SAME_BYTES_CURE.format(path))
