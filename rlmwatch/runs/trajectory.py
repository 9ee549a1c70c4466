"""
The port to the trajectory: every step of every run, for `rlmwatch show RUN`.

A record is compact: a call's request and reply stand in the journal, under keys
that begin with the step's path and number; a record holds what only the sandbox knew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rlmwatch.runs.model import Usage

Ended = Literal["ok", "answered", "raised", "interrupted", "killed", "no_code", "cut"]
"""
How a cell ended. `killed`: its session was ended, by its time limit or its own doing; `no_code` and `cut`: nothing
ran, since the reply held no code or was cut at its token limit.
"""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """
    One step of an engine.

    Attributes:
        path: Which sub-engine; the run itself is `""`.
        step: 1-based, within that engine.
        attempt: Attempt of the run that ran it last.
        code: What ran; None where nothing did.
        shown: What the model was shown of it, word by word.
        ended: See `Ended`.
        answer: What it gave to `answer` as a JSON value; None where it gave nothing that counts.
        usage: Of the model's reply and of all calls that the cell made, sub-engines included.
        started_at: RFC 3339, before the model was asked.
        cell_s: Seconds that the code ran, without waiting for calls.
        calls_s: Seconds that the code waited for calls.
    """

    path: str
    step: int
    attempt: int
    code: str | None
    shown: str
    ended: Ended
    answer: Any = None
    usage: Usage = field(default_factory=Usage)
    started_at: str = ""
    cell_s: float = 0.0
    calls_s: float = 0.0


class Trajectory(Protocol):
    """The steps of all runs. All verbs are durable when they return."""

    async def step(self, run_id: str, record: StepRecord) -> None:
        """Store *record*; one of an earlier attempt with the same path and step is replaced. Never paid: no fence."""
        ...

    async def steps(self, run_id: str) -> list[StepRecord]:
        """Return the steps of one run, in the order in which they were first stored."""
        ...
