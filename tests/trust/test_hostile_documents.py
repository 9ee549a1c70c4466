"""Documents that were made to do harm: each ends in words that name it, in bounded time and memory, before any call."""

from __future__ import annotations

import asyncio
import io
import resource
import zipfile
from dataclasses import replace

import pytest
from fakes.made_documents import archive, docx, epub, mail, odt, paragraph, text_pdf
from servers.openai_server import OpenAIServer
from system.harness import Home

from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError
from rlmwatch.sandbox.guest.lockdown import Policy

pytest.importorskip("pypdf")
pytest.importorskip("mammoth")
READER = DocumentReader(Policy(landlock="try"))
BILLION = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
BILLION += "]>"
OUTSIDE = "<!DOCTYPE x [<!ENTITY j SYSTEM 'file:///etc/passwd'>]>"


def read(name: str, raw: bytes, reader: DocumentReader = READER) -> str:
    """Return the text of the document *name*, or the words of its error."""
    return str(asyncio.run(reader.texts({name: raw}))[name])


def bomb(name: str, part: str, megabytes: int) -> bytes:
    """Return an archive whose *part* unpacks to *megabytes* of blanks, some thousand times its size."""
    made = io.BytesIO({"a.docx": docx(""), "a.odt": odt("")}[name])
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as unpacked, unpacked.open(part, "w") as file:
        for _ in range(megabytes):
            file.write(b" " * 1_000_000)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.docx", docx(paragraph("&j;").replace("&amp;", "&"), prologue=BILLION)),
        ("a.docx", docx(paragraph("&j;").replace("&amp;", "&"), prologue=OUTSIDE)),
        ("a.docx", docx(paragraph("x"), {"word/styles.xml": f"{BILLION}<styles>&j;</styles>"})),
        ("a.docx", docx(paragraph("x"), {"word/notes.bin": f"{BILLION}<x>&j;</x>".encode("utf-16")})),
        ("a.odt", odt("<text:p>&j;</text:p>", prologue=BILLION)),
        ("a.odt", odt("<text:p>&j;</text:p>", prologue=OUTSIDE)),
        ("a.epub", epub({"a.xhtml": "x"}, {"OEBPS/book.opf": f"{BILLION}<package>&j;</package>"})),
    ],
    ids=["docx", "docx-file", "docx-styles", "docx-utf16", "odt", "odt-file", "epub"],
)
def test_entities_of_xml_are_refused(name, raw):
    """Neither a text that unfolds to gigabytes nor a file of this machine comes into the material."""
    assert "declares entities" in read(name, raw)


@pytest.mark.parametrize(
    ("name", "part", "megabytes", "says"),
    [
        ("a.docx", "word/media/a.png", 450, "unpacks to more than 400 MB"),
        ("a.odt", "Pictures/a.png", 450, "unpacks to more than 400 MB"),
        ("a.odt", "content.xml", 80, "content.xml unpacks to more than 64 MB"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_unpacks_to_too_much_is_refused(name, part, megabytes, says):
    """A small archive of hundreds of megabytes ends in words, and takes nothing of the daemon's memory."""
    raw = bomb(name, part, megabytes)
    assert len(raw) < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert says in read(name, raw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "KB"


def test_a_page_nested_without_end_is_refused():
    """Elements 100,000 deep end in words, and the next document is read."""
    found = asyncio.run(READER.texts({"deep.html": b"<div>" * 100_000 + b"x", "good.html": b"<p>hi</p>"}))
    assert "deep.html cannot be read: it is nested too deeply" in str(found["deep.html"])
    assert found["good.html"] == "hi"


def test_small_documents_that_become_large_texts_are_an_error_together():
    """Each text may be within its limit: what they come to is limited too, before all are held in memory."""
    raw = docx("".join(paragraph("word " * 200) for _ in range(100)))
    with pytest.raises(InputError, match=r"with b\.docx the texts of the documents are longer than 150,000"):
        asyncio.run(replace(READER, max_chars=150_000).texts({"a.docx": raw, "b.docx": raw, "c.docx": raw}))


def test_a_cell_that_spans_a_billion_columns_is_read():
    """A number in a document is no size to take."""
    text = read("a.html", b"<table><tr><td colspan=1000000000>a</td><td>b</td></tr></table>")
    assert len(text) < 20_000


def test_a_part_that_a_name_leads_out_to_is_not_looked_for():
    """A book names its chapters by a path within itself: what leads out is a damaged book, and no file is opened."""
    package = (
        "<package><manifest><item id='a' href='../../../../etc/passwd' media-type='text/html'/></manifest>"
        "<spine><itemref idref='a'/></spine></package>"
    )
    assert "has no part" in read("a.epub", epub({}, {"OEBPS/book.opf": package}))


def encrypted_pdf(password: str) -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(text_pdf([["secret words"]])))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_with_a_password_says_so_and_one_without_is_read():
    """A password that only restricts printing is none; another is an error with its cure."""
    assert "protected with a password: save a copy without one" in read("a.pdf", encrypted_pdf("user"))
    assert read("a.pdf", encrypted_pdf("")) == "[page 1]\nsecret words"


def encrypted_zip() -> bytes:
    """Return a Word document whose archive says that its parts are encrypted."""
    raw = bytearray(docx(paragraph("x")))
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 8] |= 1
    return bytes(raw)


HOSTILE = {
    "bomb_job_data.docx": (docx(paragraph("&j;").replace("&amp;", "&"), prologue=BILLION), "declares entities"),
    "locked_job_data.docx": (encrypted_zip(), "with a password"),
    "ole_job_data.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "with a password"),
    "named_job_data.docx": (text_pdf([["x"]]), "give its name the ending .pdf"),
    "text_job_data.txt": (text_pdf([["x"]]), "give its name the ending .pdf"),
    "hollow_job_data.docx": (b"", "is empty"),
    "broken_job_data.odt": (archive({"mimetype": "x"}), "not an OpenDocument text"),
    "latin_job_data.csv": ("Größe\n".encode("cp1252"), "Windows-1252"),
    "bad_job_data.html": (b"\xff\xfe\0", "save it as UTF-8"),
    "note_job_data.ipynb": (b"{}", "give it the ending .json"),
    "scan_job_data.pdf": (text_pdf([[], []]), "holds no text"),
    "pdf_job_data.pdf": (encrypted_pdf("user"), "with a password"),
    "mail_job_data.eml": (b"\0" * 100, "not a mail"),
}


def test_what_cannot_be_read_costs_nothing(home: Home, provider: OpenAIServer):
    """Each kind of unreadable material is told beside its question, with its name and a cure; nobody is asked."""
    with home.daemon() as daemon:
        for name, (raw, _) in HOSTILE.items():
            home.save(name, raw)
            home.save(f"{name.partition('_')[0]}_job_input.txt", "What is in it?")
        for name, (_, says) in HOSTILE.items():
            path = f"{name.partition('_')[0]}_job_input.txt"
            daemon.wait("run.failed", path=path)
            error = home.read(path.replace("_input", "_error"))
            assert name in error
            assert says in error
            assert home.status_of(path)["outcome"] == "bad_input"
    assert provider.calls == []


def test_a_thread_of_mails_is_read_to_its_innermost(home: Home):
    """Twenty mails, each forwarded as an attachment of the next, are one text, the oldest within."""
    made = mail("mail 0", "the first words")
    for n in range(1, 20):
        around = mail(f"mail {n}", f"see below {n}")
        around.add_attachment(made)
        made = around
    text = read("a.eml", made.as_bytes())
    assert text.index("Subject: mail 19") < text.index("Subject: mail 0\n\nthe first words")
