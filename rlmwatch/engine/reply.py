"""
Read a model's reply: which code in it is to be run.

Pure. A reply is prose with fenced code blocks; the rules are

1. A block is code when its fence is tagged `python`, `py`, `repl` or nothing.
2. Only the first block of code counts; how many follow is told to the model.
3. A fence inside a string of the code does not close the block.
4. A block that is never closed runs when the reply ended by itself, and does
   not run when the reply was cut: half a program is no program.
5. What prose says is never run and never an answer by itself.
6. Models that were trained on other conventions write `tool_code` or `ipython`
   on the fence, `<code>` … `</code>`, `[PYTHON]` … `[/PYTHON]`, `<|python_tag|>`,
   or end with `<end_code>`. Such a block is code where it holds Python that does
   something: a name in marks (`<code>x</code>`) is prose.
7. A reply without a block that is nothing but Python, and calls one of our functions or `print`, is code.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from rlmwatch.models.base import FinishReason

CODE_TAGS = frozenset({"", "python", "python3", "py", "repl"})
OTHER_TAGS = frozenset(
    {"tool_code", "toolcode", "tool", "code", "cell", "execute", "exec", "run", "ipython", "ipython3", "jupyter"}
    | {"notebook", "pycon", "pyrepl", "py3", "python2", "python_code", "python-repl", "python_repl", "starlark"}
    | {"python3.10", "python3.11", "python3.12", "python3.13", "code_interpreter", "interpreter"}
)
"""Fences of other conventions, lower case; code where they hold Python."""
LOOKED_AT = 20
"""Lines of a block that was never closed: among so many, one statement ends."""
FUNCTIONS = frozenset({"print", "answer", "llm_query", "llm_batch", "rlm_query", "budget"})
"""Of which a reply without a fence calls one, where it is code."""
_MARKS = (
    r"<(?P<tag>code|python|py|tool_code|execute|execute_python|execute_ipython|python_code|code_interpreter)"
    r"(?:\s[^<>]*)?>|\[(?P<square>PYTHON)\]|(?P<pipe><\|python_tag\|>|<\|python_start\|>)"
)
_OPENS = re.compile(rf"[ \t]*(?:{_MARKS})(?P<rest>.*)$", re.IGNORECASE)
_END_CODE = re.compile(r"<end_(?:code|action)>|</end_code>|<\|(?:eom_id|eot_id|python_end)\|>", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<tag>[^`]*)$")
_QUOTES = ("'''", '"""')


@dataclass(frozen=True, slots=True)
class Cell:
    """
    What a reply asks to be run.

    Attributes:
        code: The code to run; None where there is none.
        more: How many further blocks of code the reply has; they do not run.
        bare: The code is the whole reply, without a fence.
        cut: How the reply ended before its block did, so that `code` is None; None where it did not.
    """

    code: str | None
    more: int = 0
    cut: FinishReason | None = None
    bare: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    code: str
    closed: bool

    @property
    def is_code(self) -> bool:
        return self.tag in CODE_TAGS or (self.tag in OTHER_TAGS and _is_python(self.code, whole=self.closed))


def read_reply(text: str, *, ended: FinishReason = "stop", functions: Collection[str] = FUNCTIONS) -> Cell:
    """
    Return the cell of the reply *text*.

    Args:
        text: The whole reply.
        ended: How it ended; all but `stop` may have cut it in the middle of its code.
        functions: What code without a fence is known by: it calls one of them. Empty: such code does not run.
    """
    blocks = [block for block in _blocks(_lines(text)) if block.is_code]
    if not blocks:
        return Cell(text.strip(), bare=True) if ended == "stop" and _calls_one(text, functions) else Cell(None)
    first, *others = blocks
    if ended != "stop" and not first.closed:
        return Cell(None, cut=ended)
    if not first.code.strip():
        return Cell(None, len(others))
    return Cell(first.code, len(others))


