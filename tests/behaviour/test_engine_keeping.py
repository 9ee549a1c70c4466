"""Replies and steps are handed on while the ledger keeps them, and nothing that comes of them leaves before it has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes.engine import Bench, is_root, play, py
from fakes.memory import MemoryJournal

from rlmwatch.errors import LedgerError
from rlmwatch.runs.model import CallState, JournalEntry

ASKS_TWICE = [py("said = llm_query('one')\nprint(said)"), py("answer(llm_query('two'))")]


class Slow(MemoryJournal):
    """A journal whose disk takes its time to keep a reply, or has no room for it."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.both_intended = asyncio.Event()
        self.full = False

    async def intend(self, *args: Any, **kwargs: Any) -> JournalEntry | None:
        earlier = await super().intend(*args, **kwargs)
        if len(self.rows) == 2:
            self.both_intended.set()
        return earlier

    async def record(self, *args: Any, **kwargs: Any) -> None:
        await self.go_on.wait()
        if self.full:
            raise LedgerError("no room on the disk")
        await super().record(*args, **kwargs)

    def states(self) -> list[CallState]:
        return [row.state for row in self.rows]


@dataclass
class Played:
    """What the provider was asked, and how the journal stood then."""

    journal: Slow
    roots: list[list[CallState]] = field(default_factory=list)
    subs: list[list[CallState]] = field(default_factory=list)

    def __call__(self, request):
        (self.roots if is_root(request) else self.subs).append(self.journal.states())
        return play(ASKS_TWICE)(request)


def test_a_cell_runs_while_its_reply_is_kept_and_asks_nobody_before_that():
    """The code of a reply begins at once; what it asks is sent when the reply is durable."""

    async def run() -> Played:
        played = Played(Slow())
        bench = Bench(played, journal=played.journal)
        running = asyncio.create_task(bench.attempt())
        await played.journal.both_intended.wait()  # the cell has run up to its sub-call
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(played.roots), len(played.subs)) == (1, 0)
        played.journal.go_on.set()
        assert (await running).answer == "sub reply"
        return played

    played = asyncio.run(run())
    # Whenever the provider was asked, all but that call were durable.
    for states in played.roots + played.subs:
        assert states[:-1] == [CallState.DONE] * (len(states) - 1)
    assert played.journal.states() == [CallState.DONE] * 4


def test_a_reply_that_cannot_be_kept_ends_the_run_before_anything_more_is_paid():
    """With a full disk the run fails; the call that was to come next is given back unsent."""

    async def run() -> Played:
        played = Played(Slow())
        played.journal.full = True
        played.journal.go_on.set()
        with pytest.raises(LedgerError, match="no room"):
            await Bench(played, journal=played.journal).attempt()
        return played

    played = asyncio.run(run())
    assert (len(played.roots), len(played.subs)) == (1, 0)
    assert played.journal.states() == [CallState.INTENT, CallState.RELEASED]


def test_a_run_whose_last_reply_cannot_be_kept_has_no_answer():
    """The end waits for the last reply too: an answer that is published has a journal that is whole."""

    async def run() -> None:
        journal = Slow()
        journal.full = True
        journal.go_on.set()
        with pytest.raises(LedgerError, match="no room"):
            await Bench(play([py("answer(1)")]), journal=journal).attempt()

    asyncio.run(run())
