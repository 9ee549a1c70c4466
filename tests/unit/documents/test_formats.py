"""documents/: what each format becomes as text. The readers themselves; their process is in tests/behaviour."""

from __future__ import annotations

import json
from email.message import EmailMessage

import pytest
from fakes.made_documents import W, docx, epub, mail, odt, paragraph, text_pdf, word_table

from rlmwatch.contract import formats as contract
from rlmwatch.documents import formats
from rlmwatch.documents.archive import MAX_PART_BYTES
from rlmwatch.documents.extract import Extract, UnreadableDocument


def read(suffix: str, raw: bytes) -> Extract:
    return formats.readers([suffix])[suffix](raw)


def test_every_document_that_the_workspace_leaves_to_a_reader_has_one():
    """The endings that are not text are exactly those that there is a reader for."""
    assert formats.FORMATS.keys() == contract.DOCUMENTS.keys()
    assert formats.readers(formats.FORMATS).keys() == formats.FORMATS.keys()


ROWS = "| Month | Sum |\n| --- | --- |\n| May | 12 |\n| June | 7 |"
CELLS = (("Month", "Sum"), ("May", "12"), ("June", "7"))


def html_table(*rows: tuple[str, ...]) -> str:
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def odt_table(*rows: tuple[str, ...]) -> str:
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    lines = ("".join(cell.format(each) for each in row) for row in rows)
    return f"<table:table>{''.join(f'<table:table-row>{line}</table:table-row>' for line in lines)}</table:table>"


@pytest.mark.parametrize(
    ("suffix", "raw"),
    [
        (".html", html_table(*CELLS).encode()),
        (".docx", docx(word_table(*CELLS))),
        (".odt", odt(odt_table(*CELLS))),
        (".epub", epub({"a.xhtml": html_table(*CELLS)})),
        (".eml", mail("x", html=html_table(*CELLS)).as_bytes().replace(b"text/plain", b"text/calendar")),
    ],
    ids=["html", "docx", "odt", "epub", "eml"],
)
def test_a_table_keeps_its_columns(suffix, raw):
    """Each row of a table is a line, its cells between bars."""
    assert ROWS in read(suffix, raw).text


@pytest.mark.parametrize("suffix", [".html", ".docx", ".odt"])
def test_a_bar_in_a_cell_is_no_column(suffix):
    """What a cell holds cannot make another one."""
    cells = (("a|b", "c"), ("1", "2"))
    raw = {".html": html_table(*cells).encode(), ".docx": docx(word_table(*cells)), ".odt": odt(odt_table(*cells))}
    assert read(suffix, raw[suffix]).text == "| a\\|b | c |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("suffix", "raw"),
    [
        (".html", b"<h2>Bees</h2><p>They moved.</p><ul><li>one</li><li>two</li></ul>"),
        (
            ".odt",
            odt(
                "<text:h text:outline-level='2'>Bees</text:h><text:p>They<text:s text:c='9'/>moved.</text:p><text:list>"
                "<text:list-item><text:p>one</text:p></text:list-item>"
                "<text:list-item><text:p>two</text:p></text:list-item></text:list>"
            ),
        ),
    ],
    ids=["html", "odt"],
)
def test_headings_paragraphs_and_lists_are_markdown(suffix, raw):
    """The structure of a document stays, in the form that models know best."""
    assert read(suffix, raw).text == "## Bees\n\nThey moved.\n\n- one\n- two"


