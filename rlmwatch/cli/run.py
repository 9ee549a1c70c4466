"""`rlmwatch run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from rlmwatch.cli.arguments import Flag, Folder, Json
from rlmwatch.cli.layout import below_home, material_line
from rlmwatch.cli.numbers import Whole
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.cli.streams import BackgroundStream, terminal_for_view
from rlmwatch.cli.waiting import interruptible
from rlmwatch.daemon.composition import App, Parts, Role
from rlmwatch.daemon.journal import SystemdJournal, is_journal
from rlmwatch.daemon.logging import Format, Redactor, configure
from rlmwatch.daemon.metrics import metrics_beside
from rlmwatch.daemon.oneshot import Sketch, once, sketches
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.show_page import page_beside
from rlmwatch.daemon.systemd import Manager
from rlmwatch.errors import UsageError
from rlmwatch.money import dollars
from rlmwatch.settings.sources import load, user_config_dir
from rlmwatch.settings.user_folders import home
from rlmwatch.workspace.locate import is_named

Tell = Callable[[str], None]
SHOWN_CHARS = 400
"""Of each message, in a dry run for people; --json has them whole."""


@dataclass(frozen=True, slots=True)
class _Flags:
    """
    What was asked for.

    Attributes:
        log: Whether somebody wants the log: a service manager, or who says in which form.
    """

    paths: WorkspacePaths
    options: StartOptions
    form: Format
    settings: dict[str, object]
    terminal: BackgroundStream | None
    log: bool


def run(  # noqa: PLR0913 (the flags of a command line)
    workspace: Folder = None,
    *more: Annotated[Path, Parameter(name="WORKSPACE")],
    once: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), negative=())] = False,
    take_over: Annotated[bool, Flag] = False,
    workers: Annotated[int | None, Whole] = None,
    page: str | None = None,
    metrics: str | None = None,
    log_format: Literal["auto", "text", "json"] = "auto",
    as_json: Json = False,
) -> int:
    """
    Watch a workspace, or several, and answer what is saved there, until Ctrl+C.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace, else those
            that `workspaces` in your config.toml names.
        more: Further folders, which the same daemon serves.
        once: Answer what is there and exit: 0 all answered, 1 some failed or wait.
        dry_run: Show what would be sent, and what it costs at most, and send nothing.
        yes: It is the right folder, however many unanswered inputs it has.
        take_over: This machine answers here from now on, in place of another.
        workers: Runs at once, across all conversations.
        page: Show all your workspaces in a browser on this machine, at ADDRESS:PORT: 127.0.0.1:8765, [::1]:8765, or
            8765 alone, which is the first.
        metrics: Serve numbers for Prometheus on this machine, at ADDRESS:PORT as for `page`.
        log_format: text for people, json for programs; auto is a view at a terminal, json under a service manager, and
            with --once warnings alone.
        as_json: With --dry-run or --once, print JSON.
    """
    managed = "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty()
    form: Format = ("json" if managed else "text") if log_format == "auto" else log_format
    terminal = terminal_for_view() if log_format == "auto" and not managed else None
    options = StartOptions(yes, take_over)
    settings: dict[str, object] = {"workers": workers, "page": _place(page), "metrics": _place(metrics)}
    named = (*([workspace] if workspace is not None else []), *more)
    if (several := _several(named)) is not None:
        if once or dry_run:
            raise UsageError("--once and --dry-run take one folder: name it")
        return asyncio.run(_serve_several(several, options, form, settings, terminal))
    log = managed or log_format != "auto"
    flags = _Flags(locate(named[0] if named else None), options, form, settings, terminal, log)
    if dry_run:
        return asyncio.run(_dry_run(flags, as_json=as_json))
    return asyncio.run(_once(flags, as_json=as_json) if once else _serve(flags))


def _place(address: str | None) -> str | None:
    """Return the *address* as the settings write it: a port alone is one of 127.0.0.1."""
    return f"127.0.0.1:{address}" if address and address.isdecimal() else address


def _several(named: tuple[Path, ...]) -> tuple[Path, ...] | None:
    """Return the folders where there are several: *named*, or none for the `workspaces` of the user's settings."""
    if len(named) > 1:
        return named
    if named or is_named(None):
        return None
    own = load(user_dir=user_config_dir(), workspace=None, environ=os.environ).settings.workspaces
    return () if own else None


