"""Which ledger it is: the file in the private state folder, or the database that the user's configuration names."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import ConfigError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.sqlite.spending import SharedSpending
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load, own_name

if TYPE_CHECKING:
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

SPENDING = "spending.sqlite3"
"""What all workspaces of a user have spent, in the private state folder, beside the workspaces' folders."""

log = structlog.get_logger()


def shared_spending(state: Path) -> SharedSpending:
    """Return the user's file of what is spent in all workspaces, as the ledger in the folder *state* uses it."""
    return SharedSpending(state.parent / SPENDING, state.name)


def open_ledger(paths: WorkspacePaths, settings: Settings, host: str) -> Ledger[Any]:
    """
    Open the ledger of a workspace on this *host*. Blocks.

    Raises:
        LedgerError: It cannot be used.
        ConfigError: The extra for shared ledgers is not installed, or the address cannot be one.
    """
    if settings.ledger is None:
        return SqliteLedger.open(paths.ledger, shared=shared_spending(paths.state))
    return open_shared_of(paths, settings.ledger, host)


def open_shared_of(paths: WorkspacePaths, url: str, host: str) -> PostgresLedger:
    """
    Open the shared ledger at *url* for a workspace on this *host*. Blocks.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    if paths.ledger.exists():
        log.warning("ledger.left_behind", file=str(paths.ledger), cure="rlmwatch ledger move")
    return open_shared(url, workspace_name(paths, host))


def open_shared(url: str, workspace: str | None) -> PostgresLedger:
    """
    Open the shared ledger at *url*, for one workspace or, as a worker, for none. Blocks.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    cluster_installed()
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

    return PostgresLedger.open(url, workspace)


def cluster_installed() -> None:
    """
    Check that the extra for shared ledgers is installed.

    Raises:
        ConfigError: It is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("procrastinate", "psycopg")):
        raise ConfigError("ledger: for a PostgreSQL ledger, install rlmwatch[cluster]")


def ledger_of(paths: WorkspacePaths, environ: Mapping[str, str] = os.environ) -> Ledger[Any]:
    """
    Open the ledger that the settings of a workspace name, for a command beside a daemon. Blocks.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    loaded = load(user_dir=paths.user_dir, workspace=None, environ=environ)
    return open_ledger(paths, loaded.settings, own_name(paths.user_dir, environ, socket.gethostname()))


def ledger_if_any(
    paths: WorkspacePaths, environ: Mapping[str, str] = os.environ, *, settings: Settings | None = None
) -> Ledger[Any] | None:
    """
    Open the ledger of a workspace as `ledger_of` does; None where nothing was ever stored in it. Blocks.

    Args:
        paths: The workspace.
        environ: Where variables are looked up.
        settings: The user's, where they were read already.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    if settings is None:
        settings = load(user_dir=paths.user_dir, workspace=None, environ=environ).settings
    if settings.ledger is None and not paths.ledger.exists():
        return None
    return open_ledger(paths, settings, own_name(paths.user_dir, environ, socket.gethostname()))


def workspace_name(paths: WorkspacePaths, host: str) -> str:
    """Return the name under which a shared ledger knows this workspace: folders of two machines may have one path."""
    return f"{host}/{paths.state.name}"
