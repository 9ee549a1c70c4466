"""`rlmwatch worker`: answer runs of a shared ledger on this machine, without any folder."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Annotated, Literal

from rlmwatch.cli.numbers import Whole
from rlmwatch.daemon.journal import SystemdJournal, is_journal
from rlmwatch.daemon.logging import Format, Redactor, configure
from rlmwatch.daemon.stores import cluster_installed
from rlmwatch.daemon.systemd import Manager


def worker(
    *,
    ledger: str | None = None,
    workers: Annotated[int | None, Whole] = None,
    log_format: Literal["auto", "text", "json"] = "auto",
) -> int:
    """
    Answer what the daemons of a shared ledger dispatch, until Ctrl+C. It needs no workspace.

    Args:
        ledger: postgresql://… as the daemon's; default is `ledger` of your config.toml, or $RLMWATCH_LEDGER.
        workers: Runs at once on this machine.
        log_format: text for people, json for programs; auto is json under a service manager.
    """
    cluster_installed()
    from rlmwatch.daemon.worker import work

    managed = "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty()
    form: Format = ("json" if managed else "text") if log_format == "auto" else log_format
    redactor = Redactor()
    configure(form, redactor, level=logging.INFO, journal=SystemdJournal() if is_journal(os.environ, 2) else None)
    manager = Manager.of(os.environ, os.getpid())
    asyncio.run(work(os.environ, flags={"ledger": ledger, "workers": workers}, redactor=redactor, manager=manager))
    return 0
