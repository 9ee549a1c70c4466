"""From the head of an input to the options of its run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.contract.front_matter import EXPECTED, MAX_HEAD_CHARS, SplitInput, split
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError


def refused(head: str) -> InputError:
    with pytest.raises(InputError) as caught:
        split(f"---\n{head}---\nbody\n")
    return caught.value


def test_the_head_sets_options_and_the_rest_is_the_prompt():
    """Rule 1: what stands between the first two `---` lines are options, what follows is the question, unchanged."""
    found = split("---\nmodel: gpt-5\ntokens: 400\nmax_cost_usd: 0.05\n---  \n\nask\n---\nmore\n")

    assert found == SplitInput(RunOptions(model="gpt-5", tokens=400, max_cost_usd=0.05), "\nask\n---\nmore\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "---\n",
        "ask\n",
        "---\nmodel: gpt-5\n\nask\n",
        "\n---\nmodel: gpt-5\n---\nask\n",
        " ---\nmodel: gpt-5\n---\nask\n",
        "----\nmodel: gpt-5\n----\nask\n",
        "---\nx\n ---\n",
        "--- title\nx\n---\n",
    ],
)
def test_a_text_without_a_head_is_left_alone(text):
    """Rule 1: a line of dashes that opens no head, or that nothing closes, is plain text."""
    assert split(text) == SplitInput(RunOptions(), text)


@pytest.mark.parametrize("head", ["", "\n", "# only a remark\n"])
def test_an_empty_head_sets_nothing(head):
    """Rule 2: two `---` lines with nothing between them are a head without options."""
    assert split(f"---\n{head}---\nask") == SplitInput(RunOptions(), "ask")


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("context: notes.txt\n", RunOptions(context=("notes.txt",))),
        ("context: [a.txt, b c]\n", RunOptions(context=("a.txt", "b c"))),
        ("context:\n  - a.txt\n  - ../b\n", RunOptions(context=("a.txt", "../b"))),
        ("context: []\n", RunOptions(context=())),
        ("tools: research\n", RunOptions(tools=("research",))),
        ("handler: research\n", RunOptions(handler="research")),
        ("mode: rlm\nstream: true\n", RunOptions(mode="rlm", stream=True)),
        ("stream: no\n", RunOptions(stream=False)),
        ('model: "1.5"\n', RunOptions(model="1.5")),
        ("system: |\n  Be brief.\n  Be kind.\n", RunOptions(system="Be brief.\nBe kind.\n")),
        ("system: ''\n", RunOptions(system="")),
        ("temperature: 0\n", RunOptions(temperature=0.0)),
        ("temperature: .7\n", RunOptions(temperature=0.7)),
        ("tokens: 1_000\n", RunOptions(tokens=1000)),
        ("max_searches: 0\n", RunOptions(max_searches=0)),
    ],
)
def test_each_option_can_be_written_the_way_people_write_it(head, options):
    """Rule 2: a path or a list of paths, a text over several lines, numbers and words."""
    assert split(f"---\n{head}---\n").options == options


@pytest.mark.parametrize(
    ("head", "line", "column", "words"),
    [
        # rule 2: no head at all
        ("A heading\n", 2, 1, ["`key: value`", "blank line above"]),
        ("- one\n- two\n", 2, 1, ["`key: value`", "blank line above"]),
        ("\n\nsystem: You are: nice\n", 4, 16, ["quotes", "blank line above"]),
        ("model: x\n\ttokens: 4\n", 3, 1, ["tab"]),
        ("model: 'open\n", 3, 1, ["blank line above"]),
        ("model: x\n...\ntokens: 4\n", 4, 1, []),
        ("system: a\x07b\n", 2, 10, ["U+0007"]),
        # rule 3: keys
        ("model: x\nmax-tokens: 3\n", 3, 1, ["`max-tokens`", "did you mean `max_tokens`?"]),
        ("Model: x\n", 2, 1, ["did you mean `model`?"]),
        ("max_cost: 3\n", 2, 1, ["did you mean `max_cost_usd`?"]),
        ("tags: a\nsystem prompt: x\n", 3, 1, ["did you mean `system`?"]),
        ("temp: 0\n", 2, 1, ["did you mean `temperature`?"]),
        ("max_spend: 3\n", 2, 1, ["unknown key `max_spend`", "did you mean `max_"]),
        ("? [a]\n: b\n", 2, 3, ["a key must be a word"]),
        # rule 4: values
        ("tokens: many\n", 2, 9, ["`tokens`", "many", "a whole number above 0, such as 400"]),
        ("tokens: -3\n", 2, 9, ["-3", "a whole number above 0"]),
        ("tokens: 4.5\n", 2, 9, ["4.5", "a whole number above 0"]),
        ("tokens: '400'\n", 2, 9, ['"400"', "a whole number above 0", "without quotes"]),
        ("tokens: [400]\n", 2, 9, ["a list was given", "a whole number above 0"]),
        ("tokens: yes\n", 2, 9, ["yes was given", "a whole number above 0"]),
        ("tokens:\n", 2, 8, ["no value", "a whole number above 0", "delete the line"]),
        ("model: ~\n", 2, 8, ["no value", "the name of a model"]),
        ("model: ''\n", 2, 8, ["the name of a model"]),
        ("temperature: 3\n", 2, 14, ["3 was given", "a number from 0 to 2"]),
        ("max_cost_usd: .inf\n", 2, 15, [".inf", "US dollars above 0"]),
        ("max_cost_usd: 2026-99-99\n", 2, 15, ["2026-99-99", "US dollars above 0"]),
        ("stream: 'yes'\n", 2, 9, ['"yes" was given', "true or false"]),
        ("mode: fast\n", 2, 7, ["fast", "chat or rlm"]),
        ("handler: Research\n", 2, 10, ["Research", "one of chat, research, job, exa"]),
        ("context: {a: b}\n", 2, 10, ["a mapping was given", "a path, or a list of paths"]),
        ("tools: shell\n", 2, 8, ["shell", "research"]),
        # rule 4: what YAML reads as something else
        ("model: 1.5\n", 2, 8, ["1.5 is read as a number", 'model: "1.5"']),
        ("model: yes\n", 2, 8, ["yes is read as true or false", 'model: "yes"']),
        ("system: 2026-01-01\n", 2, 9, ["is read as a date", "quotes"]),
        ("system: 2026-99-99\n", 2, 9, ["is read as a date", "quotes"]),
        ("context: [a.txt, 1.5]\n", 2, 18, ["1.5 is read as a number", "quotes"]),
        ("tokens: 010\n", 2, 9, ["010 is not a plain number"]),
        ("tokens: 0x10\n", 2, 9, ["0x10 is not a plain number"]),
        ("max_seconds: 1:30\n", 2, 14, ["1:30 is not a plain number", "seconds above 0, such as 90"]),
        (f"tokens: {'9' * 5000}\n", 2, 9, ["not a plain number"]),
        ('system: "a\\0b"\n', 2, 9, ["NUL"]),
        ('system: "\\ud800"\n', 2, 9, ["half a character"]),
        # rule 5
        ("model: &a x\nsub_model: *a\n", 2, 8, ["anchors", "quotes"]),
        ("model: x\nsub_model: *a\n", 3, 12, ["aliases", "quotes"]),
        ("model: !!python/object/apply:print [x]\n", 2, 8, ["tags"]),
        ("<<: {model: x}\n", 2, 1, ["`<<` cannot be used"]),
        ("tokens: 1\nmodel: x\ntokens: 2\n", 4, 1, ["`tokens`", "a second time", "line 2"]),
        ("context: [[a]]\n", 2, 11, ["a list was given", "a path, or a list of paths"]),
        ("[" * 8000 + "\n", 2, 9, ["nested too deeply"]),
        ("- " * 8000 + "\n", 2, 17, ["nested too deeply"]),
    ],
)  # fmt: skip
def test_a_bad_head_is_an_error_with_line_column_and_cure(head, line, column, words):
    """Rules 2 to 5: the person is told the place in the file, what stands there, and what to write."""
    error = refused(head)

    assert (error.line, error.column) == (line, column)
    assert all(word in str(error) for word in words), str(error)
    assert "pydantic" not in str(error)


OF_OTHERS = """\
aliases annotation archived author authors banner bibliography board cards category categories class color
comments completed contact country course cover created csl cssclass cssclasses date deadline description
documentclass done draft due duration email end excerpt favorite footer genre header header-includes
headingDivider icon id image images index isbn keywords kind lang language layout length level license link
links linktitle location marp math modified month mood name nav_order note notes number order output outputs
pages paginate parent people permalink person phone pinned place priority progress project pubDate publish
publishDate published questions rating read references related resources revision role scale scope series
session share size slug source sources start state status style subject subtitle summary tag tags tasks teacher
template text theme time timestamp title toc topic topics transition type uid up updated url urls uuid version
weather week weight width year
"""
"""Keys that Obsidian, Jekyll, Hugo, Pandoc, Marp, Logseq and Zettlr document, or that people's notes have."""


