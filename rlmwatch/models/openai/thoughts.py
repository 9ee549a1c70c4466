"""
A model's thoughts, taken out of the text that they stand in. Pure.

Servers without a parser for reasoning leave them in the text: `<think>…</think>` (DeepSeek R1, Qwen), `[THINK]`
(Magistral), `<|START_THINKING|>` (Cohere), `<|channel|>analysis<|message|>` (gpt-oss), or the closing mark alone, where
the chat template wrote the opening one (vllm-project/vllm#13125, ggml-org/llama.cpp#11607). The rules are

1. From an opening mark to the next closing one is thought; without a closing one, to the end. Where the opening mark
   stood within a line and the text ended by itself, it was only mentioned, and all of it is text.
2. A closing mark without an opening one says, once, that all before it was thought. Between blanks and words of a
   sentence it is a word like any other.
3. In a fenced block, between backticks or in quotes, a mark is text.
4. Blank lines between the last thought and the text belong to neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rlmwatch.models.base import RESTART

_NAMES = (
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reason",
    "reflection",
    "scratchpad",
    "seed:think",
    "mm:think",
    "antml:thinking",
    "internal_reasoning",
    "inner_thoughts",
    "chain_of_thought",
)
_OTHERS = (
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|think|>", "<|/think|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_OPENING = frozenset({f"<{name}>" for name in _NAMES} | {opening for opening, _ in _OTHERS})
_CLOSING = frozenset({f"</{name}>" for name in _NAMES} | {closing for _, closing in _OTHERS})
_MARKS = _OPENING | _CLOSING
_LONGEST = max(map(len, _MARKS))
_BEGINNINGS = frozenset(mark[:size] for mark in _MARKS for size in range(1, len(mark)))
_FIRSTS = frozenset(mark[0] for mark in _MARKS)
_MARK = re.compile("|".join(re.escape(mark) for mark in sorted(_MARKS, key=len, reverse=True)), re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_QUOTES = "\"'`\u201c\u2018\u00ab("


@dataclass(slots=True)
class _Line:
    """A line of the text so far. Marks are judged by what is counted here: the line itself may have megabytes."""

    parts: list[str] = field(default_factory=list)
    last: str = ""
    backticks: int = 0
    is_blank: bool = True

    def add(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.last = text[-1]
            self.backticks += text.count("`")
            self.is_blank = self.is_blank and not text.strip()


@dataclass(slots=True)
class Thoughts:
    """
    Tells text from thoughts, piece by piece.

    Attributes:
        seen: Whether there was a thought.
    """

    seen: bool = False
    _held: str = ""  # what may be the beginning of a mark, or needs the letter behind it
    _inside: bool = False
    _mentioned: list[str] | None = None  # what came since an opening mark within a line
    _quoted: bool = False  # whether an opening mark was text
    _trim: bool = False
    _line: _Line = field(default_factory=_Line)  # the text's last line so far
    _fence: str = ""  # the fence that is open in the text
    _unread: list[str] = field(default_factory=list)  # text whose lines were not looked at

    def feed(self, piece: str) -> list[str]:
        """Take in *piece*; return the text in it. `RESTART` among it says that all text so far was thought."""
        if not self._held and not self._inside and not self._trim and _FIRSTS.isdisjoint(piece):
            self._unread.append(piece)
            return [piece] if piece else []
        return self._parse(self._held + piece, ended=False)

    def end(self, *, whole: bool) -> list[str]:
        """Return the text that was held back; *whole* says whether the answer ended by itself."""
        out = self._parse(self._held, ended=True)
        if self._inside and self._mentioned is not None and whole:
            out.append("".join(self._mentioned))
        return out

    def _parse(self, text: str, *, ended: bool) -> list[str]:
        out: list[str] = []
        at = 0
        while (mark := _MARK.search(text, at)) is not None:
            if mark.end() == len(text) and not ended:
                break  # the letter behind it decides
            self._pass(text[at : mark.start()], out)
            at = mark.end()
            self._take(mark, out)
        rest = text[at:]
        self._held = "" if ended else rest[_held_from(rest) :]
        self._pass(rest[: len(rest) - len(self._held)], out)
        return out

    def _take(self, mark: re.Match[str], out: list[str]) -> None:
        word, opens = mark[0], mark[0].lower() in _OPENING
        if self._inside:
            if opens:
                self._pass(word, out)
            else:
                self._inside, self._mentioned, self._trim = False, None, self._line.is_blank
            return
        self._read_lines()
        if self._is_quoted(opens=opens):
            self._quoted = self._quoted or opens
            self._pass(word, out)
        elif opens:
            self.seen = self._inside = True
            self._mentioned = None if self._line.is_blank else [word]
        elif not self.seen and not self._quoted and not self._is_word_of_sentence(mark):
            self.seen = self._trim = True
            self._line, self._fence = _Line(), ""
            out[:] = [RESTART]
        elif self._quoted or not self._line.is_blank:
            self._pass(word, out)

    def _pass(self, text: str, out: list[str]) -> None:
        """Hand on *text*, which holds no mark."""
        if self._inside:
            if self._mentioned is not None:
                self._mentioned.append(text)
            return
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        if text:
            self._unread.append(text)
            out.append(text)

    def _read_lines(self) -> None:
        """Bring `_line` and `_fence` up to what was handed on."""
        rest, *lines = "".join(self._unread).split("\n")
        self._unread.clear()
        self._line.add(rest)
        for line in lines:
            self._end_line("".join(self._line.parts))
            self._line = _Line()
            self._line.add(line)

    def _end_line(self, line: str) -> None:
        """Note whether *line* opens or closes a fenced block."""
        found = _FENCE.fullmatch(line.rstrip("\r"))
        if found is None:
            return
        fence, info = found[1], found[2].strip()
        if not self._fence:
            self._fence = fence
        elif fence[0] == self._fence[0] and len(fence) >= len(self._fence) and not info:
            self._fence = ""

    def _is_quoted(self, *, opens: bool) -> bool:
        # A closing mark on a line of its own closes a thought whose fence was never closed, too.
        fenced = bool(self._fence) and (opens or not self._line.is_blank)
        return fenced or self._line.backticks % 2 == 1 or self._line.last in tuple(_QUOTES)

    def _is_word_of_sentence(self, mark: re.Match[str]) -> bool:
        behind = mark.string[mark.end() : mark.end() + 1]
        return self._line.last.isspace() and not self._line.is_blank and behind not in ("", "\n", "\r")


def _held_from(text: str) -> int:
    """Return where in *text* begins what may become a mark, or is a mark at its end; its length where nothing does."""
    for at in range(max(0, len(text) - _LONGEST), len(text)):
        if text[at] in _FIRSTS and (text[at:].lower() in _BEGINNINGS or text[at:].lower() in _MARKS):
            return at
    return len(text)