def parsed(code: str) -> ast.Module | None:
    """Return the tree of *code*; None where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange escapes
            return ast.parse(code.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _calls_one(text: str, functions: Collection[str]) -> bool:
    tree = parsed(text)
    return tree is not None and any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
        for node in ast.walk(tree)
    )


def _lines(text: str) -> list[str]:
    # Not `splitlines`: a form feed or U+2028 inside a string of the code must stay what it is.
    return text.replace("\r\n", "\n").split("\n")


def _blocks(lines: list[str]) -> Iterator[_Block]:
    at = 0
    while at < len(lines):
        opened, marked = _FENCE.match(lines[at]), _OPENS.match(lines[at])
        at += 1
        if opened is not None:
            end = _end_of_block(lines, at, _closes_fence(opened["fence"]))
            code = "\n".join(lines[at:end])
            yield _Block(_tag(opened["tag"]), textwrap.dedent(code), end < len(lines))
        elif marked is not None and (block := _marked_block(lines, at, marked)) is not None:
            found, end = block
            yield found
        else:
            continue
        at = end + 1


def _marked_block(lines: list[str], at: int, marked: re.Match[str]) -> tuple[_Block, int] | None:
    """
    Return the block that a mark like `<code>` before line *at* opens, and its last line.

    None where a fence stands in it, which then is the block, or where it holds no Python that does something.
    """
    closing = "[/python]" if marked["square"] else "</code>" if marked["pipe"] else f"</{marked['tag']}>".lower()
    inner = [marked["rest"], *lines[at:]]
    if _FENCE.match(next((line for line in inner if line.strip()), "")):
        return None

    def closes(line: str) -> int | None:
        early = _END_CODE.search(line)
        found = [line.lower().find(closing), early.start() if early else -1]
        return min((place for place in found if place >= 0), default=None)

    end = _end_of_block(inner, 0, closes)
    code, closed = inner[:end], end < len(inner)
    if closed:
        mark = closes(inner[end])
        code.append(inner[end][:mark])
        if end == 0 and _END_CODE.sub("", inner[end][mark:]).strip().lower() not in ("", closing):
            return None  # `<code>x = 1</code> sets x` is prose
    text = textwrap.dedent("\n".join(code)).strip("\n")
    return (_Block("code", text, closed), at - 1 + end) if _is_python(text, whole=closed) else None


def _is_python(code: str, *, whole: bool) -> bool:
    """Whether *code* is Python that does something; where it is not *whole*, whether it begins so."""
    if whole:
        return _acts(code)
    lines = code.split("\n")[:LOOKED_AT]
    return any(_acts("\n".join(lines[:n])) for n in range(len(lines), 0, -1))


def _acts(code: str) -> bool:
    """Whether *code* is Python that does something: more than names, numbers and texts."""
    tree = parsed(code)
    values = (ast.Name, ast.Constant, ast.Attribute)
    statements = tree.body if tree is not None else []
    return any(not (isinstance(each, ast.Expr) and isinstance(each.value, values)) for each in statements)


def _tag(info: str) -> str:
    """Return the language of a fence: its first word, `{python}` and case taken off."""
    word = info.strip().strip("{}").lower().split()
    return word[0] if word else ""


def _closes_fence(fence: str) -> Callable[[str], int | None]:
    """Return what tells whether a line closes a block that *fence* opened: 0, or None where it does not."""

    def closes(line: str) -> int | None:
        bare = line.strip()
        early = _END_CODE.search(bare)
        if early is not None and early.end() == len(bare):
            bare = bare[: early.start()].strip()
            if not bare:
                return 0
        return 0 if len(bare) >= len(fence) and not bare.strip(fence[0]) else None

    return closes


def _end_of_block(lines: list[str], start: int, closes: Callable[[str], int | None]) -> int:
    """
    Return the line that closes the block, or the number of lines where none does.

    That is the first that closes it outside a string; where a string that never ends hides them all, the first one.

    Args:
        lines: Of the reply.
        start: The first of the block.
        closes: Returns where in a line the mark stands that closes the block; None where none does.
    """
    hidden = None
    inside = ""
    for at in range(start, len(lines)):
        mark = closes(lines[at])
        if mark is not None:
            if not _string_open_after(lines[at][:mark], inside):
                return at
            hidden = at if hidden is None else hidden
        inside = _string_open_after(lines[at], inside)
    return hidden if hidden is not None and inside else len(lines)


def _string_open_after(line: str, inside: str) -> str:
    """Return the triple quote that is open after *line* of Python, given the one that was open before; else `""`."""
    at = 0
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif inside:
            closes = line.startswith(inside, at)
            at += 3 if closes else 1
            inside = "" if closes else inside
        elif line[at] == "#":
            return ""
        elif line.startswith(_QUOTES, at):
            inside = line[at : at + 3]
            at += 3
        elif line[at] in "'\"":
            at = _after_short_string(line, at)
        else:
            at += 1
    return inside


def _after_short_string(line: str, start: int) -> int:
    """Return where the string of one line that begins at *start* is over."""
    at = start + 1
    while at < len(line) and line[at] != line[start]:
        at += 2 if line[at] == "\\" else 1
    return at + 1
