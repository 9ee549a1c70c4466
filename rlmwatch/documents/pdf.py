"""PDF: the text of each page under its number, so that an answer can say where."""

from __future__ import annotations

from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, WrongPasswordError

from rlmwatch.documents.extract import Extract, UnreadableDocument, counted

PAGE_BREAK = "\n\f\n"
"""Stands between two pages: a form feed in a line of its own."""
_PROTECTED = "it is protected with a password: save a copy without one (print it into a new PDF)"
_SIGN = b"%PDF-"
_SIGN_WITHIN = 1024
"""Bytes in which the sign must stand, as readers of PDFs look for it."""


def read(raw: bytes) -> Extract:
    """
    Return the pages, each under the line `[page N]`, with a form feed between two of them.

    Raises:
        UnreadableDocument: It is protected, is no PDF, or no page holds text.
    """
    if _SIGN not in raw[:_SIGN_WITHIN]:
        raise UnreadableDocument("it is not a PDF, whatever its name says: give it the ending that it should have")
    try:
        document = PdfReader(BytesIO(raw))
        if document.is_encrypted and not document.decrypt(""):
            raise UnreadableDocument(_PROTECTED)
        pages = [_text(document, number) for number in range(len(document.pages))]
    except (DependencyError, FileNotDecryptedError, WrongPasswordError):
        raise UnreadableDocument(_PROTECTED) from None
    if not any(text.strip() for text in pages):
        return Extract("")
    blank = sum(not text.strip() for text in pages)
    return Extract(
        PAGE_BREAK.join(f"[page {number}]\n{text}" for number, text in enumerate(pages, start=1)),
        (f"{counted(blank, 'page')} of {len(pages)} without text, perhaps pictures of it",) if blank else (),
    )


def _text(document: PdfReader, number: int) -> str:
    return document.pages[number].extract_text().strip()
