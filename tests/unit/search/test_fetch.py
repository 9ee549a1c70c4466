"""search/fetch.py: one page by its address, within limits."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from servers.page_server import PageServer, page, redirect
from servers.raw_server import answer, endless

from rlmwatch.errors import InputError
from rlmwatch.search import fetch as fetching
from rlmwatch.search.fetch import MAX_BYTES, FetchedPage, fetch


def fetched(pages, path="/a"):
    """Fetch *path* of a server with *pages*, from this machine; return the result or the error, and the paths asked."""

    async def run():
        async with PageServer(pages) as server:
            try:
                return await fetch(server.url(path), may_connect=lambda _address: True), server
            except InputError as error:
                return error, server

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "suffix", "charset"),
    [
        ("text/html; charset=utf-8", ".html", "utf-8"),
        ("application/xhtml+xml", ".html", None),
        ("text/plain; charset=latin-1", ".txt", "latin-1"),
        ("application/pdf", ".pdf", None),
        ("application/json", ".json", None),
    ],
)
def test_a_page_is_returned_with_its_kind(kind, suffix, charset):
    """What becomes text is returned as it came, with the ending of such a file; nothing but the address is sent."""
    found, server = fetched({"/a": page("words", kind)})
    assert found == FetchedPage(b"words", suffix, charset)
    assert {"authorization", "cookie", "referer"}.isdisjoint(server.headers())


def test_redirects_are_followed_one_by_one():
    """A page that moved is found, up to five times; a loop ends."""
    found, server = fetched({"/a": redirect("/b", 301), "/b": redirect("/c"), "/c": page("here")})
    assert isinstance(found, FetchedPage)
    assert server.paths == ["/a", "/b", "/c"]
    found, server = fetched({"/a": redirect("/a")})
    assert "more than 5 times" in str(found)
    assert len(server.paths) == 6


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (answer(404, b"", "text/html", Connection="close"), "HTTP 404"),
        (page("x", "image/png"), "image/png"),
        (page("x", "application/octet-stream"), "octet-stream"),
        (redirect("ftp://example.org/"), "no http or https address"),
        (redirect("file:///etc/passwd"), "no http or https address"),
        (redirect("http://user:secret@127.0.0.1/"), "it holds a login"),
        (endless(b"x" * (1 << 16), "text/html"), "larger than 10 MB"),
        (
            answer(
                200, gzip.compress(b"0" * (MAX_BYTES + 1)), "text/html", Content_Encoding="gzip", Connection="close"
            ),
            "larger than 10 MB",
        ),
    ],
    ids=["404", "image", "bytes", "ftp", "file", "login", "endless", "bomb"],
)
def test_what_is_no_page_is_an_error_in_words(talk, words):
    """A wrong status, kind or address, or too much content, packed or not, says why and shows no login."""
    found, _ = fetched({"/a": talk})
    assert isinstance(found, InputError)
    assert words in str(found)
    assert "secret" not in str(found)
    assert "rlmwatch again" in str(found)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    """After the time limit the page cannot be read, whatever the server does."""
    monkeypatch.setattr(fetching, "MAX_SECONDS", 0.2)

    async def silent(_writer):
        await asyncio.Event().wait()

    found, _ = fetched({"/a": silent})
    assert "longer than 0.2 s" in str(found)
