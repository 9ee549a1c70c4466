"""workspace/mentioned.py: which files of the folder go along with a question, and which never."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlmwatch.errors import InputError
from rlmwatch.workspace import mentioned
from rlmwatch.workspace.mentioned import find


def put(root: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(root: Path, prompt: str, question: str = "chat_input.txt", photos: tuple[str, ...] = ()) -> list[str]:
    return [captured.name for captured, _ in find(root, question, prompt, photos).files]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    put(
        folder,
        **{
            "notes.md": "# A\nalpha\n# B\nbeta\n",
            "my file.md": "spaces",
            "sub/near.md": "near",
            "other/far.md": "far",
            "one/twin.md": "1",
            "two/twin.md": "2",
            "chat_output.txt": "an answer",
            "chat_state.json": "{}",
            "jobs/x.json": "{}",
            ".env": "KEY=1",
            "id_rsa": "key",
            ".hidden/a.md": "hidden",
            "old.bak": "old",
            "binary.bin": b"\0\1",
            "empty.md": " ",
            "photo.jpg": b"\xff\xd8\xff",
            "papers/a.md": "a",
        },
    )
    put(tmp_path, **{"outside.md": "outside"})
    (folder / "leak.md").symlink_to(tmp_path / "outside.md")
    (folder / "inner.md").symlink_to(folder / "notes.md")
    (folder / "way").symlink_to(tmp_path)
    return folder


def test_what_a_question_mentions_is_read_in_its_order_and_once(root: Path):
    """Paths, quoted paths and notes go along, each once, as they are now."""
    found = find(
        root, "sub/chat_input.txt", '@notes.md, @"my file.md", [[near]], [[far]], @notes.md and @https://x.org'
    )
    assert [(captured.name, captured.kind, raw) for captured, raw in found.files] == [
        ("notes.md", "text", b"# A\nalpha\n# B\nbeta\n"),
        ("my file.md", "text", b"spaces"),
        ("sub/near.md", "text", b"near"),
        ("other/far.md", "text", b"far"),
        ("https://x.org", "page", None),
    ]
    assert found.notes == ()


def test_a_plain_path_that_names_nothing_is_prose(root: Path):
    """`@anybody` and a file that is not there change nothing; one that is nearly there is told of."""
    assert find(root, "chat_input.txt", "ask @anybody about @property and me@notes.md") == mentioned.Found()
    (note,) = find(root, "chat_input.txt", "sum up @note.md").notes
    assert note == "@note.md names no file, and was left as it is; did you mean @notes.md?"


NEVER = [
    ".env",
    "id_rsa",
    "chat_state.json",
    "jobs/x.json",
    ".hidden/a.md",
    "old.bak",
    "leak.md",
    "way/outside.md",
    "../outside.md",
    "papers",
    "papers/",
    "/etc/passwd",
    "~/.bashrc",
]


@pytest.mark.parametrize("path", NEVER)
def test_what_is_never_taken_stays_prose_or_is_an_error_where_it_is_explicit(root: Path, path: str):
    """Secrets, states, hidden files, folders and all outside of the workspace are never read, whatever leads there."""
    assert find(root, "chat_input.txt", f"look at @{path} please").files == ()
    with pytest.raises(InputError):
        find(root, "chat_input.txt", f'look at @"{path}" please')
    with pytest.raises(InputError):
        find(root, "chat_input.txt", f"look at [[{path}]] please")


@pytest.mark.parametrize("path", [".env", "id_rsa", "chat_state.json", "leak.md", "papers"])
def test_a_person_is_told_why_a_file_that_is_there_did_not_go_along(root: Path, path: str):
    """A plain path that exists and may not be taken stands in the notes, with the reason."""
    (note,) = find(root, "chat_input.txt", f"@{path}").notes
    assert note.startswith(f"@{path} did not go along: {path} ")


def test_a_link_inside_the_workspace_is_followed_and_an_answer_may_be_mentioned(root: Path):
    """What stays inside is the person's; an earlier answer is material like any other."""
    assert names(root, "@inner.md @chat_output.txt") == ["inner.md", "chat_output.txt"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ('@"nots.md"', "did you mean notes.md"),
        ("[[nots]]", "did you mean notes.md"),
        ("[[twin]]", "one/twin.md or two/twin.md"),
        ("[[notes#C]]", "“A”, “B”"),
        ("@binary.bin", "not text"),
        ("@empty.md", "empty"),
        ("[[photo.jpg#A]]", "no headings"),
    ],
)
def test_what_counts_and_cannot_be_used_is_an_error_that_says_what_to_do(root: Path, prompt: str, words: str):
    """An explicit mention of nothing, of two files, or of no text, is an error with the names that help."""
    with pytest.raises(InputError, match=words):
        find(root, "chat_input.txt", prompt)


