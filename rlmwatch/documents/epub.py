"""E-books (EPUB 2 and 3): the chapters in the order of reading, each under its number and title."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from bs4 import BeautifulSoup

from rlmwatch.documents.archive import opened, parsed, part
from rlmwatch.documents.extract import Extract, UnreadableDocument, counted
from rlmwatch.documents.html import decode, markdown

_PAGES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
_CONTENTS = "application/x-dtbncx+xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Ways of hiding fonts, which keep no text from being read."""


def read(raw: bytes) -> Extract:
    """
    Return the chapters as Markdown, each under the line `[chapter N: title]`.

    Raises:
        UnreadableDocument: It is damaged, protected against copying, or another format.
    """
    with opened(raw, "an e-book (.epub)") as archive:
        _refuse_protected(archive)
        root = parsed(part(archive, "META-INF/container.xml")).find(".//rootfile")
        if root is None:
            raise UnreadableDocument("it names no book: it is damaged")
        path = root.get("full-path", "")
        package = parsed(part(archive, path))
        items = {item.get("id", ""): item for item in package.iter("item")}
        titles = dict(_titles(archive, path, [*items.values()]))
        chapters = []
        # A file that the order of reading names twice is one chapter.
        for each in dict.fromkeys(ref.get("idref", "") for ref in package.iter("itemref")):
            if each in items and items[each].get("media-type") in _PAGES:
                where = _beside(path, items[each].get("href", ""))
                if text := markdown(decode(part(archive, where))):
                    chapters.append((titles.get(where, ""), text))
    pictures = sum(item.get("media-type", "").startswith("image/") for item in items.values())
    marks = (f"[chapter {n}{f': {title}' if title else ''}]\n{text}" for n, (title, text) in enumerate(chapters, 1))
    return Extract("\n\n".join(marks), (counted(pictures, "picture"),) if pictures else ())


def _refuse_protected(archive: ZipFile) -> None:
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    for each in parsed(part(archive, "META-INF/encryption.xml")).iter("EncryptedData"):
        method = each.find("EncryptionMethod")
        if method is None or method.get("Algorithm") not in _FONTS:
            raise UnreadableDocument("it is protected against copying (DRM): use a copy without")


def _titles(archive: ZipFile, package: str, items: Iterable[Element]) -> Iterator[tuple[str, str]]:
    """Yield path and title of what the book's tables of contents name: the first title of a chapter comes last."""
    for item in items:
        where = _beside(package, item.get("href", ""))
        if where not in archive.namelist():
            continue
        if "nav" in item.get("properties", "").split():
            for link in reversed(BeautifulSoup(decode(part(archive, where)), "html.parser").find_all("a", href=True)):
                yield _beside(where, str(link["href"])), " ".join(link.get_text().split())
        elif item.get("media-type") == _CONTENTS:
            for point in reversed([*parsed(part(archive, where)).iter("navPoint")]):
                target, label = point.find("content"), point.find("navLabel/text")
                if target is not None and label is not None:
                    yield _beside(where, target.get("src", "")), " ".join((label.text or "").split())


def _beside(path: str, href: str) -> str:
    """Return the part that *href* names in the part *path*."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(href.partition("#")[0])))
