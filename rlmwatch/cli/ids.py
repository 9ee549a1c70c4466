"""Which run a person means by a part of its id, and how its id is shown in short: the same in every verb."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlmwatch.contract.names import is_job_id
from rlmwatch.errors import UsageError
from rlmwatch.workspace.polling import matching

NAMED = 5
"""Ids that are named where several are meant."""
_OF_A_RUN = re.compile(r"\d{8}T\d{6}Z-[a-z]+-([0-9a-f]{6,})")


def whole_id(root: Path, part: str) -> str:
    """
    Return the id with a status file that begins with *part*, or of a run that ends with it (`7f3a9c`).

    *part* itself where it is an id, or none fits.

    Raises:
        UsageError: Several fit, nothing was given, or no id can have such a part.
    """
    if not part.strip():
        raise UsageError("which run? `rlmwatch runs` lists them")
    if not is_job_id(part):
        raise UsageError(f"{part}: no such run in {root}; `rlmwatch runs` lists them")
    found = matching(root, part) or [
        each for each in matching(root, "") if each.endswith(f"-{part}") and _OF_A_RUN.fullmatch(each)
    ]
    if len(found) > 1:
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise UsageError(f"{len(found)} runs have an id that begins with {part}: {', '.join(found[:NAMED])}{more}")
    return found[0] if found else part


def short_ids(ids: Sequence[str]) -> list[str]:
    """Return *ids* in short: a run's last part, where no other of them has it; one that a person chose, whole."""
    ends = [found[1] if (found := _OF_A_RUN.fullmatch(each)) else each for each in ids]
    often = Counter(ends)
    return [end if often[end] == 1 else whole for end, whole in zip(ends, ids, strict=True)]
