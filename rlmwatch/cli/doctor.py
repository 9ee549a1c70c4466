"""`rlmwatch doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Flag, Folder, Json
from rlmwatch.cli.checks.folder import folder_lines, not_asked_lines, outdated_lines, watches_line
from rlmwatch.cli.checks.keys import key_lines
from rlmwatch.cli.checks.machine import sandbox_lines, weights_line
from rlmwatch.cli.checks.provider import provider_lines
from rlmwatch.cli.checks.search import search_line
from rlmwatch.cli.checks.settings import ceiling_lines, settings_lines
from rlmwatch.cli.fixes import apply_fixes
from rlmwatch.cli.output import print_json
from rlmwatch.cli.report import Line, print_report
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.ceilings_left import ceilings_left
from rlmwatch.daemon.credentials import Key, find_all, wanted
from rlmwatch.daemon.factories import build_sandbox, gather
from rlmwatch.daemon.in_force import in_force
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.daemon.unasked import Asked
from rlmwatch.errors import CeilingUnknown, ConfigError, LedgerError, RlmwatchError, UsageError
from rlmwatch.execution.runtime_config import ceilings_of
from rlmwatch.runs.ceilings import uses
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import EMBEDDED
from rlmwatch.settings.sources import Loaded, load, user_config_dir
from rlmwatch.version import __version__
from rlmwatch.workspace.owner import holder


def doctor(
    workspace: Folder = None,
    *,
    ask: Annotated[bool, Flag] = False,
    fix: Annotated[bool, Flag] = False,
    exam: Annotated[list[str] | None, Parameter(consume_multiple=(0, 1), negative=())] = None,
    yes: Annotated[bool, Flag] = False,
    as_json: Json = False,
) -> int:
    """
    Check keys, provider, workspace, limits, sandbox and the local model. Exit status 1 where something is wrong.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        ask: Also ask the model for one token, which costs next to nothing and proves the key.
        exam: Only ask a model (default: the configured one) a handful of questions that need code, with the engine, and
            say what it can do; the price comes first. Exit status 1 where it cannot do the engine's work.
        yes: With --exam, ask even where that costs money.
        fix: First do what is safe: make a missing folder, close files with keys to others, remove old temporary files.
        as_json: Print JSON.
    """
    quiet()
    if exam is not None:
        from rlmwatch.cli.exam import exam as put_to_the_test

        return put_to_the_test(os.environ, exam[0] if exam else None, yes=yes, as_json=as_json)
    fixed = apply_fixes(workspace) if fix else []
    lines = asyncio.run(_collect(workspace, ask=ask))
    if as_json:
        print_json([asdict(line) for line in (*fixed, *lines)])
    else:
        print_report([*fixed, *lines])
    return 1 if any(line.mark == "wrong" for line in lines) else 0


async def _collect(workspace: Path | None, *, ask: bool) -> list[Line]:
    return [line async for line in _look(workspace, ask=ask)]


async def _look(workspace: Path | None, *, ask: bool) -> AsyncIterator[Line]:
    yield Line("ok", "rlmwatch", f"{__version__} on Python {sys.version.split()[0]}")
    paths: WorkspacePaths | None = None
    try:
        paths = locate(workspace)
    except UsageError as error:
        yield Line("wrong", "workspace", str(error))  # which also says what to do
    user_dir = paths.user_dir if paths else user_config_dir()
    loaded, settings = None, None
    try:
        loaded = load(user_dir=user_dir, workspace=paths.root if paths else None, environ=os.environ)
        settings = loaded.settings
    except RlmwatchError as error:
        yield Line("wrong", "settings", str(error), "fix the named file; until then the last good settings hold")
        with suppress(RlmwatchError):  # a workspace whose file is wrong can still be looked at
            settings = load(user_dir=user_dir, workspace=None, environ=os.environ).settings
    for line in await _about_folder(paths, settings) if paths is not None else ():
        yield line
    if loaded is None:
        return
    async for line in _about_answers(loaded, user_dir, paths, ask=ask):
        yield line


async def _about_answers(
    loaded: Loaded, user_dir: Path, paths: WorkspacePaths | None, *, ask: bool
) -> AsyncIterator[Line]:
    """Say what is to be said of settings, keys, sandbox and provider."""
    for line in settings_lines(loaded, user_dir, paths):
        yield line
    keys: dict[str, Key] = {}
    try:
        keys = await asyncio.to_thread(find_all, os.environ, user_dir, named=wanted(loaded.settings))
    except RlmwatchError as error:
        yield Line("wrong", "keys", str(error), "save the file as UTF-8")
    with suppress(ConfigError):  # an address in a variable is none: the provider's line says it
        for line in key_lines(keys, await gather(loaded, keys, os.environ, EMBEDDED)):
            yield line
    yield await search_line(loaded.settings, keys)
    for line in sandbox_lines(await build_sandbox(loaded).probe()):
        yield line
    yield weights_line()
    async for line in provider_lines(loaded, keys, ask=ask):
        yield line


async def _about_folder(paths: WorkspacePaths, settings: Settings | None) -> list[Line]:
    """Return what is to be said of the folder, with *settings*, and of what its ledger holds, which is opened once."""
    who = holder(paths.state, paths.root)
    running = in_force(paths.state, who)
    lines = [*folder_lines(paths, who), *outdated_lines(paths, running)]
    lines.append(await asyncio.to_thread(watches_line, paths))
    if settings is None:
        return lines
    asked, left = Asked(), uses(ceilings_of(settings.ceilings), (0.0, 0.0))
    try:
        ledger = await asyncio.to_thread(ledger_if_any, paths, settings=settings)
        if ledger is not None:
            try:
                asked = await Asked.of(ledger)
                left = await ceilings_left(ledger, settings.ceilings, now=clock.utc())
            finally:
                await ledger.aclose()
    except (CeilingUnknown, LedgerError, ConfigError) as error:
        return [*lines, Line("wrong", "ceiling", str(error), "until then no call is made")]
    return [
        *lines,
        *await not_asked_lines(paths, asked, settings, running),
        *ceiling_lines(settings.ceilings, left),
    ]
