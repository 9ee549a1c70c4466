"""Whole numbers on the command line: a fraction is refused, where the library would cut it off."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import Parameter, Token


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """
    Return the whole number that one token writes in decimal digits.

    Raises:
        ValueError: It writes none; the text is for the person.
    """
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text}: write a whole number") from None


Whole = Parameter(converter=_whole)
