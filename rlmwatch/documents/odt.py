"""OpenDocument texts, by way of HTML: headings, lists, tables; footnotes in brackets where they are."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from rlmwatch.documents.archive import opened, parsed, part
from rlmwatch.documents.extract import Extract, UnreadableDocument, counted
from rlmwatch.documents.html import markdown

_TAGS = {
    "p": "p",
    "list": "ul",
    "list-item": "li",
    "table": "table",
    "table-row": "tr",
    "table-cell": "td",
    "covered-table-cell": "td",
}
"""Element of OpenDocument → element of HTML. A cell that another covers keeps its column."""
_LEFT_OUT = frozenset({"tracked-changes", "annotation", "annotation-end", "sequence-decls", "image"})
"""Deleted text, remarks of readers, and pictures."""
_SPACE = frozenset({"s", "tab"})
_MIMETYPE = "application/vnd.oasis.opendocument."


def read(raw: bytes) -> Extract:
    """
    Return the document as Markdown.

    Raises:
        UnreadableDocument: It is damaged, protected, or another format.
    """
    with opened(raw, "an OpenDocument text (.odt)") as archive:
        _check(archive)
        content = parsed(part(archive, "content.xml"))
    body = content.find("body/text")
    if body is None:
        raise UnreadableDocument("it is not a text: save a table as .csv, slides as PDF")
    pictures = sum(1 for _ in body.iter("image"))
    return Extract(markdown("".join(_html(body))), (counted(pictures, "picture"),) if pictures else ())


def _check(archive: ZipFile) -> None:
    if "mimetype" in archive.namelist():
        kind = part(archive, "mimetype").decode("ascii", "replace").strip()
        if not kind.startswith(_MIMETYPE):
            raise UnreadableDocument(f"it is not an OpenDocument text, but {kind[:80]}")
    if "META-INF/manifest.xml" in archive.namelist():
        manifest = parsed(part(archive, "META-INF/manifest.xml"))
        if manifest.find(".//encryption-data") is not None:
            raise UnreadableDocument("it is protected with a password: save a copy without one")


def _html(element: Element) -> Iterator[str]:
    """Yield what is in *element* as HTML."""
    yield escape(element.text or "", quote=False)
    for child in element:
        if child.tag not in _LEFT_OUT:
            yield from _child(child)
        yield escape(child.tail or "", quote=False)


def _child(element: Element) -> Iterator[str]:
    if element.tag in _SPACE:
        yield " "
    elif element.tag == "line-break":
        yield "<br>"
    elif element.tag == "note":
        said = (text for body in element.iter("note-body") for text in body.itertext())
        yield f" [{escape(' '.join(' '.join(said).split()), quote=False)}]"
    elif element.tag == "h":
        level = element.get("outline-level", "1")
        yield from _within(f"h{level if level in '123456' else 6}", element)
    elif element.tag in _TAGS:
        yield from _within(_TAGS[element.tag], element)
    else:
        yield from _html(element)


def _within(tag: str, element: Element) -> Iterator[str]:
    yield f"<{tag}>"
    yield from _html(element)
    yield f"</{tag}>"
