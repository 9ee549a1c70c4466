"""
Budgets: reserve before a paid call, settle after it.

Pure: no clock, no disk. Budgets form a tree: a sub-engine under its run, a run
under its session. A call is allowed when it fits under every cap on its way up:

1. `reserve` takes output tokens and money from this budget and all above it,
   before the call; the tokens granted may be fewer than asked for, and the
   request's own `max_tokens` is set to what was granted.
2. `settle` gives the reservation back and books what was really used.
3. What is reserved counts as used until it is settled, so calls side by side
   cannot overshoot together.
4. Where a model's price is unknown, a cost cap refuses the call (`UnknownPrice`):
   who lets such a model answer assumes a price for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlmwatch.errors import BudgetExceeded, UnknownPrice


@dataclass(frozen=True, slots=True)
class Caps:
    """
    The caps of one budget; None means no cap.

    Attributes:
        max_tokens: Output tokens, reasoning included.
        max_cost_usd: US dollars.
        max_searches: Searches.
    """

    max_tokens: int | None = None
    max_cost_usd: float | None = None
    max_searches: int | None = None


@dataclass(frozen=True, slots=True)
class CostBound:
    """What a call may cost: for its input at most, and per output token. US dollars."""

    input_usd: float
    usd_per_output_token: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    What one call may use, at most.

    Attributes:
        tokens: Output tokens granted.
        usd: Upper bound of the cost; None where the price is unknown.
        searches: Searches granted.
    """

    tokens: int
    usd: float | None
    searches: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """What is left under all caps on the way up; None means no cap."""

    tokens: int | None
    usd: float | None
    searches: int | None


@dataclass(slots=True)
class Budget:
    """
    One node of the tree of budgets.

    Attributes:
        name: Whose budget it is, for errors (`run`, `session`).
        caps: Its own caps.
        parent: The budget that this one is part of.
        tokens: Output tokens used.
        usd: US dollars used.
        searches: Searches used.
    """

    name: str
    caps: Caps = field(default_factory=Caps)
    parent: Budget | None = None
    tokens: int = 0
    usd: float = 0.0
    searches: int = 0
    _held_tokens: int = 0
    _held_usd: float = 0.0
    _held_searches: int = 0

    def reserve(self, tokens: int, price: CostBound | None, *, least: int = 1) -> Reservation:
        """
        Reserve one model call of up to *tokens* output tokens, here and above.

        Args:
            tokens: Output tokens wanted.
            price: What it may cost; None where unknown.
            least: Fewer tokens than this are no use: refuse instead.

        Returns:
            The reservation; its `tokens` may be fewer than asked for.

        Raises:
            BudgetExceeded: Not even *least* tokens fit; names the cap. Nothing is reserved.
            UnknownPrice: The price is unknown and there is a cost cap.
        """
        least = min(least, tokens)
        granted = tokens
        for node in self._up():
            granted = min(granted, node._fits(granted, least, price))
        usd = None if price is None else price.input_usd + granted * price.usd_per_output_token
        self._hold(granted, usd or 0.0, 0)
        return Reservation(granted, usd)

    def reserve_search(self, usd: float) -> Reservation:
        """
        Reserve one search of at most *usd*, here and above.

        Raises:
            BudgetExceeded: It does not fit; names the cap. Nothing is reserved.
        """
        for node in self._up():
            caps = node.caps
            if caps.max_searches is not None and node.searches + node._held_searches >= caps.max_searches:
                raise node._exceeded("max_searches", caps.max_searches, node.searches)
            if caps.max_cost_usd is not None and node._usd_left() < usd:
                raise node._exceeded("max_cost_usd", caps.max_cost_usd, node.usd)
        self._hold(0, usd, 1)
        return Reservation(0, usd, 1)

    def settle(self, held: Reservation, *, tokens: int, usd: float | None, searches: int = 0) -> None:
        """
        Give *held* back and book what was used; once per reservation.

        What was used is booked as it is, also where a provider exceeded what it was asked for.
        """
        self._hold(-held.tokens, -(held.usd or 0.0), -held.searches)
        for node in self._up():
            node.tokens += tokens
            node.usd += usd or 0.0
            node.searches += searches

    def release(self, held: Reservation) -> None:
        """Give *held* back: nothing was used."""
        self.settle(held, tokens=0, usd=0.0)

    def left(self) -> Left:
        """Return what is left under all caps on the way up."""
        nodes = list(self._up())
        tokens = [n.caps.max_tokens - n.tokens - n._held_tokens for n in nodes if n.caps.max_tokens is not None]
        usd = [n._usd_left() for n in nodes if n.caps.max_cost_usd is not None]
        searches = [
            n.caps.max_searches - n.searches - n._held_searches for n in nodes if n.caps.max_searches is not None
        ]
        return Left(
            max(0, min(tokens)) if tokens else None,
            max(0.0, min(usd)) if usd else None,
            max(0, min(searches)) if searches else None,
        )

    def _up(self) -> Iterator[Budget]:
        node: Budget | None = self
        while node is not None:
            yield node
            node = node.parent

    def _hold(self, tokens: int, usd: float, searches: int) -> None:
        for node in self._up():
            node._held_tokens += tokens
            node._held_usd += usd
            node._held_searches += searches

    def _usd_left(self) -> float:
        return (self.caps.max_cost_usd or 0.0) - self.usd - self._held_usd

    def _fits(self, tokens: int, least: int, price: CostBound | None) -> int:
        """Return how many of *tokens* fit under this node's own caps, at least *least*."""
        caps = self.caps
        if caps.max_tokens is not None:
            tokens = min(tokens, caps.max_tokens - self.tokens - self._held_tokens)
            if tokens < least:
                raise self._exceeded("max_tokens", caps.max_tokens, self.tokens)
        if caps.max_cost_usd is None:
            return tokens
        if price is None:
            raise UnknownPrice(
                f"max_cost_usd = {caps.max_cost_usd:g} is set, but the model's price is not known; "
                "add it to [prices] in your config.toml, or remove the cap"
            )
        left = self._usd_left() - price.input_usd
        if left < 0:
            tokens = 0
        elif left < tokens * price.usd_per_output_token:
            # One token less than the division says: binary fractions must never add up to more than the cap.
            tokens = max(0, math.floor(left / price.usd_per_output_token) - 1)
        if tokens < least:
            raise self._exceeded("max_cost_usd", caps.max_cost_usd, self.usd, price.input_usd)
        return tokens

    def _exceeded(self, cap: str, limit: float, used: float, asked: float = 0.0) -> BudgetExceeded:
        needs = f", and the next call needs {asked:.3g} for its input alone" if asked else ""
        return BudgetExceeded(
            f"the {self.name}'s budget is spent: {cap} is {limit:g}, {used:g} used{needs}; "
            f"raise {cap} in the front matter or the settings",
            cap=cap,
            limit=limit,
            used=used,
        )
