"""
The port to webhooks: which run's end is to be reported where, and how that went.

A delivery is made with its run (`Queue.admit`), so none is forgotten by a crash;
it may be sent once the run is published, so whoever receives it finds the status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    A run's end that is still to be reported.

    Attributes:
        url: Where to.
        attempts: How often it was tried.
        due_at: Before this RFC 3339 time it is not to be tried (again).
    """

    run_id: str
    url: str
    attempts: int
    due_at: str


class Deliveries(Protocol):
    """The webhooks of one workspace. All verbs are durable when they return."""

    async def deliveries(self) -> list[Delivery]:
        """Return what is still to be sent for runs that are published, the earliest due first."""
        ...

    async def tried(self, run_id: str, report: str, *, due_at: str | None, now: str) -> None:
        """
        Note an attempt and, in *report*, how it went; it is to be tried again at *due_at*, or never where that is None.

        Not a claim: if two programs try at once, both may succeed; what is sent carries an id for that.
        """
        ...