@pytest.mark.parametrize("key", OF_OTHERS.split())
def test_keys_of_other_programs_are_passed_over_and_named(key):
    """Rule 3: a note may have a head of its own."""
    assert split(f"---\n{key}: x\nmodel: m\n---\nask") == SplitInput(RunOptions(model="m"), "ask", (key,))


@pytest.mark.parametrize(
    "value", ["", " ~", " yes", " 2026-11-28", " 010", " [a, [b, {c: d}]]", " {a: {b: c}}", "\n  - a\n  -\n", ' "\\0"']
)
def test_what_other_programs_set_may_be_anything(value):
    """Rule 3: only values of ours are checked."""
    assert split(f"---\ntags:{value}\ntags: again\n---\nask") == SplitInput(RunOptions(), "ask", ("tags",))


def test_of_several_bad_values_the_first_in_the_file_is_named():
    """A person fixes a head from the top."""
    assert refused("tokens: many\nmodel: x\nmax_steps: few\n").line == 2
    assert refused("max_steps: few\nmodel: x\ntokens: many\n").line == 2


def test_a_head_longer_than_the_cap_is_refused_before_it_is_parsed():
    """Rule 5: long material belongs in the data file, and a small file cannot make a large value."""
    assert "16384" in str(refused(f"system: {'x' * MAX_HEAD_CHARS}\n"))
    assert split(f"---\nsystem: {'x' * (MAX_HEAD_CHARS - 10)}\n---\n").options.system is not None


def test_every_option_is_described_in_a_persons_words():
    """Whatever key a person gets wrong, the error says what it takes."""
    assert set(EXPECTED) == set(RunOptions.model_fields)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=200))
def test_any_head_gives_options_or_an_error_for_the_person(head):
    """Whatever stands between the lines, it is read, or refused in words."""
    line = 1
    try:
        split(f"---\n{head}\n---\n")
    except InputError as error:
        line = error.line

    assert line is not None


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(list(RunOptions.model_fields)), min_size=1, max_size=4),
    st.lists(st.text(alphabet="ab01.-:[]{}&*!'\"#|>~?%@` \n\t", max_size=12), min_size=4, max_size=4),
)
def test_any_value_gives_options_or_an_error_in_the_head(keys, values):
    """Whatever is written behind a key, the error points into the head."""
    head = "".join(f"{key}: {value}\n" for key, value in zip(keys, values, strict=False))
    line = 2
    try:
        split(f"---\n{head}---\nbody")
    except InputError as error:
        line = error.line

    assert 2 <= line <= head.count("\n") + 2
