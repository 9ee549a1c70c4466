"""What calls have used: a value that runs, errors and budgets share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What was used. `cost_usd` is None while no call's price is known.

    Attributes:
        input_tokens: Tokens sent.
        output_tokens: Tokens received, reasoning included.
        cost_usd: US dollars; the sum over calls whose cost is known.
        llm_calls: Model calls.
        searches: Search calls.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    llm_calls: int = 0
    searches: int = 0

    def __add__(self, other: Usage) -> Usage:
        known = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            sum(known) if known else None,
            self.llm_calls + other.llm_calls,
            self.searches + other.searches,
        )
