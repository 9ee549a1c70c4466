"""
Where models stumble, and what they are told.

Pure, and a function of replies and outcomes alone, so that a resumed run decides as the first attempt did:

1. A cell that was run before (comments and layout aside) and shows the same again is told so. The next call is made
   at a raised temperature: at temperature 0 a model repeats itself for ever.
2. An answer of nothing but code, of a word for nothing (`None`), or that is `context` itself, does not end the run, and
   that is said. Given once more it does: some questions ask for code. (`answer(None)` and `answer("")` raise in the
   cell.)
3. A `NameError` of a name that only the instructions have is explained, so is one of a name that the code which raised
   before was to set, and one of a word that was printed and is given to `answer` without quotes. After any other
   exception the lines that matter are to be looked at first, by code that can be copied (models answer 0 instead), and
   a line of the material is shown again.
4. A reply that was nothing but Python has run without a fence, and that is said.
5. Prose once is told what is missing; twice, it is shown the wanted form; three times running it is the answer.
6. Output that is but empty lists, zeros and `None` says that the search did not fit the material; models answer 0.
7. Output that was cut says that code has to reduce it, and how: models print it again.
8. A batch of very many short prompts is met, once, with what it will cost and how to chunk it, before it is paid.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from rlmwatch.engine.reply import parsed
from rlmwatch.engine.transcript import OUTPUT_CHARS, Phrases, StepOutcome

CODELESS_REPLIES = 3
"""Running, after which the text is taken as the answer."""
RAISED_TEMPERATURE = 0.8
"""Of the call after a repeated cell; models write varied and still working code there."""
USUAL_TEMPERATURE = 1.0
"""The default of most providers, where the run names none: the call is not made cooler."""
NOTHING = frozenset({"none", "null", "nan", "undefined", "n/a"})
"""Texts, in lower case, that code makes of a value that it did not find."""
NO_ANSWER_CHARS = 1_000
"""A `context` that is longer is no answer by itself."""
MANY_PROMPTS = 100
"""A batch of more is met with advice."""
EMPTY_CHARS = 100
"""Longer output is not but a few empty lists and zeros."""
PROMPT_CHARS = 6_000
"""Of a prompt of many items: about 1,500 tokens, of which a small model still minds every line."""
LINE_CHARS = 160
"""Of a line of the material that is shown beside an exception: its form, not its text, is what matters."""
_CELL = re.compile(r'(?<=File "<cell )\d+')
_NO_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
_EMPTY = re.compile(r"(?:\s|[\[\]{}(),:]|\b0(?:\.0*)?\b|\bNone\b|\bset\b|''|\"\")*(?:[\]})0]|None|''|\"\")\s*")
_WORD = re.compile(r"[^\W\d]\w*")
_FENCED = re.compile(r"\s*```\w*\n(?P<code>.*?)\n?```\s*", re.DOTALL)


@dataclass(slots=True)
class Guidance:
    """
    What one engine has seen of its model's stumbling.

    Attributes:
        phrases: How things are said (`prompts/notices.md`, frozen).
        example: Names that the worked example sets.
        material: The variable `context`.
        enabled: Off for a run that froze its texts before there was guidance: it goes on as it began.
    """

    phrases: Phrases
    example: frozenset[str] = frozenset()
    material: object = None
    enabled: bool = True
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _own: set[str] = field(default_factory=set)
    _unset: set[str] = field(default_factory=set)
    _printed: set[str] = field(default_factory=set)
    _repeats: int = 0
    _codeless: int = 0
    _refused: list[object] = field(default_factory=list)
    _advised: set[int] = field(default_factory=set)

    def temperature(self, wanted: float | None) -> float | None:
        """Return the temperature of the next call, for a run that wants *wanted*."""
        if not self._repeats:
            return wanted
        return USUAL_TEMPERATURE if wanted is None else max(wanted, RAISED_TEMPERATURE)

    def refuses(self, answer: object) -> str | None:
        """Return what is said of an *answer* that is none; None where it counts."""
        if not self.enabled or answer in self._refused:
            return None
        if answer == self.material and len(str(answer)) > NO_ANSWER_CHARS:
            name = "answer_context"
        elif isinstance(answer, str) and is_only_code(answer):
            name = "answer_code"
        elif isinstance(answer, str) and is_nothing(answer):
            name = "answer_nothing"
        else:
            return None
        self._refused.append(answer)
        return self.phrases[name]

    def after(self, outcome: StepOutcome, shown: str) -> list[str]:
        """Return what is said beside *shown* of a reply and what came of it."""
        code = outcome.cell.code
        if not self.enabled:
            self._codeless = self._codeless + 1 if code is None and not outcome.cell.cut else 0
            return []
        if code is None:
            self._repeats = 0
            self._codeless = 0 if outcome.cell.cut else self._codeless + 1
            return [self.phrases["reminder"]] if self._codeless == CODELESS_REPLIES - 1 else []
        self._codeless = 0
        said = [self.phrases["unfenced"]] if outcome.cell.bare else []
        missing = _NO_NAME.search(outcome.error or "")
        if missing and missing[1] in self.example - self._own:
            said.append(self.phrases["example_name"].format(name=missing[1]))
        elif missing and missing[1] in self._unset and self.phrases["unset"]:
            said.append(self.phrases["unset"].format(name=missing[1]))
        elif missing and missing[1] in self._printed and _answers(code, missing[1]) and self.phrases["bare"]:
            said.append(self.phrases["bare"].format(name=missing[1]))
        elif outcome.error is not None:
            said.append(self.phrases["correct"])
            said += self._line()
        elif len(outcome.output) <= EMPTY_CHARS and _EMPTY.fullmatch(outcome.output):
            said.append(self.phrases["empty"])
        elif outcome.output_chars > OUTPUT_CHARS and self.phrases["long"]:
            said.append(self.phrases["long"])
        names = names_set(code)
        self._unset = self._unset - names if outcome.error is None else self._unset | (names - self._own)
        self._own |= names
        self._printed |= set(_WORD.findall(outcome.output[:OUTPUT_CHARS]))
        stopped = outcome.interrupted_s is not None or outcome.ended_by is not None
        told = "" if stopped else _CELL.sub("", shown)  # where a limit strikes is chance
        self._seen[seen := (normalised(code), told)] += 1
        self._repeats = self._seen[seen] - 1
        if self._repeats:
            said.append(self.phrases["repeated"])
        return said

    def _line(self) -> list[str]:
        """Return how a line of the material is written: code that raises has mostly guessed at it."""
        lines = (
            self.material.split("\n", 3)[:3] if isinstance(self.material, str) else []
        )  # not the head of a table, where there is more
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return [self.phrases["line"].format(line=repr(line[:LINE_CHARS]))] if line and self.phrases["line"] else []

    @property
    def has_stopped_coding(self) -> bool:
        """Whether so many replies running held no code that the last one is the answer."""
        return self._codeless >= (CODELESS_REPLIES if self.enabled else 2)

    def advice(self, prompts: Sequence[str], tokens: int) -> str | None:
        """Return what is said before a batch of *prompts* with replies of up to *tokens*, once; None where it goes."""
        if not self.enabled or len(prompts) <= MANY_PROMPTS or len(prompts) in self._advised:
            return None
        size = sum(map(len, prompts))
        chunks = max(1, -(-size // PROMPT_CHARS))
        if chunks > len(prompts) // 4:
            return None
        self._advised.add(len(prompts))
        return self.phrases["many_prompts"].format(
            n=f"{len(prompts):,}",
            tokens=f"{len(prompts) * tokens:,}",
            chars=f"{size // len(prompts):,}",
            items=max(2, len(prompts) // chunks),
            calls=f"{chunks:,}",
        )


def normalised(code: str) -> str:
    """Return *code* without its comments and layout."""
    tree = parsed(code)
    with suppress(RecursionError):
        if tree is not None:
            return ast.unparse(tree)
    return " ".join(re.sub(r"#.*", "", code).split())


def names_set(code: str) -> set[str]:
    """Return the names that *code* sets."""
    tree = parsed(code)
    nodes = ast.walk(tree) if tree is not None else ()
    return {
        name
        for node in nodes
        for name in (
            [node.id]
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            else [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else []
        )
    }


def _answers(code: str, name: str) -> bool:
    """Whether *code* gives *name* itself to `answer`."""
    tree = parsed(code)
    return tree is not None and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "answer"
        and any(isinstance(given, ast.Name) and given.id == name for given in node.args)
        for node in ast.walk(tree)
    )


def names_of(cells: Iterable[str]) -> frozenset[str]:
    """Return the names that any of *cells* sets."""
    return frozenset().union(*(names_set(cell) for cell in cells))


def is_only_code(answer: str) -> bool:
    """Whether *answer* is Python that does something, fenced or not, and no text."""
    fenced = _FENCED.fullmatch(answer)
    tree = parsed(fenced["code"] if fenced else answer)
    if tree is None:
        return False
    acts = (ast.Call, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.For, ast.While, ast.With)
    return any(isinstance(node, acts) for node in ast.walk(tree))


def is_nothing(answer: str) -> bool:
    """Whether *answer* is but a word for nothing."""
    return answer.strip().strip(".'\"").lower() in NOTHING
