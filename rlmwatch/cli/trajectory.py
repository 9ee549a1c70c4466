"""How a run is shown to people: its head, its steps under labels, its calls, its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pygments.token import Comment, Keyword, Name, Number, String
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.text import Text

from rlmwatch.cli.layout import age, between, counted, material_line, used
from rlmwatch.cli.output import styled
from rlmwatch.contract.marks import when
from rlmwatch.contract.state_words import CALLS, STEPS, state_word, with_reason
from rlmwatch.execution.attachments import FOLDER
from rlmwatch.printable import printable
from rlmwatch.runs.attached import captured_in, shown
from rlmwatch.runs.model import PRESET, JournalEntry, Run, Usage
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.workspace.context import MaterialFile

PIPE_WIDTH = 120
"""Columns where the output is not a terminal."""
INDENT = 2
CODE = ANSISyntaxTheme(
    {
        Comment: Style(dim=True),
        Keyword: Style(color="magenta"),
        Name.Function: Style(bold=True),
        Number: Style(color="cyan"),
        String: Style(color="green"),
    }
)
"""Colours that can be read on a light and on a dark ground; all else has the terminal's own."""
_OPENS = ("```", "~~~", "<", "[")
"""How a line begins that opens a block of code."""


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


@dataclass(slots=True)
class Printer:
    """
    Prints one run, piece by piece: each step once.

    Attributes:
        calls: Whether every paid call is printed too.
    """

    calls: bool = False
    _console: Console = field(default_factory=_console)
    _shown: set[tuple[str, int]] = field(default_factory=set)

    def head(self, run: Run, status: str, *, now: str) -> None:
        """Print which run it is, the word for its *status*, and its question."""
        attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
        self._console.print(styled(run.run_id, style="bold"))
        saved = f"saved {when(run.created_at)}, {age(run.created_at, now)} ago"
        self._console.print(styled(f"{run.kind}, {_word(run, status)}{attempt}, {run.path}, {saved}"))
        self._block("question", run.prompt.strip())
        self._block("attached", "\n".join(map(shown, captured_in(run.enclosed))))
        if (preset := run.enclosed.get(PRESET)) is not None:
            self._block(f"what was asked, by the preset {preset['name']} ({preset['where']})", run.asked.strip())
        if (wants := run.wants_json) is not None:
            self._block("the answer is to be", f"JSON that fits {wants['path']}" if "path" in wants else "JSON")

    def is_new(self, steps: Sequence[StepRecord]) -> bool:
        """Whether one of *steps* was not printed yet."""
        return any((step.path, step.step) not in self._shown for step in steps)

    def steps(self, steps: Sequence[StepRecord], calls: Sequence[JournalEntry]) -> None:
        """Print those of *steps* that were not printed yet; the model's words are in *calls*."""
        for step in steps:
            if (step.path, step.step) not in self._shown:
                self._shown.add((step.path, step.step))
                self._step(step, calls)

    def _step(self, step: StepRecord, calls: Sequence[JournalEntry]) -> None:
        where = f"step {step.step}" if not step.path else f"sub-engine {step.path}, step {step.step}"
        asked = _asked(step, calls)
        took = step.cell_s + step.calls_s + ((between(asked.started_at, asked.ended_at) or 0.0) if asked else 0.0)
        facts = [where, STEPS.get(step.ended, step.ended), *_used(step.usage, took)]
        self._rule(" · ".join(filter(None, facts)))
        words = words_of(str((asked.reply or {}).get("text", "")), step.code) if asked else ""
        self._block("the model's words", words)
        if step.code is not None:
            code = Syntax(printable(step.code, lines=True), "python", word_wrap=True, theme=CODE)
            self._label("code")
            self._console.print(Padding(code, (0, 0, 0, INDENT)))
        self._block("what it printed" if step.code is not None else "what the model was told", step.shown.rstrip())
        if step.answer is not None:
            self._block("answer", str(step.answer))

    def end(self, run: Run, status: str, calls: Sequence[JournalEntry], *, stands: str = "") -> None:
        """Print the paid calls, if they are wanted, how the run ended or what it waits for, and what still *stands*."""
        files = [MaterialFile(**file) for file in (run.frozen or {}).get("files", ())]
        for call in calls if self.calls else ():
            self._call(call)
        result = run.result
        if result is None:
            self._rule(_word(run, status))
            self._block("waits for", run.held_for or "")
            self._block("material", "\n".join(map(material_line, files)))
            return
        how = with_reason(result.status.value, outcome=result.outcome.value, partial=result.partial, notes=result.notes)
        took = between(run.started_at, run.completed_at)
        self._rule(" · ".join([how, when(run.completed_at or ""), *_used(result.usage, took)]))
        self._block("answer", result.answer or "")
        self._block("error", result.error or "")
        self._block("still there", stands)
        self._block("material", "\n".join(map(material_line, files)))
        for note in result.notes:
            self._block("note", note)

    def _call(self, entry: JournalEntry) -> None:
        call = entry.call
        took = between(entry.started_at, entry.ended_at)
        state = CALLS.get(entry.state, entry.state)
        self._rule(" · ".join([f"call {call.key}", call.model, state, *_used(entry.usage or Usage(), took)]))
        for message in call.request.get("messages", ()):
            self._block(str(message["role"]), message["content"].strip())
            self._block("images", "\n".join(map(_image, message.get("images", ()))))
        if entry.reply is not None:
            self._block("reply", str(entry.reply.get("text", entry.reply)))

    def _rule(self, text: str) -> None:
        self._console.print()
        self._console.print(Rule(styled(text), align="left"))

    def _label(self, label: str) -> None:
        self._console.print(Text(f"{label}:", style="bold"))

    def _block(self, label: str, text: str) -> None:
        if text:
            self._label(label)
            self._console.print(Padding(styled(text), (0, 0, 0, INDENT)))


def _word(run: Run, status: str) -> str:
    result = run.result
    if result is None or not run.status.ended:
        return state_word(status)
    return state_word(status, outcome=result.outcome.value, partial=result.partial, notes=result.notes)


def words_of(reply: str, code: str | None) -> str:
    """Return what the model wrote in *reply* before its *code*; all of it where there is no code."""
    lines = reply.strip().split("\n")
    begins = next((line.strip() for line in (code or "").split("\n") if line.strip()), None)
    if begins is not None:
        at = next((number for number, line in enumerate(lines) if line.strip().endswith(begins)), len(lines))
        lines = lines[:at] if at == 0 or not lines[at - 1].strip().startswith(_OPENS) else lines[: at - 1]
    return "\n".join(lines).strip()


def _image(image: Mapping[str, Any]) -> str:
    size = f"{image['width']} x {image['height']}"
    facts = f"{image['media_type']}, {size}, {FOLDER}/{image['digest'].removeprefix('sha256:')} beside the ledger"
    return f"{image['name']} ({facts})"


def _asked(step: StepRecord, calls: Sequence[JournalEntry]) -> JournalEntry | None:
    """Return the call whose reply *step* carried out: the first of its step; those that its code made come after."""
    own = [each for each in calls if each.call.key.startswith(f"{step.path}/{step.step}/")]
    replied = [each for each in own if each.call.key == own[0].call.key and each.reply is not None]
    return replied[-1] if replied else None


def _used(usage: Usage, took_s: float | None) -> list[str]:
    calls = [counted(usage.llm_calls, "call")] if usage.llm_calls else []
    searches = [counted(usage.searches, "search")] if usage.searches else []
    tokens = (usage.input_tokens, usage.output_tokens)
    return [*calls, *searches, *used(took_s=took_s, tokens=tokens, usd=usage.cost_usd)]
