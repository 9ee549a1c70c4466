"""
Money in words: the same in every verb, in the view, on the page and in errors. Pure. Programs get numbers, not words.

1. From a cent up, two decimals: `$0.02`, `$1,234.50`.
2. Below a cent, its first two digits, down to a millionth: `$0.0042`.
3. Nothing is `$0.00`; what is unknown is `-`.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

UNKNOWN = "-"
LEDGER_DECIMALS = 9
"""The ledger counts nanodollars: what a float has beyond is noise."""

_CENT, _TINY = Decimal("0.01"), Decimal("0.000001")


def dollars(usd: float | None, *, at_most: bool = False) -> str:
    """
    Return an amount of US dollars, 0 or more, for people.

    Args:
        usd: The amount; None where it is unknown.
        at_most: It is a bound, and rounded up to stay one.
    """
    if usd is None:
        return UNKNOWN
    exact = round(Decimal(str(usd)), LEDGER_DECIMALS)
    if 0 < usd < _TINY:
        return f"${_TINY}" if at_most else f"<${_TINY}"
    decimals = 2 if exact == 0 or exact >= _CENT else min(1 - exact.adjusted(), -_TINY.adjusted())
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), ROUND_CEILING if at_most else ROUND_HALF_UP)
    return f"${_shortened(f'{rounded:,f}')}"


def unit_price(usd: float) -> str:
    """Return a price per unit as lists have it: two decimals, and more only where there are more, to a millionth."""
    return _shortened(f"{usd:.6f}")


def _shortened(number: str) -> str:
    """Return *number* without zeros at its end, but with two decimals."""
    whole, _, part = number.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"