def test_a_page_of_the_web_is_its_text():
    """Scripts, styles, comments and the contents of pictures are left out; links keep where they lead."""
    page = (
        "<?xml version='1.0'?><!DOCTYPE html><html><head><title>Bees</title><style>p {}</style></head><body><!-- no -->"
        "<script>no()</script><p>See <a href='https://example.org/b'>the bees</a> <a href='#top'>above</a>, "
        "a_b and *c*.</p><img alt='a hive' src='data:image/png;base64,AAAA'><img src='x.png'></body></html>"
    )
    assert read(".html", page.encode()).text == (
        "Bees\n\nSee [the bees](https://example.org/b) above, a_b and *c*.\n\n[picture: a hive]"
    )


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        ("<p>Größe €</p>", "utf-8"),
        ("<meta charset='windows-1252'><p>Größe €</p>", "cp1252"),
        ("<meta charset='iso-8859-1'><p>Größe €</p>", "cp1252"),
        ("\ufeff<p>Größe €</p>", "utf-16-le"),
        ("\ufeff<meta charset='iso-8859-1'><p>Größe €</p>", "utf-8"),
        ("<meta charset='iso-8859-2'><p>Größe €</p>".replace("€", "ő"), "iso-8859-2"),
        ("<meta charset='no-such'><p>Größe €</p>", "utf-8"),
        ("<meta charset='idna'><p>Größe €</p>", "utf-8"),
        ("<meta charset='utf-16'><p>Größe €</p>", "utf-8"),
        ("<meta charset='utf-16'><p>Größe € </p>", "utf-8"),
        ("<meta charset='utf-16be'><p>Größe €</p>", "utf-8"),
        ("<meta http-equiv='Content-Type' content='text/html; charset=unicode'><p>Größe €</p>", "utf-8"),
        ("<?xml version='1.0' encoding='UTF-16'?><html><p>Größe €</p></html>", "utf-8"),
        ("<meta charset='l1'><p>Größe €</p>", "cp1252"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_says(raw, encoding):
    """By its mark, else as it declares itself and browsers read that, else UTF-8."""
    assert read(".html", raw.encode(encoding)).text in {"Größe €", "Größe ő"}


def test_a_page_in_an_encoding_that_it_does_not_say_is_refused():
    """No encoding is guessed: a wrong guess would be a wrong answer."""
    with pytest.raises(UnreadableDocument, match="save it as UTF-8"):
        read(".html", "<p>Größe</p>".encode("cp1252"))


def test_pages_of_a_pdf_keep_their_numbers_also_past_empty_ones():
    """The mark of a page is its number in the document; pages without text are told."""
    text, left_out = read(".pdf", text_pdf([["one"], [], ["three (3)"]]))
    assert text.split("\n\f\n") == ["[page 1]\none", "[page 2]\n", "[page 3]\nthree (3)"]
    assert left_out == ("1 page of 3 without text, perhaps pictures of it",)


def test_a_word_document_is_headings_text_and_notes_without_what_was_deleted():
    """Headings are marked, footnotes stand at the end, and what track changes deleted is gone."""
    notes = (
        f"<w:footnotes xmlns:w='{W}'><w:footnote w:id='1'>{paragraph('From the letter.')}</w:footnote></w:footnotes>"
    )
    body = (
        paragraph("Bees", "Heading1")
        + "<w:p><w:r><w:t>Moved</w:t></w:r><w:r><w:footnoteReference w:id='1'/></w:r>"
        + "<w:del><w:r><w:delText>never</w:delText></w:r></w:del><w:ins><w:r><w:t> south</w:t></w:r></w:ins></w:p>"
    )
    text = read(".docx", docx(body, {"word/footnotes.xml": notes})).text
    assert text.startswith("# Bees\n\nMoved[1] south\n\n")
    assert "From the letter." in text
    assert "never" not in text


@pytest.mark.parametrize("start", [b"<w:document xmlns:w='x'>", b"\xff\xfe" + "<a>".encode("utf-16-le")])
def test_a_word_document_with_a_part_that_is_too_large_is_refused(start):
    """The library parses the parts that a document names, whatever their names: a large one is not left to it."""
    part = start.ljust(MAX_PART_BYTES + 2)
    with pytest.raises(UnreadableDocument, match=r"its part word/media/x\.png unpacks to more than 64 MB"):
        read(".docx", docx(paragraph("x"), {"word/media/x.png": part}))


def test_a_word_document_may_hold_a_large_picture():
    """What is not XML is not parsed, and counts only towards the whole."""
    picture = b"\x89PNG\r\n".ljust(MAX_PART_BYTES + 2)
    assert read(".docx", docx(paragraph("Hello"), {"word/media/x.png": picture})).text == "Hello"


def test_an_opendocument_text_leaves_out_remarks_and_deleted_text():
    """What is shown is what is read; a footnote stands in brackets where it is, pictures are counted."""
    text, left_out = read(
        ".odt",
        odt(
            "<text:tracked-changes><text:p>never</text:p></text:tracked-changes><text:p>Moved<text:note>"
            "<text:note-citation>1</text:note-citation><text:note-body><text:p>From the</text:p><text:p>letter."
            "</text:p></text:note-body></text:note> south<office:annotation><text:p>no</text:p></office:annotation>."
            "</text:p><text:p><draw:frame><draw:image/></draw:frame></text:p>"
        ),
    )
    assert text == "Moved [From the letter.] south."
    assert left_out == ("1 picture",)


def test_the_chapters_of_a_book_come_in_their_order_under_number_and_title():
    """Titles are those of the book's contents, wherever they lead within a chapter; the first one names it."""
    nav = "<a href='b.xhtml'>The bees</a><a href='b.xhtml#two'>More</a><a href='a%20a.xhtml#top'>The honey</a>"
    text, left_out = read(".epub", epub({"b.xhtml": "<p>They moved.</p>", "a a.xhtml": "<p>Jars.</p>"}, nav=nav))
    assert text == "[chapter 1: The bees]\nThey moved.\n\n[chapter 2: The honey]\nJars."
    assert left_out == ()


def test_the_contents_of_an_older_book_name_its_chapters():
    """EPUB 2 has its titles in a part of another form."""
    ncx = (
        "<ncx xmlns='http://www.daisy.org/z3986/2005/ncx/'><navMap><navPoint><navLabel><text>The bees</text></navLabel>"
        "<content src='a.xhtml'/></navPoint></navMap></ncx>"
    )
    package = (
        "<!DOCTYPE package><package xmlns='http://www.idpf.org/2007/opf'><manifest><item id='t' href='toc.ncx' "
        "media-type='application/x-dtbncx+xml'/><item id='a' href='a.xhtml' media-type='application/xhtml+xml'/>"
        "<item id='p' href='p.jpg' media-type='image/jpeg'/></manifest>"
        "<spine toc='t'><itemref idref='a'/><itemref idref='a'/><itemref idref='gone'/></spine></package>"
    )
    made = epub({"a.xhtml": "<p>They moved.</p>"}, {"OEBPS/toc.ncx": ncx, "OEBPS/book.opf": package})
    assert read(".epub", made) == Extract("[chapter 1: The bees]\nThey moved.", ("1 picture",))


def test_a_book_that_is_protected_against_copying_says_so():
    """DRM is told apart from hidden fonts, with which a book can be read."""
    listed = "<encryption><EncryptedData><EncryptionMethod Algorithm='{}'/></EncryptedData></encryption>"
    place = "META-INF/encryption.xml"
    fonts = epub({"a.xhtml": "<p>x</p>"}, {place: listed.format("http://www.idpf.org/2008/embedding")})
    assert read(".epub", fonts).text == "[chapter 1]\nx"
    with pytest.raises(UnreadableDocument, match="DRM"):
        read(".epub", epub({"a.xhtml": "x"}, {place: listed.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}))


def test_a_mail_keeps_its_headers_and_its_plain_text():
    """Of a text in two forms the plain one is taken; who wrote it, to whom and when stands above it."""
    assert read(".eml", mail("Grüße", "Hello\n", "<p>other</p>").as_bytes()).text == (
        "From: Ana <ana@example.org>\nTo: ben@example.org\nDate: Mon, 02 Mar 2026 09:30:00 +0000\nSubject: Grüße\n\n"
        "Hello"
    )


def test_a_mail_in_another_encoding_is_read():
    """A mail says its encoding, and is read in it; where that is no encoding, what can be read is."""
    head = b"From: a@example.org\nContent-Transfer-Encoding: 8bit\nContent-Type: text/plain; charset="
    assert read(".eml", head + "cp1252\n\nGrüße €".encode("cp1252")).text.endswith("Grüße €")
    assert read(".eml", head + "no-such\n\nGrüße".encode()).text.endswith("Grüße")


@pytest.mark.parametrize("charset", ["idna", "undefined", "hex", "rot13", "unicode_escape", "no-such", "us-ascii"])
def test_a_mail_that_names_no_encoding_is_utf_8(charset):
    """What a mail gives as its encoding may be anything; then it is read as UTF-8."""
    head = f"From: a@example.org\nContent-Transfer-Encoding: 8bit\nContent-Type: text/plain; charset={charset}\n\n"
    assert read(".eml", (head + "Grüße \\u0041").encode()).text.endswith("Grüße \\u0041")
    head = "From: a@example.org\nContent-Type: text/plain; charset*=a%00b''x\n\n"
    assert read(".eml", (head + "Grüße").encode()).text.endswith("Grüße")


def test_a_mail_in_utf_7_is_read():
    """Mails alone are written in it (RFC 2152)."""
    head = b"From: a@example.org\nContent-Type: text/plain; charset=UTF-7\n\n"
    assert read(".eml", head + "Grüße".encode("utf-7")).text.endswith("Grüße")


def alternative(*forms: EmailMessage) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "a@example.org"
    made.make_alternative()
    for form in forms:
        made.attach(form)
    return made


def form(content: str, subtype: str = "plain") -> EmailMessage:
    made = EmailMessage()
    made.set_content(content, subtype=subtype)
    return made


def with_attached(made: EmailMessage, name: str = "list.csv") -> EmailMessage:
    made.add_attachment("month,sum", subtype="csv", filename=name)
    return made


def test_what_is_attached_to_one_form_of_a_text_is_not_lost_with_it():
    """A text comes once, in its plain form; what is attached to another form, as Apple's mails have it, is read."""
    pages = with_attached(form("<p>in HTML</p>", "html"))
    pages.add_attachment(mail("Inner", "deep"))
    pages.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="c.png")
    text, left_out = read(".eml", alternative(form("in plain"), alternative(pages)).as_bytes())
    assert "in plain" in text
    assert "in HTML" not in text
    assert "[attachment list.csv]\nmonth,sum\n[end of list.csv]" in text
    assert "Subject: Inner\n\ndeep" in text
    assert [each.split(" (")[0] for each in left_out] == ["attachment c.png"]


