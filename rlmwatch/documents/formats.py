"""Which reader turns which format into text, and what it needs. The readers run in the confined child alone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from rlmwatch.documents.extract import Reader


@dataclass(frozen=True, slots=True)
class Format:
    """
    How one format is read.

    Attributes:
        module: Of this package; its `read` is the reader.
        extra: The library of the extra `documents` that it needs; None where it needs none.
        packages: Loaded with all their modules, which they load only when a document needs them.
    """

    module: str
    extra: str | None = None
    packages: tuple[str, ...] = ()


_HTML = Format("html")
FORMATS: dict[str, Format] = {
    ".pdf": Format("pdf", extra="pypdf", packages=("pypdf",)),
    ".docx": Format("docx", extra="mammoth", packages=("mammoth", "xml")),
    ".odt": Format("odt"),
    ".epub": Format("epub"),
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".eml": Format("mail", packages=("email",)),
    ".ipynb": Format("notebook"),
}
"""Ending of a file → how it is read."""
MAIL = ".eml"


def with_enclosed(suffixes: Iterable[str]) -> frozenset[str]:
    """Return all formats that documents with these endings may hold: a mail may enclose each of them."""
    wanted = frozenset(suffixes)
    return frozenset(FORMATS) if MAIL in wanted else wanted


def readers(suffixes: Iterable[str]) -> dict[str, Reader]:
    """Return the reader of each of *suffixes*, with its library loaded; those whose library is missing are left out."""
    found: dict[str, Reader] = {}
    for each in with_enclosed(suffixes):
        with suppress(ImportError):
            read = import_module(f"rlmwatch.documents.{FORMATS[each].module}").read
            found[each] = partial(read, others=found) if each == MAIL else read
    return found
