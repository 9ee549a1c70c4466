"""What a reader of a format returns, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SMALLER = "save it as text (a table as .csv), or in parts"
"""What to do about a document that takes too much."""


class UnreadableDocument(Exception):
    """A document cannot be turned into text; the text is why, and what to do, as the end of "it cannot be read: …"."""


class Extract(NamedTuple):
    """
    The text of a document.

    Attributes:
        left_out: What of the document is not in the text, for the person, such as "2 pictures".
    """

    text: str
    left_out: tuple[str, ...] = ()


Reader = Callable[[bytes], Extract]
"""Turns the bytes of a document into its text; raises `UnreadableDocument`, or whatever its library raises."""


def counted(number: int, one: str) -> str:
    """Return *number* of *one*, as "1 picture" or "2 pictures"."""
    return f"{number} {one}{'' if number == 1 else 's'}"
