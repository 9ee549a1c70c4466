"""`rlmwatch ledger`: the ledger of a workspace, as a whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Flag, Folder
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.ledger_upkeep import note_check
from rlmwatch.daemon.ledger_upkeep import restore as put_back
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import cluster_installed, workspace_name
from rlmwatch.errors import UsageError
from rlmwatch.ledger.sqlite import backups, upkeep
from rlmwatch.settings.sources import load, own_name
from rlmwatch.settings.user_folders import expanded
from rlmwatch.workspace.owner import Lock

SHOWN = 3
"""Of the faults of a damaged ledger, which may be thousands."""

app = App(name="ledger", help="Check, compact, back up, restore the ledger; carry it over to PostgreSQL.")


@app.command
def move(
    workspace: Folder = None,
    *,
    to: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """
    Carry the embedded ledger over to a shared one in PostgreSQL, whole or not at all. Stop rlmwatch first.

    The old file stays where it is, under another name. To answer over the shared ledger from then on, set `ledger` in
    your config.toml.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        to: postgresql://…; default is `ledger` of your config.toml, or $RLMWATCH_LEDGER.
        as_json: Print what came over as JSON.
    """
    quiet()
    cluster_installed()
    from rlmwatch.ledger import transfer
    from rlmwatch.ledger.postgres.connection import described

    paths = locate(workspace)
    url = to or load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings.ledger
    if url is None:
        raise UsageError("where to? Name it with --to postgresql://…, or set `ledger` in your config.toml")
    if not paths.ledger.exists():
        raise UsageError(f"{paths.root} has no embedded ledger on this machine: there is nothing to move")
    with _held(paths) as host:
        moved = transfer.move(paths.ledger, url, workspace_name(paths, host))
        aside = upkeep.set_aside(paths.ledger, "moved", now=clock.utc())
    if as_json:
        print_json({"ledger": described(url), **moved.rows, "spent_usd": moved.spent_usd, "old": str(aside)})
    else:
        put(f"moved to {described(url)}: " + ", ".join(f"{count} {table}" for table, count in moved.rows.items()))
        put(f"the old ledger is now {aside}")
        if to is not None:
            put(f'to answer over it from now on, set in {paths.user_dir / "config.toml"}: ledger = "postgresql://…"')
    return 0


@app.command
def check(workspace: Folder = None) -> int:
    """
    Look for damage in the ledger, also while a daemon runs. Status 1 where there is some.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    paths = _with_file(workspace)
    found = upkeep.problems(paths.ledger, whole=True)
    note_check(paths, now=clock.utc())
    if not found:
        put(f"{paths.ledger} is sound: {_megabytes(upkeep.bytes_of(paths.ledger))}")
        return 0
    upkeep.mark_damaged(paths.ledger)
    say(f"{paths.ledger} is damaged: {'; '.join(found[:SHOWN])}")
    say(
        "Start rlmwatch again: it sets the file aside and begins a new one, and asks nothing again. "
        "If you have a backup: rlmwatch ledger restore FILE"
    )
    return 1


@app.command
def vacuum(workspace: Folder = None) -> int:
    """
    Give the room of what was removed back to the disk. Stop rlmwatch first.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    paths = _with_file(workspace)
    with _held(paths):
        before, after = upkeep.vacuum(paths.ledger)
    put(f"{paths.ledger}: {_megabytes(before)} before, {_megabytes(after)} now")
    return 0


@app.command
def backup(file: Path, /, *, force: Annotated[bool, Flag] = False, workspace: Folder = None) -> int:
    """
    Copy the ledger into a file, as it is at this moment; a daemon goes on meanwhile.

    The copy holds questions and answers, and only you may read it.

    Args:
        file: A new file, on another disk where possible.
        force: Write over a file that is there.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    paths = _with_file(workspace)
    written = backups.backup(paths.ledger, expanded(file), force=force)
    put(f"{file}: {_megabytes(written)}. Back it comes with: rlmwatch ledger restore {file}")
    return 0


@app.command
def restore(file: Path, /, *, workspace: Folder = None) -> int:
    """
    Put a backup in the place of the ledger, which is kept under another name. Stop rlmwatch first.

    What the folder shows to be answered since is not asked again, and what was spent since still counts.

    Args:
        file: What `rlmwatch ledger backup` wrote.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    paths = locate(workspace)
    with _held(paths):
        aside, ended = put_back(paths, expanded(file), now=clock.utc())
    put(f"{paths.ledger} is what {file} was")
    if ended:
        put(f"runs that had not ended in it and are not waiting in the folder any more: {ended}, ended now")
    if aside is not None:
        put(f"the ledger before is now {aside}")
    return 0


def _with_file(workspace: Path | None) -> WorkspacePaths:
    """
    Return the paths of a workspace that has a ledger's file.

    Raises:
        UsageError: It has none.
    """
    paths = locate(workspace)
    if not os.path.lexists(paths.ledger):
        raise UsageError(
            f"{paths.root} has no ledger on this machine ({paths.ledger}): nothing was asked here yet, or its ledger "
            "is in PostgreSQL, whose own tools (pg_dump, VACUUM) do this"
        )
    return paths


@contextmanager
def _held(paths: WorkspacePaths) -> Iterator[str]:
    """
    Keep every other program from the ledger, which is in its place; yield the name of this machine.

    Raises:
        WorkspaceBusy: One uses it; the text says which.
        LedgerError: It cannot be put in its place.
    """
    host = own_name(paths.user_dir, os.environ, socket.gethostname())
    with Lock.acquire(paths.state, host=host, pid=os.getpid(), now=clock.utc(), root=paths.root):
        upkeep.go_on(paths.ledger, now=clock.utc())
        yield host


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
