"""What each format needs, and how its text is got. Runs in the confined child alone, whatever the file holds."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

MODULES: dict[str, str] = {".pdf": "pypdf", ".html": "markdownify"}
"""Ending of a file → the library that reads it, of the extra `documents`."""


def reader(suffix: str) -> Callable[[bytes], str]:
    """
    Return what turns bytes into text, with its library loaded.

    Raises:
        ImportError: The library is not installed.
    """
    return {".pdf": _pdf, ".html": _html}[suffix]()


def _pdf() -> Callable[[bytes], str]:
    from pypdf import PdfReader

    # A form feed stands between two pages, so that an answer can say where.
    return lambda raw: "\f".join(page.extract_text() for page in PdfReader(BytesIO(raw)).pages)


def _html() -> Callable[[bytes], str]:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    def read(raw: bytes) -> str:
        soup = BeautifulSoup(raw, "html.parser")
        for element in soup(["script", "style", "noscript", "template", "svg"]):
            element.decompose()
        return str(MarkdownConverter(heading_style="ATX").convert_soup(soup))

    return read
