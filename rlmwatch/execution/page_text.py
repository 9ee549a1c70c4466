"""The text of a web page, for what a question mentions and for what a search found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rlmwatch.contract.charsets import text_in
from rlmwatch.contract.secrets import secret_content
from rlmwatch.contract.text import is_blank
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError
from rlmwatch.search.fetch import FetchedPage


async def document_text(documents: DocumentReader, name: str, file: str, raw: bytes) -> str:
    """
    Return the text of the document *raw*, which *file* would be the name of and a person knows as *name*.

    Raises:
        InputError: It cannot be read, or holds a secret.
    """
    text = (await documents.texts({file: raw}))[file]
    if isinstance(text, InputError):
        raise InputError(f"{name}{str(text).removeprefix('context: ').removeprefix(file)}")
    if secret_content(text):
        raise InputError(f"{name}: it holds a private key or a password, and is never sent")
    return text


async def page_text(url: str, page: FetchedPage, documents: DocumentReader) -> str:
    """
    Return the text of *page*, which was fetched from *url*.

    Raises:
        InputError: It cannot be read, is empty, or holds a secret.
    """
    if page.suffix in (".html", ".pdf"):
        raw = page.raw
        if page.suffix == ".html" and page.charset is not None:  # with its mark, so that nothing else in it is believed
            raw = text_in(raw, page.charset).encode("utf-8-sig")
        return await document_text(documents, url, f"page{page.suffix}", raw)
    text = text_in(page.raw, page.charset)
    if is_blank(text):
        raise InputError(f"the page {url} is empty")
    return text


def page_reader(
    fetch: Callable[[str], Awaitable[FetchedPage]], documents: DocumentReader
) -> Callable[[str], Awaitable[str]]:
    """Return what reads a page by its address; it raises InputError where that cannot be."""

    async def read(url: str) -> str:
        return await page_text(url, await fetch(url), documents)

    return read
