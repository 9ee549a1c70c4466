"""Web pages, and what other formats become on their way to text: HTML as Markdown, tables with their columns."""

from __future__ import annotations

import codecs
import re

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from bs4.element import CData, PageElement, PreformattedString, Tag
from markdownify import ATX, MarkdownConverter

from rlmwatch.documents.extract import Extract, UnreadableDocument

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BROWSERS_READ = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252"}
"""What a page declares → what every browser takes it for (the encoding standard of the WHATWG)."""
_BLANK_LINES = re.compile(r"\n{3,}")


def read(raw: bytes) -> Extract:
    """
    Return the page as Markdown: headings, lists, links, and tables as rows of cells between `|`.

    Raises:
        UnreadableDocument: It is not a text, or in no encoding that it says.
    """
    return Extract(markdown(decode(raw)))


def decode(raw: bytes) -> str:
    """
    Return the text of a page: by its byte order mark, else as it declares itself, else UTF-8.

    Raises:
        UnreadableDocument: It is none of these.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _decoded(raw[len(mark) :], encoding)
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True, search_entire_document=False)
    encoding = _BROWSERS_READ.get(declared or "", declared or "utf-8")
    try:
        return _decoded(raw, encoding)
    except (LookupError, UnreadableDocument):
        return _decoded(raw, "utf-8")


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding)
    except UnicodeError:
        raise UnreadableDocument(
            f"it is not {encoding.upper()}, and says no other encoding: save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UnreadableDocument("it is not text: a NUL byte is in it; save it again as UTF-8")
    return text


def markdown(html: str) -> str:
    """Return *html* as Markdown. Pictures are their descriptions; scripts, styles and comments are left out."""
    text = _Converter(
        heading_style=ATX,
        bullets="-",
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    ).convert_soup(BeautifulSoup(html, "html.parser"))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in text.splitlines())).strip()


class _Converter(MarkdownConverter):  # type: ignore[misc] # it has no types
    """Markdown for reading: no addresses of pictures, no links within the document, no `|` inside a cell."""

    def process_text(self, el: PageElement, parent_tags: set[str] | None = None) -> str:
        if isinstance(el, PreformattedString) and not isinstance(el, CData):
            return ""  # a declaration or an instruction of XML
        return str(super().process_text(el, parent_tags=parent_tags))

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Keep the address of a link that leads elsewhere."""
        if str(el.get("href") or "").lstrip().lower().startswith(("#", "data:", "javascript:")):
            return text
        return str(super().convert_a(el, text, parent_tags))

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Write what the picture shows, where the page says it; its content may stand in its address."""
        said = " ".join(str(el.get("alt") or "").split())
        return f"[picture: {said}]" if said else ""

    def convert_video(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Write what stands in its place."""
        return text

    def convert_title(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Set the page's title apart from its text."""
        return f"{' '.join(text.split())}\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Keep a cell in its column."""
        return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Keep a cell in its column."""
        return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))
