"""A running daemon reads its settings again: asked for by a signal, or since `rlmwatch.toml` has changed."""

from __future__ import annotations

import asyncio
import os

import structlog

from rlmwatch.daemon.composition import App
from rlmwatch.daemon.in_force import changes, noted, write_in_force
from rlmwatch.errors import RlmwatchError

log = structlog.get_logger()


async def take_up(app: App) -> str | None:
    """
    Read settings and keys again; return what is wrong with them, None where nothing is.

    Where something is, the last good ones stay. Either is in the log and in `settings.json`.
    """
    before = app.config.loaded
    problem, changed = None, []
    try:
        await app.reload()
        changed = changes(before.settings, app.config.loaded.settings)
        log.info("reloaded", answers=app.describe(), changed=changed)
    except RlmwatchError as error:
        problem = app.redact(str(error))
        log.error("reload.failed", why=problem, done="the last good settings stay")  # noqa: TRY400 (a person's matter)
    await note(app, changed=changed, problem=problem)
    return problem


async def note(app: App, *, changed: list[str] | None = None, problem: str | None = None) -> None:
    """Write down what *app* works with now."""
    found = noted(os.getpid(), app.config.loaded, app.paths.user_dir, app.describe())
    found = found.model_copy(update={"changed": changed or [], "problem": problem})
    await asyncio.to_thread(write_in_force, app.paths.state, found)
