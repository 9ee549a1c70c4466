"""What pollers read: the status files of `jobs/`, newest first, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rlmwatch.contract.documents import StatusFile, read_status
from rlmwatch.contract.names import JOBS
from rlmwatch.errors import InputError
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.liveness import seen_now

ENDING = ".json"
SECOND = len("20261124T093000Z")
"""With which the id of a run begins."""


def statuses(root: Path) -> Iterator[StatusFile]:
    """
    Yield the status of every run, newest first: by its id, which begins with a second, and within that by its time.

    Files that are not a status are skipped. Costs one listing, and a read for each that is taken and for those of
    the same second: the newest twenty of 100,000 are some twenty reads.
    """
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            found = sorted(
                (n for n in safe_open.names(jobs) if n.endswith(ENDING) and not n.startswith(".")), reverse=True
            )
            for _, names in groupby(sorted(found, reverse=True), lambda name: name[:SECOND]):
                read = [each for name in names if (each := _read(root, jobs, name)) is not None]
                yield from sorted(read, key=lambda each: each.created_at, reverse=True)
    except OSError:
        return


def _read(root: Path, jobs: int, name: str) -> StatusFile | None:
    try:
        raw = safe_open.read_in(jobs, name, max_bytes=safe_open.MAX_BYTES)
        return seen_now(read_status(raw, job_id=name.removesuffix(ENDING)), root)
    except (OSError, InputError):
        return None


def status(root: Path, job_id: str) -> StatusFile | None:
    """
    Return the status of one run; None where there is no such file.

    Raises:
        InputError: The file is not a status.
    """
    try:
        raw = safe_open.read(root / JOBS / f"{job_id}{ENDING}", within=root, max_bytes=safe_open.MAX_BYTES)
    except OSError:
        return None
    return None if raw is None else seen_now(read_status(raw, job_id=job_id), root)


def matching(root: Path, beginning: str) -> list[str]:
    """Return the ids with a status file that begin with *beginning*, in order; that id alone where it is one itself."""
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            names = (name.removesuffix(ENDING) for name in safe_open.names(jobs) if name.endswith(ENDING))
            found = sorted(name for name in names if name.startswith(beginning) and not name.startswith("."))
    except OSError:
        return []
    return [beginning] if beginning in found else found
