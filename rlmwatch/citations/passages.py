"""
Which passage of a cited page bears the sentence that cites it.

Pure. So that a person can check a citation in seconds:

1. The *claim* of `[n]` is the part of its sentence in front of it, from the sentence's beginning or from the citation
   before; the whole beginning where that part says too little; the sentence before where there is none.
2. Its passage is up to `MOST_SENTENCES` adjacent sentences of that page, word for word. All numbers of the claim stand
   in it, and at least `LEAST_SHARE` of its longer words; of several the one with most of them, then the shortest.
3. Where no passage is that near, there is none: nothing is shown that was not found.

Words are compared, not meanings: a passage says where to look, and a person sees whether it bears the claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlmwatch.citations.markdown import Citation
from rlmwatch.citations.quotes import words
from rlmwatch.contract.code_masks import HIDDEN
from rlmwatch.search.base import Page

LEAST_SHARE = 0.5
"""Of the claim's longer words: a paraphrase keeps the names and drops others (measured: `benchmarks/research.py`)."""
LEAST_LETTERS = 4
"""Shorter words stand in any sentence."""
STEM_LETTERS = 5
"""By which words are compared: "walked" and "walks" are one."""
LEAST_WORDS = 2
"""A claim with fewer words to look for says too little alone."""
MOST_SENTENCES = 3
SENTENCE_CHARS = 400
"""Where a page has no sentences (tables, lists), it is cut at a space after so many characters."""
MOST_CLAIMS = 300
"""Of one answer: each is compared with every sentence of its page."""

_END = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019\u00bb)\]*_]{0,4}[ \t]+(?=[^\sa-z])|(?<=[\u3002\uff01\uff1f])|[ \t]*\n\s*"
)
_NOISE = re.compile(rf"\[\^?\d{{1,3}}(?:[ ]?[,;\u2013-][ ]?\^?\d{{1,3}})*\]|[*_`#>{HIDDEN}]+")


@dataclass(frozen=True, slots=True)
class Passage:
    """
    A part of a page.

    Attributes:
        at: Which of the pages that were fetched, from 0.
        start: Where it begins in that page's text, in characters; None where only a highlight of the page has it.
        end: Behind it.
    """

    quote: str
    at: int
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class CitedClaim:
    """
    What stands in front of a citation.

    Attributes:
        text: The claim, as the answer has it, without markup.
        n: The page's number.
        passage: What bears it; None where nothing was found.
    """

    text: str
    n: int
    passage: Passage | None


def claims(masked: str, citations: Sequence[Citation]) -> Iterator[tuple[str, Citation]]:
    """Yield the claim of each citation of an answer, whose code is hidden in *masked*, where it says anything."""
    spans = list(sentences(masked))
    at, text, before = 0, "", -1
    for citation in citations[:MOST_CLAIMS]:
        while at + 1 < len(spans) and spans[at + 1][0] <= citation.start:
            at += 1
        start = spans[at][0] if spans else 0
        part = _plain(masked[max(start, before) : citation.start])
        if len(_keys(part)) < LEAST_WORDS:
            whole = _plain(masked[start : citation.start])
            if words(whole):
                part = whole
            elif before > 0 and not words(masked[before : citation.start]):
                part = text  # [1][2]: both stand for the same
            elif at:
                part = _plain(masked[slice(*spans[at - 1])])
        text, before = part, citation.end
        if words(text):
            yield text, citation


class Passages:
    """The sentences of the pages that were fetched."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        self._sentences: dict[tuple[int, int], list[tuple[int, int, frozenset[str]]]] = {}

    def bearing(self, claim: str, at: Sequence[int]) -> Passage | None:
        """Return what bears *claim* best in the pages *at* (from 0), which are one page as it was fetched each time."""
        wanted = _keys(claim)
        numbers = {key for key in wanted if key[0].isdigit()}
        longer = wanted - numbers
        if len(wanted) < LEAST_WORDS and not numbers:
            return None
        best: tuple[tuple[float, int], Passage] | None = None
        for index in at:
            page = self._pages[index]
            for nth, text in enumerate((page.text, *page.highlights)):
                for start, end, share in self._windows(index, nth, text, numbers, longer):
                    rank = (share, start - end)
                    if best is None or rank > best[0]:
                        place = (start, end) if nth == 0 else (None, None)
                        best = rank, Passage(text[start:end], index, *place)
        return None if best is None else best[1]

    def _windows(
        self, index: int, nth: int, text: str, numbers: set[str], longer: set[str]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield each passage of *text* that is near enough, and the share of the longer words that it has."""
        if (index, nth) not in self._sentences:
            found = ((start, end, frozenset(_keys(text[start:end]))) for start, end in sentences(text))
            self._sentences[index, nth] = list(found)
        spans = self._sentences[index, nth]
        for first, (start, _, _) in enumerate(spans):
            keys: set[str] = set()
            for _, end, more in spans[first : first + MOST_SENTENCES]:
                if not more & (numbers | longer):
                    break  # a longer passage that adds nothing
                keys |= more
                share = len(longer & keys) / len(longer) if longer else 1.0
                if numbers <= keys and share >= LEAST_SHARE:
                    yield start, end, share


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the sentences of *text* stand, without the white space around them."""
    start = 0
    for match in _END.finditer(text):
        yield from _pieces(text, start, match.end())
        start = match.end()
    yield from _pieces(text, start, len(text))


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > SENTENCE_CHARS:
        cut = text.rfind(" ", start + 1, start + SENTENCE_CHARS)
        cut = cut if cut > start else start + SENTENCE_CHARS
        yield from _pieces(text, start, cut)
        start = cut
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _keys(text: str) -> set[str]:
    """Return what a claim and a passage are compared by: numbers whole, longer words by their beginning."""
    found = words(text)
    return {word if word[0].isdigit() else word[:STEM_LETTERS] for word in found if _counts(word)}


def _counts(word: str) -> bool:
    return len(word) >= LEAST_LETTERS or word[0].isdigit()


def _plain(part: str) -> str:
    """Return *part* of an answer without citations and markup, on one line."""
    return " ".join(_NOISE.sub(" ", part).split()).strip(" ,;:.-\u2013\u2014\u2022")
