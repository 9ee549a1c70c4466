"""Presets: what stands in a file, and what becomes of a question (contract/presets.py)."""

from __future__ import annotations

import pytest

from rlmwatch.contract.presets import MAX_BYTES, fill, no_such, read_preset
from rlmwatch.errors import InputError

DAY = "2026-11-28"


def preset(text: str):
    return read_preset("mine", "presets/mine.md", text.encode())


def filled(text: str, question: str = "Q\n", *, path: str = "a/b/x_input.md", **variables: str) -> str:
    return fill(preset(text), question, path=path, variables=variables, day=DAY)


def test_1_the_head_takes_options_a_description_and_variables():
    """A preset's head says any option, what it is for, and variables as they are written."""
    found = preset("---\ndescription: For  me\ntokens: 7\nvars:\n  when: 2026-01-02\n  how: yes\n  n: 010\n---\nText\n")
    assert (found.description, found.options.tokens, found.text) == ("For me", 7, "Text")
    assert found.options.vars == {"when": "2026-01-02", "how": "yes", "n": "010"}
    assert found.digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("preset: other", "a preset cannot name another"),
        ("tokns: 4", "line 2, column 1: unknown key `tokns`: did you mean `tokens`?"),
        ("vars: x", "expected lines `name: text`"),
        ("vars:\n  file: x", "`vars`"),
        ("vars:\n  a b: x", "`vars`"),
        ("vars:\n  a:\n    b: x", "`vars`"),
        ("vars:\n  a: 1\n  a: 2", "a second time"),
        ("preset: ../../etc/passwd", "`preset`"),
        ("json: maybe", "`json`"),
        ("schema: 7", "put quotes around it"),
    ],
)
def test_1_what_is_wrong_in_a_head_is_told_with_the_file(head: str, says: str):
    """A wrong key or value of a preset's head is an error that names preset and file."""
    with pytest.raises(InputError) as wrong:
        preset(f"---\n{head}\n---\n{{{{question}}}}")
    assert says in str(wrong.value)
    assert "preset mine (presets/mine.md)" in str(wrong.value)


@pytest.mark.parametrize("raw", [b"x" * (MAX_BYTES + 1), b"\xff\xfe\x00\x81\x00", b"a\0b"])
def test_1_what_is_no_preset_is_told_with_the_file(raw: bytes):
    """A file that is too large, or no text, is an error that names it."""
    with pytest.raises(InputError, match=r"preset mine \(presets/mine\.md\)"):
        read_preset("mine", "presets/mine.md", raw)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Do: {{question}}!", "Do: Q!"),
        ("Do: {{ question }}", "Do: Q"),
        ("{{question}} and {{question}}", "Q and Q"),
        ("Do this.", "Do this.\n\nQ"),
        ("", "Q"),
        ("---\ntokens: 3\n---\n", "Q"),
        ("{{date}} {{file}} {{folder}} {{question}}", "2026-11-28 x_input.md a/b Q"),
        ("{{tone}} {{question}}", "kind Q"),
        ("{not} {{}} {{ }} {{1}} {{a b}} {{question}}", "{not} {{}} {{ }} {{1}} {{a b}} Q"),
    ],
)
def test_2_and_3_the_question_and_the_variables_are_put_in(text: str, asked: str):
    """`{{question}}`, what is given and what `vars` says stand in the text; all else stays as it is."""
    assert filled(text, tone="kind") == asked


def test_3_the_workspaces_own_folder_is_a_dot():
    """`{{folder}}` of a question at the root is `.`."""
    assert filled("{{folder}} {{question}}", path="x_input.txt") == ". Q"


def test_3_what_is_put_in_is_not_looked_through_again():
    """A question or a variable that holds `{{file}}` stays as it was typed."""
    assert filled("{{a}} {{question}}", "{{file}} {{nobody}}", a="{{date}}") == "{{date}} {{file}} {{nobody}}"


@pytest.mark.parametrize("text", ["{{languge}} {{question}}", "{{nobody}}"])
def test_3_an_unknown_variable_names_preset_and_variable(text: str):
    """A name that nobody gives is an error with the preset, the variable, and what there is."""
    with pytest.raises(InputError) as wrong:
        filled(text, language="x")
    assert "preset mine (presets/mine.md)" in str(wrong.value)
    assert text.split("}}", maxsplit=1)[0] in str(wrong.value)
    assert "language" in str(wrong.value)


def test_3_a_text_that_repeats_a_long_question_is_refused():
    """A preset cannot make gigabytes of a question."""
    with pytest.raises(InputError, match="too often"):
        filled("{{question}}" * 3000, "x" * 100_000)
    assert len(filled("{{question}}{{question}}", "x" * 2_000_000)) == 4_000_000


def test_a_name_of_which_there_is_no_preset_has_its_near_names():
    """The error for a misspelt name says which are near, and which there are."""
    said = str(no_such("Edtor", ["summary", "editor", "Credits"]))
    assert "did you mean editor" in said
    assert "There are: Credits, editor, summary" in said
