"""
What is read for the page. Everything here blocks, and nothing is written.

1. The workspaces of the user are those that have a private state folder.
2. Runs, steps and spending are the ledger's, by a connection that only reads; how far a run is stands in its status
   file. Where the ledger does not know a run (another machine answered), its status file is all there is.
3. What is read is bounded: so many runs, and of a file no more than `MAX_STATUS_BYTES`.
4. What cannot be read is a sentence on the page, never an error of it.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from rlmwatch.contract.documents import JobStatus, StatusFile, read_status
from rlmwatch.contract.names import JOBS
from rlmwatch.errors import InputError, RlmwatchError
from rlmwatch.ledger import overview
from rlmwatch.ledger.overview import MAX_ROWS, RunSummary
from rlmwatch.ledger.statement import Db
from rlmwatch.page.model import ListedRun, RunView, WorkspaceView
from rlmwatch.runs.model import RunStatus
from rlmwatch.runs.waiting import OpenRun, reasons, submission
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.liveness import seen_now
from rlmwatch.workspace.owner import LOCK, holder, known_states

MAX_WORKSPACES = 100
"""Those that were used last; beyond that a page is no help."""
MAX_STATUS_BYTES = 1_000_000
"""Of one status file: what says how far a run is has some hundred bytes, an answer that is read some thousand."""
DAYS = 30
"""Of spending."""
PYTHON = "python"
"""Private state folder of the Python API's runs (`daemon/direct_runner.py`)."""
LEDGER = "ledger.sqlite3"
ANSWER_BEGINS = 200
"""Characters of an answer in a list."""

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TIMED = re.compile(r"\d{8}T\d{6}Z-[a-z]+-[0-9a-f]+\.json")
"""Names that rlmwatch makes, which sort by time."""


@dataclass(frozen=True, slots=True)
class WorkspaceAt:
    """
    Where a workspace and its private state are.

    Attributes:
        root: None for the runs of Python programs.
    """

    state: Path
    root: Path | None

    @property
    def name(self) -> str:
        """By which the page's addresses name it."""
        return self.state.name


@dataclass(frozen=True, slots=True)
class Sources:
    """
    Where the page reads.

    Attributes:
        states: The folder of all private state of the user.
        ledger: Opens the ledger of a workspace for reading; None where nothing was ever stored in one.
        problem: What is wrong with the settings of a workspace, in words; None where nothing is.
        shared: Whether all workspaces have one ledger, which adds up their spending.
    """

    states: Path
    ledger: Callable[[WorkspaceAt], AbstractContextManager[Db] | None]
    problem: Callable[[Path], str | None]
    shared: bool = False

    def each_dollar_once(self, views: list[WorkspaceView]) -> list[WorkspaceView]:
        """Return *views* so that their spending can be added up: of a shared ledger only the first one has it."""
        if not self.shared:
            return views
        ours = [view for view in views if view.folder is not None]
        return [view if view.folder is None or view is ours[0] else replace(view, days={}) for view in views]


def workspaces(states: Path) -> list[WorkspaceAt]:
    """Return the workspaces of the user, those that were used last first; then the runs of Python programs."""
    found = [WorkspaceAt(state, root) for state, root in known_states(states).items()]
    used = heapq.nlargest(MAX_WORKSPACES, found, key=lambda at: _changed_ns(at.state / LOCK))
    python = WorkspaceAt(states / PYTHON, None)
    return [*used, python] if (python.state / LEDGER).exists() else used


def changes(at: WorkspaceAt) -> tuple[int, ...]:
    """Return what is another value after something has happened there; three looks at files, and no reading."""
    files = [at.state / LOCK, at.state / f"{LEDGER}-wal", *([at.root / JOBS] if at.root else [])]
    return tuple(_changed_ns(file) for file in files)


