"""workspace/context.py: the rules at its top."""

import os

import pytest

from rlmwatch.contract.names import input_name
from rlmwatch.errors import InputError
from rlmwatch.workspace import context


def read_context(*args, **options):
    """Return the context of material without documents."""
    return context.read_context(*args, **options).context({})


NAME = input_name("notes/x_job_input.txt")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "w" / "notes").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    return tmp_path / "w"


def put(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())


def test_1_without_a_word_the_data_file_beside_the_input_is_taken(root):
    """`x_job_data.txt` is the context of `x_job_input.txt`; without one there is none."""
    assert read_context(root, NAME, None).value is None
    put(root, {"notes/x_job_data.txt": b"\xef\xbb\xbfone\r\ntwo", "x_job_data.txt": "another conversation's"})
    assert read_context(root, NAME, None).value == "one\ntwo"


def test_1_named_paths_are_looked_for_beside_the_input_and_then_from_the_root(root):
    """Front matter may say `context: a.txt` for either; the neighbour wins."""
    put(root, {"a.txt": "root a", "notes/a.txt": "near a", "b.txt": "root b"})
    assert read_context(root, NAME, ["a.txt"]).value == "near a"
    assert read_context(root, NAME, ["a.txt", "b.txt"]).value == {"notes/a.txt": "near a", "b.txt": "root b"}
    with pytest.raises(InputError, match=r"context: c\.txt: no such file"):
        read_context(root, NAME, ["c.txt"])


@pytest.mark.parametrize("path", ["../outside.txt", "../../outside.txt", "link.txt", "folder/outside.txt"])
def test_2_nothing_outside_the_workspace_is_read(root, path):
    """Dots and links that lead out are refused, with the cure."""
    (root / "notes" / "link.txt").symlink_to(root.parent / "outside.txt")
    (root / "notes" / "folder").symlink_to(root.parent)
    if path == "../outside.txt":
        path = "../../outside.txt"
    with pytest.raises(InputError, match="leads out of the workspace"):
        read_context(root, NAME, [path])


def test_2_a_link_that_stays_inside_is_followed_and_an_allowed_folder_is_read(root):
    """Links within the workspace work, and so does a folder that the user's configuration names."""
    put(root, {"real.txt": "inside"})
    (root / "notes" / "link.txt").symlink_to(root / "real.txt")
    assert read_context(root, NAME, ["link.txt"]).value == "inside"
    value = read_context(root, NAME, ["../../outside.txt"], outside_roots=[root.parent]).value
    assert value == "outside"


@pytest.mark.parametrize("name", [".env", "id_rsa", "server.pem", "secrets.toml", ".ssh/config"])
def test_3_what_looks_like_a_secret_is_refused(root, name):
    """A key file that is named by mistake is not sent to a model; in a folder it is passed over."""
    put(root, {f"notes/{name}": "x", "notes/keys/" + name: "x", "notes/keys/a.txt": "fine"})
    with pytest.raises(InputError, match="looks like a secret"):
        read_context(root, NAME, [name])
    assert read_context(root, NAME, ["keys"]).value == {"notes/keys/a.txt": "fine"}


