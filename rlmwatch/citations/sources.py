"""
The list of sources under an answer: rlmwatch prints it, of the pages that the answer cites.

Pure. `[n]` means the n-th distinct page that was fetched.

1. A list that the answer brings along is taken off: lines that begin with `[n]`, or that each name an address, under a
   heading such as "Sources"; at the end of the answer also without one, where each begins with `[n]` and ends in an
   address. An answer that is nothing but its list keeps it.
2. Where that list numbers pages otherwise than they were fetched, the numbers in the text become those of the pages:
   no sentence may come to cite another page. A number under which it names no page that was fetched is dead.
3. Our list has each page once that the text cites by a number, or that the list taken off has named.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from rlmwatch.citations.markdown import Citation, Link, Read
from rlmwatch.citations.quotes import words
from rlmwatch.search.base import Page
from rlmwatch.search.urls import same

_NAMES = (
    "sources|references|citations|bibliography|works cited|quellen|quellenangaben|belege|nachweise|einzelnachweise|"
    "références|fuentes|referencias|fonti|bronnen|source|reference"
)
_HEADING = re.compile(
    rf"^[ >]{{0,4}}(?:#{{1,6}} *)?[*_]{{0,3}}(?:{_NAMES})[*_]{{0,3}} *:?[*_]{{0,3}} *#*$", re.IGNORECASE
)
_HEADED_LINE = re.compile(rf"^[ >]{{0,4}}[*_]{{0,3}}(?:{_NAMES})[*_]{{0,3}} *:[*_]{{0,3}} *(?=\S)", re.IGNORECASE)
_BRACKETED = re.compile(r"^[ >]{0,4}(?:[-*+•] +)?[*_]{0,2}\[\^?(\d{1,3})\][*_]{0,2}(?::?[ \t]+(?=\S)|(?=\())")
_LISTED = re.compile(r"^[ >]{0,4}(?:(\d{1,3})[.)]|[-*+•])[ \t]+(?=\S)")
_A_PATH = re.compile(r"\S+/\S+\.\w+")
_LABEL = re.compile(r"\[\^?(\d{1,3})\]")

Entry = tuple[int | None, int, int]
"""One entry of a list: its number, where it has one; where it begins, and ends."""


@dataclass(frozen=True, slots=True)
class OwnList:
    """A list that an answer brings along: where it stands, its heading included, and what is in it."""

    start: int
    end: int
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class Named:
    """
    What an answer's own list names.

    Attributes:
        means: Its numbers → the page's; None where it is dead.
        pages: Numbers of the pages.
        unknown: Addresses that were not fetched.
    """

    means: dict[int, int | None] = field(default_factory=dict)
    pages: set[int] = field(default_factory=set)
    unknown: dict[str, None] = field(default_factory=dict)


Change = tuple[int, int, str]
"""Start, end, and what stands there instead."""


def numbered(pages: Sequence[Page]) -> tuple[Page, ...]:
    """Return the distinct *pages* in the order in which they came first: the one at index i is number i + 1."""
    distinct: dict[str, Page] = {}
    for page in pages:
        distinct.setdefault(page.key or page.url, page)
    return tuple(distinct.values())


def without(text: str, own: OwnList) -> str:
    """Return *text* without its list; `""` where it is nothing but that."""
    above, below = text[: own.start].rstrip(), text[own.end :].strip()
    if not above and not below:
        return ""
    return f"{above}\n\n{below}".strip("\n") + ("\n" if text.endswith("\n") else "")


def named_by(own: OwnList, text: str, links: Sequence[Link], pages: Sequence[Page]) -> Named:
    """Return what the list *own* of *text* names: a page by its address or path, or by its title where it has none."""
    named = Named()
    numbers = {same(page.url): number for number, page in enumerate(pages, 1) if same(page.url)}
    titles = [f" {' '.join(words(page.title))} " for page in pages]
    for number, start, end in own.entries:
        target = _target(links, start, end)
        if target is None:
            entry = text[start:end]
            said = f" {' '.join(words(_A_PATH.sub(' ', entry)))} "
            found = {n: each.path for n, each in enumerate(pages, 1) if each.path and _names(entry, each.path)} or {
                n: title for n, title in enumerate(titles, 1) if title.strip() and title in said
            }
            page = max(found, key=lambda n: len(found[n]), default=None)
        else:
            page = numbers.get(same(target))
            if page is None:
                named.unknown[target] = None
        if page is not None:
            named.pages.add(page)
        if number is not None:
            named.means.setdefault(number, page)
    return named


def _names(entry: str, path: str) -> bool:
    """Whether *entry* names *path* as a whole: `b/a.md` and `a.md.bak` do not name `a.md`."""
    whole = rf"(?<![\w./~+-])(?:\./|_{{1,2}})?{re.escape(path)}(?!_*[^\W_]|[/~+-]|\.\w)"
    return path in entry and re.search(whole, entry) is not None


def own_list(seen: Read) -> OwnList | None:
    """Return the last list of sources that an answer brings along; None where it has none."""
    lines = list(_lines(seen.masked))
    for index in range(len(lines) - 1, -1, -1):
        start, end = lines[index]
        line = seen.masked[start:end]
        found: tuple[Entry, ...] = ()
        if _HEADING.match(line):
            found = _entries(seen, lines[index + 1 :], headed=True)
        elif headed := _HEADED_LINE.match(line):
            found = _in_a_row(seen, start + headed.end())
        if found:
            return OwnList(start, found[-1][2], found)
    for index, (start, end) in enumerate(lines):
        if _BRACKETED.match(seen.masked[start:end]):
            found = _entries(seen, lines[index:], headed=False)
            if not seen.masked[found[-1][2] :].strip() and all(_ends_in_link(seen, each) for each in found):
                return OwnList(start, found[-1][2], found)
    return None


def with_list(text: str, open_fence: str, numbers: Sequence[int], pages: Sequence[Page]) -> str:
    """Return *text* with a list of the pages that have the *numbers*; its last code block is closed first."""
    if not numbers:
        return text
    body = text.rstrip()
    above, _, last = body.rpartition("\n")
    if not open_fence and _HEADING.match(last):  # it broke off at the heading of its own list
        body = above.rstrip()
    closing = f"\n{open_fence}" if open_fence else ""
    lines = "\n".join(_line(number, pages[number - 1]) for number in numbers)
    return f"{body}{closing}\n\nSources:\n{lines}".lstrip("\n") + ("\n" if text.endswith("\n") else "")


def replaced(text: str, changes: Sequence[Change]) -> str:
    """Return *text* with *changes*, which do not overlap; at one place in the order given."""
    pieces: list[str] = []
    at = 0
    for start, end, instead in sorted(changes, key=lambda change: change[:2]):
        pieces += [text[at:start], instead]
        at = end
    return "".join([*pieces, text[at:]])


def renumbered(citation: Citation, text: str, means: Mapping[int, int | None]) -> Iterator[Change]:
    """Yield how *citation* is written with the pages' numbers, where that is another way; dead numbers stay."""
    now = [means.get(number) or number for number in citation.numbers]
    if now != list(citation.numbers) or "^" in text[citation.start : citation.end]:
        yield citation.start, citation.end, f"[{', '.join(map(str, dict.fromkeys(now)))}]"


