"""
The numbers of an answer and its own list of sources.

Pure. The list is what follows the last heading such as "Sources", else the last lines that begin with `[n]` and name
an address. A number in the text is *alive* where the list has it; without a list, where a page has it.

What can be mended without guessing is mended:

1. an answer that cites numbers and has no list gets one, of the pages with those numbers;
2. a list of bullets is numbered in its order;
3. an entry that names no address but the title of one page gets that page's address;
4. a dead number that is the number of a page which the list has under another number becomes that other number;
5. where the list numbers its entries as the pages are numbered, a dead number that is a page's gets its entry;
6. where one dead number, which is no page's, and one entry that nothing cites are left over, and that entry's page was
   fetched, they belong together.

What one of these makes possible for another is done too, so that mending what was mended changes nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from rlmwatch.citations.markdown import Citation, Link, Read, read
from rlmwatch.citations.quotes import words
from rlmwatch.search.base import Page
from rlmwatch.search.urls import same

_NAMES = (
    "sources|references|citations|links|bibliography|works cited|further reading|quellen|quellenangaben|belege|"
    "nachweise|einzelnachweise|literatur|références|fuentes|referencias|fonti|bronnen|source|reference"
)
_HEADING = re.compile(
    rf"^[ >]{{0,4}}(?:#{{1,6}} *)?[*_]{{0,3}}(?:{_NAMES})[*_]{{0,3}} *:?[*_]{{0,3}} *#*$", re.IGNORECASE
)
_HEADED_LINE = re.compile(rf"^[ >]{{0,4}}[*_]{{0,3}}(?:{_NAMES})[*_]{{0,3}} *:[*_]{{0,3}} *(?=\S)", re.IGNORECASE)
_BRACKETED = re.compile(r"^[ >]{0,4}(?:[-*+•] +)?[*_]{0,2}\[\^?(\d{1,3})\][*_]{0,2}(?::?[ \t]+(?=\S)|(?=\())")
_ORDERED = re.compile(r"^[ >]{0,4}(\d{1,3})[.)][ \t]+(?=\S)")
_BULLET = re.compile(r"^[ >]{0,4}[-*+•][ \t]+(?=\S)")
_ROUNDS = 8
"""Rounds of mending, at most; two were ever needed."""

_LABEL = re.compile(r"\[\^?(\d{1,3})\]")
_DASH = "\u2013"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry of an answer's own list.

    Attributes:
        number: As it is written; by its place where it has only a bullet.
        label: Where its number or bullet stands (start, end).
        end: Behind its last line.
        target: The first address that it names; None where it names none.
        bullet: Whether it has only a bullet.
    """

    number: int
    label: tuple[int, int]
    end: int
    target: str | None
    bullet: bool = False


Entries = tuple[Entry, ...]
Change = tuple[int, int, str]
"""Start, end, and what stands there instead."""


def numbered(pages: Sequence[Page]) -> tuple[Page, ...]:
    """Return the distinct *pages* in the order in which they came first: the one at index i is number i + 1."""
    distinct: dict[str, Page] = {}
    for page in pages:
        distinct.setdefault(same(page.url) or page.url, page)
    return tuple(distinct.values())


def own_list(seen: Read) -> Entries:
    """Return the answer's own list of sources; `()` where it has none."""
    lines = list(_lines(seen.masked))
    for index in range(len(lines) - 1, -1, -1):
        start, end = lines[index]
        line = seen.masked[start:end]
        if _HEADING.match(line) and (entries := _entries(seen, lines, index + 1, headed=True)):
            return entries
        if (headed := _HEADED_LINE.match(line)) and (entries := _in_a_row(seen, start + headed.end())):
            return entries
    found: Entries = ()
    index = 0
    while index < len(lines):
        entries = _entries(seen, lines, index, headed=False)
        if any(entry.target for entry in entries):
            found = entries
        index += 1
        while entries and index < len(lines) and lines[index][0] < entries[-1].end:
            index += 1
    return found


