"""`rlmwatch cancel ID`: end a run before its time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch.cli.ids import whole_id
from rlmwatch.cli.output import quiet, say
from rlmwatch.client import Client
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import UsageError
from rlmwatch.workspace.owner import holder


def cancel(*job_ids: str, workspace: Annotated[Path | None, Parameter(name=("--workspace", "-w"))] = None) -> int:
    """
    Ask that runs end: what came so far is kept, and what was spent is booked.

    Args:
        job_ids: As `rlmwatch jobs` lists them.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    if not job_ids:
        raise UsageError("which run? `rlmwatch jobs` lists them")
    paths = locate(workspace)
    client = Client(paths.root)
    when = "" if holder(paths.state, paths.root) else "; no daemon runs here now, it ends when one does"
    for job_id in [whole_id(paths.root, beginning) for beginning in job_ids]:
        job = client.cancel(job_id)
        say(f"{job_id}: had ended already, {job.status}" if job.ended else f"{job_id}: asked to end{when}")
    return 0
