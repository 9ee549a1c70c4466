"""`rlmwatch log`: what the daemon logged of a run, or lately."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from rlmwatch.cli.arguments import Folder, Json, named_run
from rlmwatch.cli.numbers import Whole
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import UsageError

LIMIT_S = 30
_COMMON = ("event", "level", "timestamp")


def log(
    run: str | None = None,
    /,
    *,
    lines: Annotated[int, Whole, Parameter(name=("--lines", "-n"))] = 50,
    workspace: Folder = None,
    as_json: Json = False,
) -> int:
    """
    Show what the daemon logged of a run, or its newest lines, from systemd's journal.

    Args:
        run: Its id, as `rlmwatch runs` lists it, or a part of that; or the file of its question. Default is all runs.
        lines: So many of the newest lines.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print the events as JSON.
    """
    quiet()
    if run is None:
        asked = [f"RLMWATCH_WORKSPACE={locate(workspace).root}"]
    else:
        paths, run_id = named_run(run, workspace)
        asked = [f"RLMWATCH_WORKSPACE={paths.root}", f"RLMWATCH_RUN={run_id}"]
    events = list(_events(_journal(asked, lines)))
    if as_json:
        print_json(events)
    for event in () if as_json else events:
        facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in _COMMON)
        put(f"{event.get('timestamp', '')} {event.get('level', ''):7} {event.get('event', '')} {facts}".rstrip())
    if not events:
        say(
            f"the journal has no such line ({' '.join(asked)}). rlmwatch writes its log to standard error: under "
            "systemd it is in the journal, which `journalctl -t rlmwatch` and, for the lines of a unit, "
            "`journalctl --user -u rlmwatch` show; started otherwise, it is where that was sent, as by "
            "`rlmwatch run --log-format json 2>> FILE`"
        )
    return 0 if events else 1


def _journal(asked: list[str], lines: int) -> str:
    """
    Return the messages of the journal's entries that have the fields *asked*, oldest first.

    Raises:
        UsageError: There is no journal, or it cannot be read.
    """
    program = shutil.which("journalctl")
    if program is None:
        raise UsageError(
            "there is no journalctl on this machine, so the log is in no journal: it goes to the standard error of "
            "`rlmwatch run`. To keep it in a file: rlmwatch run --log-format json 2>> FILE"
        )
    command = [program, "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", *asked]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)  # noqa: S603 (as `which` found)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"journalctl cannot be asked ({error}): look at `journalctl -t rlmwatch` yourself") from error
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
        if done.stdout.strip() or why != f"status {done.returncode}":
            raise UsageError(f"journalctl says: {why}")
    return done.stdout.decode(errors="replace")


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        yield event if isinstance(event, dict) else {"event": line}
