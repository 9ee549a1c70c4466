"""Names that look meant for rlmwatch, and ordinary names that do not."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.names import InputName, classify, input_name
from rlmwatch.contract.near_misses import (
    NOTE_MAX_BYTES,
    RULES,
    NameRule,
    NearMiss,
    has_hint,
    is_note,
    near_miss,
    note_of,
    note_text,
    noted,
)

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "near_misses.py"

MEANT = {
    "chat-input.txt": "chat_input.txt",
    "chat_input.txt.txt": "chat_input.txt",
    "chat_input (1).txt": "chat_input.txt",
    "chat_input(2).md": "chat_input.md",
    "chat_input 2.txt": "chat_input.txt",
    "chat_input - Kopie (2).txt": "chat_input.txt",
    "chat_input_2.txt": "chat_input.txt",
    "chat_input-v2.txt": "chat_input.txt",
    "chat_input.rtf": "chat_input.txt",
    "chat_input.docx": "chat_input.txt",
    "plan_input.odt": "plan_input.txt",
    "Chat Input.docx": "chat_input.txt",
    "chat_input": "chat_input.txt",
    "chat_input.": "chat_input.txt",
    "chat_input.txt.": "chat_input.txt",
    "chat_input .txt": "chat_input.txt",
    "chat_input.tx": "chat_input.txt",
    "plan_input.text": "plan_input.txt",
    "plan_input.markdown": "plan_input.md",
    "research_promt.txt": "research_prompt.txt",
    "reserch_prompt.txt": "research_prompt.txt",
    "liberty_research_promt.md": "liberty_research_prompt.md",
    "research-prompt.txt": "research_prompt.txt",
    "Research Prompt.docx": "research_prompt.txt",
    "liberty-research-prompt.txt": "liberty_research_prompt.txt",
    "liberty-research_prompt.txt": "liberty_research_prompt.txt",
    "exa_prompt.txt": "exa_input.txt",
    "job_prompt.md": "job_input.md",
    "plan_chat_prompt.txt": "plan_chat_input.txt",
    "input.txt": "chat_input.txt",
    "Input.md": "chat_input.md",
    "_input.txt": "chat_input.txt",
    "Chat Input.txt": "chat_input.txt",
    "chatinput.txt": "chat_input.txt",
    "CHAT-INPUT.TXT": "chat_input.txt",
    "chat–input.txt": "chat_input.txt",  # noqa: RUF001 (what a text program makes of a hyphen)
    "chat_imput.txt": "chat_input.txt",
    "plan_inptu.md": "plan_input.md",
    "chat_inputs.txt": "chat_input.txt",
    "input_chat.txt": "chat_input.txt",
    "plan-job-input.txt": "plan_job_input.txt",
    "notes/deep/chat-input.txt": "notes/deep/chat_input.txt",
    "rlmwatch.toml.txt": "rlmwatch.toml",
    "rlmwatch.yaml": "rlmwatch.toml",
}

NOT_MEANT = [
    "chat_input.txt",
    "chat_input.md",
    "plan_input.txt",
    "user_input.py",
    "user_input.json",
    "chat_input.tsx",
    "ChatInput.tsx",
    "chat_input.html",
    "exa_input.txt.example",
    "day01/input.txt",
    "src/prompt.txt",
    "output.txt",
    "chat_output.txt",
    "computer.txt",
    "Research Prompts.md",
    "Handling user input.md",
    "user-input.md",
    "text_inputs.txt",
    "inout.txt",
    "system_prompt.txt",
    "prompts.md",
    "job description.md",
    "chat.txt",
    "research_data.txt",
    "meeting.note.txt",
    "chat-input.txt.note.txt",
    "jobs/chat-input.txt",
    "research_data/chat-input.txt",
    ".chat-input.txt",
    "chat_input.txt~",
    "chat_input.txt.bak",
    "node_modules/chat-input.txt",
    "chat_input.sync-conflict-20260101-120000-ABCDEFG.txt",
    "chat_input (Anna's conflicted copy 2026-01-01).txt",
    "chat_input-DESKTOP-1A2B3C.txt",
    "rlmwatch.toml",
]


@pytest.mark.parametrize("name", MEANT)
def test_a_name_that_looks_meant_has_the_right_one_told(name: str):
    """A name that looks meant for rlmwatch is none of its inputs, and is told the name that it should have."""
    miss = near_miss(name)
    assert miss is not None
    assert miss.right == MEANT[name]
    assert not isinstance(classify(name), InputName)


@pytest.mark.parametrize("name", NOT_MEANT)
def test_an_ordinary_name_is_left_alone(name: str):
    """Inputs, other programs' files, material, sync tools' copies and ordinary notes are no near misses."""
    assert near_miss(name) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.examples[0])
def test_each_rule_speaks_for_its_examples(rule: NameRule):
    """Each rule of the table is the one that judges its own examples."""
    for name in rule.examples:
        miss = near_miss(name)
        assert miss is not None, name
        assert (miss.wrong, miss.formatted) == (rule.wrong, rule.formatted)


@pytest.mark.parametrize("name", ["x" * 201 + "_input.txt", "\udcff_input.txt"])
def test_an_input_whose_name_cannot_be_used_is_told(name: str):
    """An input whose name is too long, or no UTF-8, is told so."""
    miss = near_miss(name)
    assert miss is not None
    assert miss.right is None
    assert is_note(note_text(miss, taken=False).encode())


def test_where_the_right_name_is_taken_another_is_told():
    """Where a file of the right name is there, a free name is told, of another conversation of the same kind."""
    copy = near_miss("a/plan_job_input (3).txt")
    assert copy is not None
    assert copy.other == "a/plan_3_job_input.txt"
    named = input_name(copy.other)
    assert named is not None
    assert named.kind == "job"
    assert "plan_3_job_input.txt" in copy.cure(taken=True)
    assert "plan_3" not in copy.cure(taken=False)


@given(st.text(max_size=60))
def test_any_name_is_judged_and_what_is_told_is_right(name: str):
    """Whatever a file is called, what it is told to be called is an input (or the settings), and no near miss."""
    miss = near_miss(name)
    for right in () if miss is None else filter(None, (miss.right, miss.other)):
        assert near_miss(right) is None
        assert right == "rlmwatch.toml" or input_name(right) is not None


@given(
    st.from_regex(
        r"(?:[a-z]{0,3}[_ -])?(?:chat|job|research|exa)[_ .-]{0,2}(?:input|prompt|promt|inptu)s?(?: ?\(?[0-9]\)?)?"
        r"\.(?:txt|md|docx|rtf|txt\.txt)",
        fullmatch=True,
    )
)
def test_what_is_told_of_likely_names_is_right(name: str):
    """Renamed as it is told, a near miss is an input."""
    miss = near_miss(name)
    if miss is not None and miss.right is not None:
        assert input_name(miss.right) is not None
        assert miss.other is None or input_name(miss.other) is not None


def test_a_note_is_known_by_its_content_and_a_changed_one_is_not():
    """A note is known whatever file it is about; as soon as one letter of it is changed it is its reader's own."""
    for miss in (near_miss("chat-input.txt"), near_miss("chat_input.docx"), NearMiss("a.txt", "why", "b.txt")):
        assert miss is not None
        text = note_text(miss, taken=False)
        assert is_note(text.encode())
        assert not is_note(text.replace("Nothing", "nothing").encode())
        assert not is_note(text.encode() + b"mine")
        assert not is_note(b"mine" + text.encode())
    assert not is_note(b"")
    assert not is_note(b"\xff")


