"""Where a paid call stands: in which attempt of which run, at which step of which engine. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlmwatch.budget import Reservation
from rlmwatch.models.base import Request
from rlmwatch.runs.journal import Ceilings


@dataclass(frozen=True, slots=True)
class AttemptScope:
    """
    Which run and attempt calls, under which limits.

    Attributes:
        deadline: Monotonic seconds after which nothing is tried again.
        monotonic: Asks the monotonic clock.
        utc: Asks the wall clock, RFC 3339.
    """

    run_id: str
    attempt: int
    ceilings: Ceilings
    deadline: float
    monotonic: Callable[[], float]
    utc: Callable[[], str]


@dataclass(frozen=True, slots=True)
class CallSite:
    """
    Where in a run a call is made.

    Attributes:
        path: Which sub-engine; the run itself is `""`.
        step: The step of that engine.
        least: Fewer output tokens than this are no use: refuse instead.
        naming: What names the call in the journal, where the request itself holds what differs between attempts
            (the time). Only an engine's own call has one: if it is new while replies of the engine still wait to be
            handed out again, the replay has diverged.
        held: A reservation that was made for this call before; the call uses it up in any case.
        early: Hand the reply on while it is being committed. Whoever asks for that waits for `Calls.kept` in the end.
    """

    path: str = ""
    step: int = 0
    least: int = 1
    naming: Request | None = None
    held: Reservation | None = None
    early: bool = False


ROOT = CallSite()
