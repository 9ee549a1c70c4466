"""`rlmwatch costs`: what was spent, on what, what the ceilings still allow, and what was not asked again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder, Json
from rlmwatch.cli.everywhere import all_paths
from rlmwatch.cli.layout import NOTHING, Column, counted
from rlmwatch.cli.output import print_json, print_table, put, put_wrapped
from rlmwatch.cli.runs import time_of
from rlmwatch.cli.status import spent_of
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.ceilings_left import ceilings_left
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import CeilingUnknown
from rlmwatch.execution.runtime_config import ceilings_of
from rlmwatch.money import dollars
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.runs.costs import CallCost, CostsBy, CostSum, Spared, summed, total
from rlmwatch.settings.model import CeilingSettings
from rlmwatch.settings.sources import load, user_config_dir
from rlmwatch.workspace.locate import is_named

DAYS = 30
"""Looked back where nobody says since when."""
DAY = len("2026-11-28")
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class CostReport:
    """
    What `costs --json` says.

    Attributes:
        workspaces: Of which folders.
        since: First UTC day that counts.
        by: What the groups are.
        ceilings: What counts against each now; none where that cannot be known.
        ceilings_hold_for: Whose spending counts against them.
        spared: What was not asked again since then.
    """

    workspaces: list[str]
    since: str
    by: CostsBy
    groups: list[CostSum]
    total: CostSum
    ceilings: tuple[CeilingUse, ...]
    ceilings_hold_for: str
    spared: Spared


@dataclass(frozen=True, slots=True)
class _Found:
    calls: list[CallCost]
    spared: Spared
    ceilings: tuple[CeilingUse, ...] | None


def costs(
    workspace: Folder = None,
    *,
    by: CostsBy = CostsBy.DAY,
    since: str | None = None,
    as_json: Json = False,
) -> int:
    """
    Show what was spent, what the ceilings still allow, and what was not asked again. Days are UTC.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace, else all
            workspaces of yours.
        by: Sum up by day, week, month, kind, model, conversation or workspace.
        since: From this day on, such as 2026-11-01; default is the last 30 days.
        as_json: Print JSON.
    """
    quiet()
    began = datetime.fromisoformat(clock.utc()) - timedelta(days=DAYS) if since is None else time_of("--since", since)
    day = began.astimezone(UTC).isoformat()[:DAY]
    everywhere = not is_named(workspace)
    places = all_paths() if everywhere else [locate(workspace)]
    report = asyncio.run(_report(places, by, day))
    if as_json:
        print_json(asdict(report))
    else:
        print_costs(report)
    return 0


async def _report(places: Sequence[WorkspacePaths], by: CostsBy, since: str) -> CostReport:
    user_dir = places[0].user_dir if places else user_config_dir()
    ceilings = load(user_dir=user_dir, workspace=None, environ=os.environ).settings.ceilings
    found = [await _of(paths, ceilings, since) for paths in places]
    calls = [call for each in found for call in each.calls]
    left = next((each.ceilings for each in found if each.ceilings is not None), None)
    if len(places) > 1 and ceilings.per == "workspace":
        left = ()  # each has its own
    return CostReport(
        [str(paths.root) for paths in places],
        since,
        by,
        summed(calls, by),
        total(calls, TOTAL),
        uses(ceilings_of(ceilings), (0.0, 0.0)) if left is None else left,
        "all workspaces of this user" if ceilings.per == "user" else "each workspace",
        sum((each.spared for each in found), Spared()),
    )


async def _of(paths: WorkspacePaths, ceilings: CeilingSettings, since: str) -> _Found:
    """Return what the ledger of one workspace says; nothing where there is none."""
    ledger = await asyncio.to_thread(ledger_if_any, paths)
    if ledger is None:
        return _Found([], Spared(), None)
    try:
        calls = [replace(call, workspace=str(paths.root)) for call in await ledger.call_costs(since=since)]
        spared = await ledger.spared(since=since)
        try:
            return _Found(calls, spared, await ceilings_left(ledger, ceilings, now=clock.utc()))
        except CeilingUnknown:
            return _Found(calls, spared, ())
    finally:
        await ledger.aclose()


def print_costs(report: CostReport) -> None:
    """Print *report* for people."""
    columns = (
        Column("group", report.by.value, grows=True, keep="end" if report.by is CostsBy.WORKSPACE else "start"),
        Column("cost", right=True),
        Column("runs", right=True),
        Column("llm_calls", "calls", right=True),
        Column("searches", right=True),
        Column("tokens", "tokens in + out", right=True),
    )
    groups = [*report.groups, report.total] if len(report.groups) > 1 else report.groups
    rows = [
        {
            "group": each.group,
            "cost": dollars(each.usd),
            "runs": f"{each.runs:,}",
            "llm_calls": f"{each.llm_calls:,}",
            "searches": f"{each.searches:,}" if each.searches else NOTHING,
            "tokens": f"{each.input_tokens:,} + {each.output_tokens:,}",
        }
        for each in groups
    ]
    print_table(columns, rows, empty=f"nothing was spent since {report.since}")
    put("")
    put(f"since {report.since} (UTC)")
    for use in report.ceilings:
        put_wrapped(f"{spent_of(use)} ({report.ceilings_hold_for})", head="ceiling  ")
        if use.near:
            put_wrapped(f"raised by max_cost_usd_per_{use.period} under [ceilings] in config.toml", head="       → ")
    spared = report.spared
    saves, replies = counted(spared.saves, "save"), counted(spared.replies, "reply")
    put_wrapped(
        f"{dollars(spared.usd)} by not asking again: {saves} of a question that was answered, {replies} taken from the "
        "journal after a restart",
        head="saved    ",
    )