@pytest.mark.parametrize("blank", ["", "  \n\n", "\u00a0"])
def test_a_form_that_says_nothing_hides_no_other(blank):
    """Of the forms of a text the first that holds one is taken, whatever is attached to the blank one."""
    page = form("<p>in HTML</p>", "html")
    assert "in HTML" in read(".eml", alternative(form(blank), page).as_bytes()).text
    assert "in HTML" in read(".eml", alternative(with_attached(form(blank)), page).as_bytes()).text


@pytest.mark.parametrize(
    ("name", "charset", "encoding"),
    [
        ("a.txt", "windows-1252", "cp1252"),
        ("a.csv", "iso-8859-1", "cp1252"),
        ("a.txt", "utf-16le", "utf-16-le"),
        ("a.txt", "us-ascii", "utf-8"),
        ("a.txt", "idna", "utf-8"),
        ("a.html", "windows-1252", "cp1252"),
    ],
)
def test_an_attached_text_is_read_in_the_encoding_that_the_mail_says(name, charset, encoding):
    """A text or page that is attached has its encoding in the mail, and is read in it."""
    made = mail("Report", "See below.")
    made.add_attachment("Größe €".encode(encoding), maintype="text", subtype="plain", filename=name)
    next(made.iter_attachments()).set_param("charset", charset)
    assert f"[attachment {name}]\nGröße €\n" in read(".eml", made.as_bytes()).text


