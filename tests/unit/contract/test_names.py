"""What a path in the workspace means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import (
    MAX_STEM_BYTES,
    CancelRequest,
    Ignored,
    InputName,
    Other,
    Ours,
    Submission,
    classify,
    input_name,
    key,
)


@pytest.mark.parametrize(
    ("path", "kind", "conversation", "output", "keeps"),
    [
        ("chat_input.txt", Kind.CHAT, "chat", "chat_output.txt", "chat_state.json"),
        ("alice_input.txt", Kind.CHAT, "alice", "alice_output.txt", "alice_state.json"),
        ("alice_chat_input.txt", Kind.CHAT, "alice_chat", "alice_chat_output.txt", "alice_chat_state.json"),
        ("a/bob_chat_input.txt", Kind.CHAT, "a/bob_chat", "a/bob_chat_output.txt", "a/bob_chat_state.json"),
        ("chat_input.md", Kind.CHAT, "chat", "chat_output.md", "chat_state.json"),
        ("research_prompt.txt", Kind.RESEARCH, "research", "research_output.txt", "research_session.json"),
        ("research_input.txt", Kind.RESEARCH, "research", "research_output.txt", "research_session.json"),
        ("x_research_prompt.md", Kind.RESEARCH, "x_research", "x_research_output.md", "x_research_session.json"),
        ("x_research_input.txt", Kind.RESEARCH, "x_research", "x_research_output.txt", "x_research_session.json"),
        ("job_input.txt", Kind.JOB, "job", "job_output.txt", "job_state.json"),
        ("x_job_input.txt", Kind.JOB, "x_job", "x_job_output.txt", "x_job_state.json"),
        ("exa_input.txt", Kind.EXA, "exa", "exa_output.txt", "exa_state.json"),
        ("x_exa_input.md", Kind.EXA, "x_exa", "x_exa_output.md", "x_exa_state.json"),
        ("myresearch_input.txt", Kind.CHAT, "myresearch", "myresearch_output.txt", "myresearch_state.json"),
        ("notes/jobs/x_input.txt", Kind.CHAT, "notes/jobs/x", "notes/jobs/x_output.txt", "notes/jobs/x_state.json"),
        ("a b (1)_input.txt", Kind.CHAT, "a b (1)", "a b (1)_output.txt", "a b (1)_state.json"),
        ("two\nlines_input.txt", Kind.CHAT, "two\nlines", "two\nlines_output.txt", "two\nlines_state.json"),
        ("Exa_input.txt", Kind.EXA, "Exa", "Exa_output.txt", "Exa_state.json"),
        ("plan_Job_input.txt", Kind.JOB, "plan_Job", "plan_Job_output.txt", "plan_Job_state.json"),
        ("chat_Input.TXT", Kind.CHAT, "chat", "chat_output.TXT", "chat_state.json"),
        ("Research_Prompt.txt", Kind.RESEARCH, "Research", "Research_output.txt", "Research_session.json"),
        ("X_RESEARCH_PROMPT.MD", Kind.RESEARCH, "X_RESEARCH", "X_RESEARCH_output.MD", "X_RESEARCH_session.json"),
        ("x_Research_input.txt", Kind.RESEARCH, "x_Research", "x_Research_output.txt", "x_Research_session.json"),
        ("cafe\u0301_input.txt", Kind.CHAT, "cafe\u0301", "cafe\u0301_output.txt", "cafe\u0301_state.json"),
    ],
)  # fmt: skip
def test_a_saved_file_starts_the_kind_and_gets_the_files_that_the_contract_lists(
    path, kind, conversation, output, keeps
):
    """Each input of the contract's first table has its kind, its conversation, its output and its memory."""
    name = classify(path)

    assert name == InputName(path, kind, conversation, path[path.rindex(".") :])
    assert (name.output, name.state) == (output, keeps)
    assert input_name(path) == name


def test_an_input_knows_all_its_neighbours():
    """Error, sources, partial output and data files carry the conversation's name."""
    name = input_name("notes/x_research_prompt.md")

    assert name is not None
    assert name.error == "notes/x_research_error.txt"
    assert name.sources == "notes/x_research_sources.json"
    assert name.partial_output == "notes/x_research_output.partial.md"
    assert name.data == "notes/x_research_data"