def cited(seen: Read, own: Entries) -> list[Citation]:
    """Return the citations outside the list; sources count from 1, so `[0, 1]` is an interval unless the list has 0."""
    known = {entry.number for entry in own}
    return [
        citation
        for citation in seen.citations
        if not (own and own[0].label[0] <= citation.start < own[-1].end) and (0 not in citation.numbers or 0 in known)
    ]


def mend(text: str, pages: Sequence[Page], known: Callable[[str], bool]) -> tuple[str, tuple[int, ...]]:
    """Return *text* mended as the module says, and the dead numbers that live now."""
    mended: set[int] = set()
    for _ in range(_ROUNDS):
        after, now = _mend_once(text, pages, known)
        mended |= now
        if after == text:
            break
        text = after
    return text, tuple(sorted(mended))


def _mend_once(text: str, pages: Sequence[Page], known: Callable[[str], bool]) -> tuple[str, set[int]]:
    seen = read(text, known)
    own = own_list(seen)
    citations = cited(seen, own)
    if not own:
        return _with_list(text, seen, citations, pages), set()
    changes = list(_of_entries(text, own, pages))
    become, append = _cures(own, citations, pages, known)
    mended = set(append)
    for citation in citations:
        if not citation.ranged and (cured := become.keys() & set(citation.numbers)):
            mended |= cured
            whole = dict.fromkeys(become.get(number, number) for number in citation.numbers)
            mark = "^" if "^" in text[citation.start : citation.end] else ""
            changes.append((citation.start, citation.end, f"[{', '.join(f'{mark}{number}' for number in whole)}]"))
    if append:
        label = "[0] " if own[-1].bullet else text[slice(*own[-1].label)]
        lines = [_line(re.sub(r"\d+", str(number), label, count=1), pages[number - 1]) for number in append]
        changes.append((own[-1].end, own[-1].end, "".join(f"\n{line}" for line in lines)))
    return replaced(text, changes), mended


def replaced(text: str, changes: Sequence[Change]) -> str:
    """Return *text* with *changes*, which do not overlap; at one place in the order given."""
    pieces: list[str] = []
    at = 0
    for start, end, instead in sorted(changes, key=lambda change: change[:2]):
        pieces += [text[at:start], instead]
        at = end
    return "".join([*pieces, text[at:]])


