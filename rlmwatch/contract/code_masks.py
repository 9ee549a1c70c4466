"""Where the code of a Markdown text is: fenced blocks and spans between backticks. Pure, in linear time."""

from __future__ import annotations

import re
from collections import defaultdict, deque

HIDDEN = "\x00"
"""Stands for each character of a code span in a masked text."""

_FENCE = re.compile(r"(?m)^ {0,3}(`{3,}|~{3,})([^\n]*)$")
_TICKS = re.compile(r"`+")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n|\Z")


def mask(text: str) -> tuple[str, str]:
    """Return *text* with its code hidden, and the fence that is still open at its end."""
    pieces: list[str] = []
    at, open_fence = 0, ""
    while (opened := _fence(text, at)) is not None:
        fence = opened[1]
        pieces.append(_without_spans(text[at : opened.start()]))
        close = re.compile(rf"(?m)^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$").search(text, opened.end())
        open_fence = "" if close else fence
        end = close.end() if close else len(text)
        pieces.append("\n" * (end - opened.start()))
        at = end
    pieces.append(_without_spans(text[at:]))
    return "".join(pieces), open_fence


def _fence(text: str, at: int) -> re.Match[str] | None:
    """Return the next line that opens a block; one of backticks has none behind it on its line."""
    for match in _FENCE.finditer(text, at):
        if match[1][0] == "~" or "`" not in match[2]:
            return match
    return None


def _without_spans(text: str) -> str:
    """Return *text* with each code span hidden; a span ends with as many backticks, in its own paragraph."""
    runs = list(_TICKS.finditer(text))
    ends = [match.end() for match in _PARAGRAPH_END.finditer(text)]
    keys: list[tuple[int, int]] = []
    waiting: defaultdict[tuple[int, int], deque[int]] = defaultdict(deque)
    paragraph = 0
    for run in runs:
        while ends[paragraph] <= run.start():
            paragraph += 1
        keys.append((paragraph, len(run[0])))
        waiting[keys[-1]].append(run.end())
    pieces: list[str] = []
    at = 0
    for run, key in zip(runs, keys, strict=True):
        same_length = waiting[key]
        same_length.popleft()  # the run itself
        if run.start() >= at and same_length:
            end = same_length[0]
            pieces += [text[at : run.start()], re.sub(r"[^\n]", HIDDEN, text[run.start() : end])]
            at = end
    return "".join([*pieces, text[at:]])
