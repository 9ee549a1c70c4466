"""`rlmwatch doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.addresses import shown
from rlmwatch.cli.fixes import apply_fixes, open_to_others
from rlmwatch.cli.output import print_json, quiet
from rlmwatch.cli.report import Line, print_report
from rlmwatch.cli.search_line import search_line
from rlmwatch.daemon.ceilings_left import ceilings_left
from rlmwatch.daemon.credentials import DOTENV, KEYS, Key, find_all, wanted
from rlmwatch.daemon.factories import build_sandbox, endpoint_of, find_model, gather
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.daemon.unasked import unasked
from rlmwatch.errors import (
    CeilingUnknown,
    ConfigError,
    LedgerError,
    NoProvider,
    ProviderError,
    RlmwatchError,
    UsageError,
    WrongKey,
)
from rlmwatch.execution.model_choice import assumed_words
from rlmwatch.execution.runtime_config import ceilings_of
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.models.listing import offered
from rlmwatch.models.llamacpp import weights
from rlmwatch.models.published import PublishingModel
from rlmwatch.models.select import Choice, Facts, address_of, choose, key_of
from rlmwatch.money import dollars
from rlmwatch.runs.ceilings import CeilingUse, uses
from rlmwatch.sandbox.base import Report
from rlmwatch.settings.model import CeilingSettings
from rlmwatch.settings.providers import EMBEDDED, SEARCH_KEY, names
from rlmwatch.settings.sources import USER_FILE, Loaded, load
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.version import __version__
from rlmwatch.watch.scan import Scan, UnlistedFolder
from rlmwatch.workspace.health import Root, storable
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.owner import holder

REACH_TIMEOUT_S = 20.0
"""For one answer of one token: a slow provider takes seconds, the embedded model loads in one."""
INOTIFY = Path("/proc/sys/fs/inotify")
SPARE_WATCHES = 1000
"""Other programs of the same user, editors and sync tools, watch folders too."""

NOT_ASKED = 5
"""Files that are listed at most; `status` has them all."""

HELD = "until then research, exa, and jobs with data are held; chats need no sandbox"


def doctor(
    workspace: Path | None = None,
    /,
    *,
    ask: Annotated[bool, Parameter(negative=())] = False,
    fix: Annotated[bool, Parameter(negative=())] = False,
    exam: Annotated[list[str] | None, Parameter(consume_multiple=(0, 1), negative=())] = None,
    yes: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
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
        yield Line("wrong", "workspace", str(error), "name the folder, or make one with `rlmwatch init DIR`")
    else:
        folder = [*_workspace(paths), await asyncio.to_thread(_inotify, paths), *await not_asked_lines(paths)]
        for line in folder:
            yield line
    from rlmwatch.settings.sources import user_config_dir

    user_dir = paths.user_dir if paths else user_config_dir()
    try:
        loaded = load(user_dir=user_dir, workspace=paths.root if paths else None, environ=os.environ)
    except RlmwatchError as error:
        yield Line("wrong", "settings", str(error), "fix the named file; until then the last good settings hold")
        return
    for line in await _about_settings(loaded, user_dir, paths):
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
    yield _weights()
    async for line in _provider(loaded, keys, ask=ask):
        yield line


def _workspace(paths: WorkspacePaths) -> list[Line]:
    lines = []
    try:
        storable(Root.open(paths.root).path)
        lines.append(Line("ok", "workspace", f"{paths.root} can be written to"))
    except RlmwatchError as error:
        lines.append(Line("wrong", "workspace", str(error), "answers could not be stored: no call is made until then"))
    who = holder(paths.state, paths.root)
    todo = "" if who else f"start it with: rlmwatch run {paths.root}"
    lines.append(Line("ok" if who else "warning", "daemon", str(who or "not running here"), todo))
    try:
        lines.append(Line("ok", "host", str(named_host(paths.root) or "none named yet; the first daemon names itself")))
    except RlmwatchError as error:
        lines.append(Line("wrong", "host", str(error)))
    return lines


async def not_asked_lines(paths: WorkspacePaths) -> list[Line]:
    """Return the files of the workspace that are not asked, and why."""
    try:
        found = await unasked(paths)
    except RlmwatchError:  # the settings or the ledger: a line of their own says so
        return []
    shown = [Line("warning", "not asked", f"{each.path}: {each.because}", each.cure) for each in found[:NOT_ASKED]]
    more = len(found) - len(shown)
    return [*shown, *([Line("warning", "not asked", f"{more} files more", "`rlmwatch status`")] if more else [])]


async def _ceilings(paths: WorkspacePaths, ceilings: CeilingSettings) -> list[Line]:
    """Say what is left of each ceiling."""
    if ceilings.max_cost_usd_per_day is None:
        lines = [Line("warning", "ceiling", "none per day", "set max_cost_usd_per_day under [ceilings]")]
    else:
        lines = []
    found: tuple[CeilingUse, ...] = uses(ceilings_of(ceilings), (0.0, 0.0))
    try:
        ledger = await asyncio.to_thread(ledger_if_any, paths)
        if ledger is not None:
            try:
                found = await ceilings_left(ledger, ceilings, now=clock.utc())
            finally:
                await ledger.aclose()
    except (CeilingUnknown, LedgerError, ConfigError) as error:
        return [Line("wrong", "ceiling", str(error), "until then no call is made")]
    whose = "all workspaces of this user together" if ceilings.per == "user" else "this workspace"
    for use in found:
        when = "today" if use.period == "day" else "this month"
        text = f"{dollars(use.left_usd)} of {dollars(use.limit_usd)} are left {when} (UTC), for {whose}"
        todo = f"raise max_cost_usd_per_{use.period} under [ceilings], or wait for the next {use.period}"
        lines.append(Line("warning" if use.near else "ok", "ceiling", text, todo if use.near else ""))
    if ceilings.max_cost_usd_per_run is not None:
        lines.append(Line("ok", "ceiling", f"{dollars(ceilings.max_cost_usd_per_run)} for one run, at most"))
    return lines


def _inotify(paths: WorkspacePaths) -> Line:
    """Compare the kernel's limits with the folders to be watched."""
    scan = Scan(paths.root)
    closed = [found.path for found in scan if isinstance(found, UnlistedFolder)]
    try:
        watches = int((INOTIFY / "max_user_watches").read_text(encoding="ascii"))
        instances = int((INOTIFY / "max_user_instances").read_text(encoding="ascii"))
        queue = int((INOTIFY / "max_queued_events").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Line("warning", "inotify", "this system has none", "the folder is looked at every 5 s instead")
    found = f"{scan.folders} folders of {watches} watches, {instances} instances, {queue} events queued"
    if scan.folders + SPARE_WATCHES > watches:
        todo = f"sysctl fs.inotify.max_user_watches={max(524_288, 2 * scan.folders)}; until then the rest is polled"
        return Line("warning", "inotify", found, todo)
    if closed:
        return Line(
            "warning", "inotify", f"{found}; unreadable: {', '.join(closed[:5])}", "give read access, or ignore"
        )
    return Line("ok", "inotify", found)


def key_lines(keys: Mapping[str, Key], facts: Facts) -> list[Line]:
    """Return which keys there are, where each was found, and to which address each would go; never a key."""
    lines = []
    for name in dict.fromkeys((*KEYS, *keys)):
        key = keys.get(name)
        if key is None:
            lines.append(Line("ok", name, "not set"))
        elif key.problem is not None:
            lines.append(Line("wrong", name, key.problem, "write it again, on one line"))
        else:
            lines.append(Line("ok", name, f"set ({key.origin}); {_goes_to(name, facts)}"))
    return lines


def _goes_to(name: str, facts: Facts) -> str:
    """Return to which addresses the key *name* would go."""
    if name == SEARCH_KEY:
        return f"would go to {shown(os.environ.get('EXA_BASE_URL') or 'https://api.exa.ai')} (search)"
    places = {
        f"{shown(address)} ({provider})": None
        for provider in names(facts.providers)
        if key_of(facts, provider) == name and (address := address_of(facts, provider)) is not None
    }
    with suppress(RlmwatchError):
        chosen = choose(facts)
        if chosen.key_name == name and chosen.base_url is not None:
            places[f"{shown(chosen.base_url)} ({chosen.provider})"] = None
    return f"would go to {', '.join(places)}" if places else "goes nowhere: no provider has this key and an address"


def _origins(loaded: Loaded, user_dir: Path) -> str:
    """Return what was set, by where: tables are named by their keys."""
    by_place: dict[str, list[str]] = {}
    for key, origin in loaded.origins.items():
        if not any(other.startswith(f"{key}.") for other in loaded.origins):
            by_place.setdefault(origin, []).append(key)
    words = [f"{', '.join(keys)} ({origin})" for origin, keys in by_place.items()]
    return "; ".join(words) or f"all defaults; yours would be in {user_dir / USER_FILE}"


async def _about_settings(loaded: Loaded, user_dir: Path, paths: WorkspacePaths | None) -> list[Line]:
    ceilings = [] if paths is None else await _ceilings(paths, loaded.settings.ceilings)
    read_by_others = open_to_others(user_dir / DOTENV)
    return [
        Line("ok", "settings", _origins(loaded, user_dir)),
        Line("ok", "files read", _files(user_dir, paths)),
        *ceilings,
        *([read_by_others] if read_by_others else []),
    ]


def _files(user_dir: Path, paths: WorkspacePaths | None) -> str:
    """Return which files settings and keys may come from, and which of these are there."""
    files = [user_dir / USER_FILE, user_dir / DOTENV, *([paths.root / WORKSPACE_FILE] if paths else [])]
    there = ", ".join(str(file) for file in files if file.exists())
    missing = ", ".join(str(file) for file in files if not file.exists())
    return "; not there: ".join(filter(None, (there or "none", missing)))


def sandbox_lines(report: Report) -> list[Line]:
    """
    Return what is told of the sandbox, layer by layer, as *report* found it by trying.

    A layer that this machine lacks and a session goes without is a warning. Where one is refused there is no sandbox:
    that is wrong, and so is a report without a line.
    """
    lines = []
    for layer in report.lines:
        name = f"sandbox, {layer.layer}"
        if layer.state == "on":
            lines.append(Line("ok", name, layer.text))
        elif layer.state == "refused":
            lines.append(Line("wrong", name, layer.text, f"{layer.cure} {HELD}".strip()))
        else:
            lines.append(Line("warning" if layer.state == "missing" else "ok", name, layer.text, layer.cure))
    return lines or [Line("wrong", "sandbox", "the probe said nothing", HELD)]


def _weights() -> Line:
    found = weights.where()
    if found is None:
        return Line("ok", "local model", "not fetched; `rlmwatch model fetch` brings it (98 MB)")
    return Line("ok", "local model", str(found))


async def _provider(loaded: Loaded, keys: dict[str, Key], *, ask: bool) -> AsyncIterator[Line]:
    try:
        model, choice = await find_model(loaded, keys, os.environ)
    except NoProvider as error:
        yield Line("wrong", "provider", "none", str(error))
        return
    except RlmwatchError as error:
        yield Line("wrong", "provider", str(error))
        return
    try:
        yield Line("ok", "provider", f"{choice.model} ({choice.provider}); {choice.why}")
        if isinstance(model, PublishingModel):
            await model.learn_prices()
        if model.price(choice.model) is None:
            yield _unknown_price(choice.model, loaded)
        async for line in _listed(choice, keys):
            yield line
        if ask:
            yield await _asked(model, choice)
    finally:
        await model.aclose()


def _unknown_price(model: str, loaded: Loaded) -> Line:
    todo = f"write its own: [prices] {json.dumps(model, ensure_ascii=False)} = {{ input = …, output = … }}"
    if loaded.settings.unknown_prices.refuse:
        return Line("wrong", "price", f"of {model}: not known, and unknown_prices.refuse is set: no call is made", todo)
    return Line("warning", "price", assumed_words(model, loaded.settings), todo)


async def _listed(choice: Choice, keys: Mapping[str, Key]) -> AsyncIterator[Line]:
    """Ask the provider's address for its models, which proves the way to it and, with most, the key."""
    if choice.base_url is None:
        yield Line("ok", "reachable", "it is on this machine")
        return
    paths = shown(choice.base_url)
    try:
        offers = await offered(endpoint_of(choice, keys), timeout_s=REACH_TIMEOUT_S)
    except WrongKey as error:
        yield Line("ok", "reachable", paths)
        yield Line("wrong", "models", str(error), "check the key")
    except ProviderError as error:
        if error.status is None:
            yield Line("wrong", "reachable", str(error), "check the network and the address")
        else:
            yield Line("ok", "reachable", paths)
            yield Line(
                "warning", "models", f"{error}", "not every server lists its models; `--ask` proves that it answers"
            )
    else:
        yield Line("ok", "reachable", paths)
        there = any(offer.model == choice.model for offer in offers)
        found = f"{len(offers)} listed, {choice.model} {'is' if there else 'is not'} among them"
        todo = "" if there else "`rlmwatch models` shows what there is; set `model` in your config.toml"
        yield Line("ok" if there else "warning", "models", found, todo)


async def _asked(model: Model, choice: Choice) -> Line:
    """Ask for one token."""
    began = clock.monotonic()
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            await model.complete(Request(choice.model, (Message("user", "Say yes."),), max_tokens=1))
    except ProviderError as error:
        return Line("wrong", "answers", str(error), "check the key, the model's name and the address")
    except TimeoutError:
        return Line("wrong", "answers", f"not within {REACH_TIMEOUT_S:g} s", "ask again later, or another model")
    return Line("ok", "answers", f"in {clock.monotonic() - began:.1f} s")
