"""
`rlmwatch worker`: answers what daemons dispatch, without any folder.

It needs the user's own configuration and keys on its machine: provider, prices
and ceilings are its own; what the workspace says about a run comes with the run.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import structlog

from rlmwatch.cluster.node import ClusterNode
from rlmwatch.daemon.composition import Builder
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.service import TICK_S, tick
from rlmwatch.daemon.stores import open_shared
from rlmwatch.daemon.systemd import Manager
from rlmwatch.errors import ConfigError
from rlmwatch.ledger.postgres.connection import described
from rlmwatch.settings.sources import user_config_dir

log = structlog.get_logger()


async def work(
    environ: Mapping[str, str],
    *,
    flags: Mapping[str, Any],
    redactor: Redactor,
    manager: Manager,
) -> None:
    """
    Answer runs until SIGINT or SIGTERM; running ones get a moment to end, and are given back.

    Raises:
        ConfigError: No shared ledger is named, or a setting is wrong.
        NoProvider: There is nothing to answer with.
        LedgerError: The database cannot be used.
    """
    async with Builder(environ=environ, user_dir=user_config_dir(environ), flags=flags, redactor=redactor) as builder:
        loaded = builder.load()
        url = loaded.settings.ledger
        if url is None:
            raise ConfigError(
                "a worker takes its runs from a shared ledger: set `ledger` in your config.toml, or RLMWATCH_LEDGER, "
                "to the same postgresql://… as the daemon's"
            )
        await builder.read_config(loaded)
        builder.load_client()
        ledger = await builder.open_ledger(lambda: open_shared(url, None))
        builder.make_sandbox()
        node = await builder.stack.enter_async_context(ClusterNode(url, ledger))
        at_once = max(1, loaded.settings.workers)
        node.start_worker(builder.run_worker(ledger), at_once=at_once)
        log.info("ready", ledger=described(url), answers=builder.describe(), at_once=at_once)
        manager.ready(f"answering runs of {described(url)}")
        await _until_asked_to_stop(manager)
    log.info("stopped")


async def _until_asked_to_stop(manager: Manager) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    while not await tick(stop, TICK_S):
        manager.ping()
    log.info("stop.asked")
    manager.stopping()