def test_3_a_private_key_is_refused_by_its_content(root):
    """Also under an innocent name."""
    put(root, {"notes/n.txt": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"})
    with pytest.raises(InputError, match="holds a private key"):
        read_context(root, NAME, ["n.txt"])


def test_4_a_folder_is_a_mapping_without_hidden_files_links_and_our_own(root):
    """The data folder's texts by their path; what is not text is named in the notes."""
    put(
        root,
        {
            "notes/x_job_data/b/two.md": "2",
            "notes/x_job_data/a.txt": "1",
            "notes/x_job_data/.hidden": "no",
            "notes/x_job_data/y_state.json": "{}",
            "notes/x_job_data/picture.png": b"\x89PNG\x00\xff",
        },
    )
    (root / "notes/x_job_data/link.txt").symlink_to(root.parent / "outside.txt")
    found = read_context(root, NAME, None)
    assert found.value == {"notes/x_job_data/a.txt": "1", "notes/x_job_data/b/two.md": "2"}
    assert "picture.png" in found.notes[0]


def test_5_too_much_is_an_error_and_not_a_cut(root, monkeypatch):
    """A context that is too large is refused as a whole, also where it is a folder."""
    monkeypatch.setattr(context, "MAX_CONTEXT_BYTES", 10)
    put(root, {"notes/d/a.txt": "12345678", "notes/d/b.txt": "12345678"})
    for path in (["d"], ["d/a.txt", "d/b.txt"]):
        with pytest.raises(InputError, match="larger than"):
            read_context(root, NAME, path)


def test_a_named_file_that_is_no_text_is_an_error(root):
    """Binary data has no meaning as a text."""
    put(root, {"notes/p.bin": b"\xff\xfe\x00\x00\xff"})
    with pytest.raises(InputError, match=r"context: p\.bin|context: notes/p\.bin"):
        read_context(root, NAME, ["p.bin"])


def test_documents_are_left_to_the_process_that_reads_them(root):
    """A PDF comes as bytes, by path and in its place; how it was read then decides."""
    put(root, {"notes/x_job_data/a.txt": "first", "notes/x_job_data/b.PDF": b"%PDF", "notes/x_job_data/c.txt": "last"})
    found = context.read_context(root, NAME, None)
    assert found.documents == {"notes/x_job_data/b.PDF": b"%PDF"}
    read = found.context({"notes/x_job_data/b.PDF": "middle"})
    assert list(read.value.values()) == ["first", "middle", "last"]
    passed = found.context({"notes/x_job_data/b.PDF": InputError("broken")})
    assert list(passed.value.values()) == ["first", "last"]
    assert "b.PDF" in passed.notes[0]


def test_a_named_document_that_cannot_be_read_is_an_error(root):
    """What a person named is not passed over; alone, its text is the context."""
    put(root, {"notes/a.pdf": b"%PDF"})
    found = context.read_context(root, NAME, ["a.pdf"])
    assert found.context({"notes/a.pdf": "its text"}).value == "its text"
    with pytest.raises(InputError, match="broken"):
        found.context({"notes/a.pdf": InputError("broken")})


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "yaml", "rst", "org", "log", "CSV", "2024.csv", "py"])
def test_1_a_text_of_any_ending_beside_the_input_is_its_material(root, ending):
    """`x_job_data.csv` is used as `x_job_data.txt` is: it was ignored, and an answer about nothing was paid for."""
    put(root, {f"notes/x_job_data.{ending}": "a,b\n1,2\n", "notes/x_job_data.csv~": "old", "notes/x_job_data2.csv": ""})
    assert read_context(root, NAME, None).value == "a,b\n1,2\n"


@pytest.mark.parametrize("file", ["X_Job_Data.txt", "x_job_DATA.csv", "X_JOB_data/part.txt"])
def test_1_letter_case_does_not_matter_in_the_name_of_material(root, file):
    """A phone keyboard's capital made the data unseen, and an answer about nothing was paid for."""
    put(root, {f"notes/{file}": "a,b\n"})
    assert "a,b" in str(read_context(root, NAME, None).value)


def test_1_material_whose_accents_are_stored_otherwise_is_found(root):
    """A Mac's or a sync tool's NFD name is the name that was written."""
    put(root, {"notes/gru\u0308n_job_data.txt": "a,b\n"})
    assert read_context(root, input_name("notes/gr\u00fcn_job_input.txt"), None).value == "a,b\n"


def test_1_a_document_beside_the_input_is_its_material(root):
    """`x_job_data.pdf` is read by the process for documents; where that fails, the run fails before it pays."""
    put(root, {"notes/x_job_data.pdf": b"%PDF"})
    found = context.read_context(root, NAME, None)
    assert found.context({"notes/x_job_data.pdf": "its text"}).value == "its text"
    with pytest.raises(InputError, match="broken"):
        found.context({"notes/x_job_data.pdf": InputError("broken")})


@pytest.mark.parametrize(
    ("name", "raw"),
    [("png", b"\x89PNG\x00\xff"), ("xlsx", b"PK\x03\x04\x00"), ("csv", "Größe\n".encode("latin-1")), ("txt", b"\0")],
)
def test_6_material_beside_the_input_that_is_not_text_is_an_error_with_its_cure(root, name, raw):
    """What cannot be used is named, and what to do: no run without it is paid for."""
    put(root, {f"notes/x_job_data.{name}": raw})
    with pytest.raises(InputError, match=rf"notes/x_job_data\.{name}: .*save it as text"):
        read_context(root, NAME, None)


def test_6_material_beside_the_input_that_cannot_be_read_is_an_error(root):
    """A link that leads nowhere, or to itself, is not passed over in silence."""
    (root / "notes/x_job_data.txt").symlink_to(root / "nowhere.txt")
    with pytest.raises(InputError, match=r"x_job_data\.txt: No such file"):
        read_context(root, NAME, None)


