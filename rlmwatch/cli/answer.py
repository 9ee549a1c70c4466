"""`rlmwatch answer FILE`: one input, now, here."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rlmwatch import clock
from rlmwatch.cli.again import ask_again
from rlmwatch.cli.arguments import Json
from rlmwatch.cli.files import paths_of
from rlmwatch.cli.layout import between, used
from rlmwatch.cli.live import LiveLine
from rlmwatch.cli.main import INTERRUPTED
from rlmwatch.cli.output import print_json, put_answer, say, say_after
from rlmwatch.cli.waiting import interruptible
from rlmwatch.cli.warned import warn_in_words
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.marks import mark
from rlmwatch.contract.names import JOBS, input_name
from rlmwatch.contract.state_words import STATES, with_reason, word_of
from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.handover import handed_over
from rlmwatch.daemon.logging import Format, Redactor, configure
from rlmwatch.daemon.oneshot import answer as answer_one
from rlmwatch.daemon.oneshot import no_longer_known
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.save_rules import marks_of, watch_config
from rlmwatch.daemon.service import elsewhere
from rlmwatch.daemon.stores import ledger_if_any, ledger_of
from rlmwatch.errors import ConfigError, UsageError, WorkspaceBusy
from rlmwatch.execution.material import changed
from rlmwatch.execution.run_context import Listeners
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.retention import answer_lost
from rlmwatch.runs.model import Run, RunStatus, Save
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load, own_name
from rlmwatch.watch.one import read_one
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.hosts import Theirs, look_up, this_host
from rlmwatch.workspace.owner import Holder, holder, is_served
from rlmwatch.workspace.polling import statuses
from rlmwatch.workspace.publish import restore
from rlmwatch.workspace.status import DaemonProcess, Live, build

POLL_S = 0.25
"""How often the status files are looked at while a daemon answers: as a person would not notice."""
SEEN_WITHIN_S = 15.0
"""A daemon admits a settled file within 10 s at most; after this, it is not going to."""
NEWEST = 200
"""Status files looked at for the run of these bytes."""


class AnsweredQuestion(StatusFile):
    """
    What `answer --json` prints: the status of the run.

    Attributes:
        asked: Whether it was asked now; False where the answer is an earlier one, and nothing was spent.
    """

    asked: bool


@dataclass(frozen=True, slots=True)
class _Answered:
    """
    How it went.

    Attributes:
        status: Of the run, ended or held.
        asked: As in `AnsweredQuestion`.
        streamed: Whether the answer was printed as it came.
    """

    status: StatusFile
    asked: bool
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class _AnswerForm:
    as_json: bool
    log_format: Format | None


def answer(
    file: Path,
    /,
    *,
    as_json: Json = False,
    log_format: Literal["text", "json"] | None = None,
) -> int:
    """
    Answer one question now and print the answer. Needs no daemon; where one runs, it answers.

    Several at once in one workspace come one after the other.

    Standard output has the answer and nothing else. The last line on standard error is the answer's file, how long it
    took, its tokens and what it cost; at a terminal, a line there says meanwhile how far it is.

    Args:
        file: The file of a question, such as chat_input.txt or notes/x_input.md.
        as_json: Print JSON: how the run ended, with the answer.
        log_format: Write the log to standard error, too: text for people, json for programs. Default is warnings alone.
    """
    paths, path = paths_of(file)
    name = input_name(path)
    if name is None:  # said at once, whoever holds the workspace
        raise UsageError(f"{path} is not an input: its name must end in _input.txt, _input.md or the like")
    how = _AnswerForm(as_json, log_format)
    who: str | None = None
    try:
        while True:
            try:
                ended = asyncio.run(_here(paths, path, how))
                who = "the daemon that has started here"
                if ended is None:
                    say(f"{who} goes on with it")
            except WorkspaceBusy:
                if who is None:
                    who = "a daemon" if is_served(paths.state, paths.root) else "another command"
                ended = None
            if ended is None:
                ended = asyncio.run(_by_another(paths, path, who))
            if isinstance(ended, int):
                return ended
            if ended is not None:
                return _print(path, ended, how)
    except KeyboardInterrupt:
        goes_on = f"{who} goes on, and its answer comes to {name.output}" if who else "it was not asked yet"
        say(f"rlmwatch: interrupted. {path}: {goes_on}")
        raise


async def _here(paths: WorkspacePaths, path: str, how: _AnswerForm) -> _Answered | int | None:
    """Answer it here; None where a daemon has asked for the folder before it was answered."""
    redactor = Redactor()
    if how.log_format is None:
        warn_in_words(redactor)
    else:
        configure(how.log_format, redactor, level=logging.INFO)
    streamed: list[str] = []
    with LiveLine() as line, interruptible() as leave:

        def hear(piece: str) -> None:
            line.stop()
            streamed.append(piece)
            put_answer(piece, end="")

        # Piped on, it is printed whole at the end: a call that breaks off is made again, from its beginning.
        listener = hear if sys.stdout.isatty() and not how.as_json else None
        listeners = Listeners(
            on_text=lambda _run: listener, on_live=lambda _run, live: line.tell(live.shown, live.usage)
        )
        async with App(paths, redactor=redactor, parts=Parts(listeners=listeners)) as app:
            began = clock.utc()
            run = await answer_one(app, path, leave)
            by = DaemonProcess(app.host, os.getpid())
    if run.status.ended or run.status is RunStatus.HELD:
        found = build(run, live=Live(), by=by, now=clock.utc())
        return _Answered(found, asked=_is_new(found, began) and run.run_id != "", streamed=bool(streamed))
    if streamed:
        put_answer("")
    if not leave.is_set():
        await handed_over(paths)
        return None
    say(f"rlmwatch: interrupted. {path} waits: it goes on when rlmwatch runs here, or with `rlmwatch answer {path}`")
    return INTERRUPTED


def _is_new(found: StatusFile, began: str) -> bool:
    """Whether the run that has the status *found* ended after *began*, or has not ended."""
    return found.completed_at is None or found.completed_at >= began


def _print(path: str, ended: _Answered, how: _AnswerForm) -> int:
    """Print the answer, and one line on what it is and what it took; return the exit status."""
    found = ended.status
    answered = found.answer is not None and found.status is JobStatus.COMPLETE
    if how.as_json:
        values = found.model_dump(mode="json")
        print_json(AnsweredQuestion(**values, asked=ended.asked).model_dump(mode="json"))
        return 0 if answered else 1
    if answered:
        put_answer("" if ended.streamed else found.answer or "")
    else:
        reason = with_reason(found.status.value, outcome=found.outcome)
        say(f"rlmwatch: {found.error or reason}")
    if found.status.ended:
        say_after(" · ".join(_facts(path, ended, answered=answered)))
    return 0 if answered else 1


def _facts(path: str, ended: _Answered, *, answered: bool) -> list[str]:
    """Return the file, what the answer is where it is not whole, and what it took."""
    found, name = ended.status, input_name(path)
    parts = [] if name is None else [name.output if answered else name.error]
    if answered and word_of(found) != STATES["complete"]:
        parts.append(with_reason(found.status.value, outcome=found.outcome, partial=found.partial, notes=found.notes))
    if ended.asked:
        took_s = between(found.started_at, found.completed_at)
        tokens = (found.usage.input_tokens, found.usage.output_tokens)
        return parts + used(took_s=took_s, tokens=tokens, usd=found.usage.cost_usd)
    parts.append("nothing was asked, nothing spent")
    if found.completed_at is not None:
        at, now = (datetime.fromisoformat(each).astimezone() for each in (found.completed_at, clock.utc()))
        when = f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
        how = STATES["complete"] if answered else word_of(found)
        parts.append(f"{how} {when}, unchanged; `rlmwatch again {path}` asks anew")
    return parts


async def _by_another(paths: WorkspacePaths, path: str, other: str | None) -> _Answered | None:
    """
    Wait for the answer of who holds the workspace, *other* in words; None once nobody holds it any more.

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
        await asyncio.to_thread(ask_again, paths, path)  # the daemon asks anew, as for a save of the same bytes
    give_up, told = clock.monotonic() + SEEN_WITHIN_S, other is None
    async with AsyncExitStack() as stack:
        line = stack.enter_context(LiveLine())
        ledger = ledger_if_any(paths)
        if ledger is not None:
            stack.push_async_callback(ledger.aclose)
        while True:
            found = await asyncio.to_thread(_status_of, paths, path, wanted, began if anew else "")
            if found is not None and found.status.ended:
                break
            if not told:
                told = True
                say(f"{other} answers here already: waiting for it")
            _tell(line, found)
            who = await asyncio.to_thread(holder, paths.state, paths.root)
            if who is None:
                return None
            run = None if ledger is None else await _run_of(ledger, path, wanted)
            known = await asyncio.to_thread(_by_ledger, paths, save, run, who, ended=found is None and not anew)
            if known is not None:
                found = known
                break
            if found is None and clock.monotonic() > give_up and who.serves:
                raise UsageError(f"the daemon did not take up {path}; its log says why")
            await asyncio.sleep(POLL_S)
    _restore(paths, path, found, marks=marks_of(settings, save))
    return _Answered(found, asked=found.status.ended and _is_new(found, began))


