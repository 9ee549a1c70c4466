"""
`rlmwatch worker`: answers what daemons hand out, without any folder.

It needs the user's own configuration and keys on its machine: provider, prices
and ceilings are its own; what the workspace says about a run comes with the run.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import structlog

from rlmwatch.cluster.cluster import Cluster
from rlmwatch.cluster.run_worker import RunWorker
from rlmwatch.daemon.credentials import find_all, secrets, wanted
from rlmwatch.daemon.factories import build_sandbox, find_model, handlers
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.providers import runtime_config
from rlmwatch.daemon.stores import open_shared
from rlmwatch.daemon.systemd import Manager
from rlmwatch.errors import ConfigError
from rlmwatch.ledger.postgres.connection import described
from rlmwatch.settings.sources import load, user_config_dir

TICK_S = 1.0

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
    user_dir = user_config_dir(environ)
    loaded = load(user_dir=user_dir, workspace=None, environ=environ, flags=flags)
    url = loaded.settings.ledger
    if url is None:
        raise ConfigError(
            "a worker takes its runs from a shared ledger: set `ledger` in your config.toml, or RLMWATCH_LEDGER, to "
            "the same postgresql://… as the daemon's"
        )
    keys = await asyncio.to_thread(find_all, environ, user_dir, named=wanted(loaded.settings))
    redactor.know(secrets(loaded.settings, keys))
    async with AsyncExitStack() as stack:
        model, choice = await find_model(loaded, keys, environ)
        stack.push_async_callback(model.aclose)
        ledger = await asyncio.to_thread(open_shared, url, None)
        stack.push_async_callback(ledger.aclose)
        sandbox = build_sandbox(loaded)
        stack.push_async_callback(sandbox.aclose)
        cluster = await stack.enter_async_context(Cluster(url, ledger))
        terms = runtime_config(loaded, keys, environ, (model, choice))
        for part in (terms.search, terms.providers):
            if part is not None:
                stack.push_async_callback(part.aclose)
        at_once = max(1, loaded.settings.workers)
        cluster.answer(RunWorker.with_parts(ledger, terms, sandbox, handlers()), at_once=at_once)
        log.info("ready", ledger=described(url), answers=f"{choice.model} ({choice.provider})", at_once=at_once)
        manager.ready(f"answering runs of {described(url)}")
        await _until_asked_to_stop(manager)
    log.info("stopped")


async def _until_asked_to_stop(manager: Manager) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        manager.ping()
        try:
            async with asyncio.timeout(TICK_S):
                await stop.wait()
        except TimeoutError:
            continue
    log.info("stop.asked")
    manager.stopping()