def test_6_a_folder_says_what_it_passed_over_and_why(root):
    """Links, hidden and binary files, secrets, pipes, our own files, and documents that cannot be read: each reason."""
    folder = "notes/x_job_data"
    put(
        root,
        {
            f"{folder}/a.txt": "1",
            f"{folder}/.hidden": "no",
            f"{folder}/y_state.json": "{}",
            f"{folder}/picture.png": b"\x89PNG\x00\xff",
            f"{folder}/latin.csv": b"\xe9",
            f"{folder}/server.pem": "x",
            f"{folder}/scan.pdf": b"%PDF",
            f"{folder}/.git/config": "x",
        },
    )
    (root / folder / "link.txt").symlink_to(root / "notes")
    os.mkfifo(root / folder / "pipe")
    scan = f"{folder}/scan.pdf"
    found = context.read_context(root, NAME, None).context({scan: InputError(f"context: {scan} holds no text")})
    assert found.value == {f"{folder}/a.txt": "1"}
    (note,) = found.notes
    for each in (
        ".hidden (a name that begins with a dot",
        "y_state.json (written by rlmwatch)",
        "picture.png (it is not text, but a picture: save it as text",
        "latin.csv (it is not text that can be read (line 1, column 1: byte 0xE9",
        "server.pem (its name is one of a secret)",
        "scan.pdf (holds no text)",
        "link.txt (a link",
        "pipe (neither a file nor a folder)",
        ".git (its name is one of a folder with secrets)",
    ):
        assert f"{folder}/{each}" in note


def test_6_a_long_list_is_counted_by_reason(root):
    """A folder of pictures does not fill the status file."""
    put(root, {f"notes/x_job_data/{n:03}.png": b"\0" for n in range(100)} | {"notes/x_job_data/a.txt": "1"})
    (note,) = read_context(root, NAME, None).notes
    assert "019.png" in note
    assert "020.png" not in note
    assert "and 80 more (it is not text" in note


@pytest.mark.parametrize(
    "files",
    [{}, {"a.png": b"\x89PNG\0"}, {"a.txt": " \n"}, {"deep/b.txt": ""}],
    ids=["empty", "binary", "blank", "deep"],
)
def test_6_material_with_nothing_in_it_is_an_error(root, files):
    """No answer about nothing is paid for: an empty folder, one without text, a blank file."""
    (root / "notes/x_job_data").mkdir()
    put(root, {f"notes/x_job_data/{path}": raw for path, raw in files.items()})
    with pytest.raises(InputError, match="nothing to work on in notes/x_job_data") as error:
        read_context(root, NAME, None)
    assert all(path in str(error.value) for path in files if path.endswith("png"))


def test_6_material_beside_a_chat_is_an_error(root):
    """A chat does not read material, so it says so before it pays; without any, nothing is raised."""
    chat = input_name("notes/plan_input.txt")
    context.refuse_beside_chat(root, chat)
    put(root, {"notes/plan_data.csv": "1"})
    with pytest.raises(InputError, match=r"notes/plan_data\.csv: a chat .*handler: job"):
        context.refuse_beside_chat(root, chat)


def test_the_digest_is_of_paths_and_contents(root):
    """The same material has the same digest; another name, another byte or one file more is another material."""
    put(root, {"notes/x_job_data/a.txt": "1"})
    seen = {read_context(root, NAME, None).digest}
    assert read_context(root, NAME, None).digest in seen
    for path, text in (("a.txt", "2"), ("b.txt", "1"), ("c.txt", "")):
        put(root, {f"notes/x_job_data/{path}": text})
        digest = read_context(root, NAME, None).digest
        assert digest not in seen
        seen.add(digest)
    assert read_context(root, input_name("y_job_input.txt"), None).digest is None


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("x" * 5_000, "File name too long"),
        ("a/" * 3_000, "File name too long"),
        ("a\0b", "NUL"),
        ("loop/x", "no such file or folder"),
        ("file.txt/below", "no such file or folder"),
    ],
)
def test_1_a_path_that_cannot_be_one_is_the_persons_matter(root, path, says):
    """What no file can be called is an error in short words, in `context:` and `data_path` alike."""
    put(root, {"file.txt": "x"})
    (root / "loop").symlink_to("loop")
    for name in (NAME, None):
        with pytest.raises(InputError, match=says) as refused:
            read_context(root, name, [path])
        assert len(str(refused.value)) < 400


def test_6_folders_nested_too_deeply_are_passed_over(root):
    """Depth ends no run: what lies 70 folders down is passed over, and the notes say so."""
    put(root, {"d/" * 70 + "deep.txt": "1"})
    with pytest.raises(InputError, match=r"nothing to work on in d: .*nested too deeply"):
        read_context(root, None, ["d"])
    put(root, {"d/a.txt": "1"})
    found = read_context(root, None, ["d"])
    assert found.value == {"d/a.txt": "1"}
    assert "nested too deeply" in found.notes[0]


