"""
What a model costs, in US dollars.

In this order:

1. `[prices]` of the user's configuration;
2. what the provider publishes in its own list of models (`published.py`);
3. a provider on loopback costs nothing;
4. the price table that genai-prices brings along (never updated over the network);
5. otherwise the price is unknown: None, never 0.

A cost that the provider reports wins over all of these; that is the model's business, not this table's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from rlmwatch import clock
from rlmwatch.addresses import is_loopback

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

PER_MILLION = 1e-6
"""Price tables speak of a million tokens."""

PRICE_WINDOW_H = 24
"""Hours ahead over which the upper bound must hold: some prices depend on the time of day, and runs take time."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """
    The tokens of one call, as the provider counted them.

    Attributes:
        input: All tokens sent, those of the cache included.
        output: All tokens received, reasoning included.
        cache_read: Those of `input` that the provider had in its cache.
        cache_written: Those of `input` that it put there.
    """

    input: int
    output: int
    cache_read: int = 0
    cache_written: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """
    The prices of one provider's models.

    Attributes:
        provider: Short name of the provider (`openrouter`, `openai`, a host).
        base_url: Where it is.
        overrides: `[prices]`: model → (US dollars per million input tokens, per million output tokens).
        published: The provider's own list: model → US dollars per (input token, output token); it may grow meanwhile.
    """

    provider: str
    base_url: str
    overrides: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def price(self, model: str) -> tuple[float, float] | None:
        """
        Return US dollars per (input token, output token), at most; None where unknown.

        An upper bound for text: the highest tier, the dearest hour of the coming day, and writing to the
        provider's cache where that costs more than reading the prompt. A model that also takes a fee per
        request has no bound per token, so its price counts as unknown.
        """
        fixed = self._fixed(model)
        if fixed is not None:
            return fixed
        info = self._find(model)
        if info is None:
            return None
        bounds = [_bound(prices) for prices in _prices_ahead(info, _now())]
        known = [bound for bound in bounds if bound is not None]
        if not known or len(known) != len(bounds):
            return None
        return max(into for into, _ in known), max(out for _, out in known)

    def cost(self, model: str, tokens: Tokens) -> float | None:
        """Return what a call that used *tokens* costs, in US dollars; None where the price is unknown."""
        fixed = self._fixed(model)
        if fixed is not None:
            return tokens.input * fixed[0] + tokens.output * fixed[1]
        info = self._find(model)
        prices = info.get_prices(_now()) if info is not None else None
        if prices is None or prices.input_mtok is None or prices.output_mtok is None:
            return None
        return _exact(prices, tokens)

    def _fixed(self, model: str) -> tuple[float, float] | None:
        """Return the price that needs no table: the user's own, the provider's own, or nothing on loopback."""
        if model in self.overrides:
            into, out = self.overrides[model]
            return into * PER_MILLION, out * PER_MILLION
        if model in self.published:
            return self.published[model]
        return (0.0, 0.0) if is_loopback(self.base_url) else None

    def _find(self, model: str) -> ModelInfo | None:
        from genai_prices.data_snapshot import get_snapshot

        known = self.provider if self.provider in ("openrouter", "openai") else None
        try:
            _, info = get_snapshot().find_provider_model(model, None, known, None if known else self.base_url)
        except LookupError:
            return None
        return info


def _now() -> datetime:
    return datetime.fromisoformat(clock.utc())


def _prices_ahead(info: ModelInfo, now: datetime) -> list[ModelPrice]:
    """Return every price list that holds at some time of the coming day (their hours begin on half hours)."""
    ahead: list[ModelPrice] = []
    for half_hours in range(2 * PRICE_WINDOW_H + 1):
        prices = info.get_prices(now + timedelta(minutes=30 * half_hours))
        if not any(prices is seen for seen in ahead):
            ahead.append(prices)
    return ahead


def _bound(prices: ModelPrice) -> tuple[float, float] | None:
    """Return the dearest (input, output) in US dollars per token of one price list."""
    if prices.input_mtok is None or prices.output_mtok is None or prices.requests_kcount:
        return None
    into = max(_dearest(price) for price in (prices.input_mtok, prices.cache_write_mtok) if price is not None)
    return into * PER_MILLION, _dearest(prices.output_mtok) * PER_MILLION


def _dearest(price: Decimal | TieredPrices) -> float:
    if isinstance(price, Decimal):
        return float(price)
    return float(max([price.base, *(tier.price for tier in price.tiers)]))


def _exact(prices: ModelPrice, tokens: Tokens) -> float | None:
    """Return the cost under *prices*, without the cache's discount where its counts make no sense."""
    from genai_prices import Usage

    plain = Usage(input_tokens=tokens.input, output_tokens=tokens.output)
    cached = Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_written,
    )
    for usage in (cached, plain):
        try:
            return float(prices.calc_price(usage)["total_price"])
        except ValueError:
            continue
    return None
