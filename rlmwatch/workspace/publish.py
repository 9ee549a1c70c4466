"""
Put how a run ended into the workspace, beside its question.

In this order: answer, memory, transcript, error file, answer so far, status. The status comes last, so whoever sees
`complete` finds the answer. A crash at any point is repaired by publishing again: each write is atomic, and writes
nothing where its content is there already.

An old run never covers a newer one. A run may be published late (the disk was full, another machine had taken over
in between); the caller says what came after it (`Later`), which is never read off a clock:

1. A later save was answered in the same output: the answer is not written.
2. A later save of the conversation has an answer or an error: the error file is left.
3. The turn goes before those of later saves, and the status is written, in any case.

Answer and error file say more to the person than memory and status file do (`contract/marks.py`), unless the run's
`marks` is false. The transcript (`contract/transcript.py`) gets the answer where the run's `transcript` is true.

A question whose folder is gone has no place beside it: its answer is in the status file alone, and says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import structlog

from rlmwatch.contract.documents import Progress, UsageSoFar, well_formed
from rlmwatch.contract.json_answer import is_json
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.marks import mark, marked, with_times
from rlmwatch.contract.memory import Turn, last_asked
from rlmwatch.contract.names import JOBS, InputName, input_name
from rlmwatch.contract.session import Used
from rlmwatch.contract.transcript import of_turn
from rlmwatch.runs.attached import captured_in
from rlmwatch.runs.model import Result, Run
from rlmwatch.workspace import atomic, memory, safe_open, status, transcript
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.session import session_of

NOT_ASKED_YET = "The save is not asked yet. It is, by itself, as soon as that is fixed, as the file is then."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Later:
    """
    The saves that came after one, in its conversation, and have ended.

    Attributes:
        runs: Their runs.
        answered: One of them has its answer in the same output.
        ended: One of them has an answer or an error.
    """

    runs: frozenset[str] = frozenset()
    answered: bool = False
    ended: bool = False


NOTHING_LATER = Later()


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
    root: Root,
    run: Run,
    *,
    later: Later = NOTHING_LATER,
    by: status.DaemonProcess,
    now: str,
    progress: Progress | None = None,
) -> PublishReport:
    """
    Write answer, memory, transcript, error file and status of the ended *run*. Idempotent; repeated after any crash.

    Args:
        root: The workspace.
        run: With how it ended.
        later: What came after it.
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
    report = PublishReport() if name is None else _beside(root, run, result, name, later=later, now=now)
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
    return name is not None and not _gone(root, name) and _tell(root, name, run, text)


