"""documents/: text out of PDFs, by a process that is locked down and has limits."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.made_documents import docx, epub, mail, odt, paragraph, text_pdf, word_table

from rlmwatch.documents.formats import FORMATS, readers
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.child import end

pypdf = pytest.importorskip("pypdf")
POLICY = Policy(landlock="try")


def pdf(*pages: str, times: int = 1, copies: int = 1) -> bytes:
    """Return a PDF with one line of text a page, written *times* over it; all pages *copies* times."""
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    kind = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    font = DictionaryObject({NameObject(key): NameObject(value) for key, value in kind.items()})
    fonts = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
    streams = []
    for text in pages:
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 50 Td ({text}) Tj ET\n".encode("latin-1") * times)
        streams.append(writer._add_object(stream.flate_encode()))
    for stream in streams * copies:
        page = writer.add_blank_page(width=300, height=100)
        page[NameObject("/Contents")] = stream
        page[NameObject("/Resources")] = fonts
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def heavy_pdf() -> bytes:
    """Return a small PDF that takes minutes to read: thousands of pages that share one long text."""
    return pdf("slow", times=3000, copies=1000)


def reading(code: str) -> str:
    """Return what starts a process whose library does *code*, an expression of `raw`, with every document."""
    return (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from rlmwatch.documents import child;"
        f"child.readers = lambda suffixes: dict.fromkeys(suffixes, lambda raw: ({code}, ()));"
        "child.main()"
    )


def texts(reader: DocumentReader, documents: dict[str, bytes]) -> dict[str, str | InputError]:
    return asyncio.run(reader.texts(documents))


def children() -> set[str]:
    """Return the processes that read documents for this one."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(status[1]) == os.getpid() and b"documents.child" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
        except OSError:
            continue
    return found


def test_pages_of_a_pdf_come_under_their_numbers():
    """The text of each page, in order, so that an answer can say on which page."""
    assert texts(DocumentReader(POLICY), {"a.pdf": pdf("one", "two")}) == {"a.pdf": "[page 1]\none\n\f\n[page 2]\ntwo"}


EVERY = {
    "a.pdf": text_pdf([["words"]]),
    "a.docx": docx(paragraph("words") + word_table(("a", "b"))),
    "a.odt": odt("<text:p>words</text:p>"),
    "a.epub": epub({"a.xhtml": "<p>words &nbsp;&eacute;</p>"}, nav="<a href='a.xhtml'>t</a>"),
    "a.html": "<meta charset='shift_jis'><p>words 蜂 &copy;</p>".encode("shift_jis"),
    "a.htm": b"<p>words</p>",
    "a.xhtml": b"<?xml version='1.0'?><html><body><p>words</p></body></html>",
    "a.eml": mail("Gr\u00fc\u00dfe", "words", "<p>other</p>").as_bytes(),
    "a.ipynb": b'{"cells": [{"cell_type": "markdown", "source": "words"}]}',
}


@pytest.mark.parametrize("name", EVERY)
def test_the_confined_process_reads_each_format_by_itself(name):
    """All that a format's libraries need is loaded before the lock: the text is what the reader gives without one."""
    suffix = f".{name.partition('.')[2]}"
    found = texts(DocumentReader(POLICY), {name: EVERY[name]})[name]
    assert found == readers([suffix])[suffix](EVERY[name]).text
    assert "words" in found


def test_every_format_has_its_example():
    """A new format is tried in its process too."""
    assert {f".{name.partition('.')[2]}" for name in EVERY} == FORMATS.keys()


def test_a_broken_or_empty_document_costs_only_itself():
    """Each document has its own result: text, or an error that names it."""
    blank = io.BytesIO()
    writer = pypdf.PdfWriter()
    writer.add_blank_page(width=100, height=100)
    writer.write(blank)
    found = texts(
        DocumentReader(POLICY), {"bad.pdf": b"%PDF-1.4 nonsense", "blank.PDF": blank.getvalue(), "good.pdf": pdf("hi")}
    )
    assert "bad.pdf cannot be read" in str(found["bad.pdf"])
    assert "blank.PDF holds no text" in str(found["blank.PDF"])
    assert found["good.pdf"] == "[page 1]\nhi"