async def _serve_several(
    named: tuple[Path, ...],
    options: StartOptions,
    form: Format,
    settings: dict[str, object],
    terminal: BackgroundStream | None,
) -> int:
    from rlmwatch.daemon.several import SeveralFolders

    redactor = Redactor()
    folders = SeveralFolders(
        named=named,
        options=options,
        flags=settings,
        environ=os.environ,
        manager=Manager.of(os.environ, os.getpid()),
        redactor=redactor,
    )
    if terminal is None:
        configure(form, redactor, journal=SystemdJournal() if is_journal(os.environ, 2) else None)
        folders.tell = say if sys.stderr.isatty() else None  # the address is a secret: it stands in no log
        await folders.serve(asyncio.Event())
        return 0
    from rlmwatch.cli.view.several import SeveralView

    view = SeveralView(terminal, redactor)
    folders.tell, folders.statuses_of, folders.on_served = view.viewer.on_page, view.statuses_of, view.served
    async with view.on_terminal():
        await folders.serve(asyncio.Event())
    return 0


@asynccontextmanager
async def _app(flags: _Flags, role: Role) -> AsyncIterator[tuple[App, Tell | None]]:
    """Run a program in the block, with its log or a view on the terminal, and what tells the page's address there."""
    redactor = Redactor()
    if flags.terminal is None or role is Role.DRY_RUN:
        alone = role is Role.DRY_RUN or (role is Role.ONE_SHOT and not flags.log)
        journal = SystemdJournal(str(flags.paths.root)) if is_journal(os.environ, 2) else None
        configure(flags.form, redactor, level=logging.WARNING if alone else logging.INFO, journal=journal)
        async with App(flags.paths, flags=flags.settings, redactor=redactor, role=role) as app:
            yield app, say if sys.stderr.isatty() else None  # the address is a secret: it stands in no log
        return
    from rlmwatch.cli.view.daemon import DaemonView
    from rlmwatch.cli.view.questions import Heading, ViewState

    shown = ViewState(Heading(below_home(flags.paths.root, home()), state="Starting"))
    view = DaemonView(flags.terminal, shown, redactor)
    parts = Parts(on_status=view.viewer.on_status)
    async with (
        App(flags.paths, flags=flags.settings, parts=parts, redactor=redactor, role=role) as app,
        view.of(app),
    ):
        yield app, view.viewer.on_page


async def _serve(flags: _Flags) -> int:
    async with _app(flags, Role.DAEMON) as (app, tell), page_beside(app, tell), metrics_beside(app):
        await serve(app, asyncio.Event(), options=flags.options, manager=Manager.of(os.environ, os.getpid()))
    return 0


async def _once(flags: _Flags, *, as_json: bool) -> int:
    with interruptible() as leave:
        async with _app(flags, Role.ONE_SHOT) as (app, _):
            tally = await once(app, flags.options, leave)
    if as_json:
        print_json(asdict(tally))
    else:
        held = f" ({tally.held} held)" if tally.held else ""
        say(f"{tally.answered} answered, {tally.failed} failed, {tally.waiting} waiting{held}")
    if leave.is_set():
        raise KeyboardInterrupt
    return 1 if tally.failed or tally.waiting else 0


async def _dry_run(flags: _Flags, *, as_json: bool) -> int:
    async with _app(flags, Role.DRY_RUN) as (app, _):
        found = await sketches(app)
    if as_json:
        print_json([asdict(sketch) for sketch in found])
    else:
        for sketch in found:
            _print_sketch(sketch)
        known = [sketch.usd for sketch in found if sketch.usd is not None]
        unlimited = len(found) - len(known)
        unknown = f", and {unlimited} without a cap or a known price" if unlimited else ""
        put(f"{len(found)} unanswered; at most {dollars(sum(known), at_most=True)}{unknown}. Nothing was sent.")
    return 0


def _print_sketch(sketch: Sketch) -> None:
    cost = "no cap and no known price" if sketch.usd is None else f"at most {dollars(sketch.usd, at_most=True)}"
    calls = (
        f"a run of up to {sketch.steps} steps of {sketch.tokens} tokens"
        if sketch.steps
        else f"up to {sketch.tokens} tokens"
    )
    preset = f", preset {sketch.preset}" if sketch.preset else ""
    form = f", in JSON{f' by {sketch.json_schema}' if isinstance(sketch.json_schema, str) else ''}"
    form = form if sketch.json_schema is not None else ""
    put(f"{sketch.path}: {sketch.kind}, {sketch.model or 'no model'}, {calls}, {cost}{preset}{form}")
    for file in sketch.material:
        put(f"  material: {material_line(file)}")
    for note in sketch.notes:
        put(f"  note: {note}")
    if sketch.problem:
        put(f"  not asked: {sketch.problem}")
    for attached in sketch.attached:
        put(f"  attached: {attached}")
    for message in sketch.messages:
        text = message.content if len(message.content) <= SHOWN_CHARS else message.content[:SHOWN_CHARS] + " …"
        put("\n".join(f"  {message.role:>9} | {line}" for line in text.splitlines()))
