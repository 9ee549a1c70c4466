"""What a model costs."""

from __future__ import annotations

import pytest

from rlmwatch.models.prices import Prices, Tokens

OPENROUTER = Prices("openrouter", "https://openrouter.ai/api/v1")
OPENAI = Prices("openai", "https://api.openai.com/v1")


def test_a_known_model_has_the_price_of_its_table():
    """The default models have a price, in dollars per token."""
    assert OPENROUTER.price("openai/gpt-4.1-mini") == pytest.approx((0.4e-6, 1.6e-6))
    assert OPENAI.price("gpt-4.1-mini") == pytest.approx((0.4e-6, 1.6e-6))


@pytest.mark.parametrize("model", ["no-such-model", "openai/gpt-4.1-mini:free", ""])
def test_an_unknown_price_is_unknown_and_never_zero(model):
    """A model that no table lists has no price, and a call of it no cost."""
    assert OPENROUTER.price(model) is None
    assert OPENROUTER.cost(model, Tokens(10, 10)) is None


def test_an_unknown_host_has_no_prices():
    """A model's name alone says nothing about what a stranger's server bills."""
    assert Prices("example.com", "https://example.com/v1").price("gpt-4.1-mini") is None


def test_a_provider_on_loopback_costs_nothing():
    """A local model is free, whatever its name."""
    local = Prices("local", "http://127.0.0.1:8080/v1")
    assert local.price("anything") == (0.0, 0.0)
    assert local.cost("gpt-4.1-mini", Tokens(1000, 1000)) == 0.0


def test_the_users_own_prices_win():
    """`[prices]` is per million tokens, and wins over the table and over loopback."""
    for url in ("https://openrouter.ai/api/v1", "http://127.0.0.1:1/v1"):
        prices = Prices("openrouter", url, {"openai/gpt-4.1-mini": (1.0, 2.0)})
        assert prices.price("openai/gpt-4.1-mini") == pytest.approx((1e-6, 2e-6))
        assert prices.cost("openai/gpt-4.1-mini", Tokens(10, 20)) == pytest.approx(50e-6)


@pytest.mark.parametrize(
    ("prices", "model"),
    [
        (OPENROUTER, "google/gemini-2.5-pro"),
        (OPENROUTER, "anthropic/claude-sonnet-4.5"),
        (OPENROUTER, "openai/gpt-4.1-mini"),
        (OPENAI, "gpt-4.1-mini"),
    ],
)
@pytest.mark.parametrize(
    "tokens",
    [
        Tokens(100, 100),
        Tokens(10**6, 100),
        Tokens(10**6, 10**5),
        Tokens(10**6, 1, 10**5, 10**5),
        Tokens(300, 1, 0, 300),
    ],
)
def test_no_call_costs_more_than_the_price_says(prices, model, tokens):
    """A reservation by the price holds, also in the dearest tier and when the provider fills its cache."""
    price = prices.price(model)
    cost = prices.cost(model, tokens)
    assert price is not None
    assert cost is not None
    assert 0 < cost <= (tokens.input * price[0] + tokens.output * price[1]) * (1 + 1e-9)


def test_what_comes_from_the_providers_cache_costs_less():
    """The cost of a call knows the discount for what the provider had already read."""
    cached = OPENAI.cost("gpt-4.1-mini", Tokens(1000, 10, cache_read=900))
    plain = OPENAI.cost("gpt-4.1-mini", Tokens(1000, 10))
    assert cached is not None
    assert plain is not None
    assert cached < plain


def test_cache_counts_that_make_no_sense_are_left_out():
    """More cached tokens than tokens: the cost is the plain one, and nothing raises."""
    assert OPENAI.cost("gpt-4.1-mini", Tokens(10, 10, cache_read=900)) == OPENAI.cost("gpt-4.1-mini", Tokens(10, 10))


def test_a_fee_per_request_makes_a_price_per_token_unknown():
    """A model with a fee per request has no bound per token: its price is unknown, so that a cap is not broken."""
    assert Prices("perplexity", "https://api.perplexity.ai").price("sonar-reasoning") is None
    cost = Prices("perplexity", "https://api.perplexity.ai").cost("sonar-reasoning", Tokens(1, 1))
    assert cost is not None
    assert cost > 0.01
