"""
Whether what an answer quotes was said.

Pure. A quotation is text of one paragraph between quotation marks ("…", “…”, „…“, «…», »…«), more than
`LEAST_WORDS` words of it (a language without spaces has none). It was said where its words stand one after the other
in the title or text of one page; what is compared is words alone, so that white space, case, quotation marks, dashes
and markup do not matter. An omission (`…`, `[...]`, or anything in brackets) may stand for any text: the parts must
follow each other, and one of them must have `LEAST_PART` words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from rlmwatch.search.base import Page

LEAST_WORDS = 8
"""Quotations of so many words or fewer are phrases and names, and are not looked up."""

LEAST_PART = 3
"""Fewer words than this between two omissions stand in any text."""

_IN = r"(?:[^{marks}\n]|\n(?![ \t]*\n))++"
_QUOTATION = re.compile(
    rf"“{_IN.format(marks='“”')}”"
    rf"|„{_IN.format(marks='„“”')}[“”]"
    rf"|«{_IN.format(marks='«»')}»"
    rf"|»{_IN.format(marks='«»')}«"
    rf'|(?<![\w"])"(?=\S){_IN.format(marks=chr(34))}(?<=\S)"(?!\w)'
)
_OMISSION = re.compile(r"\.\.\.|…|\[[^\[\]]*\]")
_LINKED = re.compile(r"!?\[([^\[\]]*)\]\([^\s()]*(?:\([^()]*\)[^\s()]*)*(?:\s[^()]*)?\)")
_BARE = re.compile(r"(?i)(?:https?://|ftp://|\bwww\.)[^\s<>\"“”«»„`]+")
_SOFT = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_WORD = re.compile(r"[^\W_]+")


def quotations(masked: str) -> Iterator[tuple[int, int]]:
    """Yield where the quotations of *masked* stand, quotation marks included."""
    for match in _QUOTATION.finditer(masked):
        if sum(1 for token in _plain(match[0]).split() if _WORD.search(token)) > LEAST_WORDS:
            yield match.span()


def words(text: str) -> list[str]:
    """Return the words of *text* as they are compared; addresses are none."""
    return _WORD.findall(unicodedata.normalize("NFKC", _plain(text)).casefold())


class PageTexts:
    """What the pages say, word by word."""

    def __init__(self, pages: Sequence[Page]) -> None:
        # References in brackets stand in the middle of sentences that are quoted without them.
        whole = ("\n".join((page.title, page.text, *page.highlights)) for page in pages)
        texts = (re.sub(r"\[\d{1,3}\]", " ", text) for text in whole)
        self._pages = [f" {' '.join(words(text))} " for text in texts]

    def has(self, quotation: str) -> bool:
        """Return whether one page says *quotation*."""
        # "[T]he" is how an author writes that the T was small.
        whole = re.sub(r"\[([^\W\d_])\]", r"\1", _LINKED.sub(r"\1", quotation))
        parts = [words(part) for part in _OMISSION.split(whole)]
        said = [part for part in parts if part]
        return any(len(part) >= LEAST_PART for part in said) and any(_in_order(page, said) for page in self._pages)


def _in_order(page: str, parts: Sequence[Sequence[str]]) -> bool:
    at = 0
    for part in parts:
        found = page.find(f" {' '.join(part)} ", at)
        if found < 0:
            return False
        at = found + sum(map(len, part)) + len(part)
    return True


def _plain(text: str) -> str:
    return _SOFT.sub("", _BARE.sub(" ", _LINKED.sub(r"\1", text)))
