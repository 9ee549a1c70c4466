"""
The ledger of a workspace, kept for years: damage is found, set aside and lived with; old content is let go.

A damaged ledger is set aside under a name with its time, and a new one begins with

1. what each input was last asked, where the old file still tells that its run ended and was published; for all
   others the folder's own digests decide, as always where the ledger does not know a path (`FolderHistory`);
2. what this workspace has spent, from the old file or the user's file of all workspaces, whichever is more.

A ledger that was put back from a backup is older than the folder: `restore` ends what was answered meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from rlmwatch.contract.documents import well_formed
from rlmwatch.contract.names import JOBS, input_name
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import shared_spending
from rlmwatch.errors import LedgerError, WorkspaceError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.retention import RESTORED
from rlmwatch.ledger.rows import result_json
from rlmwatch.ledger.sqlite import backups, upkeep
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Outcome, Result, RunStatus
from rlmwatch.workspace.memory import ShownRun, beside, job_ids, shown_runs

CHECKED = "ledger.checked.json"
"""In the private state folder: when the ledger was last checked."""
CHECK_EVERY = timedelta(days=7)
FORGET_AT_ONCE = 200
"""Runs per transaction: some 10 ms, so that a paid call's reply does not wait."""

log = structlog.get_logger()


def open_sound(paths: WorkspacePaths, *, now: str) -> SqliteLedger:
    """
    Open the ledger of a workspace; where it is damaged, set it aside and begin a new one. Blocks.

    Whoever calls this holds the workspace's lock.

    Raises:
        LedgerError: It cannot be used, for another reason than damage.
    """
    file, shared = paths.ledger, shared_spending(paths.state)
    upkeep.go_on(file, now=now)
    if found := _damage(file):
        _begin_anew(paths, found[0], now=now)
    try:
        return SqliteLedger.open(file, shared=shared)
    except LedgerError as error:
        if not upkeep.is_marked(file):
            raise
        _begin_anew(paths, str(error.__cause__ or error), now=now)
        return SqliteLedger.open(file, shared=shared)


def _damage(file: Path) -> list[str]:
    """Return what is wrong with the ledger; looked at where it is small, or was found damaged before."""
    try:
        if not (upkeep.is_marked(file) or file.is_dir() or file.stat().st_size <= upkeep.SMALL_BYTES):
            return []
        found = upkeep.problems(file)
    except (OSError, LedgerError):
        return []  # it is new, or opening it says what is wrong
    if not found:
        upkeep.unmark(file)
    return found


def _begin_anew(paths: WorkspacePaths, why: str, *, now: str) -> None:
    made = upkeep.building(paths.ledger)
    with upkeep.in_one_file(made, paths.ledger) as db:
        kept = upkeep.salvage(paths.ledger, db)
        _take_spending(paths, db)
    aside = upkeep.put_in_place(paths.ledger, made, "damaged", now=now)
    log.error(
        "ledger.set_aside",
        file=str(paths.ledger),
        why=why,
        aside=aside.name if aside is not None else None,
        inputs=kept["inputs"],
        done="a new ledger; what was answered is known from the folder and is not asked again",
        cure="rlmwatch ledger restore, if you have a backup",
    )


def _take_spending(paths: WorkspacePaths, db: sqlite3.Connection) -> None:
    """Count in *db* what the user's file says that this workspace has spent, where that is more."""
    shared = shared_spending(paths.state)
    if not shared.path.exists():
        return
    with suppress(sqlite3.Error):
        for day, nano in shared.own_sums():
            db.execute(
                "INSERT INTO spending (day, nano) VALUES (?, ?) "
                "ON CONFLICT (day) DO UPDATE SET nano = MAX(nano, excluded.nano)",
                (day, nano),
            )


def restore(paths: WorkspacePaths, copy: Path, *, now: str) -> tuple[Path | None, int]:
    """
    Put the backup *copy* in the place of the ledger; return the name of the old one, and how many runs ended by that.

    Whoever calls this holds the workspace's lock. Blocks.

    Raises:
        UsageError, LedgerError, WorkspaceError: It cannot be; nothing has changed.
    """
    ended: list[int] = []
    aside = backups.restore(
        paths.ledger, copy, now=now, adapt=lambda made: ended.append(_follow_folder(paths, made, now=now))
    )
    return aside, sum(ended)


def _follow_folder(paths: WorkspacePaths, made: Path, *, now: str) -> int:
    """
    Tell *made*, a copy of a backup, what the folder shows that it does not know; return how many runs that ended.

    1. A run that had not ended goes on only where its status file still says so.
    2. An input whose later question was answered is known by that one's bytes.
    3. What was spent since counts, as the user's file of all workspaces has it.

    Raises:
        LedgerError, WorkspaceError: It cannot be known now.
    """
    shown = {run.run_id: run for run in shown_runs(paths.root, job_ids(paths.root))}
    with upkeep.in_one_file(made, paths.ledger) as db:
        ended = _end_open(paths.root, db, shown, now=now)
        _know_later(db, shown)
        _take_spending(paths, db)
    return ended