def test_an_attached_text_that_is_not_in_its_encoding_is_named():
    """A text that is not what its mail says is left out, and not guessed."""
    made = mail("Report", "See below.")
    made.add_attachment("Größe".encode("cp1252"), maintype="text", subtype="plain", filename="a.txt")
    next(made.iter_attachments()).set_param("charset", "utf-8")
    assert "not UTF-8" in read(".eml", made.as_bytes()).left_out[0]


def test_what_is_attached_to_a_mail_is_read_or_named():
    """Documents, texts and mails that are attached are read under their names; the rest is named, and left out."""
    made = mail("Report", "See below.")
    made.add_attachment(text_pdf([["in the PDF"], []]), maintype="application", subtype="pdf", filename="a.pdf")
    made.add_attachment(b"month,sum\r\nMay,12\r\n", maintype="text", subtype="csv", filename="b.csv")
    made.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="c.png")
    made.add_attachment("Größe".encode("cp1252"), maintype="text", subtype="plain", filename="d.txt")
    made.add_attachment(docx(paragraph("x"))[:100], maintype="application", subtype="x", filename="e.docx")
    inner = mail("Inner", "deep")
    inner.add_attachment(mail("Innermost", "deeper"))
    made.add_attachment(inner)
    made.add_attachment(
        mail("As a file", "as a file").as_bytes(), maintype="application", subtype="x", filename="f.eml"
    )
    text, left_out = read(".eml", made.as_bytes())
    assert "[attachment a.pdf]\n[page 1]\nin the PDF\n" in text
    assert "[attachment b.csv]\nmonth,sum\nMay,12\n[end of b.csv]" in text
    assert "[attachment c.png left out]" in text
    deep = text.index("Subject: Innermost\n\ndeeper")
    assert text.index("[attached mail]\n\nFrom: Ana") < text.index("Subject: Inner\n\ndeep\n\n[attached mail]") < deep
    assert "[attachment f.eml]\nFrom: Ana <ana@example.org>" in text
    told = dict(each.removeprefix("attachment ").split(" ", 1) for each in left_out if each.startswith("attachment"))
    assert told.keys() == {"c.png", "d.txt", "e.docx"}
    assert "a picture" in told["c.png"]
    assert "not UTF-8" in told["d.txt"]
    assert "damaged" in told["e.docx"]
    assert "1 page of 2 without text, perhaps pictures of it in a.pdf" in left_out


