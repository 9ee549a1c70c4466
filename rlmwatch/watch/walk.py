"""The result of a walk: what differs from what was read last. Blocking, for a worker thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.contract.ignored import MAX_FOLDERS
from rlmwatch.contract.near_misses import NearMiss
from rlmwatch.runs.model import Signature
from rlmwatch.watch.scan import FoundInput, Scan, UnlistedFolder

log = structlog.get_logger()

QUIET_REASONS = ("interval", "folder")
"""Walks that happen all the time."""

SAFETY_NET_SHARE = 1 / 2000
"""Of the time, at most, that goes into walks while events work: half of what a daemon at rest may cost in all."""

POLLING_SHARE = 1 / 20
"""Of the time, at most, that goes into walks where nothing else shows a save."""

WHILE_UP = ("interval", "overflow")
"""
Walks that find what went while the folder was watched. After a start or a restart a folder may be on its way back (a
mount, a sync tool), and what is not there yet was not deleted by anybody.
"""


@dataclass(slots=True)
class Walk:
    """
    What a walk found.

    Attributes:
        differing: Inputs that look other than when they were read last, or were never read.
        unlisted: Folders that could not be listed.
        present: Every input's path.
        folders: Folders that need a watch.
        seconds: How long it took.
        too_deep: A folder that was passed over because it is too deep; None where there was none.
        near: Names that look meant for us and are no input.
        notes: Files with a note's name.
    """

    differing: list[FoundInput] = field(default_factory=list)
    unlisted: list[UnlistedFolder] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    folders: int = 0
    seconds: float = 0.0
    too_deep: str | None = None
    near: list[NearMiss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def pause_s(self, at_least: float, *, polling: bool) -> float:
        """Return the seconds until the next walk: *at_least* so many, and more where this one took long."""
        return max(at_least, self.seconds / (POLLING_SHARE if polling else SAFETY_NET_SHARE))


def walk(root: Path, known: Mapping[str, Signature], starts: Collection[str]) -> Walk:
    """
    Walk the folders *starts* (`""` is the root) with all below, and compare with *known* signatures.

    A start that lies in another one is visited once. *known* must not change meanwhile.
    """
    began = clock.monotonic()
    result = Walk()
    for start in _outermost(starts):
        scan = Scan(root, start)
        for item in scan:
            if isinstance(item, UnlistedFolder):
                result.unlisted.append(item)
                continue
            result.present.add(item.name.path)
            if known.get(item.name.path) != item.signature:
                result.differing.append(item)
        result.folders += scan.folders
        result.near += scan.near
        result.notes += scan.notes
        result.too_deep = result.too_deep or scan.too_deep
    result.seconds = clock.monotonic() - began
    return result


def report(result: Walk, reason: str, *, known: Collection[str]) -> None:
    """Log what a walk found, *known* unlisted folders not again. A safety net that found nothing is quiet."""
    for folder in result.unlisted:
        if folder.path not in known:
            log.warning("watch.folder_unreadable", path=folder.path, reason=folder.reason, done="passed over")
    write = log.debug if reason in QUIET_REASONS and not result.differing else log.info
    write(
        "watch.walked",
        reason=reason,
        folders=result.folders,
        inputs=len(result.present),
        differing=len(result.differing),
        seconds=round(result.seconds, 4),
    )


def report_too_deep(result: Walk) -> None:
    """Log that there are folders too deep to be watched: one of them, since somebody may have made thousands."""
    log.warning("watch.too_deep", path=result.too_deep, max_folders=MAX_FOLDERS, done="passed over with all below")


def report_unwatched(result: Walk, unwatched: int) -> None:
    """Log that the kernel has too few watches."""
    log.warning(
        "watch.too_few_watches",
        folders=result.folders,
        unwatched=unwatched,
        done="polling",
        cure="raise fs.inotify.max_user_watches",
    )


def _outermost(folders: Collection[str]) -> list[str]:
    """Return those of *folders* that lie in no other."""
    outermost: list[str] = []
    for folder in sorted(folders, key=lambda path: (*path.split("/"),)):
        if not outermost or (outermost[-1] and not folder.startswith(f"{outermost[-1]}/") and folder != outermost[-1]):
            outermost.append(folder)
    return outermost
