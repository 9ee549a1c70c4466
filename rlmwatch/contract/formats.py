"""
Which files of the material are text as they are, which are turned into text first, and how others are recognised. Pure.

1. What has one of the endings of `DOCUMENTS` is turned into text by a confined process (`documents/`).
2. Everything else is text as it is: notes, tables (`.csv`, `.tsv`), `.json`, `.yaml`, `.rst`, `.org`, source code.
3. What a file is shows in its first bytes. Where its name says something else, it is refused, and told what it is:
   nothing is guessed.
"""

from __future__ import annotations

from pathlib import PurePosixPath

DOCUMENTS = {
    ".pdf": "a PDF",
    ".docx": "a Word document",
    ".odt": "an OpenDocument text",
    ".epub": "an e-book",
    ".html": "a web page",
    ".htm": "a web page",
    ".xhtml": "a web page",
    ".eml": "a mail",
    ".ipynb": "a notebook",
}
"""Ending → what such a file is, for people."""

USABLE = "save it as text (UTF-8; a table as .csv), as .docx, .odt, .epub or PDF, or move it away"
"""What to do about a file that is not text."""

_SIGNS = (
    (b"%PDF-", "a PDF: give its name the ending .pdf"),
    (b"{\\rtf", "a rich text document (RTF): save it as text, as .docx or as .odt"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        f"an old Office file, or one that is protected with a password: take that away, and {USABLE}",
    ),
    (b"PK\x03\x04", f"a ZIP archive, as .docx, .odt, .epub and .xlsx are: give its name the right ending, or {USABLE}"),
    (b"\x1f\x8b", f"packed (gzip): unpack it, or {USABLE}"),
    (b"\x89PNG", f"a picture: {USABLE}"),
    (b"\xff\xd8\xff", f"a picture: {USABLE}"),
    (b"GIF8", f"a picture: {USABLE}"),
)
"""First bytes → what such a file is, and what to do."""


def suffix(name: str) -> str:
    """Return the ending of the file *name*, in small letters with its dot; "" where it has none."""
    return PurePosixPath(name).suffix.lower()


def format_of(name: str) -> str:
    """Return the format of the file *name* in one word, as `pdf` or `csv`; `text` where its name has no ending."""
    return suffix(name)[1:] or "text"


def content_of(raw: bytes) -> str | None:
    """Return what *raw* is by its first bytes, and what to do about it; None where it has no known sign."""
    return next((text for sign, text in _SIGNS if raw.startswith(sign)), None)
