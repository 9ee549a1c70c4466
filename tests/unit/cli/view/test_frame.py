"""cli/view/frame.py: what the view says, and that it fits."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from fakes.statuses import status
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rlmwatch.cli.view.frame import frame, problem_and_cure, seconds
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.cli.view.viewport import Viewport
from rlmwatch.cli.view.words import Notice
from rlmwatch.contract.documents import JobStatus, Progress, StatusFile, UsageSoFar

NOW = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC)
WIDE = Viewport(100)


def shown(*statuses: StatusFile, **about) -> ViewState:
    view = ViewState(Heading(**({"folder": "~/questions", "answers": "gpt-4.1-mini (openai)"} | about)))
    for each in statuses:
        view.take(each)
    return view


def lines(view: ViewState, viewport: Viewport = WIDE) -> list[str]:
    return [line.plain.rstrip() for line in frame(view, viewport, now=NOW)]


def test_the_heading_says_folder_who_answers_spending_and_what_to_do():
    """Folder, who answers, what was spent of which ceiling today, what to save, and what Ctrl+C does."""
    view = shown(status("a_input.txt", "pending"), spent_usd=0.02, ceiling_usd=1.0)
    first, second, third, *_ = lines(view, Viewport(80, 24))
    assert (first.startswith("rlmwatch  ~/questions"), first.endswith("gpt-4.1-mini (openai)")) == (True, True)
    assert second == "$0.02 of $1.00 today · 1 waiting"
    assert third == "Save chat_input.txt, or any <name>_input.txt; Ctrl+C stops"


def test_without_a_ceiling_or_a_ledger_nothing_is_made_up():
    """No ceiling: what was spent alone. Spending that is not known is not named."""
    assert lines(shown(spent_usd=2.5))[1].startswith("$2.50 today")
    assert "$" not in lines(shown(ceiling_usd=1.0))[1]


def test_a_line_goes_from_waiting_over_its_steps_to_the_answer():
    """One line a question: waiting, step 3 of 8 with what it reads and its searches, the answer, seconds, price."""
    view = shown(status("plan_job_input.txt", "pending"))
    assert lines(view)[4:] == ["○ plan_job_input.txt  waiting"]
    progress = Progress(step=3, max_steps=8, note="running its code", context_chars=41_200)
    view.take(status("plan_job_input.txt", "running", progress=progress, usage=UsageSoFar(searches=2)))
    (running,) = lines(view)[4:]
    assert running.startswith("▸ plan_job_input.txt  step 3 of 8, reading 41,200 characters, 2 searches, running")
    assert running.endswith("30 s")
    done = {"answer": "Paris,\nof course.", "completed_at": "2026-11-28T12:00:02.5Z"}
    view.take(status("plan_job_input.txt", "complete", usage=UsageSoFar(llm_calls=3, cost_usd=0.0123456), **done))
    (ended,) = lines(view)[4:]
    assert ended.startswith("✓ plan_job_input.txt  Paris, of course.")
    assert ended.endswith("2.5 s  $0.01")


def test_a_provider_that_is_asked_again_is_named_in_its_line():
    """What a run waits for stands in its line while it waits: who, what it said, and when it is asked again."""
    why = "openai: busy (503); asked again at 12:01"
    view = shown(status("a_input.txt", "running", error=why, progress=Progress(note=why)))
    assert lines(view)[4].count("busy (503); asked again at 12:01") == 1


def test_a_cut_answer_says_what_cut_it():
    """A partial answer begins with why it is one."""
    view = shown(status("a_input.txt", "complete", partial=True, outcome="step_limit", answer="So far"))
    assert "(cut short: step limit) So far" in lines(view)[4]


def test_an_error_has_its_cure_in_the_next_line():
    """What is wrong is red; what to do stands below, and where the text has none, how to ask again."""
    view = shown(status("a_input.txt", "failed", error="the disk is full. Make room; then save again"))
    assert [line.strip() for line in lines(view)[4:]] == [
        "✗ a_input.txt   the disk is full",
        "Make room; then save again",
    ]
    assert "red" in {str(span.style) for span in frame(view, WIDE, now=NOW)[4].spans}
    view = shown(status("a_input.txt", "failed", error="flagged"))
    assert lines(view)[5].strip() == "Change the file and save it, or: rlmwatch again a_input.txt"
    view = shown(status("jobs/mine.json", "failed", job_id="mine", error="flagged"))
    assert lines(view)[5].strip().endswith("rlmwatch retry mine")
    view = shown()
    view.take(status("jobs/mine.json", "failed", job_id="mine", error="flagged"), "~/two")
    assert lines(view)[5].strip().endswith("rlmwatch retry -w ~/two mine")


def test_an_error_that_does_not_fit_into_its_line_is_said_whole_below():
    """Nothing of what is wrong is lost by the width of the terminal."""
    view = shown(status("a_input.txt", "failed", error=f"{'far too long ' * 6}to fit. Do this"))
    text = " ".join(line.strip() for line in lines(view, Viewport(60))[5:])
    assert f"{'far too long ' * 6}to fit" in text
    assert text.endswith("Do this")


def test_held_questions_stand_at_the_bottom():
    """A held question is below all others, whenever it was asked, with what to do; notices stand above it."""
    view = shown(
        status("held_input.txt", "held", error="no key. Set OPENAI_API_KEY"), status("later_input.txt", "pending")
    )
    view.notices.append(Notice("x", "12:00", "the folder is missing", serious=True))
    found = lines(view)
    places = [
        next(n for n, line in enumerate(found) if words in line) for words in ("later_", "missing", "held_", "Set ")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("height", range(5, 16))
def test_on_a_low_terminal_what_ended_goes_first_and_is_counted(height):
    """Rows that do not fit are counted: first ended ones, then those that wait; what runs and is held stays longest."""
    ended = [status(f"old{n}_input.txt", "complete", answer="x") for n in range(8)]
    held = status("held_input.txt", "held", error="no key. Set it")
    view = shown(*ended, status("works_input.txt", "running"), status("waits_input.txt", "pending"), held)
    found = lines(view, Viewport(80, height))
    assert len(found) <= height
    left = sum("old" in line for line in found)
    if left < 8 and height > 8:
        assert any(f"{8 - left} earlier" in line for line in found)
    if height >= 9:
        assert any("works_input" in line for line in found)
        assert any("held_input" in line for line in found)


def test_a_deep_path_shows_its_end():
    """The file's own name is what a person knows it by."""
    view = shown(status(f"{'folder/' * 20}plan_input.txt", "pending"))
    assert "/plan_input.txt" in lines(view, Viewport(80))[4]


