"""
The folder `jobs/`: what is in it, what is removed, what is set aside.

It holds the status of every run of the last weeks, so 100,000 files are nothing unusual: names are listed, and only
what a caller names is looked at.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rlmwatch.contract.documents import JobStatus, json_object
from rlmwatch.contract.names import JOBS, CancelRequest, Submission, classify
from rlmwatch.errors import InputError, WorkspaceError
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.status import REJECTED

MAX_SET_ASIDE = 100
"""Rejected files of one id that are kept; somebody who goes on after that is not served by keeping more."""


_ENDED = tuple(status.value for status in JobStatus if status.ended)

_MADE_HERE = re.compile(r"\d{8}T\d{6}Z-[a-z]+-[0-9a-f]+\.json")
"""Names that rlmwatch makes: nearly all; the rule for any name costs ten times as much."""


@dataclass(frozen=True, slots=True)
class Box:
    """
    What lies in `jobs/`.

    Attributes:
        changed_ns: When something last came, went or was renamed there, by the file system's clock; 0 for no folder.
        jobs: Ids of `<id>.json`.
        cancels: Ids of `<id>.cancel`, and when each was written (seconds since 1970).
    """

    changed_ns: int = 0
    jobs: tuple[str, ...] = ()
    cancels: Mapping[str, float] = field(default_factory=dict)


def cancel_path(job_id: str) -> str:
    """Return where somebody asks to cancel the job."""
    return f"{JOBS}/{job_id}.cancel"


def look(root: Path, *, unless_ns: int = -1) -> Box | None:
    """
    Return what lies in `jobs/`; None where the folder changed last at *unless_ns*. Blocks: 60 ms for 100,000 names.

    Raises:
        WorkspaceError: The folder cannot be listed.
    """
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            # Asked before the names: what comes in between is seen at the next look.
            changed_ns = os.fstat(jobs).st_mtime_ns
            if changed_ns == unless_ns:
                return None
            ids: list[str] = []
            cancels: dict[str, float] = {}
            for file in safe_open.names(jobs):
                if _MADE_HERE.fullmatch(file):
                    ids.append(file.removesuffix(".json"))
                    continue
                match classify(f"{JOBS}/{file}"):
                    case Submission(job_id=job_id):
                        ids.append(job_id)
                    case CancelRequest(job_id=job_id):
                        with suppress(FileNotFoundError):
                            found = os.stat(file, dir_fd=jobs, follow_symlinks=False)
                            if not stat.S_ISDIR(found.st_mode):
                                cancels[job_id] = found.st_mtime
                    case _:
                        pass
            return Box(changed_ns, tuple(ids), cancels)
    except FileNotFoundError:
        return Box()
    except OSError as error:
        raise cannot("list", root / JOBS, error) from error


def ended(root: Path, job_ids: Iterable[str]) -> set[str]:
    """
    Return those of *job_ids* whose file is the status of a run that has ended, and so asks for nothing. Blocks.

    60 µs each: for a ledger that knows none of 100,000 files. What cannot be read is not among them.
    """
    found = set()
    with suppress(OSError), safe_open.folder(root / JOBS, within=root) as jobs:
        for job_id in job_ids:
            with suppress(OSError, InputError):
                status = json_object(safe_open.read_in(jobs, f"{job_id}.json", max_bytes=safe_open.MAX_BYTES))
                if status.get("status") in _ENDED and status.get("input_digest"):
                    found.add(job_id)
    return found


def submitted(root: Path, job_id: str, data: bytes) -> None:
    """
    Put the submission *data* into `jobs/<job_id>.json`, whole or not at all, making the folder where it is missing.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    _put(root, f"{job_id}.json", data)


def ask_to_cancel(root: Path, job_id: str, data: bytes) -> None:
    """
    Put the request `jobs/<job_id>.cancel` there; *data* is for people.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    _put(root, f"{job_id}.cancel", data)


def cancels_handled(root: Path, job_ids: Iterable[str]) -> int:
    """
    Remove the requests `jobs/<id>.cancel` of *job_ids*, and return how many were there. Blocks: 15 µs each.

    Raises:
        WorkspaceError: One cannot be removed.
    """
    removed = 0
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            for job_id in job_ids:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(f"{job_id}.cancel", dir_fd=jobs)
                    removed += 1
            if removed:
                safe_open.sync(jobs)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise cannot("remove a request in", root / JOBS, error) from error
    return removed


def digest_of(root: Path, job_id: str) -> str | None:
    """Return `sha256:<hex>` of the whole file `jobs/<job_id>.json`, however large; None where it cannot be read."""
    try:
        with (
            safe_open.folder(root / JOBS, within=root) as jobs,
            safe_open.regular(jobs, f"{job_id}.json") as fd,
            open(fd, "rb", closefd=False) as file,
        ):
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None


def set_aside(root: Path, job_id: str) -> str | None:
    """
    Keep what lies in `jobs/<job_id>.json` under another name, for a status will take its place; return that name.

    It is a second name of the same file where the file system has those, so that nobody ever finds the first one
    missing; else the file is moved. None where it is gone. Repeated for the same file, it does nothing.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    name = f"{job_id}.json"
    try:
        with safe_open.folder(root / JOBS, within=root) as jobs:
            found = os.stat(name, dir_fd=jobs, follow_symlinks=False)
            for number in range(1, MAX_SET_ASIDE + 1):
                aside = f"{name}{REJECTED}" if number == 1 else f"{name}{REJECTED}-{number}"
                try:
                    standing = os.stat(aside, dir_fd=jobs, follow_symlinks=False)
                except FileNotFoundError:
                    _second_name(jobs, name, aside)
                    safe_open.sync(jobs)
                    return aside
                if os.path.samestat(standing, found):
                    return aside
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("set aside", root / JOBS / name, error) from error
    raise WorkspaceError(f"{root / JOBS}: {MAX_SET_ASIDE} files {name}{REJECTED}… already. Remove some.")


def _second_name(jobs: int, name: str, aside: str) -> None:
    try:
        os.link(name, aside, src_dir_fd=jobs, dst_dir_fd=jobs, follow_symlinks=False)
    except OSError:  # no links there (FAT, some mounts)
        os.rename(name, aside, src_dir_fd=jobs, dst_dir_fd=jobs)


def _put(root: Path, name: str, data: bytes) -> None:
    jobs = root / JOBS
    try:
        safe_open.make_folder(jobs, within=root)
    except OSError as error:
        raise cannot("make", jobs, error) from error
    atomic.write(jobs / name, data, within=root)
