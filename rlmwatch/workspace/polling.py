"""What pollers read: the status files of `jobs/`, newest first, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rlmwatch.contract.documents import StatusFile, read_status
from rlmwatch.contract.names import JOBS
from rlmwatch.errors import InputError
from rlmwatch.workspace import inside

ENDING = ".json"


def statuses(root: Path) -> Iterator[StatusFile]:
    """
    Yield the status of every run, newest first by its id; files that are no status are passed over.

    Costs one listing, and a read for each that is taken: the newest twenty of 100,000 are twenty reads.
    """
    try:
        with inside.folder(root / JOBS, within=root) as jobs:
            names = sorted((n for n in os.listdir(jobs) if n.endswith(ENDING) and not n.startswith(".")), reverse=True)  # noqa: PTH208 (a descriptor)
            for name in names:
                try:
                    raw = inside.read_in(jobs, name, max_bytes=inside.MAX_BYTES)
                    yield read_status(raw, job_id=name.removesuffix(ENDING))
                except (OSError, InputError):
                    continue
    except OSError:
        return


def status(root: Path, job_id: str) -> StatusFile | None:
    """
    Return the status of one run; None where there is no such file.

    Raises:
        InputError: The file is no status.
    """
    try:
        raw = inside.read(root / JOBS / f"{job_id}{ENDING}", within=root, max_bytes=inside.MAX_BYTES)
    except OSError:
        return None
    return None if raw is None else read_status(raw, job_id=job_id)
