"""`rlmwatch jobs`: the runs of a workspace, newest first, from their status files."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch.cli.numbers import Whole
from rlmwatch.cli.output import print_json, print_table
from rlmwatch.contract.documents import JobStatus
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import UsageError
from rlmwatch.workspace.polling import statuses

COLUMNS = ("job_id", "status", "outcome", "input", "model", "output_tokens", "cost_usd", "note")


def jobs(  # noqa: PLR0913 (the flags of a command line)
    workspace: Path | None = None,
    /,
    *,
    status: JobStatus | None = None,
    kind: Kind | None = None,
    file: Annotated[str | None, Parameter(name="--input")] = None,
    since: str | None = None,
    limit: Annotated[int, Whole] = 20,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """
    List runs, newest first.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        status: Only runs that are pending, running, held, complete, failed or cancelled.
        kind: Only chat, research, job or exa.
        file: Only inputs whose path fits, such as 'notes/*'.
        since: Only those made at this time or later, such as 2026-11-24 or 2026-11-24T09:15 (UTC).
        limit: How many.
        as_json: Print the status files as a JSON list.
    """
    if limit < 0:
        raise UsageError(f"--limit {limit}: a number of runs, 0 or more")
    after = None if since is None else _time(since)
    found = list(
        islice(
            (
                each
                for each in statuses(locate(workspace).root)
                if status in (None, each.status)
                and kind in (None, each.kind)
                and (file is None or fnmatchcase(each.input, file))
                and (after is None or (each.created_at and _time(each.created_at) >= after))
            ),
            min(limit, sys.maxsize),
        )
    )
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return 0
    rows = [
        {
            **each.model_dump(mode="json"),
            "input": each.input if input_name(each.input) else "",
            "output_tokens": each.usage.output_tokens,
            "cost_usd": each.usage.cost_usd,
            "note": _first_line(each.error) or ("partial" if each.partial else ""),
        }
        for each in found
    ]
    print_table(COLUMNS, rows, empty="no runs")
    return 0


def _time(text: str) -> datetime:
    """
    Return a time of UTC, or of the zone that it names.

    Raises:
        UsageError: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}: write a time such as 2026-11-24 or 2026-11-24T09:15 (UTC)") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _first_line(text: str | None) -> str:
    lines = (text or "").splitlines()
    return lines[0] if lines else ""
