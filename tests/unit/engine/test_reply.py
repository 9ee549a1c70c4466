"""Which code of a reply is run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.engine.reply import Cell, read_reply


@pytest.mark.parametrize("tag", ["python", "py", "repl", "", "Python", "python3", "{python}", "python title=a.py"])
def test_1_blocks_tagged_python_repl_py_or_nothing_are_code(tag):
    """A block whose fence is tagged python, py, repl or nothing is run."""
    assert read_reply(f"I look.\n```{tag}\nprint(1)\n```\n") == Cell("print(1)")


@pytest.mark.parametrize("tag", ["json", "text", "bash", "output"])
def test_1_blocks_in_other_languages_are_not_code(tag):
    """A block in another language is passed over, and the code after it is found."""
    assert read_reply(f"```{tag}\nls\n```\n```py\nx = 1\n```") == Cell("x = 1")


def test_1_tildes_and_longer_fences_are_fences():
    """Fences of tildes and of more than three characters open and close a block."""
    assert read_reply("~~~python\na\n~~~").code == "a"
    assert read_reply("````python\n'''\n```\n'''\n````").code == "'''\n```\n'''"


def test_1_an_indented_block_loses_its_indentation():
    """A block inside a list item runs like any other."""
    assert read_reply("1. so:\n   ```python\n   if x:\n       y()\n   ```").code == "if x:\n    y()"


def test_2_only_the_first_block_counts_and_the_others_are_counted():
    """Of several blocks the first is run, and how many were not is known."""
    reply = "```python\na = 1\n```\nthen\n```python\nb = 2\n```\n```\nimagined output\n```"
    assert read_reply(reply) == Cell("a = 1", more=2)


@pytest.mark.parametrize("quote", ["'''", '"""'])
def test_3_a_fence_inside_a_string_does_not_close_the_block(quote):
    """Code that holds a fenced block in a string is run whole."""
    code = f"text = {quote}\n```python\nx\n```\n{quote}\nanswer(text)"
    assert read_reply(f"```python\n{code}\n```") == Cell(code)


def test_3_quotes_in_comments_and_short_strings_open_no_string():
    """A triple quote in a comment or inside a short string hides no closing fence."""
    code = 'a = \'x"""\'  # it\'s """\nb = "\\"\'\'\'"'
    assert read_reply(f"```python\n{code}\n```\nand\n```\nno\n```") == Cell(code, more=1)


def test_3_an_escaped_quote_does_not_end_a_string():
    """A quote behind a backslash keeps the string open."""
    code = 'a = """\\"""\n```\n"""'
    assert read_reply(f"```python\n{code}\n```") == Cell(code)


def test_3_a_string_that_never_ends_does_not_swallow_the_reply():
    """Where the code's string is never closed, the first closing fence ends the block."""
    assert read_reply('```python\na = """oops\n```\nprose') == Cell('a = """oops')


def test_4_an_unclosed_block_of_a_whole_reply_runs():
    """A reply that ended by itself without its closing fence is run."""
    assert read_reply("```python\nanswer(1)") == Cell("answer(1)")


def test_4_an_unclosed_block_cut_at_the_token_limit_does_not_run():
    """Code that was cut at the token limit is not run."""
    assert read_reply("```python\nfor p in parts:\n    tot", ended="length") == Cell(None, cut="length")


def test_4_a_closed_block_runs_though_the_prose_after_it_was_cut():
    """A reply that was cut after its block has whole code."""
    assert read_reply("```python\na = 1\n```\nNow I wi", ended="length") == Cell("a = 1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is 42.",
        "FINAL(42)",
        'I call answer("42").',
        "FINAL_VAR(x)",
        "use `answer(1)`",
        "```python\n\n```",
    ],
)
def test_5_prose_is_never_code(text):
    """What stands in prose is not run, whatever it looks like."""
    assert read_reply(text) == Cell(None)


def test_5_line_ends_of_windows_and_rare_separators_survive():
    """CRLF is read as a line end, and a line separator inside a string stays in it."""
    assert read_reply("```python\r\na = 'x\u2028y'\r\nb = 1\r\n```\r\n").code == "a = 'x\u2028y'\nb = 1"


