"""`rlmwatch runs`: the runs of a workspace, newest first, from their status files; their questions from the ledger."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder, Json
from rlmwatch.cli.ids import short_ids
from rlmwatch.cli.layout import LONGEST, Column, age, counted, cut, first_words
from rlmwatch.cli.numbers import Whole
from rlmwatch.cli.output import print_json, print_table, room, say_after
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.documents import StatusFile
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.state_words import STATES, STYLES, WORDS, word_of
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import ConfigError, LedgerError, UsageError
from rlmwatch.money import dollars
from rlmwatch.workspace.polling import matching, statuses

LIMIT = 20
"""Runs that are listed where nobody says how many."""
COLUMNS = (
    Column("id", most=16),
    Column("age", right=True),
    Column("status", styles=STYLES),
    Column("input", most=18, keep="end"),
    Column("question", grows=True),
    Column("cost", right=True),
)


class ListedJob(StatusFile):
    """
    One line of `runs --json`: the status file, and what was asked.

    Attributes:
        question: Its first words; None where this machine's ledger does not know the run.
    """

    question: str | None = None


def runs(  # noqa: PLR0913 (the flags of a command line)
    workspace: Folder = None,
    *,
    status: str | None = None,
    kind: Kind | None = None,
    file: Annotated[str | None, Parameter(name="--input")] = None,
    since: str | None = None,
    limit: Annotated[int, Whole] = LIMIT,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    as_json: Json = False,
) -> int:
    """
    List runs, newest first: one line each, as wide as the terminal; whole, and with whole ids, into a pipe.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        status: Only runs that are waiting, running, held, answered, 'cut short', 'not computed', failed or cancelled.
        kind: Only chat, research, job or exa.
        file: Only questions whose path fits, such as 'notes/*'.
        since: Only those made at this time or later, such as 2026-11-24 or 2026-11-24T09:15 (UTC).
        limit: How many at most.
        every: All of them.
        as_json: Print the status files as a JSON list, with the first words of each question.
    """
    quiet()
    if limit < 0:
        raise UsageError(f"--limit {limit}: a number of runs, 0 or more")
    wanted = None if status is None else _meant(status)
    after = None if since is None else time_of("--since", since)
    paths = locate(workspace)
    fitting = (
        each
        for each in statuses(paths.root)
        if (wanted is None or wanted in (word_of(each), each.status.value))
        and kind in (None, each.kind)
        and (file is None or fnmatchcase(each.input, file))
        and (after is None or (each.created_at and time_of("created_at", each.created_at) >= after))
    )
    found = list(fitting if every else islice(fitting, min(limit, sys.maxsize)))
    questions = asyncio.run(_questions(paths, [each.job_id for each in found]))
    listed = [ListedJob.model_validate({**each.model_dump(), "question": questions.get(each.job_id)}) for each in found]
    if as_json:
        print_json([each.model_dump(mode="json") for each in listed])
        return 0
    ids = [each.job_id for each in listed]
    rows = [
        row(each, shown, now=clock.utc())
        for each, shown in zip(listed, ids if room() is None else short_ids(ids), strict=True)
    ]
    print_table(COLUMNS, rows, empty="no runs")
    if next(fitting, None) is not None:
        whole = None if any((status, kind, file, since)) else len(matching(paths.root, ""))
        of = "there are more" if whole is None else f"{len(found):,} of {counted(whole, 'run')}"
        say_after(f"{of}: --limit N shows the newest N, --all all of them")
    return 0


def _meant(status: str) -> str:
    """Return the word for a state, or the value of a status file, that a person means by *status*."""
    wanted = status.strip().lower().replace("-", " ")
    if wanted not in (*WORDS, *STATES):
        raise UsageError(f"--status {status}: one of {', '.join(WORDS)}")
    return wanted


def row(job: ListedJob, shown_id: str, *, now: str) -> Mapping[str, object]:
    """Return the line of *job* in the table, as it stands at *now*."""
    why = first_words(job.error or "")
    question = " ← ".join(filter(None, (job.question, why)))
    return {
        "id": shown_id,
        "age": age(job.created_at or None, now),
        "status": word_of(job),
        "input": job.input,
        "question": question,
        "cost": dollars(job.usage.cost_usd) if job.usage.llm_calls or job.usage.searches else None,
    }


async def _questions(paths: WorkspacePaths, ids: Sequence[str]) -> dict[str, str]:
    """Return the first words of what the runs *ids* ask; without those that this machine's ledger does not know."""
    found: dict[str, str] = {}
    try:
        ledger = await asyncio.to_thread(ledger_if_any, paths)
        if ledger is None:
            return found
        try:
            for each in ids:
                run = await ledger.find(each)
                if run is not None and (words := first_words(run.prompt)):
                    found[each] = cut(words, LONGEST)
        finally:
            await ledger.aclose()
    except (LedgerError, ConfigError):  # the list is of the status files, which are there
        pass
    return found


def time_of(what: str, text: str) -> datetime:
    """
    Return the time *text* of UTC, or of the zone that it names.

    Args:
        what: The option, for the error.
        text: RFC 3339, or a day.

    Raises:
        UsageError: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{what} {text}: write a time such as 2026-11-24 or 2026-11-24T09:15 (UTC)") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