def test_a_document_has_a_limit_of_time_and_the_next_one_is_read():
    """One that takes too long is an error; the process is replaced for what comes after it."""
    documents = {"slow.pdf": heavy_pdf(), "good.pdf": pdf("hi")}
    found = texts(replace(DocumentReader(POLICY), max_seconds=0.5), documents)
    assert "longer than 0.5 s" in str(found["slow.pdf"])
    assert found["good.pdf"] == "[page 1]\nhi"
    assert children() == set()


def test_a_document_has_a_limit_of_memory():
    """One that unpacks to more than the process may have is an error; the next one is read."""
    greedy = DocumentReader(replace(POLICY, memory_bytes=300 << 20), launch=reading("chr(97) * int(raw)"))
    found = texts(greedy, {"bomb.pdf": b"400000000", "good.pdf": b"3"})
    assert "bomb.pdf cannot be read: it takes too much memory" in str(found["bomb.pdf"])
    assert found["good.pdf"] == "aaa"


def test_a_document_has_a_limit_of_text():
    """One whose text is larger than the daemon should hold is an error; the next one is read."""
    found = texts(DocumentReader(POLICY, launch=reading("chr(97) * int(raw)")), {"a.pdf": b"70000000", "b.pdf": b"3"})
    assert "a.pdf cannot be read: its text is larger than 64 MB" in str(found["a.pdf"])
    assert found["b.pdf"] == "aaa"


def test_a_library_that_ends_its_process_costs_one_document():
    """A crash in native code is an error of that document alone."""
    found = texts(
        DocumentReader(POLICY, launch=reading("raw.decode() if raw != b'x' else __import__('os')._exit(1)")),
        {"a.pdf": b"x", "b.pdf": b"y"},
    )
    assert "a.pdf cannot be read: it ended the process" in str(found["a.pdf"])
    assert found["b.pdf"] == "y"


def test_cancelling_ends_the_process_and_the_loop_goes_on_meanwhile():
    """A run's time limit ends its parsing; until then nothing else waits for it."""

    async def scene() -> tuple[int, set[str]]:
        reading = asyncio.create_task(DocumentReader(POLICY).texts({"slow.pdf": heavy_pdf()}))
        while not children():  # noqa: ASYNC110 (a process has no event to wait for)
            await asyncio.sleep(0)
        turns = 0
        while not reading.done() and turns < 1000:
            await asyncio.sleep(0)
            turns += 1
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return turns, children()

    assert asyncio.run(scene()) == (1000, set())


@pytest.mark.parametrize(("name", "library"), [("a.pdf", "pypdf"), ("b.docx", "mammoth")])
def test_without_the_library_it_says_what_to_install(monkeypatch, name, library):
    """Where the extra `documents` is missing, the error names it and the file; what needs none is read."""
    monkeypatch.setitem(sys.modules, library, None)
    found = texts(DocumentReader(POLICY), {name: b"x", "c.html": b"<p>words</p>"})
    assert f"{name}: to read it, install rlmwatch[documents] (pip install 'rlmwatch[documents]'" in str(found[name])
    assert found["c.html"] == "words"


def test_an_empty_document_is_told_so():
    """A file of no bytes is no broken document."""
    assert "a.docx is empty" in str(texts(DocumentReader(POLICY), {"a.docx": b""})["a.docx"])


def test_the_process_that_reads_can_open_no_file():
    """A fault in a library reaches nothing: after the lock, opening a file fails in the process that parses."""
    found = texts(DocumentReader(POLICY, launch=reading("open('/etc/passwd').read()")), {"a.pdf": b"x"})
    assert "PermissionError" in str(found["a.pdf"])


def test_a_process_whose_words_nobody_reads_is_ended_all_the_same():
    """A text over the limit is not read to its end: ending its process does not wait for that."""

    async def scene() -> int | None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import os, time; os.write(1, bytes(1 << 20)); time.sleep(600)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        while not process.stdout._paused:  # noqa: ASYNC110 (asyncio tells nobody that it reads no more)
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await end(process)
        return process.returncode

    assert asyncio.run(scene()) == -signal.SIGKILL
