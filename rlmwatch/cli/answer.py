"""`rlmwatch answer FILE`: one input, now, here."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rlmwatch import clock
from rlmwatch.cli.again import again
from rlmwatch.cli.files import paths_of
from rlmwatch.cli.layout import between, used
from rlmwatch.cli.live import LiveLine
from rlmwatch.cli.main import INTERRUPTED
from rlmwatch.cli.output import put_answer, say, say_after
from rlmwatch.cli.waiting import interruptible
from rlmwatch.contract.documents import JobStatus, StatusFile, UsageSoFar
from rlmwatch.contract.marks import mark
from rlmwatch.contract.names import JOBS, input_name
from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.handover import handed_over
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.oneshot import answer as answer_one
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.save_rules import marks_of, watch_config
from rlmwatch.daemon.service import elsewhere
from rlmwatch.daemon.stores import ledger_if_any, ledger_of
from rlmwatch.errors import ConfigError, UsageError, WorkspaceBusy
from rlmwatch.execution.material import changed
from rlmwatch.execution.run_context import Listeners
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load, own_name
from rlmwatch.usage import Usage
from rlmwatch.watch.one import read_one
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.hosts import Theirs, look_up, this_host
from rlmwatch.workspace.owner import holder, is_served
from rlmwatch.workspace.polling import statuses
from rlmwatch.workspace.publish import restore

POLL_S = 0.25
"""How often the status files are looked at while a daemon answers: as a person would not notice."""
SEEN_WITHIN_S = 15.0
"""A daemon admits a settled file within 10 s at most; after this, it is not going to."""
NEWEST = 200
"""Status files looked at for the run of these bytes."""


def answer(file: Path, /) -> int:
    """
    Answer one question now and print the answer. Needs no daemon; where one runs, it answers.

    Several at once in one workspace come one after the other.

    At a terminal, a line on standard error says meanwhile how far it is; the last one there is the answer's file, how
    long it took, its tokens and its price.

    Args:
        file: An input, such as chat_input.txt or notes/x_input.md.
    """
    paths, path = paths_of(file)
    name = input_name(path)
    if name is None:  # said at once, whoever holds the workspace
        raise UsageError(f"{path} is not an input: its name must end in _input.txt, _input.md or the like")
    who: str | None = None
    try:
        while True:
            try:
                ended = asyncio.run(_here(paths, path))
                who = "the daemon that has started here"
                if ended is None:
                    say(f"{who} goes on with it")
            except WorkspaceBusy:
                if who is None:
                    who = "a daemon" if is_served(paths.state, paths.root) else "another command"
                    say(f"{who} answers here already: waiting for it")
                ended = None
            if ended is None:
                ended = asyncio.run(_by_another(paths, path))
            if ended is not None:
                return ended
    except KeyboardInterrupt:
        goes_on = f"{who} goes on, and its answer comes to {name.output}" if who else "it was not asked yet"
        say(f"rlmwatch: interrupted. {path}: {goes_on}")
        raise


async def _here(paths: WorkspacePaths, path: str) -> int | None:
    """Answer it here, and print that; None where a daemon has asked for the folder before it was answered."""
    redactor = Redactor()
    configure("text", redactor, level=logging.WARNING)
    streamed: list[str] = []
    with LiveLine() as line, interruptible() as leave:

        def hear(piece: str) -> None:
            line.stop()
            streamed.append(piece)
            put_answer(piece, end="")

        # Piped on, it is printed whole at the end: a call that breaks off is made again, from its beginning.
        listener = hear if sys.stdout.isatty() else None
        listeners = Listeners(
            on_text=lambda _run: listener, on_live=lambda _run, live: line.tell(live.shown, live.usage)
        )
        async with App(paths, redactor=redactor, parts=Parts(listeners=listeners)) as app:
            began = clock.utc()
            run = await answer_one(app, path, leave)
    if run.status.ended or run.status is RunStatus.HELD:
        earlier = _tell_earlier(run.path, run.status, run.completed_at, began)
        ended = _print(run, streamed=bool(streamed))
        if run.status.ended:
            usage = run.result.usage if run.result else Usage()
            took_s = between(run.started_at, run.completed_at)
            _tell_used(run.path, ended, None if earlier or run.run_id == "" else took_s, usage)
        return ended
    if streamed:
        put_answer("")
    if not leave.is_set():
        await handed_over(paths)
        return None
    say(f"rlmwatch: interrupted. {path} waits: it goes on when rlmwatch runs here, or with `rlmwatch answer {path}`")
    return INTERRUPTED


def _tell_used(path: str, failed: int, took_s: float | None, usage: Usage | UsageSoFar) -> None:
    """Say where it stands and what it took; without *took_s*, nothing was asked now."""
    name = input_name(path)
    parts = [] if name is None else [name.error if failed else name.output]
    if took_s is None:
        parts.append("nothing was asked, nothing spent")
    else:
        parts += used(took_s=took_s, tokens=(usage.input_tokens, usage.output_tokens), usd=usage.cost_usd)
    say_after(" · ".join(parts))


def _tell_earlier(path: str, status: RunStatus | JobStatus, completed_at: str | None, began: str) -> bool:
    """Say that the answer is an earlier one, if it is: nothing was asked now. Return whether."""
    if status.value == JobStatus.COMPLETE.value and completed_at is not None and completed_at < began:
        at, now = (datetime.fromisoformat(each).astimezone() for each in (completed_at, began))
        when = f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
        say(f"answered {when}, unchanged; `rlmwatch again {path}` asks anew")
        return True
    return False


def _print(run: Run, *, streamed: bool) -> int:
    result = run.result
    if run.status is RunStatus.COMPLETE and result is not None and result.answer is not None:
        put_answer("" if streamed else result.answer)
        if result.partial:
            say_after(f"cut short: {result.outcome}")
        return 0
    say(f"rlmwatch: {(result.error if result else run.held_for) or run.status}")
    return 1


async def _by_another(paths: WorkspacePaths, path: str) -> int | None:
    """
    Wait for the answer of who holds the workspace, and print it; None once nobody holds it any more.

    Raises:
        UsageError: There is no such file any more, another machine answers here, or the daemon does not take it up.
        InputError: It holds nothing to answer.
    """
    with suppress(ConfigError):
        me = this_host(own_name(paths.user_dir, os.environ, socket.gethostname()), paths.state.parent)
        if isinstance(rule := look_up(paths.root, me), Theirs):
            raise elsewhere(paths.root, me, rule.host)
    settings = _settings(paths)
    save = await read_one(paths.root, path, watch_config(settings))
    wanted = save.digest
    began = clock.utc()
    anew = await _material_changed(paths, path, wanted)
    if anew:
        await asyncio.to_thread(again, paths.root / path)  # the daemon asks anew, as for a save of the same bytes
    give_up = clock.monotonic() + SEEN_WITHIN_S
    async with AsyncExitStack() as stack:
        line = stack.enter_context(LiveLine())
        ledger = ledger_if_any(paths)
        if ledger is not None:
            stack.push_async_callback(ledger.aclose)
        while True:
            found = await asyncio.to_thread(_status_of, paths, path, wanted, began if anew else "")
            if found is not None and found.status.ended:
                break
            if found is not None:
                line.tell(found.progress, found.usage)
            who = await asyncio.to_thread(holder, paths.state, paths.root)
            if who is None:
                return None
            run = None if ledger is None else await _run_of(ledger, path, wanted)
            if who.serves and run is not None and run.status is RunStatus.HELD:
                line.stop()
                return _print(run, streamed=False)
            if found is None and clock.monotonic() > give_up and who.serves:
                raise UsageError(f"the daemon did not take up {path}; its log says why")
            await asyncio.sleep(POLL_S)
    earlier = _tell_earlier(path, found.status, found.completed_at, began)
    ended = _print_status(paths, path, found, marks=marks_of(settings, save))
    _tell_used(path, ended, None if earlier else between(found.started_at, found.completed_at), found.usage)
    return ended


def _print_status(paths: WorkspacePaths, path: str, found: StatusFile, *, marks: bool) -> int:
    """Print how the run ended that *found* is about; an output that was deleted is written anew."""
    if found.answer is None:
        say(f"rlmwatch: {found.error or found.outcome}")
        return 1
    if (name := input_name(path)) is not None and found.input_digest is not None:
        see = f"{JOBS}/{found.job_id}.json"
        line = mark(found.outcome or "", partial=found.partial, notes=found.notes, see=see)
        root = Root.open(paths.root)
        restore(root, name, found.input_digest, or_else=found.answer, or_else_mark=line, marks=marks)
    put_answer(found.answer)
    if found.partial:
        say_after(f"cut short: {found.outcome}")
    return 0


def _settings(paths: WorkspacePaths) -> Settings:
    """Return the settings; where the workspace's are wrong, the user's own."""
    try:
        return load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ).settings
    except ConfigError:
        return load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings


async def _run_of(ledger: Ledger[Any], path: str, wanted: str) -> Run | None:
    """Return the newest run of these bytes that the ledger knows."""
    name = input_name(path)
    recent = [] if name is None else await ledger.recent(NEWEST, name.conversation)
    return next((run for run in recent if run.path == path and run.digest == wanted), None)


async def _material_changed(paths: WorkspacePaths, path: str, wanted: str) -> bool:
    """Whether the bytes *wanted* of *path* were asked before, with another material than there is now."""
    settings = load(user_dir=paths.user_dir, workspace=None, environ=os.environ).settings
    ledger = ledger_of(paths)
    try:
        name = input_name(path)
        for run in await ledger.recent(NEWEST, name.conversation if name else None):
            if run.path == path:
                roots = settings.context.outside_roots
                return run.digest == wanted and await asyncio.to_thread(
                    changed, paths.root, run, run.options.get("context"), roots
                )
        return False
    finally:
        await ledger.aclose()


def _status_of(paths: WorkspacePaths, path: str, wanted: str, since: str) -> StatusFile | None:
    for number, found in enumerate(statuses(paths.root)):
        if found.input == path and found.input_digest == wanted and found.created_at >= since:
            return found
        if number >= NEWEST:
            break
    return None
