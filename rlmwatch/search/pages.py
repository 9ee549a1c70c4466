"""
What a provider found, made fit to be shown, kept and sent on.

Pure. Pages come from strangers, so that

1. control characters, halves of surrogate pairs and characters that are not seen (changes of direction, "tags" in
   which a text can hide from people but not from models) are taken out; lines end in a line feed;
2. title and author are one line, cut to `LINE_CHARS`; the text is cut to what was asked for;
3. a date is `YYYY-MM-DD` or unknown;
4. what has no address of the web is left out; of two with the same address the first stays, and there are no more
   than were asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime

from rlmwatch.search.base import Page, SearchQuery
from rlmwatch.search.urls import is_web, same

LINE_CHARS = 300
"""Of a title or an author: more is not a title, and each is repeated in prompts and lists."""

MOST_HIGHLIGHTS = 20
"""Of a page: more is the page itself."""

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def tidy(found: Iterable[Page], query: SearchQuery) -> tuple[Page, ...]:
    """Return *found* as the module says, in the same order."""
    pages: dict[str, Page] = {}
    for page in found:
        url = page.url.strip()
        if is_web(url):
            pages.setdefault(same(url), _clean(page, url, query.text_chars))
    return tuple(pages.values())[: query.max_results]


def without_unread(document: object) -> object:
    """Return a search provider's answer with no text in the results that its `statuses` say it could not read."""
    if not isinstance(document, dict) or not isinstance(document.get("statuses"), list):
        return document
    entries = [entry for entry in document["statuses"] if isinstance(entry, dict) and entry.get("status") == "error"]
    unread = [entry["id"] for entry in entries if isinstance(entry.get("id"), str)]
    results = document.get("results")
    if not unread or not isinstance(results, list):
        return document
    return {**document, "results": [_unread(result, unread) for result in results]}


def _unread(result: object, unread: list[str]) -> object:
    if isinstance(result, dict) and (result.get("id") in unread or result.get("url") in unread):
        return {**result, "text": ""}
    return result


def clean(text: str) -> str:
    """Return *text* without what is not seen, its lines ending in a line feed."""
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))


def line(text: str) -> str:
    """Return *text* cleaned, on one line, cut."""
    said = " ".join(clean(text).split())
    return said if len(said) <= LINE_CHARS else said[: LINE_CHARS - 1] + "…"


def day(text: str | None) -> str | None:
    """Return the day of a date or time in ISO 8601; None where *text* is none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text.strip()).date().isoformat()
    except ValueError:
        pass
    try:
        return date.fromisoformat(text.strip()[:10]).isoformat()
    except ValueError:
        return None


def _clean(page: Page, url: str, text_chars: int) -> Page:
    author = line(page.author) if page.author else ""
    text = clean(page.text).strip()[:text_chars]
    picked = (clean(highlight).strip()[:text_chars] for highlight in page.highlights[:MOST_HIGHLIGHTS])
    # Without its text a page was not read: it cannot be cited, whatever is said to stand in it.
    highlights = tuple(filter(None, picked)) if text else ()
    return Page(line(page.title) or url, url, day(page.date), author or None, text, highlights, excerpt=page.excerpt)
