r"""
Text from elsewhere, made harmless for a terminal. Pure.

A file name, an answer or a server's words may hold sequences that clear the screen, set the clipboard (OSC 52), retitle
the window, or reorder what is read (Unicode TR36, "bidirectional text spoofing"). On a terminal each such character is
shown as Python would write it, `\x1b` or `\u202e`.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Categories without a shape of their own: controls, formats, surrogates, private use, unassigned, line separators."""
_SHAPED = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2")
"""Formats that ordinary text needs: joiners (Persian, Hindi, emoji), and the Arabic and Syriac signs that are drawn."""


def printable(text: str, *, lines: bool = False) -> str:
    """
    Return *text* with every character that a terminal would obey, or that has no shape, written as an escape.

    Args:
        text: Anything; half surrogates too.
        lines: Keep line breaks and tabs as they are; else they are escaped, so that the text stays on its line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char, lines=lines) for char in text)


def is_hidden(char: str) -> bool:
    """Return whether a terminal would obey *char*, or show nothing for it."""
    return unicodedata.category(char) in _HIDDEN and char not in _SHAPED


def _shown(char: str, *, lines: bool) -> str:
    if not is_hidden(char) or (lines and char in "\n\t"):
        return char
    return char.encode("unicode_escape").decode("ascii")
