"""
Where the links, the `[n]` and the code of an answer are.

Pure, and no Markdown parser: it finds what a reader of the text or of the rendered page would take for

1. code: fenced blocks and spans between backticks, which are left alone;
2. a link: `[text](url "title")` and images, `<url>`, HTML tags with addresses, `[label]: url` and its uses
   `[text][label]`, `[label][]` and `[label]`, and bare addresses without the punctuation that follows them;
3. a citation: `[1]`, `[^1]`, `[1, 2]`, `[1-3]`.

No pattern here looks back and forth over the text: a hostile answer costs time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rlmwatch.contract.code_masks import mask

_LONGEST_RANGE = 50
"""Sources in one `[1-50]`; a longer range is not a citation."""

_ODD_END = 8
"""Signs at the end of an address that are tried for being a part of it."""


_ADDRESS = r"(?:https?://|ftp://|(?<![\w.])www\.)"
_BARE = rf"{_ADDRESS}(?:[^\s<>\"“”«»„`\x00\[\]]|\[(?!\^?\d{{1,3}}\])|\]){{1,2000}}+"
_WORDS = r"(?:[^\[\]\\\n]|\\.|\n(?![ \t]*\n)){0,600}+"
_TEXT = rf"{_WORDS}(?:\[[^\[\]\n]{{0,400}}\](?:\([^\s()]{{0,2000}}\))?{_WORDS}){{0,4}}+"
_TITLE = r"(?:\"[^\"\n]{0,1000}\"|'[^'\n]{0,1000}'|\([^()\n]{0,1000}\))"
_DESTINATION = r"(?:<[^<>\n]{0,2000}>|(?:[^\s()<>]|\((?:[^\s()]|\([^\s()]{0,500}\)){0,500}\)){0,2000}+)"
_NUMBERS = r"\^?\d{1,3}(?:[ ]?[,;\u2013-][ ]?\^?\d{1,3}){0,20}"

_TOKEN = re.compile(
    rf"""
      (?P<auto> <[a-z][a-z0-9+.-]{{1,31}}:[^\s<>]{{0,2000}}> )
    | (?P<html> <a\b[^<>]{{0,2000}}>(?:[^<]|<(?!/a)){{0,2000}}</a\s*> | <[a-z][^<>]{{0,2000}}> )
    | (?P<inline> (?<!\\)!?\[(?P<text>{_TEXT})\](?P<part>\(\s*(?P<to>{_DESTINATION})(?:\s+{_TITLE})?\s*\)) )
    | (?P<define> ^[ ]{{0,3}}\[(?P<label>[^\[\]\n]{{1,200}})\]:[ \t]*(?P<at><?{_BARE}>?) )
    | (?P<cite> (?<!\\)\[{_NUMBERS}\](?!\() )
    | (?P<use> (?<!\\)\[(?P<shown>{_TEXT})\](?:\[(?P<ref>[^\[\]\n]{{0,200}})\])? )
    | (?P<bare> {_BARE} )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_DEFINITION = re.compile(rf"^ {{0,3}}\[([^\[\]\n]{{1,200}})\]:[ \t]*<?({_BARE})", re.IGNORECASE | re.MULTILINE)
_ANY_BARE = re.compile(_BARE, re.IGNORECASE)
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]{1,31}:|//|www\.)", re.IGNORECASE)
_NO_PAGE = re.compile(r"(?:mailto|tel|xmpp|sms):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """
    One link.

    Attributes:
        start: Where it begins.
        end: Behind it, where a mark goes.
        targets: The addresses that it names, as written: more than one where its text is an address too.
        hidden: The part that is not read as text (start, end).
    """

    start: int
    end: int
    targets: tuple[str, ...]
    hidden: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Citation:
    """
    One bracket with numbers.

    Attributes:
        start: Of the bracket.
        end: Behind the bracket.
        numbers: The numbers it names, those inside a range too.
    """

    start: int
    end: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """
    An answer as it was read.

    Attributes:
        masked: As long as the text; code is hidden, fenced blocks are empty lines.
        open_fence: The fence that is still open at the end; `""` where there is none.
        links: In order.
        citations: In order.
    """

    masked: str
    open_fence: str
    links: tuple[Link, ...]
    citations: tuple[Citation, ...]


def read(text: str, known: Callable[[str], bool]) -> Read:
    """
    Read *text*.

    Args:
        text: The answer.
        known: Whether an address is known: decides how much of `https://x.org/a.` is the address.
    """
    masked, open_fence = mask(text)
    defined = {_label(label): _taken(to, known) for label, to in _DEFINITION.findall(masked)}
    links: list[Link] = []
    citations: list[Citation] = []
    at = 0
    while (match := _TOKEN.search(masked, at)) is not None:
        at = match.end()
        if match["cite"] is not None:
            citations += _citation(match)
            continue
        found = _link(match, defined, known)
        if isinstance(found, Link):
            links.append(found)
            at = max(found.end, match.start() + 1)
        else:
            at = found
    return Read(masked, open_fence, tuple(links), tuple(citations))


def _citation(match: re.Match[str]) -> Iterator[Citation]:
    numbers: list[int] = []
    inside = match["cite"][1:-1].replace("^", "")
    for part in re.split(r" ?[,;] ?", inside):
        first, *last = (int(number) for number in re.split(r" ?[\u2013-] ?", part))
        if last and not first < last[-1] <= first + _LONGEST_RANGE:
            return
        numbers += range(first, last[-1] + 1) if last else [first]
    yield Citation(match.start(), match.end(), tuple(numbers))


def _link(match: re.Match[str], defined: dict[str, str], known: Callable[[str], bool]) -> Link | int:
    """Return the link that *match* is, or where to read on where it is none."""
    start, end = match.span()
    if match["bare"] is not None:
        taken = _taken(match["bare"], known)
        return Link(start, start + len(taken), (taken,), (start, start + len(taken)))
    if match["define"] is not None:
        at, taken = match.start("at"), _taken(match["at"].strip("<>"), known)
        end = match.end("at") if match["at"].startswith("<") else at + len(taken)
        return Link(start, end, (taken,), (at, end))
    if match["inline"] is not None:
        targets = (*_elsewhere(match["to"].strip("<>")), *_inside(match["text"], known))
        return Link(start, end, targets, match.span("part")) if targets else end
    if match["use"] is not None:
        label = match["ref"] or match["shown"]
        to = None if label.isdecimal() else defined.get(_label(label))
        # What is no use of a label may still hold links and citations.
        return start + 1 if to is None else Link(start, end, (to,), (end, end))
    inner = match["auto"]
    targets = tuple(_elsewhere(inner[1:-1])) if inner else tuple(_inside(match["html"], known))
    return Link(start, end, targets, (start, end)) if targets else end if inner else start + 1


def _elsewhere(to: str) -> Iterator[str]:
    """Yield *to* where it is a page's address: no place in this text, file beside it, or person's address."""
    if _ELSEWHERE.match(to) and not _NO_PAGE.match(to):
        yield to


def _inside(text: str, known: Callable[[str], bool]) -> Iterator[str]:
    for match in _ANY_BARE.finditer(text):
        yield _taken(match[0].rstrip("'"), known)


def _taken(raw: str, known: Callable[[str], bool]) -> str:
    """
    Return how much of *raw*, an address and what follows it without a space, is the address.

    Punctuation at the end is not, nor a bracket that was not opened, unless the address is known with it.
    """
    short = raw
    while short and (short[-1] in ".,;:!?'\u2018\u2019*_~|…" or _unopened(short)):
        short = short[:-1]
    for length in range(min(len(raw), len(short) + _ODD_END), len(short), -1):
        if known(raw[:length]):
            return raw[:length]
    return short


def _unopened(url: str) -> bool:
    pair = {")": "(", "]": "[", "}": "{"}.get(url[-1])
    return pair is not None and url.count(url[-1]) > url.count(pair)


def _label(label: str) -> str:
    return " ".join(label.split()).casefold()
