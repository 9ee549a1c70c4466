"""Documents that are ZIP archives of XML: opened under limits, and read without entities."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

from rlmwatch.contract.formats import content_of
from rlmwatch.documents.extract import UnreadableDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UNPACKED_BYTES = 400_000_000
"""Of all parts together, as the archive's list says; pictures count. Twice the largest material."""
MAX_PART_BYTES = 64_000_000
"""Of one part that is read. The text of a long novel is 3 MB as XML."""
_XML_SHOWS_IN_BYTES = 1 << 16
"""By then a picture is none."""


@contextmanager
def opened(raw: bytes, what: str) -> Iterator[ZipFile]:
    """
    Open an archive for the block; errors of reading it become words for the person.

    Args:
        raw: The archive.
        what: What it should be, as "a Word document".

    Raises:
        UnreadableDocument: It is damaged, protected, another format, or unpacks to too much.
    """
    if (found := content_of(raw)) is not None and not raw.startswith(b"PK"):
        raise UnreadableDocument(f"it is not {what}, but {found}")
    try:
        with ZipFile(BytesIO(raw)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise UnreadableDocument(f"it unpacks to more than {MAX_UNPACKED_BYTES // 1_000_000} MB")
            if any(entry.flag_bits & 1 for entry in entries):
                raise UnreadableDocument("it is protected with a password: save a copy without one")
            yield archive
    except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UnreadableDocument(f"it is damaged, or not {what}, whatever its name says ({error})") from None


def part(archive: ZipFile, name: str) -> bytes:
    """
    Return the part *name*.

    Raises:
        UnreadableDocument: It is not there, or too large.
    """
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise UnreadableDocument(
            f"it has no part {name}: it is damaged, or another format than its name says"
        ) from None
    if size > MAX_PART_BYTES:
        raise _too_large(name)
    return archive.read(name)


def parsed(raw: bytes) -> Element:
    """
    Return the root of an XML document whose namespaces were left out of its names.

    Raises:
        UnreadableDocument: It is not well-formed, or declares entities, which may unfold to any size.
    """
    tree = TreeBuilder()
    parser = _parser()
    parser.StartElementHandler = lambda name, attributes: tree.start(
        _local(name), {_local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda name: tree.end(_local(name))
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(raw, True)  # noqa: FBT003 (its own signature)
        return tree.close()
    except (expat.ExpatError, ParseError) as error:
        raise UnreadableDocument(f"its XML is damaged ({error})") from None


def refuse_unsafe(archive: ZipFile, entry: ZipInfo) -> None:
    """
    Pass a part that a library may parse by itself: XML without entities, or no XML.

    Raises:
        UnreadableDocument: It declares entities, or is XML and too large.
    """
    is_large = entry.file_size > MAX_PART_BYTES
    with archive.open(entry) as file:
        raw = file.read(_XML_SHOWS_IN_BYTES if is_large else -1)
    try:
        _parser().Parse(raw, not is_large)
    except expat.ExpatError:
        return
    if is_large:
        raise _too_large(entry.filename)


def _too_large(name: str) -> UnreadableDocument:
    return UnreadableDocument(f"its part {name} unpacks to more than {MAX_PART_BYTES // 1_000_000} MB")


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.EntityDeclHandler = _refuse
    return parser


def _refuse(*_declared: object) -> None:
    raise UnreadableDocument("its XML declares entities, which no such document needs; it is refused")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