def _lines(masked: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in masked.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def _entries(seen: Read, lines: Sequence[tuple[int, int]], first: int, *, headed: bool) -> Entries:
    """Return the entries from the line *first* on, up to a line that belongs to none."""
    begun: list[tuple[int | None, tuple[int, int], int]] = []
    apart = False
    for start, end in (lines[index] for index in range(first, len(lines))):
        line = seen.masked[start:end]
        if not line.strip():
            apart = True
            continue
        match = _BRACKETED.match(line) or ((_ORDERED.match(line) or _BULLET.match(line)) if headed else None)
        if match is not None:
            number = int(match[1]) if match.re is not _BULLET else None
            begun.append((number, (start, start + match.end()), end))
        elif not begun or apart or line.lstrip().startswith("#"):
            break
        else:
            begun[-1] = (*begun[-1][:2], end)
        apart = False
    bullets = all(number is None for number, _, _ in begun)
    return tuple(
        Entry(place if number is None else number, label, end, _target(seen.links, label[0], end), number is None)
        for place, (number, label, end) in enumerate(begun, 1)
        if bullets or number is not None
    )


def _in_a_row(seen: Read, start: int) -> Entries:
    """Return the entries of a list in one paragraph: `Sources: [1] https://…, [2] https://…`."""
    stop = re.compile(r"\n[ \t]*\n|\Z").search(seen.masked, start)
    end = stop.start() if stop is not None else len(seen.masked)
    labels = list(_LABEL.finditer(seen.masked, start, end))
    ends = [*(label.start() for label in labels[1:]), end][: len(labels)]
    entries = tuple(
        Entry(int(label[1]), label.span(), until, _target(seen.links, label.start(), until))
        for label, until in zip(labels, ends, strict=True)
    )
    return entries if any(entry.target for entry in entries) else ()


def _target(links: Sequence[Link], start: int, end: int) -> str | None:
    at = bisect_left(links, start, key=lambda link: link.start)
    return links[at].targets[0] if at < len(links) and links[at].start < end else None


def _of_entries(text: str, own: Entries, pages: Sequence[Page]) -> Iterator[Change]:
    """Yield a number for each bullet, and an address for each entry that names the title of one page alone."""
    titles = [(f" {' '.join(words(page.title))} ", page) for page in pages]
    for entry in own:
        if entry.bullet:
            yield (*entry.label, f"[{entry.number}] ")
        if entry.target is None:
            said = f" {' '.join(words(text[entry.label[1] : entry.end]))} "
            meant = [page for title, page in titles if title.strip() and title in said and same(page.url)]
            if len(meant) == 1:
                yield entry.end, entry.end, f" {_DASH} {_address(meant[0].url)}"


def _cures(
    own: Entries, citations: Sequence[Citation], pages: Sequence[Page], known: Callable[[str], bool]
) -> tuple[dict[int, int], list[int]]:
    """Return which dead number becomes which, and which pages' numbers the list lacks."""
    used = {number for citation in citations for number in citation.numbers}
    listed: dict[str, list[int]] = {}
    for entry in own:
        listed.setdefault(same(entry.target or ""), []).append(entry.number)
    as_pages = all(
        1 <= entry.number <= len(pages) and entry.target and same(entry.target) == same(pages[entry.number - 1].url)
        for entry in own
    )
    become: dict[int, int] = {}
    append: list[int] = []
    rest: list[int] = []
    for number in sorted(used - {entry.number for entry in own}):
        page = pages[number - 1] if 1 <= number <= len(pages) and same(pages[number - 1].url) else None
        under = listed.get(same(page.url), []) if page is not None else []
        if len(under) == 1:
            become[number] = under[0]
        elif page is not None and as_pages:
            append.append(number)
        else:
            rest.append(number)
    spare = [entry for entry in own if entry.number not in used | set(become.values())]
    if len(rest) == 1 and rest[0] > len(pages) and len(spare) == 1 and known(spare[0].target or ""):
        become[rest[0]] = spare[0].number
    return become, append


def _with_list(text: str, seen: Read, citations: Sequence[Citation], pages: Sequence[Page]) -> str:
    """Return *text* with a list of the pages that it cites by number."""
    numbers = sorted({number for citation in citations for number in citation.numbers if 1 <= number <= len(pages)})
    shown = [number for number in numbers if same(pages[number - 1].url)]
    if not shown:
        return text
    body = text.rstrip()
    closing = f"\n{seen.open_fence}" if seen.open_fence else ""
    headed = not closing and _HEADING.match(body.rsplit("\n", 1)[-1]) is not None
    heading = "\n" if headed else f"{closing}\n\nSources:\n"
    lines = "\n".join(_line(f"[{number}] ", pages[number - 1]) for number in shown)
    return f"{body}{heading}{lines}" + ("\n" if text.endswith("\n") else "")


def _line(label: str, page: Page) -> str:
    """Return the entry of *page*; its title, which a stranger wrote, can be no link, number or code there."""
    title = re.sub(r"[\[\]<>`\\]", " ", page.title)
    title = re.sub(r"(?i)\b(?:https?|ftp)://|\bwww\.", " ", title)
    title = " ".join(title.split())
    spaced = label if label[-1:].isspace() else f"{label} "
    is_address = not title or same(page.url) in (same(page.title), same(f"https://{title}"))
    return spaced + _address(page.url) if is_address else f"{spaced}{title} {_DASH} {_address(page.url)}"


def _address(url: str) -> str:
    """Return *url* so that it is read back whole."""
    whole = quote(url.strip(), safe="!#$%&'()*+,/:;=?@[]~")
    return whole if whole[-1].isalnum() or whole[-1] in "/=&-_" else f"<{whole}>"
