"""
A search of the workspace's own notes (port `Search`): by words, on this machine, for nothing.

What is found is read from the folder at that moment, so it is what stands there now; the index only says where.
"""

from __future__ import annotations

import asyncio
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import structlog

from rlmwatch import clock
from rlmwatch.errors import ProviderRefused
from rlmwatch.runs.model import Usage
from rlmwatch.search.base import Page, SearchQuery, SearchReply
from rlmwatch.search.notes_index import MAX_BYTES, MAX_NOTES, IndexUnusable, Updated, find, terms
from rlmwatch.search.pages import clean, line
from rlmwatch.workspace.note_files import note_text, read_note

NOTES_INDEX = "notes.sqlite3"
"""The index's name, in the workspace's private state folder."""
PASSAGES = 3
"""Of a note, that are picked for the model to look at first."""
PASSAGE_CHARS = 600
SHORT_CHARS = 1_200
"""A note of so many characters is shown whole."""
STEM_LETTERS = 5
"""By which words of query and note are compared when passages are picked."""
_HEADING_IN = 4_000
_HEADING = re.compile(r"(?m)^#{1,6}[ \t]+(\S.*)$")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")

log = structlog.get_logger()


@dataclass(slots=True)
class NoteSearch:
    """
    Searches the notes of one workspace (port `Search`).

    Attributes:
        root: Returns the workspace.
        index: The index's file; it may be deleted at any time.
        provider: `files`.
    """

    root: Callable[[], Path]
    index: Path
    provider: str = "files"
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def max_usd(self, query: SearchQuery) -> float:  # noqa: ARG002 (the port's)
        """Return 0: nobody is paid."""
        return 0.0

    async def search(self, query: SearchQuery) -> SearchReply:
        """
        Find the notes that fit *query* best; the index is brought up to date first.

        Raises:
            ProviderRefused: The index cannot be used, or the folder not be read.
        """
        stop = threading.Event()
        try:
            async with self._one_at_a_time:
                return await asyncio.to_thread(self._search, query, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    async def aclose(self) -> None:
        """Nothing is held between two searches."""

    def _search(self, query: SearchQuery, stop: threading.Event) -> SearchReply:
        root = self.root()
        now = datetime.fromisoformat(clock.utc()).timestamp()
        try:
            paths, updated = find(
                root, self.index, query.query, query.max_results, now_ns=int(now * 1e9), stopped=stop.is_set
            )
        except IndexUnusable as error:
            raise ProviderRefused(f"files: {error}") from None
        seconds = round(updated.seconds, 3)
        log.info("notes.searched", notes=updated.notes, read=updated.read, found=len(paths), seconds=seconds)
        pages = (_page(root, path, query) for path in paths)
        return SearchReply(tuple(filter(None, pages)), Usage(cost_usd=0.0, searches=1), _notices(updated))


def _notices(updated: Updated) -> tuple[str, ...]:
    if not updated.missing:
        return ()
    there = f"{updated.notes:,} notes of this folder were searched, {updated.missing:,} are not in its index yet"
    return (f"{there}: the next search goes on with it, up to {MAX_NOTES:,} notes of {MAX_BYTES // 10**6} MB together",)


def _page(root: Path, path: str, query: SearchQuery) -> Page | None:
    """Return the note *path* as it is now; None where it is gone, or no note any more."""
    raw = read_note(root, path)
    whole = None if raw is None else note_text(raw)
    if whole is None:
        return None
    text = clean(whole).strip()
    heading = _HEADING.search(text[:_HEADING_IN])
    title = line(heading[1].strip("# ")) if heading else ""
    highlights = () if len(text) <= SHORT_CHARS else tuple(_passages(text, query.query))
    return Page(
        title or line(PurePosixPath(path).stem),
        "",
        _day(root / path),
        text=text[: query.text_chars],
        highlights=highlights,
        path=path,
    )


def _day(file: Path) -> str | None:
    try:
        return datetime.fromtimestamp(file.lstat().st_mtime, UTC).date().isoformat()
    except (OSError, ValueError, OverflowError):
        return None


def _passages(text: str, query: str) -> Iterator[str]:
    """Yield, in their order, the parts of *text* with most of the words of *query*."""
    wanted = {_stem(word) for term in terms(query) for word in term.split()}
    rated = []
    for start, part in _parts(text):
        score = len(wanted & {_stem(word) for term in terms(part) for word in term.split()})
        if score:
            rated.append((-score, start, part))
    yield from (part for _, part in sorted((start, part) for _, start, part in sorted(rated)[:PASSAGES]))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs of *text* with their places; long ones in pieces, cut at a line or a space."""
    start = 0
    for end in (*(match.end() for match in _PARAGRAPH_END.finditer(text)), len(text)):
        while end - start > PASSAGE_CHARS:
            cut = max(text.rfind(sign, start + PASSAGE_CHARS // 2, start + PASSAGE_CHARS) for sign in "\n ")
            cut = cut if cut > start else start + PASSAGE_CHARS
            yield start, text[start:cut].strip()
            start = cut
        if part := text[start:end].strip():
            yield start, part
        start = end


def _stem(word: str) -> str:
    plain = unicodedata.normalize("NFD", word.casefold())
    return "".join(sign for sign in plain if not unicodedata.combining(sign))[:STEM_LETTERS]
