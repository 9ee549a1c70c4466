"""`rlmwatch answer FILE`: one input, now, here."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import datetime
from pathlib import Path

from rlmwatch import clock
from rlmwatch.cli.again import again
from rlmwatch.cli.files import place_of
from rlmwatch.cli.live import LiveLine
from rlmwatch.cli.output import put_answer, say
from rlmwatch.contract.documents import StatusFile
from rlmwatch.contract.names import input_name
from rlmwatch.contract.text import digest
from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.oneshot import answer as answer_one
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.errors import UsageError, WorkspaceBusy
from rlmwatch.execution.material import changed
from rlmwatch.execution.run_context import Listeners
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.settings.sources import load
from rlmwatch.workspace.owner import holder, is_served
from rlmwatch.workspace.polling import statuses

POLL_S = 0.25
"""How often the status files are looked at while a daemon answers: as a person would not notice."""
SEEN_WITHIN_S = 15.0
"""A daemon admits a settled file within 10 s at most; after this, it is not going to."""
NEWEST = 200
"""Status files looked at for the run of these bytes."""


def answer(file: Path, /) -> int:
    """
    Answer one input file now and print the answer. Needs no daemon; where one runs, it answers.

    Several at once in one workspace come one after the other.

    At a terminal, a line on standard error says meanwhile how far it is.

    Args:
        file: An input, such as chat_input.txt or notes/x_input.md.
    """
    place, path = place_of(file)
    if input_name(path) is None:  # said at once, whoever holds the workspace
        raise UsageError(f"{path} is not an input: its name must end in _input.txt, _input.md or the like")
    told = False
    while True:
        try:
            return asyncio.run(_here(place, path))
        except WorkspaceBusy:
            if not told:
                who = "a daemon" if is_served(place.state) else "another command"
                say(f"{who} answers here already: waiting for it")
                told = True
            ended = asyncio.run(_by_another(place, path))
        if ended is not None:
            return ended


async def _here(place: WorkspacePaths, path: str) -> int:
    redactor = Redactor()
    configure("text", redactor, level=logging.WARNING)
    heard: list[str] = []
    with LiveLine() as line:

        def hear(piece: str) -> None:
            line.stop()
            heard.append(piece)
            put_answer(piece, end="")

        # Piped on, it is printed whole at the end: a call that breaks off is made again, from its beginning.
        listener = hear if sys.stdout.isatty() else None
        listeners = Listeners(
            on_text=lambda _run: listener, on_live=lambda _run, live: line.tell(live.shown, live.usage)
        )
        async with App(place, redactor=redactor, parts=Parts(listeners=listeners)) as app:
            began = clock.utc()
            run = await answer_one(app, path)
    _tell_earlier(run.path, run.completed_at, began)
    return _print(run, heard=bool(heard))


def _tell_earlier(path: str, completed_at: str | None, began: str) -> None:
    """Say that the answer is an earlier one, if it is: nothing was asked now."""
    if completed_at is not None and completed_at < began:
        at, now = (datetime.fromisoformat(each).astimezone() for each in (completed_at, began))
        when = f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
        say(f"answered {when}, unchanged; `rlmwatch again {path}` asks anew")


def _print(run: Run, *, heard: bool) -> int:
    result = run.result
    if run.status is RunStatus.COMPLETE and result is not None and result.answer is not None:
        put_answer("" if heard else result.answer)
        if result.partial:
            say(f"cut short: {result.outcome}")
        return 0
    say(f"rlmwatch: {(result.error if result else run.held_for) or run.status}")
    return 1


async def _by_another(place: WorkspacePaths, path: str) -> int | None:
    """Wait for the answer of who holds the workspace, and print it; None once nobody holds it any more."""
    wanted, began = digest((place.root / path).read_bytes()), clock.utc()
    if await _material_changed(place, path, wanted):
        await asyncio.to_thread(again, place.root / path)  # the daemon asks anew, as for a save of the same bytes
        wanted_since = began
    else:
        wanted_since = ""
    give_up = clock.monotonic() + SEEN_WITHIN_S
    with LiveLine() as line:
        while True:
            found = await asyncio.to_thread(_status_of, place, path, wanted, wanted_since)
            if found is not None and found.status.ended:
                break
            if found is not None:
                line.tell(found.progress, found.usage)
            await asyncio.sleep(POLL_S)
            if holder(place.state) is None:
                return None
            if found is None and clock.monotonic() > give_up and is_served(place.state):
                raise UsageError(f"the daemon did not take up {path}; its log says why")
    if not wanted_since:
        _tell_earlier(path, found.completed_at, began)
    if found.answer is not None:
        put_answer(found.answer)
        return 0
    say(f"rlmwatch: {found.error or found.outcome}")
    return 1


async def _material_changed(place: WorkspacePaths, path: str, wanted: str) -> bool:
    """Whether the bytes *wanted* of *path* were asked before, with another material than there is now."""
    settings = load(user_dir=place.user_dir, workspace=None, environ=os.environ).settings
    ledger = ledger_of(place)
    try:
        name = input_name(path)
        for run in await ledger.recent(NEWEST, name.conversation if name else None):
            if run.path == path:
                roots = settings.context.outside_roots
                return run.digest == wanted and await asyncio.to_thread(
                    changed, place.root, run, run.options.get("context"), roots
                )
        return False
    finally:
        await ledger.aclose()


def _status_of(place: WorkspacePaths, path: str, wanted: str, since: str) -> StatusFile | None:
    for number, found in enumerate(statuses(place.root)):
        if found.input == path and found.input_digest == wanted and found.created_at >= since:
            return found
        if number >= NEWEST:
            break
    return None
