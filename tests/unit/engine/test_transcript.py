"""What the model is shown."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.engine.call_codec import plain_message
from rlmwatch.engine.prompts import current_prompts
from rlmwatch.engine.reply import Cell
from rlmwatch.engine.transcript import (
    OUTPUT_CHARS,
    PREVIEW_CHARS,
    Status,
    StepOutcome,
    Transcript,
    cut_bytes,
    cut_middle,
    describe,
    observation,
)

PHRASES = current_prompts().notices
RAN = Cell("x = 1")


def opened(status=None, question="How many?", **variables):
    transcript = Transcript(PHRASES)
    transcript.open("the rules", question, variables, status or Status(1, 8))
    return transcript


def told(transcript):
    return transcript.messages()[-1].content


def test_1_the_first_request_holds_rules_question_and_metadata():
    """The first request is the rules, what is known of each variable, and the question before what was said before."""
    system, user = opened(context="abc", history="before").messages()
    assert (system.role, system.content) == ("system", "the rules")
    assert (
        user.content
        == "[step 1/8]\ncontext: str, 3 characters\nabc\n\nQuestion:\nHow many?\n\nhistory: str, 6 characters\nbefore"
    )


def test_1_a_long_variable_is_shown_by_type_length_start_and_end():
    """Of a long text the model sees type, length, and the first and last 500 characters, no more."""
    text = "A" * 600 + "secret middle" + "Z" * 600
    shown = describe("context", text, PHRASES)
    assert shown.startswith("context: str, 1,213 characters\nfirst 500:\n" + "A" * PREVIEW_CHARS + "\n")
    assert shown.endswith("\nlast 500:\n" + "Z" * PREVIEW_CHARS)
    assert "secret" not in shown


def test_1_a_mapping_is_shown_by_its_files():
    """Of a folder the model sees how many texts there are, their names and lengths, and where they begin and end."""
    files = {f"f{n}.txt": "x" * n * 1000 for n in range(1, 31)}
    shown = describe("context", files, PHRASES)
    assert shown.startswith("context: dict of 30 texts, 465,000 characters: 'f1.txt' (1,000), 'f2.txt' (2,000), ")
    assert "'f20.txt' (20,000), and 10 more\n" in shown
    assert len(shown) < 2000


def test_1_other_values_are_shown_as_json():
    """A value that is not text is shown as JSON, with its type and how many items it has."""
    assert describe("context", [1, "é"], PHRASES) == 'context: list, 2 items\n[1, "é"]'
    assert describe("context", 7, PHRASES) == "context: int\n7"


def test_2_a_request_is_the_one_before_it_plus_the_new_step():
    """Each request begins byte for byte with the one before it; what is added is the new step only."""
    transcript = opened(context="abc")
    before = [json.dumps(asdict(m)) for m in transcript.messages()]
    for step in range(1, 6):
        transcript.replied(f"reply {step}")
        transcript.observed(f"output {step}", "x = 1", Status(step + 1, 8, tokens=1000 - step, late=step > 3))
        now = [json.dumps(asdict(m)) for m in transcript.messages()]
        assert now[: len(before)] == before
        assert len(now) == len(before) + 2
        before = now


def test_2_ten_small_steps_take_at_most_20_kb_of_requests():
    """Ten small steps send at most 20 KB in all, as JSON, with the shipped rules."""
    from rlmwatch.engine.tools import listing

    transcript = Transcript(PHRASES)
    rules = current_prompts().root.replace("{tools}", listing((), current_prompts().functions))
    shown = {"example": current_prompts().example, "request": current_prompts().request}
    transcript.open(rules, "What is the sum of 1 to 10?", {"context": "1 2 3"}, Status(1, 10, 5000), **shown)
    sent = 0
    for step in range(1, 11):
        body = {"model": "m", "messages": [plain_message(m) for m in transcript.messages()], "max_tokens": 500}
        sent += len(json.dumps(body))
        transcript.replied(f"```python\nx{step} = {step}\nprint(x{step})\n```")
        transcript.observed(str(step), f"x{step} = {step}", Status(step + 1, 10, 5000 - 20 * step))
    assert sent <= 20_000


def test_3_output_is_cut_in_the_middle_and_its_true_length_stated():
    """Long output keeps its head and its tail, and says how much is missing of how much."""
    text = "H" * 3000 + "M" * 90_000 + "T" * 3000
    shown = observation(StepOutcome(RAN, output=text, output_chars=len(text)), PHRASES)
    assert shown.startswith("H" * 2666)
    assert shown.endswith("T" * 1334)
    assert "[92,000 characters cut here; 96,000 in all]" in shown
    assert len(shown) < OUTPUT_CHARS + 100


def test_3_the_true_length_counts_what_the_sandbox_cut_before():
    """The length stated is what was printed, also where less was kept."""
    assert cut_middle("a" * 50, 100, length=1_000_000, phrases=PHRASES).count("a") >= 50
    assert "1,000,000 in all" in cut_middle("a" * 50, 100, length=1_000_000, phrases=PHRASES)


def test_3_short_output_is_shown_as_it_is():
    """Output within the limit is not touched."""
    assert observation(StepOutcome(RAN, output="a\nb\n", output_chars=4), PHRASES) == "a\nb"


def test_code_that_prints_nothing_is_told_so():
    """A cell without output is told that nothing was printed."""
    assert observation(StepOutcome(RAN), PHRASES) == PHRASES["nothing"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (StepOutcome(Cell(None)), "No code was in your reply"),
        (StepOutcome(Cell(None, cut="length")), "cut at its token limit"),
        (StepOutcome(Cell(None, cut="filter")), "The provider ended your reply"),
        (StepOutcome(Cell("x", more=2)), "2 more did not"),
        (StepOutcome(RAN, error="ValueError: no"), "ValueError: no"),
        (StepOutcome(RAN, interrupted_s=30.0), "stopped at its time limit of 30 s"),
        (StepOutcome(RAN, ended_by="limit", lost=("a", "b")), "did not stop at its time limit"),
        (StepOutcome(RAN, ended_by="crashed", lost=("a", "b")), "These names are gone: a, b."),
        (StepOutcome(RAN, ended_by="violated"), "These names are gone: none."),
        (StepOutcome(RAN, restored=("context", "answer")), "overwrote context, answer"),
        (StepOutcome(RAN, answer_failed=True), "answer(...) did not count"),
    ],
)
def test_each_event_of_a_cell_is_told(seen, words):
    """What happened to the code beside its output is told to the model in words."""
    assert words in observation(seen, PHRASES)


def test_many_lost_names_are_cut():
    """Of many names that are gone the first twenty are named, and how many more there are."""
    shown = observation(StepOutcome(RAN, ended_by="crashed", lost=tuple(f"n{i}" for i in range(50))), PHRASES)
    assert "n19, and 30 more" in shown


def test_what_is_left_is_told_with_each_step():
    """Each message of ours says the step and what is left of tokens and money."""
    assert told(opened(Status(3, 8, 1240, 0.0421))).startswith("[step 3/8, 1240 tokens left, 0.0421 USD left]\n")


def test_near_a_limit_the_model_is_told():
    """The last step, a nearly spent budget and a near deadline are each told."""
    assert PHRASES["last_step"] in told(opened(Status(8, 8)))
    assert PHRASES["short"] in told(opened(Status(2, 8, 100, short=True)))
    assert PHRASES["late"] in told(opened(Status(2, 8, late=True)))


def test_4_budget_and_time_do_not_name_a_call():
    """Two requests that differ only in what is left of budget and time have the same name in the journal."""
    early = opened(Status(2, 8, 900, 0.5), context="abc")
    late = opened(Status(2, 8, 100, 0.1, short=True, late=True), context="abc")
    assert early.messages() != late.messages()
    assert early.messages(naming=True) == late.messages(naming=True)


def test_an_empty_reply_is_no_empty_message():
    """A reply without text stands as a mark, since providers refuse empty messages."""
    transcript = opened()
    transcript.replied("")
    assert told(transcript)


@given(st.integers(1200, 8000), st.text(max_size=3000), st.lists(st.text(max_size=3000), max_size=12))
def test_5_a_synthesis_fits_the_bytes_that_were_reckoned_with(limit, question, outputs):
    """The request for a synthesis never holds more bytes than its price was reckoned for."""
    transcript = opened()
    for output in outputs:
        transcript.observed(output, "code", Status(2, 8))
    rules = current_prompts().synthesis
    messages = transcript.synthesis(rules, question, max_bytes=limit)
    assert sum(len(m.content.encode("utf-8", "replace")) for m in messages) <= limit


def test_5_a_synthesis_has_the_question_and_the_newest_findings():
    """Where not all findings fit into a synthesis, the newest do."""
    transcript = opened()
    for n in range(20):
        transcript.observed(f"finding {n} " + "x" * 1000, f"look({n})", Status(2, 8))
    _, user = transcript.synthesis("rules", "How many?", max_bytes=5000)
    assert user.content.startswith("Question:\nHow many?")
    assert "look(19)" in user.content
    assert "finding 19" in user.content
    assert "finding 0 " not in user.content


@given(st.text(), st.integers(0, 200))
def test_cutting_to_bytes_never_exceeds_them(text, limit):
    """A text that is cut to a number of bytes has at most that many, and is whole characters."""
    assert len(cut_bytes(text, limit).encode("utf-8")) <= limit


def test_6_every_message_ends_with_a_request():
    """Each message ends with a request for code, and before it the question where that stands far above."""
    transcript = Transcript(PHRASES)
    example = ("an example", "```python\nanswer(1)\n```")
    transcript.open("the rules", "How many?", {"context": "abc"}, Status(1, 8), example=example, request="Write code.")
    assert [message.role for message in transcript.messages()] == ["system", "user", "assistant", "user"]
    assert told(transcript).endswith("abc\n\nQuestion:\nHow many?\n\nWrite code.")
    transcript.replied("x")
    transcript.observed("7", "x", Status(2, 8))
    assert told(transcript).endswith(f"7\n{PHRASES['request']}")
    transcript.replied("y")
    transcript.observed("7" * 401, "y", Status(3, 8))
    assert told(transcript).endswith(f"7\nHow many? {PHRASES['request']}")


@pytest.mark.parametrize(("history", "again"), [("before", ""), ("before " * 100, "How many? ")])
def test_6_what_was_said_before_stands_between_the_question_and_what_follows(history, again):
    """The question is said again after a long history, as after as much of code and output: it is as far above."""
    transcript = opened(context="abc", history=history)
    transcript.replied("x")
    transcript.observed("7", "x", Status(2, 8))
    assert told(transcript).endswith(f"7\n{again}{PHRASES['request']}")


def test_6_the_last_step_is_announced_with_what_is_known():
    """Before the last affordable step, the newest findings stand once more before the newest output, in short."""
    for last in (Status(4, 4), Status(4, 9, tokens=10, short=True)):
        transcript = opened(context="abc")
        for step in range(1, 4):
            transcript.replied(f"reply {step}")
            transcript.observed(f"clue {step}", f"look({step})", last if step == 3 else Status(step + 1, 9))
        before, _, newest = told(transcript).partition("clue 3")
        assert all(f"clue {step}" in before for step in (1, 2))
        assert newest.strip() == PHRASES["request"]


def test_6_what_is_left_and_known_does_not_name_a_call():
    """What stands before the last step depends on what was used, so it is no part of a call's name."""
    transcript = opened(context="abc")
    for step in (1, 2):
        transcript.replied("r")
        transcript.observed(f"clue {step}", "x", Status(3, 3))
    assert "Known" not in transcript.messages(naming=True)[-1].content
