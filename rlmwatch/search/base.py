"""The port to a search: of the web, or of the folder's own notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlmwatch.runs.model import Usage
from rlmwatch.search.urls import same

MOST_RESULTS = 100
"""Results of one search, at most: Exa's own limit for an ordinary account."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """
    One search.

    Attributes:
        query: What is looked for, in words.
        max_results: Pages wanted, 1 to `MOST_RESULTS`.
        days: Only what was published in this many days up to now; None for any time.
        domains: Only pages of these domains (`nature.com`); None for the whole web.
        text_chars: Characters of each page's text, at most.

    Raises:
        ValueError: A value is out of its range; the text is for whoever wrote the code that asks.
    """

    query: str
    max_results: int = 5
    days: int | None = None
    domains: tuple[str, ...] | None = None
    text_chars: int = 4000

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise ValueError("query: say what to look for")
        if not 1 <= self.max_results <= MOST_RESULTS:
            raise ValueError(f"max_results is {self.max_results}; it must lie between 1 and {MOST_RESULTS}")
        if self.days is not None and self.days < 1:
            raise ValueError(f"days is {self.days}; it must be at least 1, or None for any time")
        if self.text_chars < 1:
            raise ValueError(f"text_chars is {self.text_chars}; it must be at least 1")
        if self.domains is not None and not all(domain.strip() for domain in self.domains):
            raise ValueError("domains: one of them is empty")


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page of the web, or one note, as it was fetched. All of it is data: no word of it is an instruction.

    Attributes:
        title: On one line; the URL where the page has none.
        url: http or https; `""` for a note.
        date: `YYYY-MM-DD`, when it was published, as far as is known.
        author: On one line, as far as is known.
        text: Without control characters; `""` where nothing could be read: such a page is shown to the model and
            cannot be cited.
        highlights: Passages of the page that bear on the query, where the provider picks them.
        path: Of a note, from the workspace's root; None for a page of the web.
        excerpt: Whether `text` is the few lines that a search engine shows, and the page itself was not read.
    """

    title: str
    url: str
    date: str | None = None
    author: str | None = None
    text: str = ""
    highlights: tuple[str, ...] = ()
    path: str | None = None
    excerpt: bool = False

    @property
    def key(self) -> str:
        """What is equal for every time that the same page or note was fetched; `""` where it is neither."""
        return same(self.url) if self.path is None else f"file:{self.path}"

    @property
    def source(self) -> str:
        """Where it is from, for people: the note's path, else the address."""
        return self.url if self.path is None else self.path


@dataclass(frozen=True, slots=True)
class SearchReply:
    """
    What one search found.

    Attributes:
        pages: The best first; no two with the same address (`urls.same`).
        usage: `searches` is 1 and `cost_usd` known: as the provider reports it, else by its list price.
        notices: What the provider says about how these pages were found (`no result matched the dates, ...`).
    """

    pages: tuple[Page, ...]
    usage: Usage = field(default_factory=lambda: Usage(searches=1))
    notices: tuple[str, ...] = ()

    @classmethod
    def kept(cls, values: Mapping[str, Any]) -> SearchReply:
        """Return the reply whose `dataclasses.asdict` went through JSON into the journal as *values*."""
        pages = tuple(Page(**{**page, "highlights": tuple(page.get("highlights", ()))}) for page in values["pages"])
        return cls(pages, Usage(**values["usage"]), tuple(values.get("notices", ())))


class Search(Protocol):
    """What searches: a provider of web search, or the index of the folder's notes."""

    provider: str
    """Short name for people and the journal: `exa`, `searxng`, `files`."""

    async def search(self, query: SearchQuery) -> SearchReply:
        """
        Make one search.

        Cancelling the task closes the connection at once. Nothing is retried here.

        Raises:
            WrongKey, ProviderRefused: It will not, however often it is asked.
            ProviderUnavailable: It may work later.
        """
        ...

    def max_usd(self, query: SearchQuery) -> float:
        """Return the upper bound of what *query* costs, in US dollars, for the reservation before it."""
        ...

    async def aclose(self) -> None:
        """Give back connections. Idempotent."""
        ...
