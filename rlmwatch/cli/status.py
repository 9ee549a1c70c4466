"""`rlmwatch status`: how the workspace is, one run, or all daemons of this user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Flag, Folder, Json, named_run
from rlmwatch.cli.everywhere import print_everywhere
from rlmwatch.cli.ids import short_ids
from rlmwatch.cli.layout import below_home
from rlmwatch.cli.output import print_json, print_table, put, put_wrapped, room
from rlmwatch.cli.run_status import print_facts, print_run
from rlmwatch.cli.unfinished import WAITING, Waiting, waiting_row, without_answer
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.names import JOBS
from rlmwatch.contract.state_words import state_word
from rlmwatch.daemon.ceilings_left import ceilings_left
from rlmwatch.daemon.credentials import Key, find_all
from rlmwatch.daemon.factories import who_searches
from rlmwatch.daemon.in_force import in_force
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.show_page import page_url
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.daemon.unasked import LOOKED_AT, Asked, Unasked, unasked
from rlmwatch.errors import CeilingUnknown, ConfigError, InputError, NoProvider, UsageError
from rlmwatch.execution.material import changed
from rlmwatch.execution.runtime_config import ceilings_of
from rlmwatch.money import dollars
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.transitions import shown
from rlmwatch.runs.unanswered import unanswered
from rlmwatch.runs.waiting import OpenRun, reasons, submission
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import SEARCH_KEY
from rlmwatch.settings.sources import load
from rlmwatch.settings.user_folders import expanded, home
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.locate import is_named
from rlmwatch.workspace.owner import holder
from rlmwatch.workspace.polling import matching
from rlmwatch.workspace.polling import status as read_one
from rlmwatch.workspace.status import job_id

SHOWN = 1000
"""Waiting runs, and submissions, that are listed at most."""
KEYRING_S = 1.0
"""For the system keyring, where it is asked for the key of the web search: nobody waits for it longer here."""
NO_DAEMON = "not running here"


@dataclass(slots=True)
class WorkspaceStatus:
    """
    What `status --json` says of a workspace.

    Attributes:
        daemon: Which process answers here.
        host: The machine that `rlmwatch.toml` names.
        problem: What is wrong with its settings, or with what was spent.
        material_changed: Inputs whose material is another than when they were asked, in words.
        runs: How many are in each status.
        not_whole: Of the newest 200 runs, how many have an answer that was cut short, or not computed.
        spent_today_usd: In this workspace, on this day of UTC; None where nothing was ever stored.
        ceiling_holds_for: Whose spending counts against the ceilings.
        ceilings: Each ceiling, and what counts against it; none where that cannot be known.
        warnings: Ceilings that are near or reached, and files of the user's that the daemon has not read, in words.
        not_asked: Files that look meant for rlmwatch and are not asked, why, and what to do.
        without_answer: Questions whose newest run failed or was cancelled, or has an answer that is not whole, and why.
        web_search: Who searches the web, in words.
        page: The whole address of the page in a browser, where a daemon of this user shows it.
    """

    workspace: str
    daemon: str
    host: str | None = None
    problem: str | None = None
    waiting: list[Waiting] = field(default_factory=list)
    material_changed: list[str] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    not_whole: int = 0
    spent_today_usd: float | None = None
    spent_this_month_usd: float | None = None
    ceiling_per_day_usd: float | None = None
    ceiling_holds_for: str = ""
    left_today_usd: float | None = None
    ceilings: tuple[CeilingUse, ...] = ()
    warnings: list[str] = field(default_factory=list)
    not_asked: list[Unasked] = field(default_factory=list)
    without_answer: list[Waiting] = field(default_factory=list)
    web_search: str = ""
    page: str | None = None


def status(
    what: Annotated[str | None, Parameter(name="WORKSPACE|RUN")] = None,
    /,
    *,
    workspace: Folder = None,
    as_json: Json = False,
    watch: Annotated[bool, Flag] = False,
) -> int:
    """
    Show the workspace: who answers, what waits, what was spent. Or one run; or, outside of one, all your daemons.

    Args:
        what: The folder; or a run: its id, as `rlmwatch runs` lists it, or the file of its question.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print JSON.
        watch: Go on showing it as it changes, until Ctrl+C.
    """
    quiet()
    run = what
    if what and workspace is None and expanded(Path(what)).is_dir():
        run, workspace = None, Path(what)
    if run is None and not watch and not is_named(workspace):
        return print_everywhere(as_json=as_json)
    if watch:
        from rlmwatch.cli.view.watching import watch_folder

        if run is not None or as_json:
            raise UsageError("--watch shows the whole workspace, for people: leave the run and --json out")
        return watch_folder(locate(workspace))
    if run is not None:
        paths, job_id = named_run(run, workspace)
        return print_run(_one(paths, job_id), as_json=as_json)
    found = asyncio.run(_whole(locate(workspace)))
    if as_json:
        print_json(asdict(found))
    else:
        _print_whole(found)
    return 0


def _one(paths: WorkspacePaths, job_id: str) -> StatusFile:
    found = read_one(paths.root, job_id)
    if found is None:
        raise UsageError(f"{job_id}: no such run in {paths.root}; `rlmwatch runs` lists them")
    return found


def _print_whole(found: WorkspaceStatus) -> None:
    place = found.workspace if room() is None else below_home(Path(found.workspace), home())
    here = None if found.spent_today_usd is None else f"{dollars(found.spent_today_usd)} today"
    lines: list[tuple[str, str | None]] = [
        ("workspace", place),
        ("daemon", found.daemon),
        ("host", found.host),
        ("problem", found.problem),
        *(("spent", f"{spent_of(each)} ({found.ceiling_holds_for})") for each in found.ceilings),
        ("spent here", here and f"{here}, {dollars(found.spent_this_month_usd)} this month (UTC)"),
        ("runs", _runs(found)),
        ("search", found.web_search),
        ("page", found.page),
    ]
    print_facts(lines)
    for key, values in (("warning", found.warnings), ("changed", found.material_changed)):
        for value in values:
            put_wrapped(value, head=f"{key:>10}  ")
    for each in found.not_asked:
        put_wrapped(f"{each.path}: {each.because}; {each.cure}", head=f"{'not asked':>10}  ")
    listed = [*found.waiting, *found.without_answer]
    if listed:
        put("")
        ids = [each.job_id for each in listed]
        now = clock.utc()
        shown_ids = ids if room() is None else short_ids(ids)
        rows = [waiting_row(each, shown_id, now) for each, shown_id in zip(listed, shown_ids, strict=True)]
        print_table(WAITING, rows, empty="")


def _runs(found: WorkspaceStatus) -> str:
    """Return how many runs are in which state, in words."""
    of = "of them" if sum(found.runs.values()) <= LOOKED_AT else f"of the newest {LOOKED_AT}"
    short = f" ({found.not_whole} {of} cut short or not computed)" if found.not_whole else ""
    return ", ".join(
        f"{count:,} {state_word(status)}{short if status == JobStatus.COMPLETE else ''}"
        for status, count in found.runs.items()
    )


def spent_of(use: CeilingUse) -> str:
    """Return what was spent of a ceiling, in a few words."""
    when = "today" if use.period == "day" else "this month"
    left = "nothing left" if use.reached else f"{dollars(use.left_usd)} left"
    return f"{dollars(use.spent_usd)} of {dollars(use.limit_usd)} {when}, {left}"


def ceiling_warnings(found: tuple[CeilingUse, ...]) -> list[str]:
    """Return, in words, which ceilings are near or reached."""
    warnings = []
    for use in found:
        cure = f"max_cost_usd_per_{use.period} under [ceilings] in your own config.toml raises it"
        if use.reached:
            warnings.append(f"the {use.period}'s ceiling is reached: runs are held until the next {use.period}; {cure}")
        elif use.near:
            share = f"{use.spent_usd / use.limit_usd:.0%}"
            warnings.append(f"{share} of the {use.period}'s ceiling are spent; {cure}")
    return warnings


async def _whole(paths: WorkspacePaths) -> WorkspaceStatus:
    # The ceilings are the user's own: a workspace whose file is wrong can still be looked at.
    settings = written = load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings
    who = holder(paths.state, paths.root)
    running = in_force(paths.state, who)
    found = WorkspaceStatus(str(paths.root), str(who or NO_DAEMON))
    found.warnings = running.outdated(paths) if running is not None else []
    found.page = page_url(paths.state.parent)
    found.web_search = await asyncio.to_thread(_web_search, settings, paths.user_dir)
    try:
        host = named_host(paths.root)
        found.host = None if host is None else host.name
        written = load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ).settings
    except ConfigError as error:
        found.problem = str(error)
    names = matching(paths.root, "")
    ceilings = settings.ceilings
    found.ceiling_per_day_usd = ceilings.max_cost_usd_per_day
    found.ceiling_holds_for = "all workspaces of this user" if ceilings.per == "user" else "this workspace"
    ledger = ledger_if_any(paths, settings=settings)
    if ledger is None:
        found.waiting = _submissions(paths, set(names))
        found.not_asked = await unasked(paths, Asked(), written, running)
        found.ceilings = () if ceilings.per == "user" else uses(ceilings_of(ceilings), (0.0, 0.0))
        return found
    try:
        counts = await ledger.count()
        now = clock.utc()
        found.spent_today_usd, found.spent_this_month_usd = await ledger.spent_usd(now=now)
        open_runs = await ledger.open_runs()
        unknown = await ledger.unknown(names)
        asked = await Asked.of(ledger)
        try:
            found.ceilings = await ceilings_left(ledger, ceilings, now=now)
        except CeilingUnknown as error:
            found.problem = "\n".join(filter(None, (found.problem, str(error))))
    finally:
        await ledger.aclose()
    found.waiting = [*_waiting_runs(paths, open_runs), *_submissions(paths, unknown)][:SHOWN]
    found.material_changed = _with_other_material(paths, asked.recent, settings)
    found.without_answer = [
        without_answer(each) for each in unanswered(asked.recent) if (paths.root / each.run.path).exists()
    ]
    found.runs = _counted(paths, counts, open_runs)
    found.not_whole = sum(each.result is not None and each.result.partial for each in asked.recent)
    found.left_today_usd = next((each.left_usd for each in found.ceilings if each.period == "day"), None)
    found.warnings += ceiling_warnings(found.ceilings)
    found.not_asked = await unasked(paths, asked, written, running)
    return found


def _web_search(settings: Settings, user_dir: Path) -> str:
    keys: Mapping[str, Key] = {}
    with suppress(NoProvider):  # `doctor` says what is wrong with the file of keys
        keys = find_all(os.environ, user_dir, named={SEARCH_KEY}, usual=(), keyring_limit_s=KEYRING_S)
    return who_searches(settings, keys, os.environ)


def _waiting_runs(paths: WorkspacePaths, runs: list[Run]) -> list[Waiting]:
    """Return those of *runs*, in order of admission, that wait now, and why."""
    found = [_as_listed(run, _file_of(paths, run)) for run in runs]
    served = holder(paths.state, paths.root) is not None
    return [
        Waiting(job_id(run), each.status, run.path, why, run.created_at)
        for run, each, why in zip(runs, found, reasons(found, served=served), strict=True)
        if why
    ]


def _as_listed(run: Run, file: StatusFile | None) -> OpenRun:
    status = file.status.value if file else shown(run)
    return OpenRun(run.conversation, status, _first_line(file.error if file else run.held_for))


def _with_other_material(paths: WorkspacePaths, recent: Sequence[Run], settings: Settings) -> list[str]:
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


def _submissions(paths: WorkspacePaths, unknown: set[str]) -> list[Waiting]:
    """Return the job files among *unknown* that no run was made of yet, and why."""
    why = submission(served=holder(paths.state, paths.root) is not None)
    waiting = []
    for name in sorted(unknown):
        try:
            found = read_one(paths.root, name)
        except InputError:
            continue
        if found is not None and found.status is JobStatus.PENDING and not found.input_digest:
            waiting.append(Waiting(name, "pending", f"{JOBS}/{name}.json", why, found.created_at))
        if len(waiting) == SHOWN:
            break
    return waiting


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")