def _by_ledger(paths: WorkspacePaths, save: Save, run: Run | None, who: Holder, *, ended: bool) -> StatusFile | None:
    """
    Return how *run*, that of *save*, is held by the daemon *who*; where *ended*, also how it ended.

    Raises:
        UsageError: It has ended, and its answer is no longer kept.
    """
    if run is None or not ((run.published and ended) or (run.status is RunStatus.HELD and who.serves)):
        return None
    found = build(run, live=Live(), by=DaemonProcess(who.host or "", who.pid), now=clock.utc())
    if (lost := answer_lost(run)) is None:
        return found
    name = input_name(save.path)
    text = None if name is None else restore(Root.open(paths.root), name, save.digest)
    if text is None:
        raise no_longer_known(save, lost)
    return found.model_copy(update={"answer": text})


def _tell(line: LiveLine, found: StatusFile | None) -> None:
    if found is not None:
        line.tell(found.progress, found.usage)


def _restore(paths: WorkspacePaths, path: str, found: StatusFile, *, marks: bool) -> None:
    """Write the output anew, where it was deleted."""
    if found.answer is not None and (name := input_name(path)) is not None and found.input_digest is not None:
        see = f"{JOBS}/{found.job_id}.json"
        line = mark(found.outcome or "", partial=found.partial, notes=found.notes, see=see)
        root = Root.open(paths.root)
        restore(root, name, found.input_digest, or_else=found.answer, or_else_mark=line, marks=marks)


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
