"""All workspaces of this user on this machine: which daemon answers in each, what waits, what was spent."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from rlmwatch import clock
from rlmwatch.cli.layout import Column, age, below_home, counted
from rlmwatch.cli.output import print_json, print_table, room, say
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import ConfigError, LedgerError
from rlmwatch.money import dollars
from rlmwatch.runs.model import RunStatus
from rlmwatch.settings.sources import state_dir, user_config_dir
from rlmwatch.settings.user_folders import home
from rlmwatch.workspace.owner import holder, known_workspaces, workspace_id

COLUMNS = (
    Column("workspace", grows=True, keep="end"),
    Column("process", right=True),
    Column("since", right=True),
    Column("running", right=True),
    Column("waiting", right=True),
    Column("held", right=True),
    Column("today", right=True),
)
OPEN = (RunStatus.PENDING, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """
    One daemon of this user.

    Attributes:
        pid: 0 where it is in another container.
        since: RFC 3339; None where it does not say.
        waiting: Runs that wait or run.
        running: Those of them that run.
        spent_today_usd: In this workspace, on this day of UTC; None, as the counts, where the ledger cannot be read.
    """

    workspace: str
    pid: int
    since: str | None
    waiting: int | None = None
    held: int | None = None
    spent_today_usd: float | None = None
    running: int | None = None


@dataclass(frozen=True, slots=True)
class AllDaemons:
    """
    What `status --json` says outside of a workspace.

    Attributes:
        quiet: Workspaces that were answered in, and have no daemon now.
    """

    daemons: list[DaemonStatus]
    quiet: list[str]


def all_paths() -> list[WorkspacePaths]:
    """Return the workspaces that this user's rlmwatch has answered in on this machine, and that are there, by name."""
    states, user_dir = state_dir(os.environ), user_config_dir(os.environ)
    roots = sorted({root for root in known_workspaces(states) if root.is_dir()})
    return [WorkspacePaths(root, states / workspace_id(root), user_dir) for root in roots]


def print_everywhere(*, as_json: bool) -> int:
    """Print all daemons of this user."""
    found = asyncio.run(_all())
    if as_json:
        print_json(asdict(found))
        return 0
    now = clock.utc()
    rows = [
        {
            "workspace": _place(each.workspace),
            "process": each.pid or "-",
            "since": age(each.since, now),
            "running": each.running,
            "waiting": None if each.waiting is None else each.waiting - (each.running or 0),
            "held": each.held,
            "today": dollars(each.spent_today_usd),
        }
        for each in found.daemons
    ]
    print_table(COLUMNS, rows, empty="no daemon of yours runs; `rlmwatch run WORKSPACE` starts one")
    if found.quiet:
        named = ", ".join(_place(each) for each in found.quiet[:3]) + (", …" if len(found.quiet) > 3 else "")  # noqa: PLR2004
        say(f"without a daemon: {counted(len(found.quiet), 'workspace')} ({named})")
    return 0


async def _all() -> AllDaemons:
    daemons, quiet = [], []
    for paths in all_paths():
        who = holder(paths.state, paths.root)
        if who is None or not who.serves:
            quiet.append(str(paths.root))
        else:
            daemons.append(DaemonStatus(str(paths.root), who.pid, who.since, *await _counts(paths)))
    return AllDaemons(daemons, quiet)


async def _counts(paths: WorkspacePaths) -> tuple[int | None, int | None, float | None, int | None]:
    """Return how many runs are open and held, what was spent today, how many run; None where that cannot be known."""
    try:
        ledger = await asyncio.to_thread(ledger_if_any, paths)
        if ledger is None:
            return 0, 0, 0.0, 0
        try:
            counts = await ledger.count()
            spent, _ = await ledger.spent_usd(now=clock.utc())
        finally:
            await ledger.aclose()
    except (LedgerError, ConfigError):
        return None, None, None, None
    held, running = (counts.get(each, 0) for each in (RunStatus.HELD, RunStatus.RUNNING))
    return sum(counts.get(each, 0) for each in OPEN), held, spent, running


def _place(workspace: str) -> str:
    return workspace if room() is None else below_home(Path(workspace), home())