@pytest.mark.parametrize(
    "path",
    [
        "_input.txt",
        "notes/_input.md",
        "input.txt",
        "foo_prompt.txt",
        "foo_Prompt.TXT",
        "Input.txt",
        "prompt.txt",
        "xresearch_prompt.txt",
        "chat_input.text",
        "chat_input.txt\n",
        "chat_input.txt ",
        "chat_input.txt.331050326",
        "chat_input",
        "chat-input.txt",
        "/chat_input.txt",
        "/tmp/chat_input.txt",
        "a//chat_input.txt",
        "chat_data.txt",
        "rlmwatch.toml",
        "jobs",
        "jobs/readme.txt",
        "jobs/x_input.txt",
        "jobs/chat_output.txt",
        "jobs/sub/x_input.txt",
        "jobs/sub/x.json",
        "",
        "/",
    ],
)
def test_any_other_name_starts_nothing(path):
    """A name that does not end exactly in an input's ending, has nothing before it, or lies below jobs/ is no input."""
    assert classify(path) == Other(path)
    assert input_name(path) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Exa_input.txt", "exa_INPUT.TXT", True),
        ("Notes/chat_input.txt", "notes/chat_input.txt", True),
        ("cafe\u0301_input.txt", "caf\u00e9_input.txt", True),
        ("CAFE\u0301_input.txt", "caf\u00e9_input.txt", True),
        ("stra\u00dfe_input.txt", "STRASSE_input.txt", True),
        ("chat_input.txt", "chat_input.md", False),
        ("cafe_input.txt", "caf\u00e9_input.txt", False),
        ("a/chat_input.txt", "chat_input.txt", False),
    ],
)
def test_names_that_differ_only_in_case_or_normal_form_have_one_key(one, other, same):
    """What a phone's keyboard, a Mac or a sync tool makes of a name is the same name."""
    assert (key(one) == key(other)) is same


@pytest.mark.parametrize("path", ["x_input (1).txt", ".chat_input.txt", "x (Anna's conflicted copy)_input.txt"])
def test_a_conflict_copy_is_no_input(path):
    """What a sync tool or an editor made of an input is passed over, with the reason."""
    assert isinstance(classify(path), Ignored)
    assert input_name(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "chat_output.txt",
        "notes/chat_output.md",
        "chat_output.partial.txt",
        "chat_error.txt",
        "chat_state.json",
        "research_session.json",
        "exa_sources.json",
        "chat_output.TXT",
        "CHAT_Output.Partial.md",
        "chat_state.json.corrupt-20261123T091502Z",
    ],
)
def test_what_the_daemon_writes_is_its_own(path):
    """The daemon's own files start nothing."""
    assert classify(path) == Ours(path)


def test_a_job_is_submitted_and_cancelled_by_a_file_in_jobs():
    """`jobs/<id>.json` is a submission and `jobs/<id>.cancel` a cancel request, at the root only."""
    assert classify("jobs/20261123T091502Z-chat-7f3a9c.json") == Submission(
        "jobs/20261123T091502Z-chat-7f3a9c.json", "20261123T091502Z-chat-7f3a9c"
    )
    assert classify("jobs/my.job_1.cancel") == CancelRequest("jobs/my.job_1.cancel", "my.job_1")
    assert classify("notes/jobs/x.json") == Other("notes/jobs/x.json")


@pytest.mark.parametrize("name", ["a b.json", "-x.json", "ä.json", "x\n.cancel", "x" * 101 + ".json", "x (1).json"])
def test_a_job_with_an_odd_name_is_passed_over_with_the_reason(name):
    """A job's name is made of letters, digits, dots, dashes and underscores, so that it can be named anywhere."""
    verdict = classify(f"jobs/{name}")

    assert isinstance(verdict, Ignored)
    assert "job's name" in verdict.reason


def test_an_input_whose_answers_could_not_be_named_is_passed_over_before_anything_is_paid():
    """A name so long that its output's name would not fit into the folder starts nothing, and the log says so."""
    fits, too_long = "ä" * (MAX_STEM_BYTES // 2), "ä" * (MAX_STEM_BYTES // 2) + "x"

    assert isinstance(classify(f"{'long folder ' * 20}/{fits}_input.txt"), InputName)
    verdict = classify(f"{too_long}_input.txt")
    assert isinstance(verdict, Ignored)
    assert "too long" in verdict.reason


def test_an_input_whose_name_is_not_utf_8_is_passed_over():
    """A name in an old encoding cannot be written into a status file: the log asks to rename it."""
    verdict = classify("caf\udce9_input.txt")

    assert isinstance(verdict, Ignored)
    assert "UTF-8" in verdict.reason


@settings(deadline=None)
@given(st.text() | st.text(alphabet="ab/_.\n ").map(lambda name: f"{name}_input.txt"))
def test_every_path_has_one_meaning_and_an_input_never_writes_over_itself(path):
    """Whatever the name, there is one answer; an input's own files are none of them inputs."""
    name = classify(path)

    assert name.path == path
    assert (input_name(path) is not None) == isinstance(name, InputName)
    if isinstance(name, InputName):
        for written in (name.output, name.partial_output, name.state, name.error, name.sources):
            assert classify(written) == Ours(written)
        assert all(classify(data) == Other(data) for data in (f"{name.data}.txt", f"{name.data}.csv", name.data))
