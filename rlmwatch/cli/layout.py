"""
How tables, ages and times look, the same in every verb. Pure: no terminal, no clock.

1. Widths are the cells of a terminal: a wide character (CJK, emoji) takes two.
2. A row is one line: runs of white space are one blank, and what a terminal would obey is escaped.
3. Within a width, each column takes what its widest text needs, up to its `most`; the one that grows takes what is
   left, and shrinks first where that is not enough. What does not fit is cut, and ends (or begins) with `…`.
4. Without a width (a pipe, a file), nothing is cut but what is longer than `LONGEST`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.cells import cell_len, split_graphemes

from rlmwatch.money import dollars
from rlmwatch.printable import printable
from rlmwatch.workspace.context import MaterialFile

CUT = "…"
NOTHING = "-"
"""In a cell without a value."""
GAP = "  "
LONGEST = 1000
"""Cells of one text, at most, in any output: a question of 10 MB is one line too."""
LEAST_GROWING = 8
LEAST = 3

MINUTE, HOUR, DAY = 60, 3600, 86_400
YEARS_FROM_DAYS = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column of a table.

    Attributes:
        key: Of its value in a row.
        title: At its head; default is the key.
        right: Whether it is aligned to the right: numbers.
        grows: Whether it takes the cells that are left.
        most: Cells, at most, where there is a width.
        keep: Which end of a text stays where it is cut.
        styles: Rich's style of a value, for a terminal; `""` is for any other.
    """

    key: str
    title: str | None = None
    right: bool = False
    grows: bool = False
    most: int | None = None
    keep: Literal["start", "end"] = "start"
    styles: Mapping[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """What stands over it."""
        return self.key.replace("_", " ") if self.title is None else self.title


def one_line(text: str) -> str:
    """Return *text* on one line, harmless for a terminal."""
    return printable(" ".join(text[: 8 * LONGEST].split()))


def first_words(text: str) -> str:
    """Return the first line of *text* that says something, as one line."""
    return next((line for each in text[: 8 * LONGEST].splitlines() if (line := one_line(each))), "")


def material_line(file: MaterialFile) -> str:
    """Return the name, format and size of one file of the material."""
    return f"{one_line(file.name)} ({f'{file.format}, ' if file.format else ''}{file.chars:,} characters)"


def cut(text: str, cells: int, *, keep: Literal["start", "end"] = "start") -> str:
    """Return *text* in at most *cells* cells; where something is missing, `…` says so."""
    if cell_len(text) <= cells:
        return text
    if cells < 1:
        return ""
    spans, _ = split_graphemes(text)
    left = cells - 1
    kept = 0
    for _, _, width in spans if keep == "start" else reversed(spans):
        if width > left:
            break
        left -= width
        kept += 1
    if keep == "start":
        return text[: spans[kept - 1][1] if kept else 0].rstrip() + CUT
    return CUT + text[spans[len(spans) - kept][0] if kept else len(text) :].lstrip()


def wrapped(text: str, cells: int) -> list[str]:
    """
    Return *text* on lines of at most *cells*, broken between words; what goes on is indented as its line began.

    A word that is wider than a line (a path, an address) stays whole, so that it can be copied; one of wide characters
    (a sentence in Japanese) is broken where it is full.
    """
    lines = []
    for whole in text.split("\n"):
        body = whole.lstrip(" ")
        indent = " " * min(len(whole) - len(body), cells // 2)
        room = cells - len(indent)
        found = [""]
        for number, word in enumerate(piece for each in body.split(" ") for piece in _pieces(each, room)):
            longer = f"{found[-1]} {word}" if number else word
            if cell_len(longer) <= room or not found[-1].strip():
                found[-1] = longer.lstrip(" ") if len(found) > 1 else longer
            else:
                found.append(word)
        lines += [f"{indent}{line}".rstrip() for line in found]
    return lines


def _pieces(word: str, cells: int) -> list[str]:
    """Return *word* in pieces of at most *cells* where it has wide characters, else whole."""
    if cell_len(word) <= cells or cell_len(word) == len(word):
        return [word]
    pieces, taken = [""], 0
    for start, end, width in split_graphemes(word)[0]:
        if taken + width > cells and pieces[-1]:
            pieces, taken = [*pieces, ""], 0
        pieces[-1] += word[start:end]
        taken += width
    return pieces


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Return *text* with blanks up to *cells* cells; to its left where it is aligned to the *right*."""
    blanks = " " * max(0, cells - cell_len(text))
    return blanks + text if right else text + blanks


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int | None) -> list[list[str]]:
    """
    Return the lines of a table, its head first, each as the padded texts of its columns (to be joined by `GAP`).

    Args:
        columns: From left to right.
        rows: Their values by key; None is nothing.
        width: Cells of a line; None where nothing is to be cut.
    """
    texts = [[cut(one_line(text_of(row.get(each.key))), LONGEST) for each in columns] for row in rows]
    lines = [[each.head for each in columns], *texts]
    needed = [max(cell_len(line[at]) for line in lines) for at in range(len(columns))]
    widths = needed if width is None else _fitted(columns, needed, width)
    return [
        [
            pad(cut(text, cells, keep=each.keep), cells, right=each.right)
            for each, text, cells in zip(columns, line, widths, strict=True)
        ]
        for line in lines
    ]


def joined(line: Sequence[str]) -> str:
    """Return one line of a `table`, without blanks at its end."""
    return GAP.join(line).rstrip()


def _fitted(columns: Sequence[Column], needed: Sequence[int], width: int) -> list[int]:
    """Return the cells of each column, so that a line has *width* at most wherever that is possible."""
    widths = [
        cells if each.most is None or each.grows else min(cells, max(each.most, cell_len(each.head)))
        for each, cells in zip(columns, needed, strict=True)
    ]
    room = width - len(GAP) * (len(columns) - 1)
    for may_shrink, least in ((True, LEAST_GROWING), (False, LEAST)):
        at = [number for number, each in enumerate(columns) if each.grows or not may_shrink]
        while at and sum(widths) > room and (widest := max(at, key=lambda number: widths[number])) is not None:
            if widths[widest] <= least:
                break
            widths[widest] -= 1
    return widths


def text_of(value: object) -> str:
    """Return *value* as a cell shows it."""
    return NOTHING if value is None or value == "" else str(value)


def seconds(value: float) -> str:
    """Return how long something took: tenths up to ten seconds, then whole ones, minutes, hours."""
    if value < 10:  # noqa: PLR2004 (two digits say enough)
        return f"{max(0.0, value):.1f} s"
    whole = round(value)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


def age(then: str | None, now: str) -> str:
    """Return how long before *now* the time *then* was, both RFC 3339, in one number; `-` where that is no time."""
    passed = between(then, now)
    if passed is None:
        return NOTHING
    whole = max(0, int(passed))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h"
    days = whole // DAY
    return f"{days} d" if days < YEARS_FROM_DAYS else f"{days // 365} y"


def between(then: str | None, now: str | None) -> float | None:
    """Return the seconds from *then* to *now*, both RFC 3339; None where one is no time."""
    try:
        began, ended = (_moment(each) for each in (then or "", now or ""))
    except ValueError:
        return None
    return (ended - began).total_seconds()


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def below_home(path: Path, home: Path | None) -> str:
    """Return *path* as people write it: `~/notes` for what lies in their *home*, where they have one."""
    return f"~/{path.relative_to(home)}" if home and home in path.parents else str(path)


def used(*, took_s: float | None, tokens: tuple[int, int], usd: float | None) -> list[str]:
    """Return what something took: seconds, tokens in and out, price; each where it is known."""
    parts = [] if took_s is None else [seconds(took_s)]
    if any(tokens):
        parts.append(f"{tokens[0]:,} + {tokens[1]:,} tokens")
    return parts if usd is None else [*parts, dollars(usd)]


def counted(number: int, thing: str) -> str:
    """Return *number* and *thing*, in the plural where it is not one."""
    if number == 1:
        return f"1 {thing}"
    if thing.endswith(("ry", "ly")):
        return f"{number:,} {thing[:-1]}ies"
    return f"{number:,} {thing}" + ("es" if thing.endswith(("s", "ch")) else "s")
