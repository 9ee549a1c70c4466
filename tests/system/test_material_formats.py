"""Material in the formats that people have, with the real daemon: read, told before it is sent, and told afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fakes.made_documents import docx, epub, mail, odt, paragraph, text_pdf, word_table
from servers.openai_server import OpenAIServer
from system.harness import Home
from system.researching import Coder

pytest.importorskip("pypdf")
pytest.importorskip("mammoth")

FOLDER = "year_job_data"
FILES: dict[str, str | bytes] = {
    "a.txt": "in the text",
    "b.csv": "month,sum\nMay,12\n",
    "c.html": "<table><tr><td>in</td><td>the page</td></tr></table>",
    "d.pdf": text_pdf([["on page one"], ["on page two"]]),
    "e.docx": docx(paragraph("Head", "Heading1") + word_table(("in", "the document"))),
    "f.odt": odt("<text:p>in the odt</text:p>"),
    "g.epub": epub({"a.xhtml": "<p>in the book</p>"}, nav="<a href='a.xhtml'>Bees</a>"),
    "h.eml": mail("Bees", "in the mail").as_bytes(),
    "i.ipynb": '{"cells": [{"cell_type": "code", "source": "x", "outputs": [{"data": {"image/png": "AAAA"}}]}]}',
    "j/k.py": "print('in the code')\n",
    "l.rst": "Bees\n====\n",
    "m.org": "* Bees\n",
    "n.yaml": "bees: 3\n",
    "p.jpg": b"\xff\xd8\xff\xe0\0",
    "q.docx": b"only words",
    "r.txt": "Größe".encode("cp1252"),
    ".hidden.txt": "no",
}
SHOWN = {
    "a.txt": "in the text",
    "b.csv": "month,sum\nMay,12\n",
    "c.html": "| in | the page |\n| --- | --- |",
    "d.pdf": "[page 1]\non page one\n\f\n[page 2]\non page two",
    "e.docx": "# Head\n\n| in | the document |\n| --- | --- |",
    "f.odt": "in the odt",
    "g.epub": "[chapter 1: Bees]\nin the book",
    "h.eml": (
        "From: Ana <ana@example.org>\nTo: ben@example.org\nDate: Mon, 02 Mar 2026 09:30:00 +0000\nSubject: Bees\n\n"
        "in the mail"
    ),
    "i.ipynb": "[cell 1, code]\n```python\nx\n```\n\n[output of cell 1 left out: image/png]",
    "j/k.py": "print('in the code')\n",
    "l.rst": "Bees\n====\n",
    "m.org": "* Bees\n",
    "n.yaml": "bees: 3\n",
}


@pytest.fixture
def coder() -> Coder:
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    with OpenAIServer(coder) as server:
        yield server


def test_a_folder_of_all_formats_is_read_and_told(home: Home, coder: Coder):
    """
    A folder of every format is one mapping of path to text; what was passed over stands where the answer is.

    `run --dry-run` tells before, and `show` afterwards, what goes along: name, format, characters. The same files give
    the same text, so the same bytes saved again ask nothing; another document does.
    """
    for name, content in FILES.items():
        home.save(f"{FOLDER}/{name}", content)
    home.save("year_job_input.txt", "all of it, please")
    coder.on("all of it", "import json\nanswer(json.dumps(context))")
    dry = home.cli("run", "--dry-run", str(home.workspace))
    assert dry.returncode == 0, dry.stderr
    told = [f"{FOLDER}/{name} ({name.rpartition('.')[2]}, {len(text)} characters)" for name, text in SHOWN.items()]
    assert [line.removeprefix("  material: ") for line in dry.stdout.splitlines() if "material: " in line] == told
    assert f"{FOLDER}/p.jpg (it is not text, but a picture" in dry.stdout
    (sketch,) = json.loads(home.cli("run", "--dry-run", "--json", str(home.workspace)).stdout)
    assert sketch["material"][3] == {"name": f"{FOLDER}/d.pdf", "format": "pdf", "chars": len(SHOWN["d.pdf"])}
    with home.daemon() as daemon:
        daemon.answered("year_job_output.txt")
        answer = json.loads(home.read("year_job_output.txt"))
        assert answer == {f"{FOLDER}/{name}": text for name, text in SHOWN.items()}
        status = home.status_of("year_job_input.txt")
        assert status["progress"]["context_chars"] == sum(map(len, SHOWN.values()))
        for notes in (status["notes"], json.loads(home.read("year_job_state.json"))["turns"][0]["notes"]):
            passed, left_out = notes[-2:]
            for each in (
                ".hidden.txt (a name that begins with a dot",
                "p.jpg (it is not text, but a picture",
                "q.docx (cannot be read: it is damaged, or not a Word document",
                "r.txt (it is not text that can be read",
            ):
                assert f"{FOLDER}/{each}" in passed
            assert left_out == f"left out of the context: {FOLDER}/i.ipynb (1 output that is not text)"
        home.save("year_job_input.txt", "all of it, please")
        daemon.wait("save.same_bytes", path="year_job_input.txt")
        home.save(f"{FOLDER}/f.odt", odt("<text:p>another</text:p>"))
        home.save("year_job_input.txt", "all of it, please")
        daemon.answered("year_job_output.txt", 2)
        assert json.loads(home.read("year_job_output.txt"))[f"{FOLDER}/f.odt"] == "another"
    shown = home.cli("show", status["job_id"], "-w", str(home.workspace)).stdout
    assert all(line in shown for line in told)
    run = json.loads(home.cli("show", status["job_id"], "-w", str(home.workspace), "--json").stdout)["run"]
    assert run["frozen"]["files"][0] == {"name": f"{FOLDER}/a.txt", "format": "txt", "chars": 11}


def test_a_dry_run_reads_what_the_persons_own_settings_open(home: Home):
    """Material outside of the workspace, in a folder that the user allows, is told before it is sent, too."""
    outside = home.root / "papers"
    outside.mkdir()
    (outside / "a.html").write_text("<p>words</p>")
    home.set(f"[context]\noutside_roots = ['{outside}']\n")
    home.save("x_job_input.txt", f"---\ncontext: '{outside}/a.html'\n---\nwhat is in it?")
    (sketch,) = json.loads(home.cli("run", "--dry-run", "--json", str(home.workspace)).stdout)
    assert sketch["problem"] is None
    assert sketch["material"] == [{"name": f"{outside}/a.html", "format": "html", "chars": 5}]


def test_a_dry_run_says_what_cannot_be_read(home: Home, provider: OpenAIServer):
    """Material that would fail its run is told with its name and cure, and nobody is asked."""
    home.save("x_research_data.docx", text_pdf([["x"]]))
    home.save("x_research_prompt.txt", "what is in it?")
    dry = home.cli("run", "--dry-run", str(home.workspace))
    assert "not asked: context: x_research_data.docx cannot be read: it is not a Word document" in dry.stdout
    assert "give its name the ending .pdf" in dry.stdout
    assert provider.calls == []
