"""A model's thoughts, taken out of the text that they stand in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.models.base import RESTART
from rlmwatch.models.openai.thoughts import Thoughts

DRAFT = "Maybe:\n```python\nanswer(42)\n```\n"


def text_of(pieces: list[str], *, whole: bool = True) -> str:
    """Return the text as a reader of the pieces has it in the end."""
    thoughts, shown = Thoughts(), list[str]()
    for piece in [*(part for one in pieces for part in thoughts.feed(one)), *thoughts.end(whole=whole)]:
        if piece is RESTART:
            shown.clear()
        else:
            shown.append(piece)
    return "".join(shown)


CASES = {
    "think": (f"<think>\n{DRAFT}</think>\n\nIt is 50.", "It is 50."),
    "thinking": (f"<thinking>{DRAFT}</thinking>It is 50.", "It is 50."),
    "reasoning": (f"<reasoning>{DRAFT}</reasoning>\nIt is 50.", "It is 50."),
    "upper case": (f"<THINK>{DRAFT}</THINK>It is 50.", "It is 50."),
    "Magistral": (f"[THINK]{DRAFT}[/THINK]It is 50.", "It is 50."),
    "Cohere": (f"<|START_THINKING|>{DRAFT}<|END_THINKING|>It is 50.", "It is 50."),
    "gpt-oss": (
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>It is 50.",
        "It is 50.",
    ),
    "closed alone": (f"{DRAFT}</think>\n\nIt is 50.", "It is 50."),
    "closed alone within a line": ("So it is 42.</think>It is 50.", "It is 50."),
    "closed alone in an open fence": ("```python\nanswer(42)\n</think>\nIt is 50.", "It is 50."),
    "closed alone at the end": (f"{DRAFT}</think>", ""),
    "twice": ("<think>a</think>One.\n<think>b</think>\nTwo.", "One.\nTwo."),
    "closed twice": ("<think>a</think>\n\n</think>\nOne.", "One."),
    "in the middle": ("Sure. <think>hm\nhm</think>\n```python\nx\n```", "Sure. \n```python\nx\n```"),
    "never closed": (f"<think>\n{DRAFT}", ""),
    "mentioned": ("R1 writes <think> before it answers.", "R1 writes <think> before it answers."),
    "the closing mark mentioned": ("R1 writes </think> and answers.", "R1 writes </think> and answers."),
    "in backticks": ("Write `<think>` and `</think>` so.", "Write `<think>` and `</think>` so."),
    "in quotes": ('Write "<think>" so.', 'Write "<think>" so.'),
    "in a block": (
        "```xml\n<reasoning>\nx\n</reasoning>\n```\nDone.",
        "```xml\n<reasoning>\nx\n</reasoning>\n```\nDone.",
    ),
    "nothing of it": ("a < b, [t] and <p>", "a < b, [t] and <p>"),
    "cut mark": ("one <thi", "one <thi"),
}


@pytest.mark.parametrize("name", CASES)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_thoughts_are_taken_out_however_the_text_is_cut(name, cuts):
    """Thoughts in every spelling are not text, mentions of their marks are, however the text came."""
    given_text, expected = CASES[name]
    places = [0, *sorted(min(cut, len(given_text)) for cut in cuts), len(given_text)]
    assert text_of([given_text[one:two] for one, two in pairwise(places)]) == expected
    assert text_of(list(given_text)) == expected


def test_a_thought_within_a_line_that_the_limit_cut_is_no_text():
    """An answer that reached its limit in the middle of a thought shows nothing of the thought."""
    assert text_of(["Sure. <think>hm", " hm"], whole=False) == "Sure. "


def test_text_without_marks_is_handed_on_at_once():
    """Who reads along waits only for what may be a mark."""
    thoughts = Thoughts()
    assert thoughts.feed("Hello ") == ["Hello "]
    assert thoughts.feed("<") == []
    assert thoughts.feed("b> you") == ["<b> you"]


@given(st.lists(st.sampled_from(["<think>", "</think>", "`", "```", "\n", " a ", "<", "[/THINK]", "'"]), max_size=14))
def test_a_text_is_read_the_same_whole_and_letter_by_letter(parts):
    """Whatever the marks are mixed with, the way a text is cut changes nothing."""
    text = "".join(parts)
    assert text_of([text]) == text_of(list(text))
