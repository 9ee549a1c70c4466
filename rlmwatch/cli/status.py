"""`rlmwatch status`: how the workspace is, or one run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.ids import whole_id
from rlmwatch.cli.output import money, print_json, put, quiet
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.names import JOBS
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import CeilingUnknown, ConfigError, InputError, UsageError
from rlmwatch.execution.material import changed
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.transitions import shown
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.owner import holder
from rlmwatch.workspace.polling import matching
from rlmwatch.workspace.polling import status as read_one
from rlmwatch.workspace.status import job_id

SHOWN = 1000
"""Waiting runs, and submissions, that are listed at most."""
LOOKED_AT = 200
"""Newest runs whose material is compared with what is there now."""
NOT_RUNNING = "rlmwatch does not run here now"


def status(
    job_id: str | None = None,
    /,
    *,
    workspace: Annotated[Path | None, Parameter(name=("--workspace", "-w"))] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """
    Show the workspace: who answers, what waits, what was spent. Or show one run.

    Args:
        job_id: A run's id, as `rlmwatch jobs` lists it.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print JSON.
    """
    quiet()
    if job_id and ("/" in job_id or Path(job_id).is_dir()):
        raise UsageError(f"{job_id} is a folder, not a run's id; write `rlmwatch status --workspace {job_id}`")
    paths = locate(workspace)
    facts = asyncio.run(_whole(paths)) if job_id is None else _one(paths, whole_id(paths.root, job_id))
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            if value not in (None, "", [], {}):
                lines = list(map(_line, value)) if key == "waiting" else [_line(value)]
                for number, line in enumerate(lines):
                    put(f"{'' if number else key.replace('_', ' '):>20}  {line}")
    return 0


def _one(paths: WorkspacePaths, job_id: str) -> dict[str, Any]:
    found = read_one(paths.root, job_id)
    if found is None:
        raise UsageError(f"{job_id}: no such run in {paths.root}; `rlmwatch jobs` lists them")
    return found.model_dump(mode="json")


async def _whole(paths: WorkspacePaths) -> dict[str, Any]:
    import os

    # The ceilings are the user's own: a workspace whose file is wrong can still be looked at.
    settings = load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings
    host, problem = None, None
    try:
        host = named_host(paths.root)
        load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ)
    except ConfigError as error:
        problem = str(error)
    facts: dict[str, Any] = {
        "workspace": str(paths.root),
        "daemon": str(holder(paths.state, paths.root) or "not running here"),
        "host": host and host.name,
        "problem": problem,
    }
    names = matching(paths.root, "")
    of_user: float | None = None
    ledger = ledger_if_any(paths)
    if ledger is None:
        facts["waiting"] = _submissions(paths, set(names))
    else:
        try:
            counts = await ledger.count()
            now = clock.utc()
            day, month = await ledger.spent_usd(now=now)
            open_runs = await ledger.open_runs()
            unknown = await ledger.unknown(names)
            recent = await ledger.recent(LOOKED_AT)
            try:
                of_user = (await ledger.spent_usd(now=now, of_user=settings.ceilings.per == "user"))[0]
            except CeilingUnknown as error:
                facts["problem"] = "\n".join(filter(None, (problem, str(error))))
        finally:
            await ledger.aclose()
        facts["waiting"] = [*_waiting_runs(paths, open_runs), *_submissions(paths, unknown)][:SHOWN]
        facts["material_changed"] = _with_other_material(paths, recent, settings)
        facts["runs"] = _counted(paths, counts, open_runs)
        facts["spent_today_usd"] = day
        facts["spent_this_month_usd"] = month
    ceiling = settings.ceilings.max_cost_usd_per_day
    facts["ceiling_per_day_usd"] = ceiling
    facts["ceiling_holds_for"] = "all workspaces of this user" if settings.ceilings.per == "user" else "this workspace"
    if ceiling is not None and of_user is not None:
        facts["left_today_usd"] = max(0.0, round(ceiling - of_user, 9))
    return facts


def _waiting_runs(paths: WorkspacePaths, runs: list[Run]) -> list[dict[str, str]]:
    """Return those of *runs*, in order of admission, that wait now, and why."""
    before: set[str] = set()
    waiting = []
    for run in runs:
        found = _file_of(paths, run)
        why = _first_line(found.error if found else run.held_for)
        status = found.status.value if found else shown(run)
        if status == JobStatus.PENDING and not why:
            if run.conversation in before:
                why = "an earlier save of its conversation comes first"
            else:
                why = "its turn" if holder(paths.state, paths.root) else NOT_RUNNING
        before.add(run.conversation)
        if why:
            waiting.append({"job_id": job_id(run), "status": status, "input": run.path, "why": why})
    return waiting


def _with_other_material(paths: WorkspacePaths, recent: list[Run], settings: Settings) -> list[str]:
    """Return, in words, the inputs whose material changed since they were asked: that alone starts nothing."""
    newest: dict[str, Run] = {}
    for run in recent:
        newest.setdefault(run.path, run)
    return [
        f"{path}: save it again, or `rlmwatch answer`, to ask about what is there now"
        for path, run in sorted(newest.items())
        if (paths.root / path).exists()
        and changed(paths.root, run, run.options.get("context"), settings.context.outside_roots)
    ]


def _counted(paths: WorkspacePaths, counts: Mapping[RunStatus, int], open_runs: list[Run]) -> dict[str, int]:
    """Return how many runs are in each status, in the word that `jobs` has for each."""
    words = {str(status): count for status, count in counts.items()}
    for run in open_runs:
        found = _file_of(paths, run)
        words[run.status] -= 1
        words[found.status if found else shown(run)] += 1
    return {word: count for word, count in words.items() if count > 0}


def _file_of(paths: WorkspacePaths, run: Run) -> StatusFile | None:
    """Return the status file of *run*, where it is one and no older than the ledger's row."""
    try:
        found = read_one(paths.root, job_id(run))
    except InputError:
        return None
    return None if found is None or found.status.ended or not found.input_digest else found


def _submissions(paths: WorkspacePaths, unknown: set[str]) -> list[dict[str, str]]:
    """Return the job files among *unknown* that no run was made of yet, and why."""
    why = "rlmwatch takes it up once it has come to rest" if holder(paths.state, paths.root) else NOT_RUNNING
    waiting = []
    for name in sorted(unknown):
        try:
            found = read_one(paths.root, name)
        except InputError:
            continue
        if found is not None and found.status is JobStatus.PENDING and not found.input_digest:
            waiting.append({"job_id": name, "status": "pending", "input": f"{JOBS}/{name}.json", "why": why})
        if len(waiting) == SHOWN:
            break
    return waiting


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")


def _line(value: object) -> str:
    if isinstance(value, dict) and "why" in value:
        return f"{value['job_id']} {value['status']}, {value['input']}: {value['why']}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{money(value)} USD" if isinstance(value, float) else str(value)
