"""`rlmwatch ledger`: the ledger of a workspace, as a whole."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder
from rlmwatch.cli.output import print_json, put
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.documents import second
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.stores import cluster_installed, workspace_name
from rlmwatch.errors import UsageError
from rlmwatch.settings.sources import load, own_name
from rlmwatch.workspace.owner import Lock

app = App(name="ledger", help="The ledger of a workspace: carry it over to a shared one.")


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
    host = own_name(paths.user_dir, os.environ, socket.gethostname())
    lock = Lock.acquire(paths.state, host=host, pid=os.getpid(), now=clock.utc())
    try:
        moved = transfer.move(paths.ledger, url, workspace_name(paths, host))
        aside = _set_aside(paths.ledger)
    finally:
        lock.release()
    if as_json:
        print_json({"ledger": described(url), **moved.rows, "spent_usd": moved.spent_usd, "old": str(aside)})
    else:
        put(f"moved to {described(url)}: " + ", ".join(f"{count} {table}" for table, count in moved.rows.items()))
        put(f"the old ledger is now {aside}")
        if to is not None:
            put(f'to answer over it from now on, set in {paths.user_dir / "config.toml"}: ledger = "postgresql://…"')
    return 0


def _set_aside(file: Path) -> Path:
    """Give the old ledger another name, and what SQLite keeps beside it too."""
    stamp = second(clock.utc())
    aside = file.with_name(f"{file.name}.moved-{stamp}Z")
    for beside in ("-wal", "-shm"):
        left = file.with_name(file.name + beside)
        if left.exists():
            left.rename(aside.with_name(aside.name + beside))
    return file.rename(aside)
