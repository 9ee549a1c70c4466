"""Small documents in every format, made by code: as a person could have saved or a stranger built them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage
from html import escape

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def archive(parts: Mapping[str, str | bytes], *, stored: str = "") -> bytes:
    """Return a ZIP archive of *parts*; the part *stored* comes first, and is not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in sorted(parts, key=lambda name: name != stored):
            how = zipfile.ZIP_STORED if name == stored else zipfile.ZIP_DEFLATED
            made.writestr(name, parts[name], compress_type=how)
    return out.getvalue()


def docx(body: str, extra: Mapping[str, str | bytes] | None = None, *, prologue: str = "") -> bytes:
    """Return a Word document with *body*, elements of its main part, and *extra* parts."""
    kinds = "http://schemas.openxmlformats.org/package/2006/content-types"
    links = "http://schemas.openxmlformats.org/package/2006/relationships"
    main = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    drawing = "xmlns:wp='http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing'"
    return archive(
        {
            "[Content_Types].xml": f"<Types xmlns='{kinds}'><Default Extension='xml' ContentType='application/xml'/>"
            "<Default Extension='png' ContentType='image/png'/></Types>",
            "_rels/.rels": f"<Relationships xmlns='{links}'>"
            f"<Relationship Id='r1' Type='{main}' Target='word/document.xml'/></Relationships>",
            "word/document.xml": f"{prologue}<w:document xmlns:w='{W}' {drawing}><w:body>{body}</w:body></w:document>",
            **(extra or {}),
        }
    )


def paragraph(text: str, style: str = "") -> str:
    """Return one paragraph of a Word document."""
    properties = f"<w:pPr><w:pStyle w:val='{style}'/></w:pPr>" if style else ""
    return f"<w:p>{properties}<w:r><w:t xml:space='preserve'>{escape(text)}</w:t></w:r></w:p>"


def word_table(*rows: tuple[str, ...]) -> str:
    """Return a table of a Word document."""
    cells = ["".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows]
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"


def odt(body: str, extra: Mapping[str, str | bytes] | None = None, *, prologue: str = "") -> bytes:
    """Return an OpenDocument text with *body*, in which the prefixes `text`, `table`, `office` and `draw` may stand."""
    names = " ".join(f"xmlns:{name}='{OFFICE}{name}:1.0'" for name in ("text", "table", "office"))
    content = (
        f"<?xml version='1.0'?>{prologue}<office:document-content {names} xmlns:draw='{OFFICE}drawing:1.0'>"
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    parts: dict[str, str | bytes] = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}
    return archive(parts | dict(extra or {}), stored="mimetype")


def epub(chapters: Mapping[str, str], extra: Mapping[str, str | bytes] | None = None, *, nav: str = "") -> bytes:
    """Return an e-book with *chapters* (file name → the body of its page), and the links *nav* as its contents."""
    page = "<?xml version='1.0' encoding='utf-8'?><html xmlns='http://www.w3.org/1999/xhtml'><body>{}</body></html>"
    items = [f"<item id='c{n}' href='{name}' media-type='application/xhtml+xml'/>" for n, name in enumerate(chapters)]
    order = [f"<itemref idref='c{n}'/>" for n in range(len(chapters))]
    contents = "<item id='nav' href='nav.xhtml' properties='nav' media-type='application/xhtml+xml'/>"
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles>"
        "<rootfile full-path='OEBPS/book.opf'/></rootfiles></container>",
        "OEBPS/book.opf": "<package xmlns='http://www.idpf.org/2007/opf'>"
        f"<manifest>{contents}{''.join(items)}</manifest><spine>{''.join(order)}</spine></package>",
        "OEBPS/nav.xhtml": page.format(f"<nav>{nav}</nav>"),
        **{f"OEBPS/{name}": page.format(body) for name, body in chapters.items()},
    }
    return archive(parts | dict(extra or {}), stored="mimetype")


def mail(subject: str, text: str = "", html: str = "") -> EmailMessage:
    """Return a mail; attach to it what else it should hold."""
    made = EmailMessage()
    made["From"], made["To"] = "Ana <ana@example.org>", "ben@example.org"
    made["Date"], made["Subject"] = "Mon, 02 Mar 2026 09:30:00 +0000", subject
    made.set_content(text)
    if html:
        made.add_alternative(html, subtype="html")
    return made


def text_pdf(pages: list[list[str]]) -> bytes:
    """Return a PDF whose pages hold *pages*, lines of text each."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = "".join(
            f"({line.translate({40: chr(92) + '(', 41: chr(92) + ')', 92: chr(92) * 2})}) Tj T*\n" for line in lines
        )
        stream = f"BT /F1 10 Tf 12 TL 40 800 Td\n{shown}ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n{each}\nendobj\n".encode("latin-1"))
    begins = out.tell()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    out.write(f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}".encode())
    out.write(f"trailer << /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{begins}\n%%EOF".encode())
    return out.getvalue()
