"""
The daemon's outer loop: whose turn it is, work, reload, stop.

    idle (another host answers) ⇄ work (watcher + supervisor) → stop

Every `TICK_S` it looks whether this host still answers here, writes status
files that wait for their second, and pings the service manager.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.descriptors import raise_soft_limit
from rlmwatch.daemon.handover import patiently
from rlmwatch.daemon.ledger_upkeep import check_if_due, forget_old
from rlmwatch.daemon.reloading import note, take_up
from rlmwatch.daemon.signals import Signals
from rlmwatch.daemon.standing_by import answering, nobody, standing_by, tell
from rlmwatch.daemon.systemd import Manager
from rlmwatch.daemon.turn import HostTurn
from rlmwatch.daemon.vitals import Vitals
from rlmwatch.errors import LedgerError, UsageError, WorkspaceBusy, WorkspaceError
from rlmwatch.execution.notifications import STOP_S
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace.atomic import sweep
from rlmwatch.workspace.hosts import Host, Theirs, host_rule
from rlmwatch.workspace.owner import busy, holder_of_folder
from rlmwatch.workspace.snapshot import look
from rlmwatch.workspace.status import prune

TICK_S = 1.0
"""As often as a status file may be rewritten (file contract, 5), and as the host is looked up; costs some 0.3 ms."""
HANDOVER_S = 3 * TICK_S
"""An idle host begins this much after its turn has come: the one before has seen it by then, and has stopped."""
PRUNE_EVERY_S = 6 * 3600.0
CEILING_EVERY_S = 10.0
"""As often as runs are tried again that a ceiling holds (another workspace may have used less), and it is looked at."""
MANY_UNANSWERED = 20
"""More unanswered inputs than this in a folder without `rlmwatch.toml`: it may be the wrong folder (contract, 2)."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StartOptions:
    """
    How a person started the daemon.

    Attributes:
        yes: It is the right folder, however many inputs it has.
        take_over: This host answers from now on.
    """

    yes: bool = False
    take_over: bool = False


async def serve(app: App, stop: asyncio.Event, *, options: StartOptions, manager: Manager) -> None:
    """
    Watch and answer in one folder until *stop*.

    Raises:
        UsageError: A folder without `rlmwatch.toml` has many unanswered inputs.
        ConfigError, WorkspaceError, LedgerError: It cannot begin.
    """
    await begin(app, options)
    await note(app)
    raise_soft_limit()

    async def reload() -> None:
        manager.reloading(clock.monotonic())
        problem = await take_up(app)
        state = f"watching {app.paths.root}" if problem is None else f"the last good settings stay: {problem}"
        manager.ready(state.splitlines()[0])

    await serve_folder(app, stop, options=options, manager=manager, signals=Signals(reload, stop, manager))
    manager.stopping()
    log.info("stopped")


async def serve_folder(
    app: App,
    stop: asyncio.Event,
    *,
    options: StartOptions,
    manager: Manager,
    signals: AbstractContextManager[None] | None = None,
) -> None:
    """Watch and answer until *stop*, after `begin`; *signals* are heeded meanwhile."""
    turn = HostTurn(app)
    if options.take_over:
        turn.take_over()
    vitals = app.vitals()
    with signals or nullcontext():
        stale = False  # whether another host may have answered since the folder was read
        while not stop.is_set():
            stale |= await _until_ours(turn, stop, manager, vitals, first=not stale and not options.take_over)
            if stop.is_set():
                break
            if stale:
                app.compose()
                await app.watcher.first_scan()
            await asyncio.to_thread(tell, app.paths.root, answering(app.me, now=clock.utc()), anew=False)
            await _work(turn, stop, manager, vitals)
            app.folder_lock.release()
            stale = True
    if stale and turn.other is None:
        await asyncio.to_thread(tell, app.paths.root, nobody(app.me, now=clock.utc()), anew=False)
    vitals.close()


async def begin(app: App, options: StartOptions) -> None:
    """
    Begin to watch, and see that it is the right folder.

    Raises:
        UsageError: A folder without `rlmwatch.toml` has many unanswered inputs.
        ConfigError, WorkspaceError, LedgerError: It cannot begin. `WorkspaceBusy` says who answers here.
    """
    if app.folder_lock.serves:
        await patiently(lambda: _nobody_here(app), lambda: holder_of_folder(app.paths.root), app.paths.root)
    new = await asyncio.to_thread(look, app.paths.root, WORKSPACE_FILE) is None
    waiting = await app.watcher.first_scan()
    if new and waiting > MANY_UNANSWERED and not options.yes:
        await app.watcher.stop()
        raise UsageError(
            f"{app.paths.root} has {waiting} unanswered inputs and no {WORKSPACE_FILE}: is it the right folder? "
            f"If it is: rlmwatch init {app.paths.root}, or rlmwatch run --yes {app.paths.root}"
        )


def only_here(app: App) -> None:
    """
    Pass where this host answers in the workspace, and take the folder.

    Raises:
        UsageError: Another does.
        WorkspaceBusy: Another process of this machine does.
    """
    rule = host_rule(app.paths.root, app.me, now=clock.utc())
    if isinstance(rule, Theirs):
        raise elsewhere(app.paths.root, app.me, rule.host)
    app.folder_lock.take()


def elsewhere(root: Path, me: Host, other: Host) -> UsageError:
    """Return the error that says that *other* answers in *root*, and not this machine, *me*."""
    return UsageError(
        f"{other.described(me)} answers in {root}, as its {WORKSPACE_FILE} says; "
        f"`rlmwatch run --take-over {root}` moves it to {me.name}"
    )