def test_mails_within_mails_end_somewhere():
    """A mail that holds itself a thousand times over is refused, whatever it costs to write."""
    part = b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n'
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        read(".eml", b"Subject: x\n" + b"".join(part % (n, n) for n in range(300)) + b"\n\nend")


def notebook(*cells: dict[str, object]) -> bytes:
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": list(cells)}).encode()


def test_a_notebook_is_its_cells_and_the_texts_of_their_outputs():
    """Cells have their numbers, code is fenced; a picture is left out, in its place and in the notes."""
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
        {"output_type": "execute_result", "data": {"text/plain": "   a\n0  1", "text/html": "<table></table>"}},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "\x1b[31mno\x1b[0m", "traceback": []},
    ]
    text, left_out = read(
        ".ipynb",
        notebook(
            {"cell_type": "markdown", "source": ["# Bees\n", "moved"]},
            {"cell_type": "code", "source": "count()", "outputs": outputs},
        ),
    )
    assert text.split("\n\n") == [
        "[cell 1, markdown]\n# Bees\nmoved",
        "[cell 2, code]\n```python\ncount()\n```",
        "[output of cell 2]\none\ntwo",
        "[output of cell 2]\n   a\n0  1",
        "[output of cell 2]\n<Figure>",
        "[output of cell 2 left out: image/png]",
        "[output of cell 2]\nValueError: no",
    ]
    assert left_out == ("1 output that is not text",)


def test_an_older_notebook_is_read():
    """Version 3 has its cells in a worksheet, and another word for their text."""
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["1 + 1"], "outputs": []}]}]}
    assert read(".ipynb", json.dumps(old).encode()).text == "[cell 1, code]\n```python\n1 + 1\n```"


@pytest.mark.parametrize(
    ("suffix", "raw", "says"),
    [
        (".pdf", b"only words", "not a PDF"),
        (".docx", text_pdf([["x"]]), "but a PDF: give its name the ending .pdf"),
        (".docx", b"only words", "not a Word document"),
        (".docx", odt(""), "another format than its name says"),
        (".docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "protected with a password: take that away"),
        (".docx", docx(paragraph("x" * 999))[:-200], "damaged"),
        (".odt", docx(paragraph("x")), "has no part content.xml"),
        (".odt", epub({"a.xhtml": "x"}), "but application/epub"),
        (".odt", odt("<text:p>x"), "XML is damaged"),
        (".odt", odt("x", {"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "with a password"),
        (".epub", odt("x"), "has no part META-INF/container.xml"),
        (".eml", b"only words", "not a mail"),
        (".ipynb", b"only words", "not a notebook"),
        (".ipynb", b"[1]", "give it the ending .json"),
        (".ipynb", b'{"a": 1}', "give it the ending .json"),
        (".html", b"<p>\0</p>", "NUL"),
    ],
)
def test_what_is_not_what_its_name_says_is_told(suffix, raw, says):
    """A wrong ending, a password, a damaged file: the words say which, and what to do."""
    with pytest.raises(UnreadableDocument, match=says):
        read(suffix, raw)


def test_the_same_bytes_give_the_same_text():
    """Reading a document twice is the same text, so that a run that goes on works on what it began with."""
    for suffix, raw in ((".docx", docx(word_table(*CELLS))), (".epub", epub({"a.xhtml": html_table(*CELLS)}))):
        assert read(suffix, raw) == read(suffix, raw)
