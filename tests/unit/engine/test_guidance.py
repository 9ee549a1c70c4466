"""Where models stumble: each rule of the guidance."""

from __future__ import annotations

import pytest

from rlmwatch.engine.guidance import (
    CODELESS_REPLIES,
    MANY_PROMPTS,
    RAISED_TEMPERATURE,
    USUAL_TEMPERATURE,
    Guidance,
    normalised,
)
from rlmwatch.engine.prompts import current_prompts
from rlmwatch.engine.reply import Cell
from rlmwatch.engine.transcript import StepOutcome

PHRASES = current_prompts().notices


def guidance(**more):
    return Guidance(PHRASES, **more)


def after(guide, code, shown="7", **more):
    return guide.after(StepOutcome(Cell(code), **more), shown)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1  # first", "x=1"),
        ("# look\nprint( context[:10] )", "print(context[:10])\n\n# again"),
        ("a = 'x'", 'a = "x"'),
        ("if x:\n  y()", "if x:\n        y()"),
        ("broken((  # so", "broken(("),
    ],
)
def test_1_comments_and_layout_do_not_make_a_cell_another_one(one, other):
    """Cells are the same when they differ in comments, blanks and quotes alone."""
    assert normalised(one) == normalised(other)


def test_1_code_of_any_depth_can_be_compared():
    """Code that is nested deeper than Python can write it is compared by its words."""
    deep = "x = " + " + ".join(["1"] * 5000)
    assert normalised(deep + "  # one") == normalised(deep)


def test_1_the_same_cell_with_the_same_output_is_told():
    """A cell that is run again and shows the same again is told to the model."""
    guide = guidance()
    assert after(guide, "print(x)") == []
    assert after(guide, "print(x)  # again") == [PHRASES["repeated"]]


def test_1_a_cell_that_raises_the_same_again_is_told():
    """A failing cell is the same although its traceback counts the cells."""
    guide = guidance()
    told = [
        guide.after(StepOutcome(Cell("x[1]"), error=error), error)
        for error in (f'File "<cell {n}>", line 1\nIndexError: out of range' for n in (1, 2))
    ]
    assert PHRASES["repeated"] not in told[0]
    assert PHRASES["repeated"] in told[1]


def test_3_beside_an_exception_stands_a_line_of_the_material():
    """Code that raises has guessed how a line is written, so one is shown: not the head of a table, and not whole."""
    raised = {"error": "IndexError: list index out of range"}
    line = after(guidance(material="head,line\n1,2\n3,4\n5,6"), "a()", **raised)[-1]
    assert line == PHRASES["line"].format(line="'3,4'")
    assert after(guidance(material="head\n\n"), "a()", **raised)[-1] == PHRASES["line"].format(line="'head'")
    assert len(after(guidance(material="x" * 10_000), "a()", **raised)[-1]) < 250
    for material in ({"a.txt": "text"}, "", None):
        assert after(guidance(material=material), "a()", **raised) == [PHRASES["correct"]]


NO_USERS = "NameError: name 'users' is not defined"


def test_3_a_name_that_failing_code_was_to_set_is_explained():
    """Models go on as if the code had run that raised: they are told that its names are not there."""
    guide = guidance()
    after(guide, "users = {line.split(',')[1] for line in context}", error="IndexError: list index out of range")
    assert after(guide, "answer(len(users))", error=NO_USERS) == [PHRASES["unset"].format(name="users")]
    after(guide, "users = set()")
    assert after(guide, "del users\nprint(users)", error=NO_USERS) == [PHRASES["correct"]]


@pytest.mark.parametrize("code", ["answer(billing)", "print(1)\nanswer(billing)"])
def test_3_a_printed_word_without_quotes_is_explained(code):
    """`answer(billing)` behind an output of billing is a text that lacks its quotes."""
    guide = guidance()
    after(guide, "print(most)", output="the most: billing\n")
    no_name = "NameError: name 'billing' is not defined"
    assert after(guide, code, error=no_name) == [PHRASES["bare"].format(name="billing")]


@pytest.mark.parametrize(
    ("printed", "code"),
    [("auth", "answer(billing)"), ("billing", "print(billing)"), ("billing", "answer(len(billing))")],
)
def test_3_other_unknown_names_are_to_be_corrected(printed, code):
    """A name that was not printed, or that is worked with, is a fault of the code."""
    guide = guidance()
    after(guide, "print(most)", output=printed)
    assert after(guide, code, error="NameError: name 'billing' is not defined") == [PHRASES["correct"]]


def test_3_a_run_without_these_words_goes_on_as_it_began():
    """A run that froze its texts before the two explanations is told what it was told before."""
    guide = Guidance({**PHRASES, "unset": "", "bare": ""})
    after(guide, "users = x()", error="IndexError: list index out of range")
    assert after(guide, "answer(users)", error=NO_USERS) == [PHRASES["correct"]]


def test_1_a_repeated_cell_need_not_follow_at_once():
    """A cell that comes back after another one is a repetition too."""
    guide = guidance()
    after(guide, "a()")
    after(guide, "b()")
    assert PHRASES["repeated"] in after(guide, "a()")


def test_7_output_that_was_cut_is_for_code_to_reduce():
    """Who printed more than is shown is told to let code count, add up, compare or filter it."""
    guide = guidance()
    outcome = StepOutcome(Cell("print(context)"), output="x" * 5000, output_chars=50_000)
    assert guide.after(outcome, "x") == [PHRASES["long"]]


def test_1_the_same_cell_with_other_output_is_progress():
    """A cell that goes through the material piece by piece is no repetition."""
    guide = guidance()
    after(guide, "print(next(pieces))", "one")
    assert after(guide, "print(next(pieces))", "two") == []


