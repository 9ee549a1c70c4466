"""
Text made to fit a terminal. Pure.

A text becomes harmless (what would move the cursor is an escape) and encodable before it is measured; wide characters
(CJK, emoji) count double.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from rich.cells import cell_len, set_cell_size

from rlmwatch.printable import printable

_JOINERS = dict.fromkeys(map(ord, "\u200d\ufe0e\ufe0f"))
"""What joins emoji into one, or makes them wider: no two terminals agree how wide the result is."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs that a terminal can show."""

    waits: str = "○"
    works: str = "▸"
    done: str = "✓"
    failed: str = "✗"
    ended: str = "–"  # noqa: RUF001 (a dash)
    held: str = "‖"
    cut: str = "…"
    between: str = "·"


ASCII = Signs("o", ">", "+", "x", "-", "=", "~", "-")
"""For a terminal whose encoding has no more."""


@dataclass(frozen=True, slots=True)
class Viewport:
    """
    What the lines are for.

    Attributes:
        width: In cells.
        height: In lines; None for as many as there are.
        encoding: What it cannot show is written as an escape.
    """

    width: int
    height: int | None = None
    encoding: str = "utf-8"

    @property
    def signs(self) -> Signs:
        """The signs that it can show."""
        signs = Signs()
        return signs if self.plain(signs.done + signs.works) == signs.done + signs.works else ASCII

    def plain(self, text: str) -> str:
        """Return *text* on one line, harmless, and as wide on every terminal."""
        line = printable(" ".join(text.split())).translate(_JOINERS)
        return line.encode(self.encoding, "backslashreplace").decode(self.encoding, "replace")

    def fit(self, text: str, cells: int) -> str:
        """Return *text* on one line of at most *cells*; where it is longer, it ends with a sign for that."""
        line = self.plain(text[: 4 * cells + 40])
        if cells < 1:
            return ""
        if cell_len(line) <= cells and len(text) <= 4 * cells + 40:
            return line
        return set_cell_size(line, cells - 1).rstrip() + self.signs.cut if cell_len(line) >= cells else line

    def fit_end(self, path: str, cells: int) -> str:
        """Return the end of a *path*, which says more than its beginning, in at most *cells*."""
        line = self.plain(path)
        if cell_len(line) <= cells:
            return line
        tail = self.plain(PurePosixPath(path).name)
        if cell_len(tail) >= cells:
            return self.fit(tail, cells)
        while cell_len(line) > cells - 1:
            line = line[1:]
        return self.signs.cut + line

    def wrapped(self, text: str, cells: int, lines: int) -> list[str]:
        """Return *text* on at most so many *lines* of at most *cells*, broken between words where that is possible."""
        found = []
        for paragraph in text.splitlines():
            line = ""
            for word in self.plain(paragraph).split(" "):
                longer = f"{line} {word}" if line else word
                if cell_len(longer) <= cells or not line:
                    line = longer
                else:
                    found.append(line)
                    line = word
            if line:
                found.append(line)
        if len(found) > lines:
            found = [*found[: lines - 1], " ".join(found[lines - 1 :])]
        return [self.fit(each, cells) for each in found]
