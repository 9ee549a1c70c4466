"""`rlmwatch cancel RUN`: end a run before its time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rlmwatch.cli.arguments import Folder, Json, RunName, named_run
from rlmwatch.cli.output import print_json, say
from rlmwatch.cli.warned import quiet
from rlmwatch.client import Client
from rlmwatch.contract.state_words import state_word
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import UsageError
from rlmwatch.workspace.owner import holder


@dataclass(frozen=True, slots=True)
class CancelledRun:
    """
    One line of `cancel --json`.

    Attributes:
        status: As in its status file, when it was asked to end.
        had_ended: Whether there was nothing to be ended any more.
        answers_now: Whether a daemon runs here, which ends it at once.
    """

    job_id: str
    status: str
    had_ended: bool
    answers_now: bool


def cancel(*runs: RunName, workspace: Folder = None, as_json: Json = False) -> int:
    """
    Ask that runs end: what came so far is kept, and what was spent is booked.

    Args:
        runs: Their ids, as `rlmwatch runs` lists them, the beginning or last letters of those; or files of questions.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print JSON.
    """
    quiet()
    if not runs:
        raise UsageError("which run? `rlmwatch runs` lists them")
    asked = [_ask(*each) for each in [named_run(name, workspace) for name in runs]]
    if as_json:
        print_json([asdict(each) for each in asked])
        return 0
    for each in asked:
        when = "" if each.answers_now else "; no daemon runs here now, it ends when one does"
        ended = f"had ended already: {state_word(each.status)}"
        say(f"{each.job_id}: {ended if each.had_ended else f'asked to end{when}'}")
    return 0


def _ask(paths: WorkspacePaths, job_id: str) -> CancelledRun:
    job = Client(paths.root).cancel(job_id)
    return CancelledRun(job_id, str(job.status), job.ended, holder(paths.state, paths.root) is not None)