@pytest.mark.parametrize(
    "reply",
    [
        "I count.\n```tool_code\n{}\n```",
        "```tool_code\n{}\n```\n<end_code>",
        "Thought: so.\nCode:\n```py\n{}\n```<end_code>",
        "```python\n{}\n<end_code>",
        "<code>\n{}\n</code>",
        "<code>{}</code>",
        "<code>\n```python\n{}\n```\n</code>",
        "<code>\n{}\n<end_code>",
        "Now:\n<python>\n{}\n</python>\nand done",
        "<execute>\n{}\n</execute>",
        "<tool_code>\n{}\n</tool_code>",
        "[PYTHON]\n{}\n[/PYTHON]",
        "<|python_tag|>{}<|eom_id|>",
        "<|python_tag|>{}",
        "~~~ipython\n{}\n~~~",
        "``` Python3.11\n{}\n```",
        "```jupyter\n{}\n```",
    ],
)
@pytest.mark.parametrize("code", ["print(1)", "a = 'x'\nif a:\n    answer(a)", 's = """</code>\n```\n"""\nanswer(s)'])
def test_6_other_conventions_are_code_where_they_hold_python(reply, code):
    """Code that stands in the marks of another convention is run."""
    if "eom_id" in reply and "\n" in code:
        code += "\n"
    assert read_reply(reply.format(code)).code.strip() == code.strip()


@pytest.mark.parametrize(
    "reply",
    [
        "<code>context</code>",
        "<code>answer(1)</code> would end the run.",
        "Say <code>answer(1)</code> then.",
        "```tool_code\n{'name': \n```",
        "<code>\nI would look at the text first.\n</code>",
        "```tool_code\ncontext\n```",
        "<code>\nFirst I look,\nthen I answer",
    ],
)
def test_6_marks_around_prose_are_no_code(reply):
    """A name or prose in such marks, and what is no Python, is not run."""
    assert read_reply(reply) == Cell(None)


@pytest.mark.parametrize("mark", ["```tool_code\n", "<code>\n", "<|python_tag|>", "```python\n"])
@pytest.mark.parametrize("ended", ["length", "filter", "interrupted"])
def test_4_code_that_was_cut_does_not_run_whatever_cut_it(mark, ended):
    """Half a program is not run, whichever way the provider says that the reply is not whole."""
    assert read_reply(f"{mark}total = 1\nfor p in parts:", ended=ended) == Cell(None, cut=ended)


@given(st.text(alphabet="`~ab'\"\\#\n \t<>/[]=|codepythn_"), st.sampled_from(["stop", "length"]))
def test_any_reply_can_be_read(text, ended):
    """Whatever a model writes, reading it ends without an error, and what is run was in it."""
    cell = read_reply(text, ended=ended)
    assert cell.more >= 0
    if cell.code is not None:
        assert cell.code.strip()
        assert all(line.strip() in text for line in cell.code.split("\n"))


@pytest.mark.parametrize(
    "text",
    [
        'answer("34290")',
        "n = context.count('x')\nprint(n)",
        "for p in context:\n    llm_query(p)",
        "\n\nanswer(\n  [1, 2]\n)\n",
        "# the count\nanswer(len(context))",
    ],
)
def test_7_a_reply_that_is_nothing_but_python_runs_without_a_fence(text):
    """A reply that parses and calls one of our functions, or prints, is code though it has no fence."""
    assert read_reply(text) == Cell(text.strip(), bare=True)


@pytest.mark.parametrize("text", ["42", "done", "x = 1", "Oslo", "The answer is\nanswer(42)", "FINAL(42)", "len(x)"])
def test_7_what_calls_nothing_of_ours_is_prose(text):
    """A number, a word, or code that calls none of our functions is no cell."""
    assert read_reply(text) == Cell(None)


def test_7_code_without_a_fence_that_was_cut_does_not_run():
    """Half a program is no program, with or without a fence."""
    assert read_reply("print(1)\nanswer(2)", ended="length") == Cell(None)


def test_7_an_offered_function_is_one_of_ours():
    """A tool of the kind counts as one of our functions."""
    assert read_reply("pages = research('x')", functions={"research"}).bare
