"""Which ledger it is: the file in the private state folder, or the database that the user's configuration names."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import ConfigError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load, own_name

if TYPE_CHECKING:
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

log = structlog.get_logger()


def open_ledger(place: WorkspacePaths, settings: Settings, host: str) -> Ledger[Any]:
    """
    Open the ledger of the workspace at *place* on this *host*. Blocks.

    Raises:
        LedgerError: It cannot be used.
        ConfigError: The extra for shared ledgers is not installed, or the address is none.
    """
    if settings.ledger is None:
        return SqliteLedger.open(place.ledger)
    if place.ledger.exists():
        log.warning("ledger.left_behind", file=str(place.ledger), cure="rlmwatch ledger move")
    return open_shared(settings.ledger, workspace_name(place, host))


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
    Return if the extra for shared ledgers is there.

    Raises:
        ConfigError: It is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("procrastinate", "psycopg")):
        raise ConfigError("ledger: for a PostgreSQL ledger, install rlmwatch[cluster]")


def ledger_of(place: WorkspacePaths, environ: Mapping[str, str] = os.environ) -> Ledger[Any]:
    """
    Open the ledger that the settings of *place* name, for a command that reads or changes it beside a daemon. Blocks.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    loaded = load(user_dir=place.user_dir, workspace=place.root, environ=environ)
    return open_ledger(place, loaded.settings, own_name(place.user_dir, environ, socket.gethostname()))


def ledger_if_any(place: WorkspacePaths, environ: Mapping[str, str] = os.environ) -> Ledger[Any] | None:
    """
    Open the ledger of *place* as `ledger_of` does; None where nothing was ever kept in it. Blocks.

    Raises:
        LedgerError, ConfigError: As `open_ledger`.
    """
    loaded = load(user_dir=place.user_dir, workspace=place.root, environ=environ)
    if loaded.settings.ledger is None and not place.ledger.exists():
        return None
    return open_ledger(place, loaded.settings, own_name(place.user_dir, environ, socket.gethostname()))


def workspace_name(place: WorkspacePaths, host: str) -> str:
    """Return the name under which a shared ledger knows this workspace: folders of two machines may have one path."""
    return f"{host}/{place.state.name}"