def _changed_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def look(at: WorkspaceAt, sources: Sources, *, now: str) -> WorkspaceView | None:
    """Return what the page shows of a workspace; None where it is gone and nothing was spent there lately."""
    there = at.root is None or at.root.is_dir()
    who = holder(at.state, at.root) if at.root is not None and there else None
    problem = sources.problem(at.root) if at.root is not None and there else None
    unfinished: list[RunSummary] = []
    newest: list[RunSummary] = []
    counts: dict[str, int] = {}
    days: dict[str, float] = {}
    try:
        if (opened := sources.ledger(at)) is not None:
            with opened as db:
                for status in (RunStatus.RUNNING, RunStatus.HELD, RunStatus.PENDING):
                    unfinished += overview.open_summaries(db, status)
                newest, counts = overview.newest_summaries(db), overview.counts(db)
                days = overview.spent_by_day(db, _since(now))
    except (RlmwatchError, OSError, ValueError) as error:
        problem = "\n".join(filter(None, (problem, str(error))))
    if not there and not days:
        return None
    view = WorkspaceView(
        name=at.name,
        title="Python programs" if at.root is None else at.root.name or str(at.root),
        folder=None if at.root is None else str(at.root),
        answered_by=None if who is None else str(replace(who, since=None)),
        problem=problem if there else "this folder is gone",
        unfinished=tuple(_unfinished(at, unfinished, served=who is not None)) if there else (),
        counts=counts,
        days=days,
    )
    return _with_recent(view, at, newest) if there else view


def _since(now: str) -> str:
    return (datetime.fromisoformat(now) - timedelta(days=DAYS - 1)).date().isoformat()


def _unfinished(at: WorkspaceAt, runs: Iterable[RunSummary], *, served: bool) -> list[ListedRun]:
    """Return runs that have not ended, with how far each is and what it waits for."""
    admitted = sorted(runs, key=lambda run: run.run_id)
    found = [_listed(at, run, _status(at, _job_id(run))) for run in admitted]
    open_runs = [OpenRun(run.conversation, each.status, each.why) for run, each in zip(admitted, found, strict=True)]
    whys = reasons(open_runs, served=served)
    listed = [replace(each, why=why) for each, why in zip(found, whys, strict=True)]
    return sorted(listed, key=lambda each: each.status != JobStatus.RUNNING)


def _with_recent(view: WorkspaceView, at: WorkspaceAt, newest: list[RunSummary]) -> WorkspaceView:
    """Return *view* with its newest runs, and with those that go on of which only the status file is here."""
    known = {each.job_id: each for each in view.unfinished}
    for run in newest:
        known.setdefault(_job_id(run), _listed(at, run, None))
    names, served = _newest_files(at), view.answered_by is not None
    unknown = [found for name in names if name not in known and (found := _status(at, name))]
    files = [_of_file(at, found, served=served) for found in unknown]
    recent = sorted((*known.values(), *files), key=lambda each: each.created_at, reverse=True)[:MAX_ROWS]
    more = tuple(each for each in files if each.status in ("running", "held", "pending"))
    return replace(view, unfinished=(*view.unfinished, *more), recent=tuple(recent))


def _newest_files(at: WorkspaceAt) -> list[str]:
    """Return the ids of the newest status files by their names, which begin with a time; one listing, no reading."""
    if at.root is None:
        return []
    with suppress(OSError), safe_open.folder(at.root / JOBS, within=at.root) as jobs:
        names = heapq.nlargest(MAX_ROWS, filter(_TIMED.fullmatch, safe_open.names(jobs)))
        return [name.removesuffix(".json") for name in names]
    return []


def _status(at: WorkspaceAt, job_id: str) -> StatusFile | None:
    """Return the status file of a run; None where there is none that can be read, or it is larger than it should be."""
    if at.root is None or not _JOB_ID.fullmatch(job_id):
        return None
    try:
        path = at.root / JOBS / f"{job_id}.json"
        raw = safe_open.read(path, within=at.root, max_bytes=MAX_STATUS_BYTES)
        return None if raw is None else seen_now(read_status(raw, job_id=job_id), at.root)
    except (OSError, InputError, ValueError, ArithmeticError):  # a year that no calendar has
        return None


def _job_id(run: RunSummary) -> str:
    folder, _, name = run.path.rpartition("/")
    return name.removesuffix(".json") if folder == JOBS else run.run_id


