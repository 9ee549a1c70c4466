"""
What models were seen to bill beyond their price, so that the next calls reserve that.

Pure. A provider's own report wins over any table, so

1. until a model has replied once, nobody knows whether its price is true;
2. a reply that cost more than its tokens by the table raises the price of the model by as much, for both kinds of
   tokens; where the table has none, or says 0, what it cost is shared among its tokens;
3. such a model's calls reserve at least the least that one of them has cost: some bill by the call;
4. what was learned is never lowered: a reservation is an upper bound;
5. likewise for searches: until one has ended, nobody knows what they cost, and one that cost more than was reserved
   is what the next ones reserve.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rlmwatch.budget import CostBound
from rlmwatch.engine.call_codec import price_of
from rlmwatch.models.base import Model, Request
from rlmwatch.runs.model import Usage

NEAR_CALLS = 4
"""Less than this many calls of a model that bills beyond its price are left: calls go one at a time."""
ROUNDING = 1e-6
"""Of a cost: tables and providers round differently."""

PerToken = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Beyond:
    """US dollars per (input, output) token, and the least that a call has cost."""

    per_token: PerToken
    least_usd: float


@dataclass(slots=True)
class Costs:
    """What was learned, by provider and model, and by who searches."""

    _seen: dict[tuple[str, str], _Beyond | None] = field(default_factory=dict)
    _searches: dict[str, float] = field(default_factory=dict)
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def learn(self, model: Model, name: str, usage: Usage) -> None:
        """Take in what a reply of the model *name* has used and cost."""
        key = (model.provider, name)
        before = self._seen.setdefault(key, None)
        table = model.price(name)
        by_input, by_output = table or (0.0, 0.0)
        expected = usage.input_tokens * by_input + usage.output_tokens * by_output
        cost = usage.cost_usd or 0.0
        if cost <= expected * (1 + ROUNDING):
            return
        if expected > 0:
            factor = cost / expected
            per_token = (by_input * factor, by_output * factor)
        else:
            share = cost / max(1, usage.input_tokens + usage.output_tokens)
            per_token = (share, share)
        if before is not None:
            per_token = (max(per_token[0], before.per_token[0]), max(per_token[1], before.per_token[1]))
            cost = min(cost, before.least_usd)
        self._seen[key] = _Beyond(per_token, cost)

    @contextmanager
    def asking(self, model: Model, name: str) -> Iterator[None]:
        """Note that a call of the model *name* is under way."""
        key = (model.provider, name)
        self._asked[key] += 1
        try:
            yield
        finally:
            self._asked[key] -= 1

    def first_is_under_way(self, model: Model, name: str) -> bool:
        """Whether the model *name* is asked just now and has not replied before."""
        return not self.is_known(model, name) and self._asked[model.provider, name] > 0

    def is_known(self, model: Model, name: str) -> bool:
        """Whether the model *name* has replied, so that it is known what it bills."""
        return (model.provider, name) in self._seen

    def is_beyond(self, model: Model, name: str) -> bool:
        """Whether the model *name* was seen to bill more than its price."""
        return self._seen.get((model.provider, name)) is not None

    def price(self, model: Model, request: Request) -> CostBound | None:
        """Return the upper bound of what *request* may cost; None where nothing is known."""
        beyond = self._seen.get((model.provider, request.model))
        if beyond is None:
            return price_of(model.price(request.model), request)
        price = price_of(beyond.per_token, request)
        return price and CostBound(max(price.input_usd, beyond.least_usd), price.usd_per_output_token)

    def learn_search(self, provider: str, reserved_usd: float, usd: float) -> None:
        """Take in that a search by *provider* has ended, for which *reserved_usd* was reserved, and cost *usd*."""
        beyond = usd if usd > reserved_usd * (1 + ROUNDING) else 0.0
        self._searches[provider] = max(beyond, self._searches.get(provider, 0.0))

    def is_search_known(self, provider: str) -> bool:
        """Whether a search by *provider* has ended."""
        return provider in self._searches

    def search_usd(self, provider: str, listed_usd: float) -> float:
        """Return the upper bound of what a search may cost whose price is *listed_usd*."""
        return max(listed_usd, self._searches.get(provider, 0.0))
