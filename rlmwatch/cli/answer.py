"""`rlmwatch answer FILE`: one input, now, here."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from rlmwatch import clock
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
from rlmwatch.errors import UsageError, WorkspaceBusy
from rlmwatch.execution.run_context import Listeners
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.workspace.health import Root
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
            run = await answer_one(app, path)
    return _print(run, heard=bool(heard))


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
    wanted = digest((place.root / path).read_bytes())
    give_up = clock.monotonic() + SEEN_WITHIN_S
    with LiveLine() as line:
        while True:
            found = await asyncio.to_thread(_status_of, place, path, wanted)
            if found is not None and found.status.ended:
                break
            if found is not None:
                line.tell(found.progress, found.usage)
            await asyncio.sleep(POLL_S)
            if holder(place.state) is None:
                return None
            if found is None and clock.monotonic() > give_up and is_served(place.state):
                raise UsageError(f"the daemon did not take up {path}; its log says why")
    if found.answer is not None:
        if (name := input_name(path)) is not None:
            restore(Root.open(place.root), name, wanted, or_else=found.answer)
        put_answer(found.answer)
        return 0
    say(f"rlmwatch: {found.error or found.outcome}")
    return 1


def _status_of(place: WorkspacePaths, path: str, wanted: str) -> StatusFile | None:
    for number, found in enumerate(statuses(place.root)):
        if found.input == path and found.input_digest == wanted:
            return found
        if number >= NEWEST:
            break
    return None