def _listed(at: WorkspaceAt, run: RunSummary, file: StatusFile | None) -> ListedRun:
    """Return *run* as a list shows it; *file* says how far it is, where it is no older than the ledger's row."""
    live = file if file is not None and not file.status.ended and file.input_digest else None
    result = run.result or {}
    usage = result.get("usage") or {}
    word = run.status.value
    if not run.status.ended and run.status is not RunStatus.HELD:
        word = live.status.value if live else ("running" if run.started_at else "pending")
    return ListedRun(
        workspace=at.name,
        job_id=_job_id(run),
        path=run.path,
        kind=run.kind,
        question=run.prompt,
        status=word,
        created_at=run.created_at,
        ended_at=run.completed_at,
        outcome=result.get("outcome"),
        partial=bool(result.get("partial")),
        why=(live.error if live else None) or run.held_for or result.get("error") or "",
        progress=_how_far(live) if live else "",
        cost_usd=live.usage.cost_usd if live else usage.get("cost_usd"),
        answer=(result.get("answer") or "")[:ANSWER_BEGINS],
    )


def _of_file(at: WorkspaceAt, file: StatusFile, *, served: bool) -> ListedRun:
    waits = file.status is JobStatus.PENDING and not file.input_digest
    return ListedRun(
        workspace=at.name,
        job_id=file.job_id,
        path=file.input or f"{JOBS}/{file.job_id}.json",
        kind=file.kind.value,
        question="",
        status=file.status.value,
        created_at=file.created_at,
        ended_at=file.completed_at,
        outcome=file.outcome,
        partial=file.partial,
        why=file.error or (submission(served=served) if waits else ""),
        progress=_how_far(file),
        cost_usd=file.usage.cost_usd,
        answer=(file.answer or "")[:ANSWER_BEGINS],
    )


def _how_far(file: StatusFile) -> str:
    """Return in one line how far a run is, and what it used so far."""
    parts = []
    if file.progress is not None and file.progress.step:
        of = f" of {file.progress.max_steps}" if file.progress.max_steps else ""
        parts.append(f"step {file.progress.step}{of}")
    if file.progress is not None and file.progress.note:
        parts.append(" ".join(file.progress.note.split()))
    if file.usage.llm_calls:
        parts.append(f"{file.usage.input_tokens:,} tokens read, {file.usage.output_tokens:,} written")
    if file.usage.searches:
        parts.append(f"{file.usage.searches} search{'' if file.usage.searches == 1 else 'es'}")
    return " · ".join(parts)


def look_at_run(at: WorkspaceAt, job_id: str, sources: Sources, *, now: str) -> RunView | None:
    """Return one run with its trajectory; None where neither ledger nor status file knows it."""
    if not _JOB_ID.fullmatch(job_id) or (view := look(at, sources, now=now)) is None:
        return None
    file = _status(at, job_id)
    if (opened := sources.ledger(at)) is not None:
        try:
            with opened as db:
                run = overview.one_summary(db, job_id, f"{JOBS}/{job_id}.json")
                if run is not None:
                    return _whole(view, at, run, file, db)
        except (RlmwatchError, OSError, ValueError):
            pass  # the view says what is wrong with the ledger; the status file may be enough
    if file is None:
        return None
    return RunView(
        workspace=view,
        run=_of_file(at, file, served=view.answered_by is not None),
        question="",
        answer=file.answer,
        error=file.error,
        notes=tuple(file.notes),
        model=file.model,
        attempt=file.attempt,
        tokens=(file.usage.input_tokens, file.usage.output_tokens),
    )


def _whole(view: WorkspaceView, at: WorkspaceAt, run: RunSummary, file: StatusFile | None, db: Db) -> RunView:
    result = run.result or {}
    usage = result.get("usage") or {}
    steps_in_all, steps = overview.newest_steps(db, run.run_id)
    listed = next((each for each in view.unfinished if each.job_id == _job_id(run)), None) or _listed(at, run, file)
    live = None if file is None or result else file.usage
    return RunView(
        workspace=view,
        run=listed,
        question=run.prompt,
        answer=result.get("answer"),
        error=result.get("error") or listed.why or None,
        notes=tuple(result.get("notes") or ()),
        model=result.get("model") or (file.model if file else None),
        attempt=run.attempt,
        tokens=(live.input_tokens, live.output_tokens)
        if live
        else (usage.get("input_tokens", 0), usage.get("output_tokens", 0)),
        steps=tuple(steps),
        steps_in_all=steps_in_all,
        calls=() if steps else tuple(overview.newest_calls(db, run.run_id)),
    )
