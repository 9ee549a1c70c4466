"""On which line of a TOML file a setting stands, for messages: found in its text; tomllib keeps no places. Pure."""

from __future__ import annotations

import re

# No two parts in a row fit the same character: a line of any length is looked through once.
_TABLE = re.compile(r"\[\[?(?P<name>[^\[\]]+)\]\]?\s*(?:#.*)?\Z")
_KEY = re.compile(r"(?P<name>(?:[A-Za-z0-9_.\- \t]|\"[^\"]*\"|'[^']*')++)=")
_QUOTES = str.maketrans("", "", "\"' \t")


def line_of(text: str, dotted: str) -> int | None:
    """
    Return the number of the line where *dotted* is set in *text*, else the table that it belongs to; None for neither.

    A line within a text of several lines may be taken for a setting: it is a hint for a person, no more.
    """
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if head := _TABLE.match(line.strip()):
            table = head["name"].translate(_QUOTES)
            found.setdefault(table, number)
        elif key := _KEY.match(line.strip()):
            name = key["name"].translate(_QUOTES)
            found.setdefault(f"{table}.{name}" if table else name, number)
    parts = dotted.split(".")
    return next((found[at] for n in range(len(parts), 0, -1) if (at := ".".join(parts[:n])) in found), None)


def in_line(text: str, dotted: str) -> str:
    """Return ` (line N)` of the setting *dotted* in *text*; `""` where it is not found."""
    number = line_of(text, dotted)
    return "" if number is None else f" (line {number})"
