"""Values to columns and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.ledger.rows import NANO_PER_USD, cost_nano, to_nano
from rlmwatch.runs.model import Usage


@pytest.mark.parametrize(
    ("usd", "nano"),
    [(0, 0), (1, 1_000_000_000), (0.57, 570_000_000), (1.1, 1_100_000_000), (0.000_000_02, 20), (1e-12, 1)],
)
def test_money_is_exact_in_what_a_person_wrote(usd, nano):
    """An amount as written is kept to the last digit; less than the smallest unit counts as one."""
    assert to_nano(usd) == nano


@given(st.floats(min_value=0, max_value=999_999))
def test_money_is_never_rounded_down(usd):
    """No amount counts for less than it is, so no ceiling is overshot by rounding."""
    written = Decimal(str(usd)) * NANO_PER_USD
    assert to_nano(usd) - 1 < written <= to_nano(usd)


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -0.01, 1e6])
def test_what_is_no_amount_is_no_reservation(usd):
    """A reservation that is no amount of money is refused; a reported cost that is none is taken for unknown."""
    with pytest.raises(ValueError, match="not an amount"):
        to_nano(usd)
    assert cost_nano(Usage(cost_usd=usd)) is None