def _end_open(root: Path, db: sqlite3.Connection, shown: dict[str, ShownRun], *, now: str) -> int:
    ended = 0
    for row in db.execute("SELECT run_id, path FROM runs WHERE completed_at IS NULL").fetchall():
        path = Path(row["path"])
        name = path.stem if path.parent.name == JOBS and path.suffix == ".json" else row["run_id"]
        seen = shown.get(row["run_id"]) or shown.get(name)
        if seen is not None and not seen.ended:
            continue
        answered = seen.answered if seen is not None else _has_turn(root, row["path"], row["run_id"])
        note = (RESTORED,)
        if answered:
            result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="", notes=note)
        elif seen is not None and seen.failed:
            result = Result(RunStatus.FAILED, Outcome.ERROR, notes=note)
        else:
            result = Result(RunStatus.CANCELLED, Outcome.CANCELLED, notes=note)
        db.execute(
            "UPDATE runs SET status = ?, completed_at = ?, result = ?, held_for = NULL, published = 1 WHERE run_id = ?",
            (result.status, now, result_json(result), row["run_id"]),
        )
        ended += 1
    return ended


def _has_turn(root: Path, path: str, run_id: str) -> bool:
    name = input_name(path)
    if name is None:
        return False
    with suppress(WorkspaceError):
        return any(turn.run_id == run_id for turn in beside(root, name))
    return False


def _know_later(db: sqlite3.Connection, shown: dict[str, ShownRun]) -> None:
    newest: dict[str, ShownRun] = {}
    for run in shown.values():
        before = newest.get(run.input)
        if run.ended and (before is None or (run.number, run.saved_at) > (before.number, before.saved_at)):
            newest[run.input] = run
    for row in db.execute("SELECT path FROM inputs").fetchall():
        seen = newest.get(well_formed(row["path"]))
        if seen is None or db.execute("SELECT 1 FROM runs WHERE run_id = ?", (seen.run_id,)).fetchone():
            continue
        last = db.execute("SELECT MAX(number) FROM runs WHERE path = ?", (row["path"],)).fetchone()[0]
        if seen.number > (last or 0):
            db.execute("UPDATE inputs SET digest = ?, signature = NULL WHERE path = ?", (seen.digest, row["path"]))


def check_if_due(paths: WorkspacePaths, *, now: str) -> None:
    """Check the ledger where that was not done for a week, and remember that; a damaged one is logged. Blocks."""
    if not paths.ledger.exists() or not _is_due(paths.state / CHECKED, now):
        return
    try:
        found = upkeep.problems(paths.ledger)
    except LedgerError:
        return  # asked again at the next turn
    if found:
        upkeep.mark_damaged(paths.ledger)
        log.error(
            "ledger.damaged",
            file=str(paths.ledger),
            why=found[0],
            cure="restart rlmwatch: it sets the file aside and begins a new one, and asks nothing again",
        )
    note_check(paths, now=now)


def note_check(paths: WorkspacePaths, *, now: str) -> None:
    """Remember that the ledger was checked at *now*."""
    with suppress(OSError):
        (paths.state / CHECKED).write_text(json.dumps({"checked_at": now}) + "\n")


def _is_due(file: Path, now: str) -> bool:
    try:
        checked = datetime.fromisoformat(json.loads(file.read_text())["checked_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    passed = datetime.fromisoformat(now) - checked
    return not timedelta(0) <= passed < CHECK_EVERY  # a clock that was set back is no week


async def forget_old(ledger: Ledger[Any], keep_days: int | None, *, now: str) -> int:
    """
    Let go of the content of runs that ended more than *keep_days* ago; return of how many. None keeps everything.

    Raises:
        LedgerError: The ledger cannot be used now; what was done stays.
    """
    if keep_days is None:
        return 0
    before = oldest_kept(now, keep_days)
    after = done = 0
    while (found := await ledger.forget(before, after=after, at_most=FORGET_AT_ONCE)).runs:
        after, done = found.last, done + found.runs
    if done:
        log.info("ledger.pruned", runs=done, ended_before=before)
    return done


def oldest_kept(now: str, keep_days: int) -> str:
    """Return the time before which what ended may be let go: never in the current month, whose calls are counted."""
    kept = datetime.fromisoformat(now) - timedelta(days=keep_days)
    return min(kept.strftime("%Y-%m-%dT%H:%M:%S"), f"{now[:7]}-01T00:00:00")
