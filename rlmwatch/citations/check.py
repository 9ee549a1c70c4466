"""
Citations that are true: an answer's links, numbers and quotations against the pages that were fetched.

Pure. What does not hold is marked right behind it, and stays:

1. a link to a page that was not fetched: `(not fetched)`;
2. a number without a source: `(no such source)`;
3. a quotation of more than eight words that no page says: `(not found in the sources)`.

The list of sources is ours (see `sources.py`), and so are the passages behind the numbers (see `passages.py`). Code is
left alone. Marks that an answer brings along are taken off first, so that it cannot clear or blacken a source with our
own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlmwatch.citations.markdown import Citation, Read, read
from rlmwatch.citations.passages import CitedClaim, Passages, claims
from rlmwatch.citations.quotes import PageTexts, quotations
from rlmwatch.citations.sources import (
    Change,
    Named,
    named_by,
    numbered,
    own_list,
    renumbered,
    replaced,
    with_list,
    without,
)
from rlmwatch.contract.code_masks import mask
from rlmwatch.contract.documents import SCHEMA_VERSION, well_formed
from rlmwatch.search.base import Page
from rlmwatch.search.urls import same

NOT_FETCHED = "(not fetched)"
NO_SOURCE = "(no such source)"
NOT_SAID = "(not found in the sources)"

_MARK = re.compile(r" \((?:not fetched|no such source(?:: \d{1,3}(?:, \d{1,3})*)?|not found in the sources)\)")


@dataclass(frozen=True, slots=True)
class Checked:
    """
    An answer that was checked.

    Attributes:
        text: The answer, marked, with the list of the pages that it cites.
        unknown_links: Addresses in it, or in a list that it brought along, that were not fetched; each once.
        dead_numbers: Numbers without a source, each once.
        unquoted: Quotations that no page says, without their quotation marks, each once.
        claims: What stands in front of each number that has a source, with the passage that bears it.
    """

    text: str
    unknown_links: tuple[str, ...] = ()
    dead_numbers: tuple[int, ...] = ()
    unquoted: tuple[str, ...] = ()
    claims: tuple[CitedClaim, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the status says about it; nothing where all is well."""
        counted = (
            (len(self.unknown_links), "link", "to a page that was not fetched"),
            (len(self.dead_numbers), "number", "without a source"),
            (len(self.unquoted), "quotation", "not found in the sources"),
        )
        return tuple(f"citations: {n} {what}{'' if n == 1 else 's'} {how}" for n, what, how in counted if n)


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    One page, and how it was come by.

    Attributes:
        query: What was searched for.
        fetched_at: RFC 3339 in UTC.
    """

    page: Page
    query: str
    fetched_at: str


def check(answer: str, pages: Sequence[Page]) -> Checked:
    """
    Check *answer* against *pages*.

    Args:
        answer: As the model wrote it; Markdown or plain text.
        pages: All that was fetched, in order; `[n]` means the n-th distinct page.
    """
    fetched = frozenset(same(page.url) for page in pages if page.path is None) - {""}
    by_number = numbered(pages)

    def known(url: str) -> bool:
        return same(f"https:{url}" if url.startswith("//") else f"https://{url}" if _is_bare(url) else url) in fetched

    text = _unmarked(answer)
    seen, named = read(text, known), Named()
    own = own_list(seen)
    rest = without(text, own) if own is not None else text
    if own is not None and rest:
        named = named_by(own, text, seen.links, by_number)
        text, seen = rest, read(rest, known)
    changes: list[Change] = []
    unknown = dict(named.unknown)
    for link in seen.links:
        bad = [target for target in link.targets if not known(target)]
        if bad:
            unknown.update(dict.fromkeys(bad))
            changes.append((link.end, link.end, f" {NOT_FETCHED}"))
    alive = {number for number, page in enumerate(by_number, 1) if page.key}
    cited, dead = set(named.pages), set[int]()
    for citation in seen.citations if rest else ():
        if not _cites(citation, named.means):
            continue
        means = {number: named.means.get(number, number) for number in citation.numbers}
        lost = [number for number, page in means.items() if page not in alive]
        cited |= alive.intersection(means.values())
        dead.update(lost)
        changes += renumbered(citation, text, named.means)
        if lost:
            changes.append((citation.end, citation.end, f" {_no_source(citation, lost)}"))
    unsaid = list(_unsaid(text, seen, pages))
    changes += [(end, end, f" {NOT_SAID}") for _, end in unsaid]
    return Checked(
        with_list(replaced(text, changes), seen.open_fence, sorted(cited), by_number),
        tuple(unknown),
        tuple(sorted(dead)),
        tuple(dict.fromkeys(text[start + 1 : end - 1].strip() for start, end in unsaid)),
        tuple(_claims(seen, named.means, alive, pages)) if rest else (),
    )


def _claims(
    seen: Read, means: Mapping[int, int | None], alive: set[int], pages: Sequence[Page]
) -> Iterator[CitedClaim]:
    """Yield each claim once for every page that it cites, with the passage that bears it."""
    passages, done = Passages(pages), set[tuple[str, int]]()
    numbers = {page.key: number for number, page in enumerate(numbered(pages), 1)}
    fetches: dict[int, list[int]] = {}
    for index, page in enumerate(pages):
        fetches.setdefault(numbers.get(page.key, 0), []).append(index)
    for text, citation in claims(seen.masked, [each for each in seen.citations if _cites(each, means)]):
        for number in dict.fromkeys(means.get(number, number) for number in citation.numbers):
            if number in alive and (text, number) not in done:
                done.add((text, number))
                yield CitedClaim(text, number, passages.bearing(text, fetches[number]))


def sources_document(fetched: Sequence[Fetched], checked: Checked | None = None) -> str:
    """
    Return the content of `…_sources.json`.

    Every page that was fetched, once for each query that found it, with the number under which it may be cited; and
    what the check of the answer found.
    """
    numbers = {page.key: number for number, page in enumerate(numbered([one.page for one in fetched]), 1)}
    rows = {
        (one.page.key, one.query): {
            "n": numbers[one.page.key],
            "title": one.page.title,
            **({"url": one.page.url} if one.page.path is None else {"path": one.page.path}),
            **({"excerpt": True} if one.page.excerpt else {}),
            "date": one.page.date,
            "author": one.page.author,
            "query": one.query,
            "fetched_at": one.fetched_at,
        }
        for one in reversed(fetched)
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "pages": list(reversed(rows.values())),
        "claims": [_claim_row(claim, fetched) for claim in checked.claims] if checked is not None else [],
        "not_fetched": list(checked.unknown_links) if checked is not None else [],
        "no_such_source": list(checked.dead_numbers) if checked is not None else [],
        "not_found_in_the_sources": list(checked.unquoted) if checked is not None else [],
    }
    return well_formed(json.dumps(document, ensure_ascii=False, indent=2)) + "\n"


def _cites(citation: Citation, means: Mapping[int, int | None]) -> bool:
    """Whether *citation* is one: sources count from 1, so `[0, 1]` is an interval."""
    return 0 not in citation.numbers or 0 in means


def _claim_row(claim: CitedClaim, fetched: Sequence[Fetched]) -> dict[str, object]:
    found = claim.passage
    return {
        "claim": claim.text,
        "n": claim.n,
        "quote": found.quote if found is not None else None,
        "start": found.start if found is not None else None,
        "end": found.end if found is not None else None,
        "query": fetched[found.at].query if found is not None else None,
    }


def _is_bare(url: str) -> bool:
    return url[:4].lower() == "www."


def _unmarked(text: str) -> str:
    """Return *text* without our marks, but in code; taking one off can make another."""
    while True:
        masked, _ = mask(text)
        found = [match.span() for match in _MARK.finditer(masked)]
        if not found:
            return text
        text = replaced(text, [(*span, "") for span in found])


def _no_source(citation: Citation, lost: Sequence[int]) -> str:
    if len(lost) == len(set(citation.numbers)):
        return NO_SOURCE
    return f"{NO_SOURCE[:-1]}: {', '.join(map(str, lost))})"


def _unsaid(text: str, seen: Read, pages: Sequence[Page]) -> list[tuple[int, int]]:
    """Return where the quotations stand that no page says."""
    signs = list(seen.masked)
    for link in seen.links:
        signs[slice(*link.hidden)] = " " * (link.hidden[1] - link.hidden[0])
    found = list(quotations("".join(signs)))
    said = PageTexts(pages) if found else None
    return [(start, end) for start, end in found if said is not None and not said.has(text[start:end])]
