"""
Read a model's reply: which code in it is to be run.

Pure. A reply is prose with fenced code blocks; the rules are

1. A block is code when its fence is tagged `python`, `py`, `repl` or nothing.
2. Only the first block of code counts; how many follow is told to the model.
3. A fence inside a string of the code does not close the block.
4. A block that is never closed runs when the reply ended by itself, and does
   not run when it was cut at its token limit: half a program is no program.
5. What prose says is never run and never an answer by itself.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

CODE_TAGS = frozenset({"", "python", "python3", "py", "repl"})
_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<tag>[^`]*)$")
_QUOTES = ("'''", '"""')


@dataclass(frozen=True, slots=True)
class Cell:
    """
    What a reply asks to be run.

    Attributes:
        code: The code to run; None where there is none.
        more: How many further blocks of code the reply has; they do not run.
        cut: The block was cut at the reply's token limit, so `code` is None.
    """

    code: str | None
    more: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    code: str
    closed: bool


def read_reply(text: str, *, cut: bool = False) -> Cell:
    """
    Return the cell of the reply *text*.

    Args:
        text: The whole reply.
        cut: Whether the reply stopped at its token limit (`finish_reason` is `length`).
    """
    blocks = [block for block in _blocks(_lines(text)) if block.tag in CODE_TAGS]
    if not blocks:
        return Cell(None)
    first, *others = blocks
    if cut and not first.closed:
        return Cell(None, cut=True)
    if not first.code.strip():
        return Cell(None, len(others))
    return Cell(first.code, len(others))


def _lines(text: str) -> list[str]:
    # Not `splitlines`: a form feed or U+2028 inside a string of the code must stay what it is.
    return text.replace("\r\n", "\n").split("\n")


def _blocks(lines: list[str]) -> Iterator[_Block]:
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        at += 1
        if opened is None:
            continue
        end = _end_of_block(lines, at, opened["fence"])
        code = textwrap.dedent("\n".join(lines[at:end]))
        yield _Block(_tag(opened["tag"]), code, end < len(lines))
        at = end + 1


def _tag(info: str) -> str:
    """Return the language of a fence: its first word, `{python}` and case taken off."""
    word = info.strip().strip("{}").lower().split()
    return word[0] if word else ""


def _end_of_block(lines: list[str], start: int, fence: str) -> int:
    """
    Return the line that closes the block, or the number of lines where none does.

    That is the first closing fence outside a string; where a string that never ends hides them all, the first one.
    """
    hidden = None
    inside = ""
    for at in range(start, len(lines)):
        bare = lines[at].strip()
        if len(bare) >= len(fence) and not bare.strip(fence[0]):
            if not inside:
                return at
            hidden = at if hidden is None else hidden
        inside = _string_open_after(lines[at], inside)
    return len(lines) if hidden is None else hidden


def _string_open_after(line: str, inside: str) -> str:
    """Return the triple quote that is open after *line* of Python, given the one that was open before; else `""`."""
    at = 0
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif inside:
            closes = line.startswith(inside, at)
            at += 3 if closes else 1
            inside = "" if closes else inside
        elif line[at] == "#":
            return ""
        elif line.startswith(_QUOTES, at):
            inside = line[at : at + 3]
            at += 3
        elif line[at] in "'\"":
            at = _after_short_string(line, at)
        else:
            at += 1
    return inside


def _after_short_string(line: str, start: int) -> int:
    """Return where the string of one line that begins at *start* is over."""
    at = start + 1
    while at < len(line) and line[at] != line[start]:
        at += 2 if line[at] == "\\" else 1
    return at + 1