def test_the_note_of_a_wrong_name_is_no_material_but_a_persons_own_note_is(root):
    """What rlmwatch writes beside a wrong name is not read with a folder of material; `meeting.note.txt` is."""
    put(root, {"m/chat-input.txt": "one", "m/chat-input.txt.note.txt": "ours", "m/meeting.note.txt": "two"})
    found = read_context(root, NAME, ["m"])
    assert found.value == {"m/chat-input.txt": "one", "m/meeting.note.txt": "two"}


@pytest.mark.parametrize("ending", ["html", "htm", "docx", "odt", "epub", "eml", "ipynb", "PDF", "2024.Docx"])
def test_a_document_beside_the_input_is_left_to_its_reader(root, ending):
    """What is not text by its ending comes as bytes, whatever the letter case of the ending."""
    put(root, {f"notes/x_job_data.{ending}": b"bytes"})
    assert context.read_context(root, NAME, None).documents == {f"notes/x_job_data.{ending}": b"bytes"}


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("a.txt", b"%PDF-1.7 words", r"a PDF: give its name the ending \.pdf"),
        ("a.md", b"{\\rtf1 words}", r"rich text .* save it as text"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", r"old Office file, or .* password: .* save it as text"),
        ("a.xlsx", b"PK\x03\x04\0", r"ZIP archive, as \.docx"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0", r"a picture: save it as text"),
        ("a.csv.gz", b"\x1f\x8b\0", r"packed \(gzip\): unpack it"),
        ("a.csv", "Gr\u00f6\u00dfe".encode("cp1252"), r"not UTF-8 \(perhaps Latin-1 or Windows-1252\)"),
        ("a.txt", "words".encode("utf-16-le"), "it is not text; save it as text"),
    ],
)
def test_a_named_file_is_told_what_it_is_and_what_to_do(root, name, raw, says):
    """A wrong ending, another program's file, another encoding: the error names the file, what it is and the cure."""
    put(root, {f"notes/{name}": raw})
    with pytest.raises(InputError, match=rf"context: notes/{name}: .*{says}"):
        read_context(root, NAME, [name])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_text_with_a_byte_order_mark_is_read(root, encoding):
    """As Excel and Notepad save it."""
    put(root, {"notes/x_job_data.csv": "Gr\u00f6\u00dfe;1\r\n".encode(encoding)})
    assert read_context(root, NAME, None).value == "Gr\u00f6\u00dfe;1\n"


def test_a_table_of_100_000_lines_is_read_whole(root):
    """A large text is one text, and its size is told."""
    table = "".join(f"{n},{n * 2}\n" for n in range(100_000))
    put(root, {"notes/x_job_data.csv": table})
    found = read_context(root, NAME, None)
    assert found.value == table
    assert found.files == (context.MaterialFile("notes/x_job_data.csv", "csv", len(table)),)


def test_the_files_of_the_material_are_told_with_format_and_size(root):
    """Each text and document by its name, in the material's order; those beyond the first ones are counted."""
    put(root, {"notes/d/a.CSV": "1,2", "notes/d/b.docx": b"PK", "notes/d/c": "abcd", "notes/d/e.pdf": b"%PDF"})
    found = context.read_context(root, NAME, ["d"]).context(
        {"notes/d/b.docx": context.DocumentText("12345", ("2 pictures",)), "notes/d/e.pdf": InputError("broken")}
    )
    assert [(file.name, file.format, file.chars) for file in found.files] == [
        ("notes/d/a.CSV", "csv", 3),
        ("notes/d/b.docx", "docx", 5),
        ("notes/d/c", "text", 4),
    ]
    assert found.notes[1] == "left out of the context: notes/d/b.docx (2 pictures)"
    put(root, {f"notes/m/{n:03}.md": "12" for n in range(50)})
    many = read_context(root, NAME, ["m"])
    assert len(many.value) == 50
    assert many.files[-1] == context.MaterialFile("30 more files", "", 60)
    assert len(many.files) == context.SHOWN_NAMES + 1


def test_5_a_file_of_a_folder_that_is_too_large_by_itself_is_passed_over(root, monkeypatch):
    """One huge log does not keep a folder from being used; named, it is an error."""
    monkeypatch.setattr(context, "MAX_CONTEXT_BYTES", 10)
    put(root, {"notes/d/a.txt": "1234", "notes/d/huge.log": "x" * 11, "notes/d/z.txt": "5678"})
    found = read_context(root, NAME, ["d"])
    assert list(found.value) == ["notes/d/a.txt", "notes/d/z.txt"]
    assert "notes/d/huge.log (it is larger than" in found.notes[0]
    with pytest.raises(InputError, match="larger than"):
        read_context(root, NAME, ["d/huge.log"])
