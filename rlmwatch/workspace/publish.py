"""
Put how a run ended into the workspace, beside its question.

In this order: answer, memory, error file, answer so far, status. The status comes last, so whoever sees `complete`
finds the answer. A crash at any point is repaired by publishing again: each write is atomic, and writes nothing where
its content is there already.

An old run never covers a newer one. A run may be published late (the disk was full, another machine had taken over
in between), and the workspace itself shows what came after it, by the times of the saves:

1. A turn of the chat, or an answered run with the same output, whose save is later: the answer is not written.
2. Any ended run with the same output that wrote an answer or an error, whose save is later: the error file is left.
3. The turn goes to its place by time, and the status is written, in any case.

A question whose folder is gone has no place beside it: its answer is in the status file alone, and says so.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath

import structlog

from rlmwatch.contract.documents import Progress, StatusFile, UsageSoFar, read_status, second, well_formed
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.names import JOBS, InputName, input_name
from rlmwatch.contract.session import Used
from rlmwatch.errors import InputError
from rlmwatch.runs.model import Result, Run
from rlmwatch.workspace import atomic, memory, safe_open, status
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.session import session_of

CLOCK_SLACK_S = 60.0
"""
How much older than its save a file may seem and still be looked at closely: file systems keep seconds, machines'
clocks differ. Looking closely costs one listing of `jobs/`.
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PublishReport:
    """
    What publishing did.

    Attributes:
        changed: POSIX paths of what was written or removed, memory aside; none when all was there already.
        warnings: What the person is to know; the status file's `notes` carry it too.
        superseded: A later save was answered already, so the answer was not written.
    """

    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    superseded: bool = False


def publish(
    root: Root, run: Run, *, by: status.DaemonProcess, now: str, progress: Progress | None = None
) -> PublishReport:
    """
    Write answer, memory, error file and status of the ended *run*. Idempotent, and repeated after any crash.

    Args:
        root: The workspace.
        run: With how it ended.
        by: Who writes.
        now: RFC 3339.
        progress: How far it came, where its status does not say so yet.

    Raises:
        WorkspaceError: Something cannot be stored, or the workspace is not there; some files may be written.
        ValueError: The run has not ended: a fault of the program.
    """
    result = run.result
    if result is None or not run.status.ended:
        raise ValueError(f"{run.run_id} has not ended")
    root.check()
    name = input_name(run.path)
    report = PublishReport() if name is None else _beside(root, run, result, name, now=now)
    changed = list(report.changed)
    if status.end(root, run, warnings=report.warnings, by=by, now=now, progress=progress):
        changed.append(f"{JOBS}/{status.job_id(run)}.json")
    root.check()  # had it been unmounted in between, all this lay in an empty shell
    return PublishReport(tuple(changed), report.warnings, report.superseded)


def explain(root: Root, run: Run, text: str) -> bool:
    """
    Write *text* into the error file of *run*'s conversation, as while it is held; False where nothing was to write.

    The next success removes it (`publish`).

    Raises:
        WorkspaceError: It cannot be stored.
    """
    root.check()
    name = input_name(run.path)
    return name is not None and not _gone(root, name) and _write(root, name, name.error, text)


def show(root: Root, run: Run, text: str) -> bool:
    """
    Write *text*, the answer of *run* so far, into its `…_output.partial.txt`; False where nothing was to write.

    The end of a run removes it (`publish`).

    Raises:
        WorkspaceError: It cannot be stored.
    """
    root.check()
    name = input_name(run.path)
    return name is not None and not _gone(root, name) and _write(root, name, name.partial_output, text)


