"""Replies and steps are handed on while the ledger keeps them, and nothing that comes of them leaves before it has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.engine import EngineHarness, is_root, play, py
from fakes.memory import MemoryJournal

from rlmwatch.errors import LedgerError
from rlmwatch.runs.model import CallState
from rlmwatch.sandbox.base import HostFunction

ASKS_TWICE = [py("began()\nprint(llm_query('one'))"), py("answer(llm_query('two'))")]


class Slow(MemoryJournal):
    """A journal whose disk takes its time to keep a reply, or has no room for it."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.full = full

    async def record(self, *args: Any, **kwargs: Any) -> None:
        await self.go_on.wait()
        if self.full:
            raise LedgerError("no room on the disk")
        await super().record(*args, **kwargs)

    def states(self) -> list[CallState]:
        return [row.state for row in self.rows]


class Watched:
    """A run whose journal is looked at whenever the provider is asked, and whose cell says that it began."""

    def __init__(self, journal: Slow) -> None:
        self.journal = journal
        self.asked: list[list[CallState]] = []
        self.began = asyncio.Event()
        self.harness = EngineHarness(self._answer, journal=journal, tools={"began": self._tool})

    def _answer(self, request):
        self.asked.append(self.journal.states())
        return play(ASKS_TWICE)(request)

    def _tool(self, _call_site) -> HostFunction:
        async def began() -> None:
            self.began.set()

        return HostFunction("began", began, doc="began(): say that the code runs")


def test_a_cell_runs_while_its_reply_is_kept_and_asks_nobody_before_that():
    """The code of a reply begins at once; what it asks is intended and sent when the reply is durable."""

    async def run() -> None:
        watched = Watched(Slow())
        running = asyncio.create_task(watched.harness.attempt())
        await watched.began.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert watched.journal.states() == [CallState.INTENT]
        watched.journal.go_on.set()
        assert (await running).answer == "sub reply"
        # Whenever the provider was asked, all but that call were durable.
        assert watched.asked == [[CallState.DONE] * n + [CallState.INTENT] for n in range(4)]
        assert watched.journal.states() == [CallState.DONE] * 4

    asyncio.run(run())


def test_a_step_is_durable_before_the_next_request():
    """What the model was shown is kept before it is asked again: a replay tells it the same."""

    async def run() -> None:
        watched = Watched(Slow())
        watched.journal.go_on.set()
        harness, shown = watched.harness, []
        keep, answer = harness.trajectory.step, watched.harness.script

        async def slow_step(*args: Any) -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            await keep(*args)

        def count(request):
            shown.append((is_root(request), len(harness.trajectory.rows)))
            return answer(request)

        harness.trajectory.step, harness.script = slow_step, count
        assert (await harness.attempt()).answer == "sub reply"
        assert [rows for root, rows in shown if root] == [0, 1]
        assert len(harness.trajectory.rows) == 2

    asyncio.run(run())


def test_a_reply_that_cannot_be_kept_ends_the_run_before_anything_more_is_paid():
    """With a full disk the run fails; the call that was to come next is not even intended."""

    async def run() -> None:
        watched = Watched(Slow(full=True))
        watched.journal.go_on.set()
        with pytest.raises(LedgerError, match="no room"):
            await watched.harness.attempt()
        assert watched.asked == [[CallState.INTENT]]
        assert watched.journal.states() == [CallState.INTENT]

    asyncio.run(run())


def test_a_run_whose_last_reply_cannot_be_kept_has_no_answer():
    """The end waits for the last reply too: an answer that is published has a journal that is whole."""

    async def run() -> None:
        journal = Slow(full=True)
        journal.go_on.set()
        with pytest.raises(LedgerError, match="no room"):
            await EngineHarness(play([py("answer(1)")]), journal=journal).attempt()

    asyncio.run(run())
