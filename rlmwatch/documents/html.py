"""Web pages, and what other formats become on their way to text: HTML as Markdown, tables with their columns."""

from __future__ import annotations

import re
from contextlib import suppress

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from bs4.element import CData, PageElement, PreformattedString, Tag
from markdownify import ATX, MarkdownConverter

from rlmwatch.contract.charsets import codec_of
from rlmwatch.documents.extract import Extract, UnreadableDocument

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
        UnreadableDocument: It is none of these, or no text.
    """
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True, search_entire_document=False)
    codec = codec_of(raw, declared)
    if codec.startswith(("utf-16-", "utf-32")):  # if that were true, the declaration could not have been read
        codec = "utf-8"
    for each in (codec, "utf-8"):
        with suppress(UnicodeError):
            text = raw.decode(each)
            break
    else:
        raise UnreadableDocument(f"it is not {codec.upper()}, and says no other encoding: save it as UTF-8")
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
