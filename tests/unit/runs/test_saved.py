"""From the bytes of a settled input to a save."""

from __future__ import annotations

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.contract.text import digest
from rlmwatch.runs.model import Save, Signature
from rlmwatch.runs.saved import NotASave, to_save

NAME = input_name("notes/alice_chat_input.txt")
LIMIT = 10_000_000


def save(raw: bytes, *, name=NAME, size=None, ready_marker=None, max_bytes=LIMIT):
    signature = Signature(len(raw) if size is None else size, 1, 2, 3)
    return to_save(name, raw, signature, ready_marker=ready_marker, max_bytes=max_bytes)


def problem(raw: bytes, **how) -> Save:
    made = save(raw, **how)
    assert isinstance(made, Save)
    assert made.problem is not None
    assert (made.path, made.kind, made.conversation) == ("notes/alice_chat_input.txt", Kind.CHAT, "notes/alice_chat")
    assert (made.prompt, made.options) == ("", {})
    return made


def test_a_good_save_holds_prompt_options_digest_and_signature():
    """Rule 7: what a run needs is captured, as values that can be stored."""
    raw = b"---\nmodel: gpt-5\ncontext: a.txt\n---\r\nWhat is new?\n"

    assert save(raw) == Save(
        path="notes/alice_chat_input.txt",
        kind=Kind.CHAT,
        conversation="notes/alice_chat",
        prompt="What is new?\n",
        options={"model": "gpt-5", "context": ["a.txt"]},
        digest=digest(raw),
        signature=Signature(len(raw), 1, 2, 3),
    )


def test_handler_changes_the_kind_and_not_the_conversation():
    """Rule 7: `handler: research` in a chat input starts a research run, which answers where the name says."""
    made = save(b"---\nhandler: research\n---\nWhat is new?\n")

    assert isinstance(made, Save)
    assert (made.kind, made.conversation) == (Kind.RESEARCH, "notes/alice_chat")


@pytest.mark.parametrize("raw", [b"", b" \n\t", bytes(100), b"\xef\xbb\xbf\r\n", b"\xff\xfe\n\0", "\u2003".encode()])
def test_a_blank_content_is_no_save(raw):
    """Rule 1: an empty, white or preallocated file starts nothing."""
    assert save(raw) == NotASave("blank")


def test_a_large_file_that_is_only_preallocated_is_no_save():
    """Rule 1 before rule 2: zeros as far as we read are a download that has not begun."""
    assert save(bytes(101), size=10**9, max_bytes=100) == NotASave("blank")


def test_an_input_of_exactly_the_limit_is_a_save():
    """Rule 2: the limit itself is allowed."""
    made = save(b"x" * 100, max_bytes=100)

    assert isinstance(made, Save)
    assert made.problem is None


def test_a_larger_input_is_told_where_long_material_belongs():
    """Rule 2: more than the limit is an error that names the data file."""
    made = problem(b"x" * 10_000_001)

    assert "10 MB" in made.problem
    assert "notes/alice_chat_data.txt" in made.problem
    assert "max_input_mb" in made.problem


def test_a_larger_input_is_one_save_however_much_of_it_was_read():
    """Rule 2: the digest is the same after a short and a long read, and another when the file has grown."""
    raw = b"x" * 200
    short = problem(raw[:101], size=200, max_bytes=100)

    assert short.digest == problem(raw, max_bytes=100).digest
    assert short.digest != problem(raw[:101], size=201, max_bytes=100).digest
    assert short.digest != problem(b"y" + raw[1:101], size=200, max_bytes=100).digest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"ask\nGr\xfc\xdfe", ["line 2, column 3", "UTF-8"]),
        (b"ask\0", ["line 1, column 4", "NUL"]),
        (b"<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n", ["line 1", "git"]),
        (b"---\ntokns: 4\n---\nask", ["line 2, column 1", "did you mean `tokens`?"]),
        (b"---\ntokens: four\n---\n", ["line 2, column 9", "a whole number"]),
    ],
)
def test_what_a_person_must_mend_is_a_save_with_a_problem(raw, words):
    """Rules 3 and 5: bad bytes, conflicts and bad heads are told once, with line and column."""
    made = problem(raw)

    assert all(word in made.problem for word in words)
    assert made.digest == digest(raw)


def test_front_matter_without_a_question_is_no_save():
    """Rule 6: there is nothing to answer yet."""
    assert save(b"---\nmodel: gpt-5\n---\n\n") == NotASave("front matter without a question")


def test_with_a_ready_marker_only_a_finished_input_is_a_save():
    """Rule 4: until the marker stands there, nothing starts; then it is not part of the prompt."""
    unfinished = save(b"What is", ready_marker="//send")
    finished = save(b"---\ntokens: 4\n---\nWhat is new?\n//send\n", ready_marker="//send")

    assert isinstance(unfinished, NotASave)
    assert "//send" in unfinished.reason
    assert isinstance(finished, Save)
    assert (finished.prompt, finished.options) == ("What is new?\n", {"tokens": 4})
    assert save(b"//send\n", ready_marker="//send") == NotASave("blank")


def test_an_unfinished_input_is_not_yet_told_of_its_mistakes():
    """Rule 4 before rule 5: a head that is being typed is no error."""
    assert isinstance(save(b"---\ntok: \n---\n", ready_marker="//send"), NotASave)


def test_without_a_ready_marker_the_marker_is_text():
    """Rule 4: where no marker is configured, the line belongs to the question."""
    made = save(b"ask\n//send\n")

    assert isinstance(made, Save)
    assert made.prompt == "ask\n//send\n"
