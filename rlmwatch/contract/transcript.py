r"""
What stands in `…_transcript.md`: a heading per turn, in Markdown that Obsidian and others show. Pure.

    ## 2026-11-28 22:40 UTC · gpt-4.1-mini · $0.0003
    <!-- rlmwatch turn 20261128T224000Z-chat-7f3a9c -->

    > The question, as it was saved.

    The answer.

1. An entry has a line that names its run, which Markdown does not show: by it an entry is known, and never doubled.
   The same line in a question or an answer is changed, so that no text passes for an entry.
2. A block of code that an answer leaves open is closed, or it would swallow what comes below.
3. What is taken back stays, and a line below says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rlmwatch.contract.code_masks import mask
from rlmwatch.contract.marks import mark, when
from rlmwatch.contract.memory import Turn
from rlmwatch.money import dollars

_OURS: Final = "<!-- rlmwatch "


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What is added to a transcript.

    Attributes:
        mark: The line that names it.
        text: All of it, that line included.
    """

    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class CitedPage:
    """A page that an answer stands on."""

    title: str
    url: str


def of_turn(turn: Turn, *, see: str, pages: Sequence[CitedPage] = ()) -> Entry:
    """
    Return the entry of *turn*, which a run gave.

    Args:
        turn: The turn.
        see: Where more is said: the run's status file.
        pages: What was fetched for it; left out where the answer lists its sources itself.
    """
    ours = f"{_OURS}turn {turn.run_id} -->"
    cost = None if turn.usage is None else turn.usage.cost_usd
    facts = [when(turn.at or ""), turn.model or "", "price not known" if cost is None else dollars(cost)]
    parts = [f"## {' · '.join(' '.join(fact.split()) for fact in facts if fact)}\n{ours}", _quoted(turn.input)]
    if turn.continues is not None:
        parts.append(
            "*(The question went on while it was typed: this answer takes the place of those to its beginning.)*"
        )
    parts.append(_closed(_harmless(turn.answer.strip())))
    if (line := mark(turn.reason or "", partial=bool(turn.partial), notes=turn.notes or (), see=see)) is not None:
        parts.append(f"*{line}*")
    if pages and "Sources:" not in turn.answer:
        parts.append("Sources:\n\n" + "\n".join(f"- [{_line(page.title)}](<{_line(page.url)}>)" for page in pages))
    return Entry(ours, "\n\n".join(parts) + "\n")


def of_undo(turn: Turn, *, at: str) -> Entry:
    """Return the line that says that *turn* was taken back at the time *at*."""
    ours = f"{_OURS}undone {turn.run_id} {turn.save_number or 0} -->"
    return Entry(
        ours, f"{ours}\n\n*(Taken back {when(at)}: “{_line(turn.input)}” and its answer are no longer remembered.)*\n"
    )


def with_entry(text: str, entry: Entry, *, title: str) -> str | None:
    """Return the transcript *text* with *entry* at its end; None where it is in it. A new one begins with *title*."""
    if entry.mark in text.splitlines():
        return None
    before = text.rstrip("\n")
    return f"{before or f'# {title}'}\n\n{entry.text}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _harmless(text.strip()).split("\n"))


def _harmless(text: str) -> str:
    return text.replace(_OURS, _OURS.replace("<", "&lt;"))


def _closed(text: str) -> str:
    """Return *text* with the end of a block of code that it leaves open."""
    fence = mask(text)[1]
    return f"{text}\n{fence}" if fence else text


def _line(text: str) -> str:
    """Return the beginning of *text* on one line, which no Markdown ends."""
    line = " ".join(_harmless(text).split()).translate({ord(char): None for char in "[]<>*`"})
    return line if len(line) <= 80 else f"{line[:80]}…"  # noqa: PLR2004 (a line of text)