def test_a_key_inside_a_text_is_an_error(root: Path):
    """A file that holds a private key is never sent, under whatever name."""
    put(root, **{"harmless.md": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"})
    with pytest.raises(InputError, match="private key"):
        find(root, "chat_input.txt", "@harmless.md")


def test_photos_of_the_front_matter_must_be_images(root: Path):
    """`photos:` names images; anything else, or nothing, is an error."""
    assert names(root, "what is it?", photos=("photo.jpg",)) == ["photo.jpg"]
    with pytest.raises(InputError, match="no image"):
        find(root, "chat_input.txt", "what?", ("notes.md",))
    with pytest.raises(InputError, match="no such file"):
        find(root, "chat_input.txt", "what?", ("nothing.jpg",))


def test_all_that_is_mentioned_has_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Files larger than the limit together are an error that says what to do, and too many mentions as well."""
    with (root / "huge.md").open("wb") as file:
        file.truncate(mentioned.MAX_BYTES + 1)
    with pytest.raises(InputError, match="50 MB"):
        find(root, "chat_input.txt", "@huge.md")
    put(root, **{f"many/{n}.md": f"{n}" for n in range(mentioned.MAX_FILES + 1)})
    with pytest.raises(InputError, match="more than 100 files"):
        find(root, "chat_input.txt", " ".join(f"@many/{n}.md" for n in range(mentioned.MAX_FILES + 1)))


def test_any_number_of_words_that_begin_with_an_at_sign_stays_prose(root: Path):
    """A pasted log with thousands of handles and packages is no error; what is explicit counts wherever it stands."""
    log = " ".join(f"@handle{n}, @babel/core@{n}.0" for n in range(3_000))
    assert names(root, f"{log} [[notes]]") == ["notes.md"]


def test_names_are_compared_for_a_few_mentions_only(root: Path):
    """A pasted list of packages beside many files is looked through without a guess for each of them."""
    for n in range(50):
        (root / f"plugin-{n}.js").write_text("x")
    found = find(root, "chat_input.txt", " ".join(f"@plugin-x{n}.js" for n in range(400)))
    assert len(found.notes) == mentioned.MAX_GUESSED
    assert find(root, "chat_input.txt", "@plugin-1.css").notes == ()


def test_what_material_refuses_is_not_mentioned_either(root: Path):
    """A file whose first bytes say that it is no text is no text here: it would be sent, and paid, as signs."""
    (root / "letter.txt").write_bytes(b"{\\rtf1\\ansi Dear}")
    with pytest.raises(InputError, match=r"letter\.txt"):
        find(root, "chat_input.txt", "@letter.txt")


def test_a_pipe_is_not_waited_for(root: Path):
    """A pipe or a device under a mentioned name is an error, and never opened for good."""
    os.mkfifo(root / "pipe.md")
    with pytest.raises(InputError, match=r"pipe\.md"):
        find(root, "chat_input.txt", "@pipe.md")


def test_a_part_of_a_note_is_its_own_entry(root: Path):
    """The whole and a part may go along side by side, under names that tell them apart."""
    assert names(root, "[[notes#A]] [[notes]] [[notes#A]]") == ["notes.md#A", "notes.md"]


def test_brackets_right_behind_a_name_are_prose_where_no_note_is_so_named(root: Path):
    """`frame[[column]]` is a line of R, and no reason not to answer; with a note of that name it is a mention."""
    put(root, **{"note.md": "x"})
    assert names(root, "what does frame[[column]] give?") == []
    assert names(root, "frame[[note]]") == ["note.md"]