def _nobody_here(app: App) -> None:
    """
    Pass where no process of this host answers in the folder: of another user, or in another environment.

    One of another host's name is left to the rule of hosts: a container may see the same folder, and stand by.

    Raises:
        WorkspaceBusy: One does.
    """
    who = holder_of_folder(app.paths.root)
    if who is not None and who.host in (None, app.host):
        raise busy(who)


async def _until_ours(turn: HostTurn, stop: asyncio.Event, manager: Manager, vitals: Vitals, *, first: bool) -> bool:
    """
    Wait until this host answers here, or *stop*; return whether another may have meanwhile.

    Raises:
        WorkspaceBusy: It is the *first* time, nothing was waited for, and another process has the folder.
    """
    app = turn.app
    reported: str | None = None
    ours_at: float | None = None
    while not stop.is_set():
        await turn.look()
        now = clock.monotonic()
        if turn.other is None and not turn.in_doubt:
            ours_at = ours_at or now + (HANDOVER_S if reported else 0.0)
            why = await asyncio.to_thread(app.folder_lock.follow) if now >= ours_at else reported
            if why is None:
                break
            if first and reported is None:
                await app.watcher.stop()
                raise WorkspaceBusy(why)
        else:
            ours_at = None
            why = f"{turn.other.described(app.me)} answers here" if turn.other else f"{WORKSPACE_FILE} is wrong"
        if why != reported:
            reported = why
            await app.watcher.stop()
            if turn.other:
                await _stand_by(app, turn.other)
            elif not turn.in_doubt:
                log.warning("folder.busy", why=why, done="answering nothing until it is free")
            manager.ready(f"idle: {why}")
        await tick(stop, TICK_S)
        vitals.ping(manager)
    return reported is not None


async def _stand_by(app: App, other: Host) -> None:
    """Say, in the log and in the folder, that *other* answers here and this host does not."""
    log.warning(
        "host.standby",
        answers=other.name,
        id=other.id,
        me=app.host,
        my_id=app.me.id,
        done="answering nothing",
        cure="--take-over",
    )
    await asyncio.to_thread(tell, app.paths.root, standing_by(app.me, other, now=clock.utc()), anew=True)


async def _work(turn: HostTurn, stop: asyncio.Event, manager: Manager, vitals: Vitals) -> None:
    """Watch and answer until *stop*, or until another host takes over."""
    app = turn.app
    leave = asyncio.Event()
    began = clock.utc()
    await app.supervisor.recover()
    await app.inbox.begin()
    async with asyncio.TaskGroup() as group:
        # Beside the work, since it walks the whole folder; what is written from here on is newer than it looks for.
        group.create_task(asyncio.to_thread(sweep, app.paths.root, before=began))
        group.create_task(app.watcher.run(leave))
        group.create_task(app.inbox.run(leave))
        group.create_task(app.supervisor.run(leave))
        group.create_task(app.webhooks.run(leave))
        group.create_task(app.ceiling_watch.run(leave, every_s=CEILING_EVERY_S))
        await app.client_loaded()
        log.info("ready", workspace=str(app.paths.root), answers=app.describe(), host=app.host)
        manager.ready(f"watching {app.paths.root}")
        group.create_task(_upkeep(app, leave))
        try:
            await _maintain(turn, stop, manager, vitals)
        finally:
            leave.set()
    await app.notifications.finish(STOP_S)


async def _maintain(turn: HostTurn, stop: asyncio.Event, manager: Manager, vitals: Vitals) -> None:
    """Return when *stop* is set or another host answers."""
    app = turn.app
    day, ceiling_at = _day(), clock.monotonic() + CEILING_EVERY_S
    while not await tick(stop, TICK_S):
        vitals.ping(manager)
        await app.gateway.flush()
        if _day() != day:  # what a ceiling stopped may go on
            day = _day()
            await app.supervisor.try_held_again()
        if clock.monotonic() >= ceiling_at:
            ceiling_at = clock.monotonic() + CEILING_EVERY_S
            await app.supervisor.release_what_may_pass()
        await turn.look()
        if turn.other:
            log.warning("host.handover", answers=turn.other.name, id=turn.other.id, me=app.host)
            return
        why = await asyncio.to_thread(app.folder_lock.follow)
        if why is not None:
            log.warning("folder.busy", why=why, done="answering nothing until it is free")
            return


def _day() -> str:
    """Return the day in UTC."""
    return clock.utc().partition("T")[0]


async def _upkeep(app: App, leave: asyncio.Event) -> None:
    """Check the ledger and let go of what is old, now and then, until *leave*; no save waits for that."""
    wait_s = TICK_S
    while not await tick(leave, wait_s):
        await _prune(app)
        wait_s = PRUNE_EVERY_S


async def _prune(app: App) -> None:
    keep = app.config.loaded.settings.keep_jobs_days
    try:
        await asyncio.to_thread(prune, app.gateway.root, now=clock.utc(), keep_days=keep)
    except WorkspaceError as error:
        log.warning("status.not_pruned", why=str(error))
    await asyncio.to_thread(check_if_due, app.paths, now=clock.utc())
    try:
        await forget_old(app.ledger, app.config.loaded.settings.keep_ledger_days, now=clock.utc())
    except LedgerError as error:
        log.warning("ledger.not_pruned", why=str(error))
    await asyncio.to_thread(app.attachments.prune, now=clock.utc(), keep_days=keep)


async def tick(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so many *seconds*; True as soon as *stop* is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
