"""Which run a person means by the beginning of its id: the same in every verb."""

from __future__ import annotations

from pathlib import Path

from rlmwatch.contract.names import is_job_id
from rlmwatch.errors import UsageError
from rlmwatch.workspace.polling import matching

NAMED = 5
"""Ids that are named where several begin alike."""


def whole_id(root: Path, beginning: str) -> str:
    """
    Return the id with a status file that begins with *beginning*; that itself where there is none, or it is one.

    Raises:
        UsageError: Several begin so, nothing was given, or no id can begin so.
    """
    if not beginning.strip():
        raise UsageError("which run? `rlmwatch jobs` lists them")
    if not is_job_id(beginning):
        raise UsageError(f"{beginning}: no such run in {root}; `rlmwatch jobs` lists them")
    found = matching(root, beginning)
    if len(found) > 1:
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise UsageError(f"{len(found)} runs have an id that begins with {beginning}: {', '.join(found[:NAMED])}{more}")
    return found[0] if found else beginning
