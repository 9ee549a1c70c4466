"""Word documents, by way of HTML: headings, lists, tables, footnotes. What was deleted in track changes is gone."""

from __future__ import annotations

from io import BytesIO

import mammoth

from rlmwatch.documents.archive import opened, part, refuse_unsafe
from rlmwatch.documents.extract import Extract, counted
from rlmwatch.documents.html import markdown


def read(raw: bytes) -> Extract:
    """
    Return the document as Markdown.

    Raises:
        UnreadableDocument: It is damaged, protected or another format, or its XML too large or with entities.
    """
    with opened(raw, "a Word document (.docx)") as archive:
        part(archive, "[Content_Types].xml")
        # The library finds the parts by itself and parses them with the standard library's XML.
        for entry in archive.infolist():
            refuse_unsafe(archive, entry)
    pictures: list[None] = []

    def counts(_picture: object) -> dict[str, str]:
        pictures.append(None)
        return {}

    html = mammoth.convert_to_html(BytesIO(raw), convert_image=mammoth.images.img_element(counts)).value
    return Extract(markdown(html), (counted(len(pictures), "picture"),) if pictures else ())