def test_1_after_a_repetition_the_temperature_is_raised_until_another_cell_comes():
    """The third try of the same is made at a raised temperature; another cell brings the wanted one back."""
    guide = guidance()
    after(guide, "a()")
    assert guide.temperature(0.0) == 0.0
    after(guide, "a()")
    assert guide.temperature(0.0) == RAISED_TEMPERATURE
    assert guide.temperature(None) == USUAL_TEMPERATURE
    assert guide.temperature(1.2) == 1.2
    after(guide, "b()")
    assert guide.temperature(0.0) == 0.0


@pytest.mark.parametrize(
    "answer",
    ["```python\nprint(len(context))\n```", "print(sum(x))", "answer(42)", "import re\nn = re.findall('a', context)"],
)
def test_2_an_answer_that_is_only_code_is_refused_once(answer):
    """Code is no answer, and that is said; given again it is one, since some questions ask for code."""
    guide = guidance()
    assert guide.refuses(answer) == PHRASES["answer_code"]
    assert guide.refuses(answer) is None


@pytest.mark.parametrize("answer", ["None", " none. ", "null", "NaN"])
def test_2_a_word_for_nothing_is_refused_once(answer):
    """`None` as a text says that the code found nothing."""
    guide = guidance()
    assert guide.refuses(answer) == PHRASES["answer_nothing"]
    assert guide.refuses(answer) is None


@pytest.mark.parametrize(
    "answer", ["42", "Oslo", "42 (of 60)", 0, False, [], {"n": None}, "Run print(x) to see.", "u777"]
)
def test_2_other_answers_count(answer):
    """Numbers, words, sentences and JSON are answers, empty lists too."""
    assert guidance().refuses(answer) is None


def test_3_a_name_of_the_example_is_explained():
    """A `NameError` of a name that only the example sets says so."""
    guide = guidance(example=frozenset({"rows"}))
    said = after(guide, "print(rows)", error="NameError: name 'rows' is not defined")
    assert said == [PHRASES["example_name"].format(name="rows")]


def test_3_another_missing_name_is_not():
    """A name that is no name of the example, or that the code has set itself, needs no explanation."""
    guide = guidance(example=frozenset({"rows"}))
    assert after(guide, "print(x)", error="NameError: name 'x' is not defined") == [PHRASES["correct"]]
    after(guide, "rows = 1\ndel rows")
    assert after(guide, "print(rows)", error="NameError: name 'rows' is not defined") == [PHRASES["correct"]]


def test_4_code_without_a_fence_is_said_to_have_run():
    """A bare reply is told that it ran, and in what form it is wanted."""
    assert guidance().after(StepOutcome(Cell("print(1)", bare=True)), "1") == [PHRASES["unfenced"]]


def test_5_prose_twice_is_shown_the_wanted_form_and_thrice_it_is_the_answer():
    """The second reply without code is met with a reminder that has a block; the third ends the run."""
    guide = guidance()
    assert (after(guide, None), guide.has_stopped_coding) == ([], False)
    assert (after(guide, None), guide.has_stopped_coding) == ([PHRASES["reminder"]], False)
    assert "```python" in PHRASES["reminder"]
    after(guide, None)
    assert guide.has_stopped_coding


def test_5_code_starts_the_count_again():
    """Replies without code count while they follow each other; a cut one does not count."""
    guide = guidance()
    for code in (None, None, "x = 1", None, None):
        after(guide, code)
    assert not guide.has_stopped_coding
    guide.after(StepOutcome(Cell(None, cut="length")), "cut")
    assert CODELESS_REPLIES == 3
    after(guide, None)
    assert not guide.has_stopped_coding


def test_7_a_batch_of_very_many_short_prompts_is_advised_once():
    """400 short prompts are met with their number, tokens and a way to chunk; asked for again they go."""
    guide = guidance()
    prompts = [f"Is this a complaint? line {n} of the log" for n in range(400)]
    said = guide.advice(prompts, 800)
    assert said is not None
    assert all(part in said for part in ("400", "320,000 tokens", "items in one prompt", "3 calls"))
    assert guide.advice(prompts, 800) is None


@pytest.mark.parametrize("output", ["[]\n", "0 []\n", "0\n", "None\n", "{} set() ''\n", "0.0\n", "[[], []]\n"])
def test_6_output_that_holds_nothing_is_said_to_be_a_search_that_does_not_fit(output):
    """After nothing but empty lists, zeros and `None` the model is told to look how the material is written."""
    assert after(guidance(), "print(found)", output, output=output) == [PHRASES["empty"]]


@pytest.mark.parametrize(
    "output", ["", "\n", "10\n", "0 12\n", "[0, 1]\n", "none of them\n", "100\n", "0.5\n", "['']x"]
)
def test_6_output_that_holds_something_is_not(output):
    """A number other than 0, a text, or no output at all needs no such word."""
    assert after(guidance(), "print(found)", output, output=output) == []


@pytest.mark.parametrize(
    "prompts", [["short"] * MANY_PROMPTS, ["long " * 1000] * 400, [], ["half a page " * 250] * 150]
)
def test_7_a_batch_that_is_small_or_chunked_goes(prompts):
    """A batch of up to a hundred prompts, or of prompts that hold much text each, is sent without a word."""
    assert guidance().advice(prompts, 800) is None


def test_an_older_run_goes_on_without_guidance():
    """A run that froze its texts earlier is told nothing new, and two replies without code end it, as then."""
    guide = guidance(enabled=False)
    after(guide, "a()")
    assert after(guide, "a()") == []
    assert guide.refuses("print(1)") is None
    assert guide.advice(["x"] * 900, 800) is None
    assert guide.temperature(0.0) == 0.0
    after(guide, None)
    after(guide, None)
    assert guide.has_stopped_coding