def save_waits(root: Root, path: str, why: str | None) -> None:
    """
    Write *why* the save of the input *path* is not admitted yet into its error file; None removes that text again.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    root.check()
    name = input_name(path)
    if name is None or _gone(root, name):
        return
    if why is not None:
        _write(root, name, name.error, f"{why}\n{NOT_ASKED_YET}")
        return
    try:
        raw = safe_open.read(root.path / name.error, within=root.path, max_bytes=safe_open.MAX_BYTES)
    except OSError:
        return
    if raw is not None and raw.rstrip().endswith(NOT_ASKED_YET.encode()):
        atomic.remove(root.path / name.error, within=root.path)


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


def _beside(root: Root, run: Run, result: Result, name: InputName, *, later: Later, now: str) -> PublishReport:
    """Write what lies beside the question."""
    if _gone(root, name):
        log.warning("publish.folder_gone", path=run.path, run=run.run_id)
        folder = PurePosixPath(name.path).parent
        return PublishReport(warnings=(f"the folder {folder} is gone: the answer is in this file alone",))
    warnings: list[str] = []
    changed: list[str] = []
    if result.answer is not None:
        if later.answered:
            log.warning("publish.superseded", path=name.output, run=run.run_id)
        else:
            changed += _as_json(root, name, run, result.answer)
            changed += _answer(root, name, marked(result.answer, mark_of(run, result)), result.sources)
        if run.kind is not Kind.RESEARCH and name.kind in memory.HAVE_TURNS:
            warning = memory.append_turn(root.path, name, _turn(run, result, result.answer), later=later.runs, now=now)
            warnings += [warning] if warning else []
    if run.kind is Kind.RESEARCH:
        used = Used(output_tokens=result.usage.output_tokens, cost_usd=result.usage.cost_usd or 0.0)
        turn = None if result.answer is None else _turn(run, result, result.answer)
        session_of(root, name).book(run.run_id, used, turn, later=later.runs, now=now)
    if result.answer is not None and run.options.get("transcript") is True:
        turn, see = _turn(run, result, result.answer), f"{JOBS}/{status.job_id(run)}.json"
        entry = of_turn(turn, see=see, pages=transcript.pages_of(result.sources))
        added, warning = transcript.add(root, name, entry, now=now)
        changed += [name.transcript] * added
        warnings += [warning] if warning else []
    if not later.ended:
        changed += _tell_error(root, name, run, result.error)
        if atomic.remove(root.path / name.partial_output, within=root.path):
            changed.append(name.partial_output)
    return PublishReport(tuple(changed), tuple(warnings), superseded=later.answered and result.answer is not None)


def restore(
    root: Root,
    name: InputName,
    digest: str,
    *,
    or_else: str | None = None,
    or_else_mark: str | None = None,
    marks: bool = True,
) -> str | None:
    """
    Write a missing output of *name* anew, and return the answer of the question *digest*; None where there is none.

    The answer is that of the last turn in the conversation's own file, where that is of this question, or *or_else*. An
    output that is there stays as it is, whatever it says.

    Args:
        root: The workspace.
        name: The input.
        digest: Of its bytes.
        or_else: The answer as others know it.
        or_else_mark: The line under that; None for none.
        marks: Whether an answer has its line.

    Raises:
        WorkspaceError: Something cannot be read or stored.
    """
    last = last_asked(memory.beside(root.path, name))
    answer, line = or_else, or_else_mark
    if last is not None and last.digest == digest:
        see = f"{JOBS}/{last.run_id}.json"
        answer, line = last.answer, mark(last.reason, partial=last.partial, notes=last.notes, see=see)
    if answer is not None and not os.path.lexists(root.path / name.output):
        _write(root, name, name.output, marked(answer, line if marks else None))
        log.info("answer.restored", path=name.output)
    return answer


def restore_json(root: Root, name: InputName, answer: str) -> None:
    """
    Write a missing JSON file of *name* anew, where *answer* is JSON.

    Raises:
        WorkspaceError: It cannot be stored.
    """
    if not os.path.lexists(root.path / name.json_output) and is_json(answer):
        _write(root, name, name.json_output, answer)
        log.info("answer.restored", path=name.json_output)


def _turn(run: Run, result: Result, answer: str) -> Turn:
    return Turn(
        run_id=run.run_id,
        save_number=run.number or None,
        continues=run.continues,
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
        attached=tuple(each.name for each in captured_in(run.enclosed)) or None,
    )


def _answer(root: Root, name: InputName, answer: str, sources: str | None) -> list[str]:
    """Write the answer and the pages it stands on; pages of an earlier answer go. Return what changed."""
    if sources is None:
        beside = atomic.remove(root.path / name.sources, within=root.path)
    else:
        beside = _write(root, name, name.sources, sources)
    return [name.sources] * beside + [name.output] * _write(root, name, name.output, answer)


def _as_json(root: Root, name: InputName, run: Run, answer: str) -> list[str]:
    """Write an *answer* in JSON into its own file, without a mark; else remove the one of an earlier answer."""
    if run.wants_json is not None and is_json(answer):
        return [name.json_output] if _write(root, name, name.json_output, answer) else []
    earlier = (turn.answer for turn in memory.beside(root.path, name))
    return [name.json_output] if _remove_json(root, name, earlier) else []


def _remove_json(root: Root, name: InputName, answers: Iterable[str | None]) -> bool:
    """Remove the JSON file of *name* where it holds one of *answers*; any other is the person's."""
    path = root.path / name.json_output
    if not os.path.lexists(path):
        return False
    try:
        raw = safe_open.read(path, within=root.path, max_bytes=safe_open.MAX_BYTES)
    except OSError:
        return False
    earlier = {well_formed(answer).strip().encode() for answer in answers if answer}
    return raw is not None and raw.strip() in earlier and atomic.remove(path, within=root.path)


def show_turn(root: Root, name: InputName, turn: Turn | None, *, instead_of: Turn, marks: bool) -> None:
    """
    Have the outputs of *name* show the answer of *turn* instead of another one; without a turn there are none.

    Raises:
        WorkspaceError: Something cannot be stored.
    """
    in_json = _remove_json(root, name, [instead_of.answer])
    if turn is None:
        atomic.remove(root.path / name.output, within=root.path)
        return
    if in_json and is_json(turn.answer):
        _write(root, name, name.json_output, turn.answer)
    _write(root, name, name.output, marked(turn.answer, _mark_of_turn(turn) if marks else None))


def _mark_of_turn(turn: Turn) -> str | None:
    see = f"{JOBS}/{turn.run_id}.json"
    return mark(turn.reason or "", partial=bool(turn.partial), notes=turn.notes or (), see=see)


def mark_of(run: Run, result: Result) -> str | None:
    """Return the line under the answer of *run* in its file; None where it needs none, or is to have none."""
    if run.options.get("marks") is False:
        return None
    see = f"{JOBS}/{status.job_id(run)}.json"
    return mark(result.outcome.value, partial=result.partial, notes=result.notes, see=see)


def _tell_error(root: Root, name: InputName, run: Run, error: str | None) -> list[str]:
    """Write the error file, or remove it; return its path where it changed."""
    if error is not None:
        did = _tell(root, name, run, error)
    else:
        did = atomic.remove(root.path / name.error, within=root.path)
    return [name.error] if did else []


def _tell(root: Root, name: InputName, run: Run, error: str) -> bool:
    """Write *error* with the times of its question and of the answer that stands there; whether that changed it."""
    if run.options.get("marks") is not False:
        error = with_times(error, saved_at=run.created_at, stands=_stands(root, name))
    return _write(root, name, name.error, error)


def _stands(root: Root, name: InputName) -> tuple[str, str] | None:
    """Return name and time (RFC 3339) of the answer that lies beside the question; None where there is none."""
    try:
        found = os.lstat(root.path / name.output)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    written = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds")
    return PurePosixPath(name.output).name, written


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
