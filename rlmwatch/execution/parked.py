"""Conversations that wait for their folder to take an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rlmwatch.runs.model import Run

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0
"""A folder that cannot be written to is asked again after this, doubling: a person mends it in minutes."""


@dataclass(frozen=True, slots=True)
class Parked:
    """
    A conversation that waits.

    Attributes:
        run: Its run that could not start, or not be published.
        retry_at: When the folder is asked again, in monotonic seconds.
        wait_s: The wait until then.
    """

    run: Run
    retry_at: float
    wait_s: float


def parked(run: Run, before: Parked | None, *, now: float) -> Parked:
    """Return how *run* waits, having waited as *before*; None for the first time."""
    wait_s = FIRST_RETRY_S if before is None else min(LONGEST_RETRY_S, before.wait_s * 2)
    return Parked(run, now + wait_s, wait_s)