def _lines(masked: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in masked.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def _entries(seen: Read, lines: Sequence[tuple[int, int]], *, headed: bool) -> tuple[Entry, ...]:
    """Return the entries that *lines* begin with, up to a line that belongs to none; none where it is no such list."""
    found: list[Entry] = []
    bracketed, apart = True, False
    for start, end in lines:
        line = seen.masked[start:end]
        match = _BRACKETED.match(line) or (_LISTED.match(line) if headed else None)
        if match is not None:
            bracketed &= match.re is _BRACKETED
            found.append((int(match[1]) if match[1] else None, start, end))
        elif line.strip():
            if not found or apart or line.lstrip().startswith("#"):
                break
            found[-1] = (*found[-1][:2], end)
        apart = not line.strip()
    return tuple(found) if bracketed or all(_target(seen.links, *each[1:]) for each in found) else ()


def _in_a_row(seen: Read, start: int) -> tuple[Entry, ...]:
    """Return the entries of a list in one paragraph: `Sources: [1] https://…, [2] https://…`."""
    stop = re.compile(r"\n[ \t]*\n|\Z").search(seen.masked, start)
    end = stop.start() if stop is not None else len(seen.masked)
    labels = list(_LABEL.finditer(seen.masked, start, end))
    ends = [*(label.start() for label in labels[1:]), end][: len(labels)]
    found = tuple((int(label[1]), label.start(), until) for label, until in zip(labels, ends, strict=True))
    return found if all(_target(seen.links, *each[1:]) for each in found) else ()


def _target(links: Sequence[Link], start: int, end: int) -> str | None:
    at = bisect_left(links, start, key=lambda link: link.start)
    return links[at].targets[0] if at < len(links) and links[at].start < end else None


def _ends_in_link(seen: Read, entry: Entry) -> bool:
    """Whether *entry* names an address and says nothing after it: else it may be a sentence."""
    _, start, end = entry
    last = seen.links[bisect_left(seen.links, end, key=lambda link: link.start) - 1] if seen.links else None
    return last is not None and start <= last.start < end and not seen.masked[last.end : end].strip(" \t.,;)*_")


def _line(number: int, page: Page) -> str:
    """Return the entry of *page*; its title, which a stranger wrote, can be no link, number or code there."""
    title = re.sub(r"[\[\]<>`\\]", " ", page.title)
    title = re.sub(r"(?i)\b(?:https?|ftp)://|\bwww\.", " ", title)
    title = " ".join(title.split())
    if page.path is not None:
        named = "" if title in ("", page.path) else f"{title} \u2013 "
        return f"[{number}] {named}{_path(page.path)}"
    is_address = not title or same(page.url) in (same(page.title), same(f"https://{title}"))
    return f"[{number}] {_address(page.url)}" if is_address else f"[{number}] {title} \u2013 {_address(page.url)}"


def _path(path: str) -> str:
    """Return the path of a note so that no sign in it is markup."""
    path = " ".join(path.split())
    return f"`{path.replace('`', ' ')}`" if re.search(r"[\[\]<>`\\*]", path) else path


def _address(url: str) -> str:
    """Return *url* so that it is read back whole."""
    whole = quote(url.strip(), safe="!#$%&'()*+,/:;=?@[]~")
    return whole if whole[-1].isalnum() or whole[-1] in "/=&-_" else f"<{whole}>"