def test_a_note_has_the_name_of_its_file_and_is_never_too_long():
    """The note of a file is called as the file, with `.note.txt`; where that is no name, there is no note."""
    assert note_of("a/chat-input.txt") == "a/chat-input.txt.note.txt"
    assert noted("a/chat-input.txt.note.txt") == "a/chat-input.txt"
    assert noted(".note.txt") is None
    assert note_of("x" * 240 + "_input.txt") is None
    longest = near_miss("ä" * 90 + "_input (1).txt")
    assert longest is not None
    assert len(note_text(longest, taken=True).encode()) <= NOTE_MAX_BYTES


def test_a_note_is_no_input_and_no_near_miss():
    """What is written beside a wrong name starts nothing and is told nothing."""
    for name in MEANT:
        note = note_of(name)
        assert note is not None
        assert near_miss(note) is None
        assert not isinstance(classify(note), InputName)


def test_of_ten_thousand_ordinary_names_at_most_one_is_taken_for_a_near_miss():
    """In folders of 20,000 ordinary names, at most one name in ten thousand is taken."""
    ordinary = runpy.run_path(str(BENCHMARK))["names"]
    folders = [list(ordinary(20_000, seed)) for seed in range(3)]
    taken = [name for folder in folders for name in folder if near_miss(name) is not None]
    assert len(taken) <= 6, taken


@pytest.mark.parametrize("name", ["a_input.txt", "A_INPUT.MD", "research_prompt.txt", "x_Research_Prompt.md"])
def test_a_walk_passes_over_no_input(name: str):
    """What a walk asks of each name before anything else is true of inputs, near misses and their notes."""
    assert input_name(name) is not None
    looked_at = [name, *(example for rule in RULES for example in rule.examples)]
    assert [each for each in looked_at if not (has_hint(each.lower()) and has_hint(f"{each}.note.txt".lower()))] == []
