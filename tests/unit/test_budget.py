"""budget.py: reserve before, settle after; no cap is ever overshot."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rlmwatch.budget import Budget, Caps, CostBound
from rlmwatch.errors import BudgetExceeded, UnknownPrice

CHEAP = CostBound(0.0, 0.001)


def test_1_a_reservation_is_cut_to_what_is_left():
    """A call is granted what fits, and told so."""
    budget = Budget("run", Caps(max_tokens=1000))
    assert budget.reserve(700, None).tokens == 700
    assert budget.reserve(700, None).tokens == 300
    with pytest.raises(BudgetExceeded, match="max_tokens is 1000") as refused:
        budget.reserve(1, None)
    assert refused.value.cap == "max_tokens"


def test_1_the_smallest_cap_on_the_way_up_holds():
    """A sub-engine cannot spend what its run or session does not have."""
    session = Budget("session", Caps(max_tokens=500, max_cost_usd=0.05))
    run = Budget("run", Caps(max_tokens=5000), parent=session)
    sub = Budget("sub-engine", parent=run)
    assert sub.reserve(1000, CHEAP).tokens <= 50
    assert sub.left().tokens is not None
    assert sub.left().tokens <= 500


def test_2_what_was_not_used_is_given_back():
    """After a call, only what it used counts."""
    budget = Budget("run", Caps(max_tokens=1000, max_cost_usd=1.0))
    held = budget.reserve(1000, CHEAP)
    budget.settle(held, tokens=10, usd=0.01)
    assert budget.left().tokens == 990
    assert budget.left().usd == pytest.approx(0.99)


def test_2_a_call_that_was_cut_off_counts_as_reserved():
    """A call whose cost nobody knows counts as it could have cost."""
    budget = Budget("run", Caps(max_tokens=1000))
    held = budget.reserve(400, None)
    budget.settle(held, tokens=held.tokens, usd=held.usd)
    assert budget.left().tokens == 600


def test_3_a_hundred_calls_side_by_side_cannot_overshoot():
    """With a cap of 5,000 tokens, a hundred calls of 1,000 get 5,000 between them."""
    budget = Budget("run", Caps(max_tokens=5000))
    granted = 0
    for _ in range(100):
        try:
            granted += budget.reserve(1000, None).tokens
        except BudgetExceeded:
            continue
    assert granted == 5000


def test_4_an_unknown_price_stops_a_run_that_has_a_cost_cap():
    """A cap is never passed over in silence, whoever set it."""
    with pytest.raises(UnknownPrice, match=r"\[prices\]"):
        Budget("run", Caps(max_cost_usd=1.0)).reserve(10, None)


def test_fewer_tokens_than_are_of_use_are_refused():
    """A caller that needs at least so many tokens is not granted fewer."""
    budget = Budget("run", Caps(max_tokens=30))
    with pytest.raises(BudgetExceeded):
        budget.reserve(100, None, least=50)
    assert budget.reserve(20, None, least=50).tokens == 20


def test_searches_are_counted_and_paid():
    """A search takes one of `max_searches` and its money."""
    budget = Budget("run", Caps(max_searches=2, max_cost_usd=0.01))
    held = budget.reserve_search(0.005)
    budget.settle(held, tokens=0, usd=0.005, searches=1)
    budget.reserve_search(0.005)
    with pytest.raises(BudgetExceeded, match="max_searches"):
        budget.reserve_search(0.0)


class Spending(RuleBasedStateMachine):
    """A session, its run and a sub-engine, with calls that come and go in any order."""

    held = Bundle("held")

    def __init__(self):
        super().__init__()
        self.session = Budget("session", Caps(max_tokens=900, max_cost_usd=0.7))
        self.run = Budget("run", Caps(max_tokens=800, max_cost_usd=0.9), parent=self.session)
        self.sub = Budget("sub", Caps(max_tokens=500), parent=self.run)
        self.open = 0

    @rule(
        target=held,
        node=st.sampled_from(["session", "run", "sub"]),
        tokens=st.integers(1, 400),
        input_usd=st.floats(0, 0.2),
        per_token=st.floats(0, 0.002),
    )
    def reserve(self, node, tokens, input_usd, per_token):
        budget = getattr(self, node)
        try:
            return budget, budget.reserve(tokens, CostBound(input_usd, per_token)), per_token
        except BudgetExceeded:
            return None

    @rule(call=consumes(held), share=st.floats(0, 1))
    def settle(self, call, share):
        if call is not None:
            budget, reservation, per_token = call
            used = int(reservation.tokens * share)
            budget.settle(reservation, tokens=used, usd=min(reservation.usd, used * per_token))

    @rule(call=consumes(held))
    def release(self, call):
        if call is not None:
            call[0].release(call[1])

    @invariant()
    def no_cap_is_overshot(self):
        for node in (self.session, self.run, self.sub):
            if node.caps.max_tokens is not None:
                assert node.tokens + node._held_tokens <= node.caps.max_tokens
            if node.caps.max_cost_usd is not None:
                # Sums of binary fractions may differ in the last place, by less than a billionth of a cent.
                assert node.usd + node._held_usd <= node.caps.max_cost_usd + 1e-12

    @invariant()
    def a_part_never_used_more_than_the_whole(self):
        assert self.sub.tokens <= self.run.tokens <= self.session.tokens


TestSpending = Spending.TestCase
