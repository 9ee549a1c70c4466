"""What providers bill beyond their price becomes the reservation of the next calls."""

import pytest

from rlmwatch.engine.costs import Costs
from rlmwatch.models.base import Message, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.model import Usage

REQUEST = Request("m", (Message("user", "x" * 84),), 100)  # 100 tokens in at most, with the template's


def model(per_token=(1e-6, 2e-6)):
    return ScriptedModel([], usd_per_token=per_token)


def bound(costs, asked):
    price = costs.price(asked, REQUEST)
    return price.input_usd + REQUEST.max_tokens * price.usd_per_output_token


def test_1_a_model_is_known_once_it_has_replied():
    """Before its first reply nobody knows whether a model's price is true."""
    costs = Costs()
    assert not costs.is_known(model(), "m")
    costs.learn(model(), "m", Usage(10, 10, 3e-5, 1))
    assert costs.is_known(model(), "m")
    assert not costs.is_beyond(model(), "m")
    assert bound(costs, model()) == pytest.approx(3e-4)


@pytest.mark.parametrize("per_token", [(1e-6, 2e-6), (0.0, 0.0), None])
def test_2_a_reply_that_cost_more_raises_the_price(per_token):
    """A reply ten times as dear as the table says, or dear where the table says nothing, raises what is reserved."""
    costs, asked = Costs(), model(per_token)
    costs.learn(asked, "m", Usage(100, 100, 3e-3, 1))
    assert bound(costs, asked) >= 3e-3 * (1 - 1e-9)


def test_3_a_charge_by_the_call_is_reserved_for_small_calls_too():
    """Where each call costs the same, a call with few tokens reserves that."""
    costs = Costs()
    costs.learn(model(), "m", Usage(100_000, 10, 0.5, 1))
    small = Request("m", (Message("user", "hi"),), 1)
    assert costs.price(model(), small).input_usd == 0.5


def test_4_what_was_learned_is_never_lowered():
    """A cheap reply after a dear one changes nothing."""
    costs = Costs()
    costs.learn(model(), "m", Usage(100, 100, 3e-3, 1))
    before = bound(costs, model())
    costs.learn(model(), "m", Usage(100, 100, 1e-6, 1))
    assert bound(costs, model()) == before


def test_5_a_search_that_cost_more_than_was_reserved_is_what_the_next_ones_reserve():
    """Nobody knows what searches cost until one has ended; what was learned is never lowered."""
    costs = Costs()
    assert not costs.is_search_known("exa")
    costs.learn_search("exa", 0.007, 0.007)
    assert costs.is_search_known("exa")
    assert costs.search_usd("exa", 0.007) == 0.007
    costs.learn_search("exa", 0.007, 0.9)
    costs.learn_search("exa", 0.9, 0.007)
    assert costs.search_usd("exa", 0.007) == 0.9
    assert costs.search_usd("exa", 2.0) == 2.0
    assert not costs.is_search_known("another")
