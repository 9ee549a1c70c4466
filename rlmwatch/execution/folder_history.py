"""
What the folder shows of earlier saves: whether one was answered before, and which of two is the later one.

No clock decides; machines' clocks differ, jump, and begin in 1970.

1. Inside one ledger the order of admission counts. It knows what came after a run without a look at the folder.
2. A run that was admitted since this program began to answer here is later than every run that its ledger does not
   know: nobody else admits meanwhile.
3. For a run that an earlier program left, a save that the ledger does not know is later where its number is above all
   that the folder showed when the run was admitted. Each new number is above all that its ledger and the folder show:
   the numbers of runs that wait on another machine, too.
4. Of the status files only those are read whose runs the ledger does not know: once, in the background, from the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rlmwatch.contract.documents import well_formed
from rlmwatch.contract.memory import last_asked
from rlmwatch.contract.names import InputName, input_name
from rlmwatch.errors import LedgerError, WorkspaceError
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import Queue
from rlmwatch.workspace.memory import ShownRun, beside, job_ids, shown_runs
from rlmwatch.workspace.publish import Later

ASKED_AT_ONCE = 5_000
"""Ids in one question to the ledger: some 10 ms, so that a paid call's reply does not wait."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """
    What the folder shows of an input.

    Attributes:
        answered: These bytes were the last that were answered, or whose run failed.
        number: The highest of its saves; 0 where there is none.
    """

    answered: bool
    number: int


@dataclass(slots=True)
class _Strangers:
    """The runs that the ledger does not know, by the paths of inputs and outputs."""

    number: dict[str, int] = field(default_factory=dict)  # of an input, the highest
    newest: dict[str, ShownRun] = field(default_factory=dict)  # of an input, that has ended
    answered: dict[tuple[str, str], int] = field(default_factory=dict)  # of an input and its bytes, the highest
    by_output: dict[str, list[ShownRun]] = field(default_factory=dict)  # those that have ended


@dataclass(slots=True)
class FolderHistory:
    """
    The history of one workspace, for one program: make a new one after another machine may have answered.

    Attributes:
        root: The workspace.
        ledger: Its runs.
    """

    root: Path
    ledger: Queue
    _reading: asyncio.Task[_Strangers] | None = None

    def begin(self) -> None:
        """Begin to read the status files, unless that was begun."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(_report)

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    async def shows(self, name: InputName, digest: str, *, known: bool, wait: bool = True) -> ShownAnswer:
        """
        Return what the folder shows of the bytes *digest* of *name*.

        The status files are asked too, once they are read; waited for only where the ledger does not know the path and
        nothing beside it says enough.

        Args:
            name: The input.
            digest: Of its bytes.
            known: Whether the ledger knows the path.
            wait: Whether to wait for the status files at all.

        Raises:
            WorkspaceError, LedgerError: It cannot be known now.
        """
        turns = await asyncio.to_thread(beside, self.root, name)
        last = last_asked(turns)
        answered = last is not None and last.digest == digest
        number = max((turn.number for turn in turns), default=0)
        if self._has_read() or (wait and not (known or answered)):
            strangers, path = await self._strangers(), well_formed(name.path)
            number = max(number, strangers.number.get(path, 0))
            newest = strangers.newest.get(path)
            answered = answered or (newest is not None and newest.digest == digest and not known)
        return ShownAnswer(answered, number)

    async def answered_elsewhere(self, run: Run) -> bool:
        """
        Whether another machine has answered the bytes of *run*, which an earlier program left, since it was admitted.

        Raises:
            WorkspaceError, LedgerError: It cannot be known now.
        """
        if input_name(run.path) is None:
            return False
        answered = (await self._strangers()).answered
        return answered.get((well_formed(run.path), run.digest), -1) > run.after

    async def later(self, run: Run, *, left_over: bool) -> Later:
        """
        Return what came after *run* and has ended.

        Args:
            run: The run.
            left_over: Whether an earlier program admitted it.

        Raises:
            WorkspaceError, LedgerError: It cannot be known now.
        """
        name = input_name(run.path)
        if name is None:
            return Later()
        ended = [each for each in await self.ledger.ended_after(run) if each.result is not None]
        told = [
            each for each in ended if each.result and not (each.result.answer is None and each.result.error is None)
        ]
        found = Later(
            frozenset(each.run_id for each in ended),
            answered=any(
                each.result and each.result.answer is not None and _output(each) == name.output for each in told
            ),
            ended=bool(told),
        )
        return await self._with_strangers(found, run, name) if left_over else found

    async def _with_strangers(self, found: Later, run: Run, name: InputName) -> Later:
        """Return *found* with the later saves that another machine answered (rule 3)."""
        turns = {
            turn.run_id
            for turn in await asyncio.to_thread(beside, self.root, name)
            if turn.run_id is not None and turn.number > run.after
        }
        strangers = [
            each for each in (await self._strangers()).by_output.get(name.output, []) if each.number > run.after
        ]
        turns = await self.ledger.unknown(turns - {run.run_id}) if turns else turns
        return Later(
            found.runs | turns | {each.run_id for each in strangers},
            answered=found.answered or bool(turns) or any(each.answered for each in strangers),
            ended=found.ended or bool(turns) or any(each.answered or each.failed for each in strangers),
        )

    def _has_read(self) -> bool:
        reading = self._reading
        return reading is not None and reading.done() and not reading.cancelled() and reading.exception() is None

    async def _strangers(self) -> _Strangers:
        if self._reading is not None and self._reading.done() and not self._has_read():
            self._reading = None  # it failed: the folder was away, or the ledger
        self.begin()
        if self._reading is None:
            raise AssertionError
        return await asyncio.shield(self._reading)

    async def _read(self) -> _Strangers:
        ids = await asyncio.to_thread(job_ids, self.root)
        found = _Strangers()
        for at in range(0, len(ids), ASKED_AT_ONCE):
            unknown = await self.ledger.unknown(ids[at : at + ASKED_AT_ONCE])
            _sort(await asyncio.to_thread(shown_runs, self.root, unknown), found)
        return found


def _sort(runs: Iterable[ShownRun], into: _Strangers) -> None:
    for run in runs:
        into.number[run.input] = max(into.number.get(run.input, 0), run.number)
        if not run.ended:
            continue
        if run.answered:
            asked = (run.input, run.digest)
            into.answered[asked] = max(into.answered.get(asked, 0), run.number)
        newest = into.newest.get(run.input)
        if newest is None or (run.number, run.saved_at) > (newest.number, newest.saved_at):
            into.newest[run.input] = run
        if (name := input_name(run.input)) is not None:
            into.by_output.setdefault(name.output, []).append(run)


def _output(run: Run) -> str | None:
    name = input_name(run.path)
    return None if name is None else name.output


def _report(reading: asyncio.Task[_Strangers]) -> None:
    """Log what nobody may have waited for."""
    if not reading.cancelled() and (error := reading.exception()) is not None:
        if not isinstance(error, LedgerError | WorkspaceError):
            log.error("history.unreadable", exc_info=error)
        else:
            log.warning("history.unreadable", why=str(error), done="read again when it is needed")
