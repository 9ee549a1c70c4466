"""From the bytes of an input to its text."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.contract.text import decode, digest, is_blank, refuse_conflict, without_marker
from rlmwatch.errors import InputError

CONFLICT = "before\n<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> branch\nafter\n"


def test_the_digest_is_that_of_the_bytes_on_the_disk():
    """Rule 1: the same bytes are the same save, and a blank line more is another."""
    assert digest(b"x\r\n") == "sha256:" + hashlib.sha256(b"x\r\n").hexdigest()
    assert digest(b"x") != digest(b"x\n")


@pytest.mark.parametrize(
    "raw",
    [
        "Grüße\n".encode(),
        b"\xef\xbb\xbf" + "Grüße\n".encode(),
        b"\xff\xfe" + "Grüße\n".encode("utf-16-le"),
        b"\xfe\xff" + "Grüße\n".encode("utf-16-be"),
        "Grüße\r\n".encode(),
        "Grüße\r".encode(),
        b"\xff\xfe" + "Grüße\r\n".encode("utf-16-le"),
    ],
)
def test_every_editors_way_to_write_a_text_gives_the_same_prompt(raw):
    """Rules 2 and 3: a byte order mark is honoured and dropped, line ends are made one."""
    assert decode(raw) == "Grüße\n"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")))
def test_nothing_else_of_a_text_is_changed(text):
    """Rule 3: no Unicode normalisation, no stripping."""
    assert decode(b"\xef\xbb\xbf" + text.encode()) == text
    assert decode(b"\xff\xfe" + text.encode("utf-16-le")) == text


@pytest.mark.parametrize(
    ("raw", "line", "column", "words"),
    [
        ("eins\nzwei drei\xe9".encode("latin-1"), 2, 10, ["0xE9", "UTF-8"]),
        ("ä\r\nö\r".encode() + b"ab\xff", 3, 3, ["0xFF"]),
        (b"\xef\xbb\xbfab\xff", 1, 3, ["0xFF"]),
        (b"\xff\xfe" + "ab\nc".encode("utf-16-le") + b"d", 2, 2, ["UTF-16"]),
        (b"\xff\xfe" + "ab".encode("utf-16-le") + b"\x00\xd8", 1, 3, ["UTF-16"]),
        (b"one\ntw\0o", 2, 3, ["NUL", "UTF-8"]),
        ("no mark".encode("utf-16-le"), 1, 2, ["UTF-16 without a byte order mark"]),
        (b"text, and then nothing" + bytes(500), 1, 23, ["not written to its end"]),
        (b"\xff\xfe" + "a\n\0".encode("utf-16-le"), 2, 1, ["NUL"]),
        ("x".encode("utf-32"), 1, 1, ["UTF-32"]),
    ],
)
def test_what_is_no_text_is_an_error_with_its_place_and_its_cure(raw, line, column, words):
    """Rules 2 and 5: the person is told where the first bad byte stands, and how to save the file."""
    with pytest.raises(InputError) as caught:
        decode(raw)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert f"line {line}, column {column}: " in str(caught.value)
    assert "save" in str(caught.value)
    assert all(word in str(caught.value) for word in words)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_text_or_an_error_for_the_person(raw):
    """Whatever a program leaves in the file, it is read or refused in words."""
    line = 0
    text = ""
    try:
        text = decode(raw)
    except InputError as error:
        line = error.line

    assert line is not None
    assert "\r" not in text
    assert "\0" not in text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \t\r\n\v\f",
        bytes(4096),
        b"\xef\xbb\xbf\n",
        b"\xff\xfe \0\n\0",
        "",
        " \n\u2003\u00a0\t",
        "\0\n",
        "\ufeff",
    ],
)
def test_white_space_and_nuls_are_blank(content):
    """Rule 4: an empty, white or only preallocated file is no save."""
    assert is_blank(content)


@pytest.mark.parametrize("content", [b"x", b" \0x", b"\xff", b".", "x", "\0x\0"])
def test_anything_more_is_not_blank(content):
    """Rule 4: one character is a question."""
    assert not is_blank(content)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("ask\n//send", "ask\n"),
        ("ask\n//send\n\n \n", "ask\n"),
        ("ask\n//send  \n", "ask\n"),
        ("ask\n\n//send\nmore\n//send\n", "ask\n\n//send\nmore\n"),
        ("//send", ""),
        ("\n\n ask\n//send", "\n\n ask\n"),
        ("ask\n", None),
        ("ask //send\n", None),
        ("ask\n //send\n", None),
        ("ask\n//send now\n", None),
        ("ask\n//sen\n", None),
        ("//send\nask\n", None),
        ("", None),
    ],
)
def test_with_a_ready_marker_only_a_text_that_ends_in_it_is_a_save(text, prompt):
    """Rule 6: the last non-blank line must be the marker, which is not part of the prompt."""
    assert without_marker(text, "//send") == prompt


def test_a_conflict_that_git_left_is_refused_with_its_line():
    """Rule 7: a file with both versions in it is not asked, and the person is told where it is."""
    with pytest.raises(InputError, match="git") as caught:
        refuse_conflict(CONFLICT)

    assert caught.value.line == 2


@pytest.mark.parametrize(
    "text",
    [
        CONFLICT.replace("<<<<<<< HEAD\n", ""),
        CONFLICT.replace("=======\n", ""),
        CONFLICT.replace(">>>>>>> branch\n", ""),
        CONFLICT.replace("=======", "======== "),
        "".join(f"  {line}\n" for line in CONFLICT.splitlines()),
        "Title\n=======\n\n>>>>>>> quoted seven times\n<<<<<<< \n",
        "",
    ],
)
def test_what_only_resembles_a_conflict_is_a_text(text):
    """Rule 7: all three lines, whole, at line starts and in order; a heading or a quotation is none."""
    refuse_conflict(text)


def test_a_text_made_of_half_conflicts_is_passed_at_once():
    """A million opening lines without an end cost one look each, not one look at all that follows."""
    refuse_conflict("<<<<<<< \n" * 1_000_000)
    refuse_conflict("<<<<<<< \n=======\n" * 500_000)
