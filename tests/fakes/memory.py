"""Journal and trajectory in memory, with the ports' promises; a kill is a new attempt on the same object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlmwatch.errors import CeilingReached, Fenced
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, JournalEntry, PaidCall, Usage
from rlmwatch.runs.trajectory import StepRecord


class Killed(Exception):
    """The process is gone."""


class Kill:
    """
    Ends an attempt at the *at*-th named point, or never: what it writes afterwards does not happen.

    Attributes:
        dead: Whether it struck.
        points: Points that were passed.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.dead = False
        self.points = 0

    def __call__(self, _point: str) -> None:
        self.points += 1
        if self.points == self.at:
            self.dead = True
        self.check()

    def check(self) -> None:
        if self.dead:
            raise Killed


class MemoryJournal:
    """
    One run's journal (port `Journal`). Its lies: one run, nothing is durable, a day never ends.

    Attributes:
        attempt: The attempt that owns the run; others are fenced.
        kill: What ends the attempt.
        rows: All entries, oldest first.
    """

    def __init__(self) -> None:
        self.attempt = 1
        self.kill = Kill()
        self.rows: list[JournalEntry] = []

    async def intend(
        self, run_id: str, attempt: int, call: PaidCall, *, ceilings: Ceilings, now: str
    ) -> JournalEntry | None:
        self.kill.check()
        if attempt != self.attempt:
            raise Fenced(run_id)
        for at, row in enumerate(self.rows):
            if row.call.key == call.key and row.state is CallState.DONE:
                return row
            if row.call.key == call.key and row.state is CallState.INTENT:
                self.rows[at] = replace(row, state=CallState.LOST)
        spent = (await self.spent_usd(now=now))[0]
        if ceilings.per_day_usd is not None and spent + (call.reserved_usd or 0.0) > ceilings.per_day_usd:
            raise CeilingReached("the day's ceiling", cap="per_day", limit=ceilings.per_day_usd, used=spent)
        self.rows.append(JournalEntry(call, CallState.INTENT, attempt, now))
        return None

    async def record(self, run_id: str, key: str, reply: Mapping[str, Any], usage: Usage, *, now: str) -> None:
        self._end(key, CallState.DONE, reply=reply, usage=usage, ended_at=now)

    async def release(self, run_id: str, key: str, *, now: str) -> None:
        self._end(key, CallState.RELEASED, ended_at=now)

    async def lose(self, run_id: str, key: str, *, usage: Usage | None, now: str) -> None:
        self._end(key, CallState.LOST, usage=usage, ended_at=now)

    async def entries(self, run_id: str) -> list[JournalEntry]:
        return list(self.rows)

    async def spent_usd(self, *, now: str, of_user: bool = False) -> tuple[float, float]:
        spent = sum(
            (row.usage.cost_usd if row.usage else row.call.reserved_usd) or 0.0
            for row in self.rows
            if row.state is not CallState.RELEASED
        )
        return spent, spent

    def tokens(self) -> int:
        """Output tokens that were paid or may have been: what no cap may be exceeded by."""
        return sum(
            row.usage.output_tokens if row.usage else row.call.reserved_tokens
            for row in self.rows
            if row.state is not CallState.RELEASED
        )

    def done(self) -> list[str]:
        """The keys of the replies that are kept."""
        return [row.call.key for row in self.rows if row.state is CallState.DONE]

    def _end(self, key: str, state: CallState, **changes: Any) -> None:
        self.kill.check()
        for at, row in enumerate(self.rows):
            if row.call.key == key and row.state is CallState.INTENT:
                self.rows[at] = replace(row, state=state, **changes)


class MemoryTrajectory:
    """The steps of one run (port `Trajectory`); ended by the same kill as *journal*."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.rows: dict[tuple[str, int], StepRecord] = {}

    async def step(self, run_id: str, record: StepRecord) -> None:
        self.journal.kill.check()
        self.rows[record.path, record.step] = record

    async def steps(self, run_id: str) -> list[StepRecord]:
        return list(self.rows.values())

    @property
    def shown(self) -> list[str]:
        """What the run's own model was told, step by step."""
        return [record.shown for record in self.rows.values() if not record.path]