def test_a_terminal_without_unicode_gets_ascii():
    """Signs and texts are written as the terminal's encoding has them, and are measured so."""
    view = shown(status("naïve_input.txt", "complete", answer="→ 日本"))
    found = "\n".join(lines(view, Viewport(80, 24, "ascii")))
    assert found.isascii()
    assert "+ na\\xefve_input.txt" in found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("wrong key: 401", ("wrong key: 401", "")),
        ("no key. Set it. Then reload.", ("no key", "Set it. Then reload.")),
        ("no key; set it", ("no key", "Set it")),
        ("first line\nsecond line", ("first line", "Second line")),
        ("", ("", "")),
    ],
)
def test_what_is_wrong_is_told_from_what_to_do(text, parts):
    """The first sentence is what is wrong, the rest what to do about it."""
    assert problem_and_cure(text) == parts


def test_times_are_as_people_say_them():
    """Tenths below ten seconds, minutes from two on, hours from two on."""
    assert [seconds(each) for each in (0.04, 9.5, 61, 600, 9000)] == ["0.0 s", "9.5 s", "61 s", "10 min", "2.5 h"]


# Whatever the text


ANY = st.text(max_size=300) | st.text(
    alphabet=st.sampled_from("a \n\t\x1b\x9b\u202e日本語👩\u200d👧\ufe0f❤e\u0301\u200c한ﷺ"), max_size=300
)
STATUSES = st.builds(
    status,
    name=ANY.filter(bool),
    status=st.sampled_from([each.value for each in JobStatus]),
    answer=ANY,
    error=ANY,
    outcome=ANY,
    partial=st.booleans(),
    progress=st.builds(Progress, step=st.integers(0, 99), note=ANY, context_chars=st.none() | st.integers(0, 10**9)),
    usage=st.builds(UsageSoFar, cost_usd=st.none() | st.floats(0, 1e6), searches=st.integers(0, 99)),
)


def cells(text: str) -> int:
    """Count wide characters double, as Unicode's own table has them, and those that stand on others not at all."""
    on_others = [
        unicodedata.category(char) in ("Mn", "Me", "Mc", "Cf") or "\u1160" <= char <= "\u11ff" for char in text
    ]
    wide = [unicodedata.east_asian_width(char) in "WF" for char in text]
    return sum(0 if on else 1 + is_wide for on, is_wide in zip(on_others, wide, strict=True))


@given(
    st.lists(STATUSES, max_size=6),
    ANY,
    st.integers(1, 200),
    st.none() | st.integers(1, 60),
    st.sampled_from(["utf-8", "ascii", "latin-1"]),
)
def test_no_line_is_wider_than_the_terminal_and_none_moves_it(statuses, text, width, height, encoding):
    """For any text and size no line is too wide, by rich's count or Unicode's, none too many, none moves the cursor."""
    view = shown(*statuses, folder=text, answers=text, state=text, spent_usd=1.0, ceiling_usd=1.0)
    view.notices.append(Notice("x", "12:00", text, serious=True))
    found = frame(view, Viewport(width, height, encoding), now=NOW)
    assert height is None or len(found) <= height
    for line in found:
        assert cell_len(line.plain) <= width
        assert cells(line.plain) <= width
        assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in line.plain)
        line.plain.encode(encoding)


def test_a_row_says_when_it_ended_or_was_held():
    """The clock of the person, and the day where that is another; so an error is told from an older answer."""
    view = shown(
        status("old_input.txt", "complete", answer="x", completed_at="2026-11-27T08:00:00Z"),
        status("bad_input.txt", "failed", error="It broke", completed_at="2026-11-28T11:59:00Z"),
        status("held_input.txt", "held", error="no key. Set it", updated_at="2026-11-28T11:58:00Z"),
    )
    found = lines(view)
    assert "2026-11-27" in next(line for line in found if "old_" in line)
    assert "11:59" in next(line for line in found if "✗ bad_" in line)
    assert "11:58" in next(line for line in found if "held_" in line)


def test_an_error_is_said_once():
    """What does not fit into its line stands below it alone."""
    view = shown(status("a_input.txt", "failed", error=f"{'far too long ' * 6}to fit. Do this"))
    first, *below = lines(view, Viewport(60))[4:]
    assert first.split() == ["✗", "a_input.txt", "failed"]
    assert " ".join(line.strip() for line in below) == f"{'far too long ' * 6}to fit Do this"


def test_an_answer_that_is_not_whole_is_counted_apart():
    """Neither cut short nor not computed counts as answered."""
    view = shown(
        status("a_input.txt", "complete", answer="x"),
        status("b_input.txt", "complete", answer="x", partial=True, outcome="timeout"),
        status("c_input.txt", "complete", answer="x", partial=True, outcome="no_code"),
    )
    assert lines(view)[1] == "1 answered, 1 cut short, 1 not computed"
    assert "(not computed) x" in next(line for line in lines(view) if "c_input" in line)
