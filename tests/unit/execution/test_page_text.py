"""The text of a web page, however its server sent it."""

from __future__ import annotations

import asyncio

import pytest

from rlmwatch.daemon.factories import build_documents, find_search
from rlmwatch.errors import InputError
from rlmwatch.execution.page_text import page_reader
from rlmwatch.search.fetch import FetchedPage
from rlmwatch.settings.sources import load


def read(page: FetchedPage, tmp_path) -> str:
    async def fetch(_url: str) -> FetchedPage:
        return page

    loaded = load(user_dir=tmp_path, workspace=None, environ={})
    return asyncio.run(page_reader(fetch, build_documents(loaded))("https://example.org/a"))


@pytest.mark.parametrize(
    ("raw", "suffix", "charset"),
    [
        (b"<h1>Caf\xe9</h1>", ".html", "iso-8859-1"),
        ("<h1>Café</h1>".encode(), ".html", None),
        ("<h1>Café</h1>".encode(), ".html", "no-such"),
        ("# Café".encode("utf-16"), ".txt", "utf-16"),
        ("# Café".encode(), ".txt", None),
        *(
            ("# Café".encode(), ".txt", charset)
            for charset in ("idna", "undefined", "a\0b", "utf-7", "unicode_escape", "hex", "rot13")
        ),
        ("<h1>Café</h1>".encode(), ".html", "idna"),
    ],
)
def test_a_page_is_text_in_the_encoding_that_its_server_names(raw, suffix, charset, tmp_path):
    """HTML becomes Markdown, other text stays; the encoding is the server's, else UTF-8."""
    assert read(FetchedPage(raw, suffix, charset), tmp_path).strip() == "# Café"


@pytest.mark.parametrize("suffix", [".html", ".txt"])
def test_a_page_is_read_as_browsers_read_it(suffix, tmp_path):
    """`iso-8859-1` is Windows-1252 to every browser: quotation marks and the euro sign are such."""
    raw = "“5 €”".encode("cp1252")
    assert read(FetchedPage(raw, suffix, "iso-8859-1"), tmp_path).strip() == "“5 €”"


def test_an_empty_page_is_an_error(tmp_path):
    """A page without text is named, and not passed off as one that was read."""
    with pytest.raises(InputError, match=r"example\.org/a is empty"):
        read(FetchedPage(b" \n", ".txt", None), tmp_path)


@pytest.mark.parametrize("allowed", [True, False])
def test_pages_that_searxng_finds_are_read_only_where_the_user_allows_it(allowed, tmp_path):
    """Without `web.pages` in the user's own settings no page is fetched: its excerpt is all."""
    (tmp_path / "config.toml").write_text(
        f'searxng_url = "http://127.0.0.1:1"\n[web]\npages = {str(allowed).lower()}\n', encoding="utf-8"
    )
    loaded = load(user_dir=tmp_path, workspace=None, environ={})
    search, why = find_search(loaded, {}, {}, build_documents(loaded))
    assert why == ""
    assert (search._read_page is not None) is allowed
