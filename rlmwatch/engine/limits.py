"""
Limits of a run: the time it has, and the last call that is always affordable.

Pure. Work ends before the run does, so that time, tokens and money remain for
one more call that makes an answer of what was found (the synthesis).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlmwatch.budget import CostBound, Left
from rlmwatch.errors import BudgetExceeded
from rlmwatch.runs.model import Outcome

LEAST_TOKENS = 16
"""Fewer output tokens than this hold no answer."""
RESERVED_SHARE = 0.25
"""Of what is left, kept for the synthesis: the founding examples' 1,200 tokens then leave 900 for work."""
RESERVED_BYTES = 8_000
"""Of a synthesis' request, at most: about 2,000 tokens, the question and five or more findings."""
LEAST_BYTES = 1_200
"""Of a synthesis' request: the rules, and something of the question and of what was found."""
RESERVED_SECONDS = 30.0
"""For the synthesis, and at most `RESERVED_SHARE` of the run's time: as long as a slow provider writes a page."""
LATE_SHARE = 0.2
"""Of the time for work: when only this much of it is left, the model is told."""
MARGIN_SHARE = 0.02
"""Of the run's time: the engine ends this long (1 s at most) before whoever watches over it ends the run."""
SHORT_CALLS = 2
"""When less is left than this many whole calls, the model is told that the budget is nearly spent."""
SHORT_SHARE = 0.2
"""Of the money: when only this much of it is left, likewise."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """
    The times of a run, in monotonic seconds.

    Attributes:
        late_at: From here on the model is told that little time is left.
        work_until: Here work is cut off, and the synthesis begins.
        until: Here everything ends.
    """

    late_at: float
    work_until: float
    until: float

    @classmethod
    def of(cls, now: float, deadline: float) -> Deadlines:
        """Return the times of a run that begins *now* and must have ended at *deadline*."""
        whole = max(0.0, deadline - now)
        until = deadline - min(1.0, MARGIN_SHARE * whole)
        work_until = until - min(RESERVED_SECONDS, RESERVED_SHARE * whole)
        return cls(work_until - LATE_SHARE * max(0.0, work_until - now), work_until, until)


@dataclass(frozen=True, slots=True)
class SynthesisReserve:
    """
    What is kept for the synthesis.

    Attributes:
        tokens: Output tokens.
        request_bytes: Bytes of its request, at most.
    """

    tokens: int
    request_bytes: int

    @classmethod
    def of(cls, left: Left, tokens: int, per_token: tuple[float, float] | None) -> SynthesisReserve:
        """
        Return what to keep of *left*.

        Args:
            left: What is left before the engine's first call, as it is shown.
            tokens: Output tokens of one call.
            per_token: US dollars per input and output token; None where unknown.
        """
        if left.tokens is not None:
            tokens = min(tokens, int(left.tokens * RESERVED_SHARE))
        size = RESERVED_BYTES
        if left.usd is not None and per_token is not None:
            per_input, per_output = per_token
            share = left.usd * RESERVED_SHARE
            if per_output > 0:
                tokens = min(tokens, math.floor(share / 2 / per_output))
            if per_input > 0:
                size = min(size, math.floor(share / 2 / per_input))
        return cls(max(LEAST_TOKENS, tokens), max(LEAST_BYTES, size))

    def price(self, per_token: tuple[float, float] | None) -> CostBound | None:
        """Return the upper bound of what the synthesis may cost."""
        return None if per_token is None else CostBound(self.request_bytes * per_token[0], per_token[1])


def less(left: Left, tokens: int, usd: float) -> Left:
    """Return *left* without *tokens* and *usd*."""
    return Left(
        None if left.tokens is None else max(0, left.tokens - tokens),
        None if left.usd is None else max(0.0, left.usd - usd),
        left.searches,
    )


def is_short(left: Left, start: Left, tokens: int) -> bool:
    """Whether so little is *left* that the model should answer now."""
    if left.tokens is not None and left.tokens < SHORT_CALLS * tokens:
        return True
    return left.usd is not None and start.usd is not None and left.usd < SHORT_SHARE * start.usd


def outcome_of(spent: BudgetExceeded) -> Outcome:
    """Return why a run ended that a cap has stopped."""
    return Outcome.TOKEN_LIMIT if spent.cap == "max_tokens" else Outcome.COST_LIMIT
