"""Money reads the same wherever a person sees it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rlmwatch
from rlmwatch.money import dollars, unit_price


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "-"),
        (0.0, "$0.00"),
        (1.5, "$1.50"),
        (1234.5, "$1,234.50"),
        (12.345, "$12.35"),
        (0.1 + 0.2, "$0.30"),
        (0.025, "$0.03"),
        (0.0234, "$0.02"),
        (0.02, "$0.02"),
        (0.01, "$0.01"),
        (0.00999, "$0.01"),
        (0.0099, "$0.0099"),
        (0.0042, "$0.0042"),
        (0.001, "$0.001"),
        (0.000313, "$0.00031"),
        (0.000004, "$0.000004"),
        (0.00000002, "<$0.000001"),
    ],
)
def test_money(usd, text):
    """Two decimals from a cent up, below it the first two digits; an unknown price is not nothing."""
    assert dollars(usd) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "$0.00"),
        (0.1 + 0.2, "$0.30"),
        (0.07, "$0.07"),
        (0.334, "$0.34"),
        (1.001, "$1.01"),
        (0.00421, "$0.0043"),
        (0.00000002, "$0.000001"),
        (1e-10, "$0.000001"),
    ],
)
def test_a_bound_is_never_below_itself(usd, text):
    """What is said to be at most so much is rounded up."""
    assert dollars(usd, at_most=True) == text


@pytest.mark.parametrize(
    ("usd", "text"), [(0.0, "0.00"), (1.5, "1.50"), (0.1 + 0.2, "0.30"), (0.075, "0.075"), (0.000313, "0.000313")]
)
def test_prices_per_unit_are_exact(usd, text):
    """A price per million tokens is not rounded to a cent."""
    assert unit_price(usd) == text


def test_nobody_else_puts_money_into_words():
    """No text of the program writes an amount as `… USD`, and only `money.py` puts `$` before a number."""
    package = Path(rlmwatch.__file__).parent
    found = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr) and file.name != "money.py":
                pieces = "".join(str(each.value) if isinstance(each, ast.Constant) else "\0" for each in node.values)
                if "$\0" in pieces or "\0 USD" in pieces:
                    found.append(f"{file.relative_to(package)}:{node.lineno}")
    assert found == []
