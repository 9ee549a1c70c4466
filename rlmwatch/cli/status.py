"""`rlmwatch status`: how the workspace is, or one run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.output import print_json, put, quiet
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import CeilingUnknown, ConfigError, UsageError
from rlmwatch.settings.sources import load
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.owner import holder
from rlmwatch.workspace.polling import status as read_one


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
    place = locate(workspace)
    facts = _one(place, job_id) if job_id else asyncio.run(_whole(place))
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            if value not in (None, "", [], {}):
                put(f"{key.replace('_', ' '):>14}  {_line(value)}")
    return 0


def _one(place: WorkspacePaths, job_id: str) -> dict[str, Any]:
    found = read_one(place.root, job_id)
    if found is None:
        raise UsageError(f"{job_id}: no such run in {place.root}; `rlmwatch jobs` lists them")
    return found.model_dump(mode="json")


async def _whole(place: WorkspacePaths) -> dict[str, Any]:
    import os

    # The ceilings are the user's own: a workspace whose file is wrong can still be looked at.
    settings = load(user_dir=place.user_dir, workspace=None, environ=os.environ).settings
    host, problem = None, None
    try:
        host = named_host(place.root)
        load(user_dir=place.user_dir, workspace=place.root, environ=os.environ)
    except ConfigError as error:
        problem = str(error)
    facts: dict[str, Any] = {
        "workspace": str(place.root),
        "daemon": str(holder(place.state, place.root) or "not running here"),
        "host": host and host.name,
        "problem": problem,
    }
    of_user: float | None = None
    ledger = ledger_if_any(place)
    if ledger is not None:
        try:
            counts = await ledger.count()
            now = clock.utc()
            day, month = await ledger.spent_usd(now=now)
            try:
                of_user = (await ledger.spent_usd(now=now, of_user=settings.ceilings.per == "user"))[0]
            except CeilingUnknown as error:
                facts["problem"] = "\n".join(filter(None, (problem, str(error))))
        finally:
            await ledger.aclose()
        facts["runs"] = {str(status): count for status, count in counts.items() if count}
        facts["spent_today_usd"] = day
        facts["spent_this_month_usd"] = month
    ceiling = settings.ceilings.max_cost_usd_per_day
    facts["ceiling_per_day_usd"] = ceiling
    facts["ceiling_holds_for"] = "all workspaces of this user" if settings.ceilings.per == "user" else "this workspace"
    if ceiling is not None and of_user is not None:
        facts["left_today_usd"] = max(0.0, round(ceiling - of_user, 9))
    return facts


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return str(value)