def _beside(root: Root, run: Run, result: Result, name: InputName, *, now: str) -> PublishReport:
    """Write what lies beside the question."""
    if _gone(root, name):
        log.warning("publish.folder_gone", path=run.path, run=run.run_id)
        folder = PurePosixPath(name.path).parent
        return PublishReport(warnings=(f"the folder {folder} is gone: the answer is in this file alone",))
    remembered = memory.load_chat(root.path, name, now=now)
    answered_later = any((turn.at or "") > run.created_at for turn in remembered.state.turns)
    warnings = [remembered.warning] if remembered.warning else []
    ended_later = answered_later
    for later in _later(root, run, name):
        ended_later = True
        answered_later = answered_later or later.answer is not None
    changed: list[str] = []
    if result.answer is not None:
        if answered_later:
            log.warning("publish.superseded", path=name.output, run=run.run_id)
        else:
            changed += _answer(root, name, result.answer, result.sources)
        if run.kind is not Kind.RESEARCH and name.kind in memory.HAVE_TURNS:
            warning = memory.append_turn(root.path, name, _turn(run, result, result.answer), now=now)
            warnings += [warning] if warning else []
    if run.kind is Kind.RESEARCH:
        used = Used(output_tokens=result.usage.output_tokens, cost_usd=result.usage.cost_usd or 0.0)
        turn = None if result.answer is None else _turn(run, result, result.answer)
        session_of(root, name).book(run.run_id, used, turn, now=now)
    if not ended_later:
        changed += _tell_error(root, name, result.error)
        if atomic.remove(root.path / name.partial_output, within=root.path):
            changed.append(name.partial_output)
    return PublishReport(tuple(changed), tuple(warnings), superseded=answered_later and result.answer is not None)


def _turn(run: Run, result: Result, answer: str) -> Turn:
    return Turn(
        run_id=run.run_id,
        at=run.created_at,
        model=result.model,
        file=PurePosixPath(run.path).name,
        input=run.prompt,
        answer=answer,
        input_digest=run.digest,
        partial=True if result.partial else None,
        reason=result.outcome.value if result.partial else None,
        notes=result.notes or None,
        usage=UsageSoFar(**asdict(result.usage)),
    )


def _answer(root: Root, name: InputName, answer: str, sources: str | None) -> list[str]:
    """Write the answer and the pages it stands on; pages of an earlier answer go. Return what changed."""
    if sources is None:
        beside = atomic.remove(root.path / name.sources, within=root.path)
    else:
        beside = _write(root, name, name.sources, sources)
    return [name.sources] * beside + [name.output] * _write(root, name, name.output, answer)


def _tell_error(root: Root, name: InputName, error: str | None) -> list[str]:
    """Write the error file, or remove it; return its path where it changed."""
    if error is not None:
        did = _write(root, name, name.error, error)
    else:
        did = atomic.remove(root.path / name.error, within=root.path)
    return [name.error] if did else []


def _write(root: Root, name: InputName, path: str, text: str) -> bool:
    """Write exactly *text*, with a final newline, for the people who may read the input *name*."""
    ended = text if text.endswith("\n") else text + "\n"
    return atomic.write(root.path / path, well_formed(ended).encode(), within=root.path, question=root.path / name.path)


def _gone(root: Root, name: InputName) -> bool:
    """Whether the person removed the folder of *name*; a link or a file in its place is an error for the person."""
    folder = (root.path / name.path).parent
    try:
        with safe_open.folder(folder, within=root.path):
            return False
    except FileNotFoundError:
        return True
    except OSError as error:
        raise cannot("store anything in", folder, error) from error


def _later(root: Root, run: Run, name: InputName) -> Iterator[StatusFile]:
    """Yield the ended runs with the output of *name* that wrote an answer or an error, and whose save is later."""
    if not _touched_since(root, run, name):
        return
    from_second = second(run.created_at)
    try:
        with safe_open.folder(root.path / JOBS, within=root.path) as jobs:
            names = [file for file in safe_open.names(jobs) if file.endswith(".json") and file >= from_second]
            for file in sorted(names):
                found = _ended(jobs, file)
                if (
                    found is not None
                    and found.output == name.output
                    and found.created_at > run.created_at
                    and (found.answer is not None or found.error is not None)
                ):
                    yield found
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot("read", root.path / JOBS, error) from error


def _touched_since(root: Root, run: Run, name: InputName) -> bool:
    """Whether answer or error file were written about when the save of *run* was made, or later."""
    saved = datetime.fromisoformat(run.created_at).timestamp()
    for path in (name.output, name.error):
        try:
            if (root.path / path).lstat().st_mtime >= saved - CLOCK_SLACK_S:
                return True
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise cannot("look at", root.path / path, error) from error
    return False


def _ended(jobs: int, file: str) -> StatusFile | None:
    """Return the status in *file*, where it is one of an ended run."""
    try:
        found = read_status(
            safe_open.read_in(jobs, file, max_bytes=safe_open.MAX_BYTES), job_id=file.removesuffix(".json")
        )
    except (OSError, InputError):
        return None
    return found if found.status.ended else None
