"""
What the model is shown: the messages of a run, and what is cut from them.

Pure. The rules are

1. The first request holds the rules, the metadata of each variable (type, length,
   first and last 500 characters), never a variable whole, and the question, once.
2. Every later request is the one before it plus the last reply and what came of
   it: nothing that was sent is ever changed, so a provider's cache holds. Only
   where the model's window is too small for that, the oldest steps are left out.
3. Output longer than `OUTPUT_CHARS` is cut in the middle, with its true length.
4. What is left of budget and time stands in lines of its own, which are left
   out of what names a call in the journal: a replay asks under the same names
   whatever the clock says.
5. A synthesis is asked with the question and the newest findings, in a number of
   bytes that is known beforehand, so that its price is.
6. Every message to the model ends with a request for its next code: after data alone, models write prose. Before it
   the question is said again, where it is far above. Before the last step it is said what is known so far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlmwatch.engine.reply import Cell
from rlmwatch.models.base import Message, Role

PREVIEW_CHARS = 500
"""Of a variable's start, and of its end; enough to see a format (design, section 6)."""
OUTPUT_CHARS = 4_000
"""About 1,000 tokens an observation: some 20 of them fit a small context window beside the rules."""
HISTORY = "history"
"""What was said before stands behind the question, which sums it up; other material stands before it."""
AGAIN_AFTER_CHARS = 400
"""Since the question was said; behind more of code and output, a small model answers another one."""
ASKED_BYTES = 300
"""Of the question where it is said again: most are shorter."""
KNOWN_CHARS = 200
KNOWN_STEPS = 3
"""Of what the newest steps showed, said again before the last step."""
NAMES_SHOWN = 20
"""Files named in the metadata of a mapping, and variables named as lost."""
FINDING_BYTES = 1_500
"""Of one step in a synthesis: several steps fit, and the newest keeps its head and tail."""

EMPTY = "…"
"""Stands for an empty reply: some providers refuse a request with an empty message."""

Variables = Mapping[str, object]
Phrases = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Status:
    """
    What is left, as the model is told.

    Attributes:
        step: The step that the next reply will be, 1-based.
        steps: Steps of this engine, at most.
        tokens: Output tokens left; None where there means no cap.
        usd: US dollars left; None where there means no cap.
        short: Tokens or money are nearly spent.
        late: The deadline is near. Differs from attempt to attempt.
    """

    step: int
    steps: int
    tokens: int | None = None
    usd: float | None = None
    short: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """
    What came of one reply.

    Attributes:
        cell: What the reply asked to be run.
        output: What the code printed, as much as was kept.
        output_chars: How much it printed.
        error: Its traceback, where it raised.
        restored: Names of ours that the code had overwritten.
        interrupted_s: The time limit at which the code was stopped; None where it was not.
        ended_by: What ended the session (`limit`, `crashed`, `violated`); None where it goes on.
        lost: Names that went with the session.
        answer_failed: `answer` was called in code that raised afterwards.
        refusal: Why what was given to `answer` is no answer; None where nothing was, or it counts.
    """

    cell: Cell
    output: str = ""
    output_chars: int = 0
    error: str | None = None
    restored: tuple[str, ...] = ()
    interrupted_s: float | None = None
    ended_by: str | None = None
    lost: tuple[str, ...] = ()
    answer_failed: bool = False
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Turn:
    role: Role
    text: str
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class Transcript:
    """
    The messages of one engine, growing.

    Attributes:
        phrases: How things are said (`prompts/notices.md`, frozen).
    """

    phrases: Phrases
    _turns: list[_Turn] = field(default_factory=list)
    _fixed: int = 2
    _again: str = ""
    _since_asked: int = 0
    _findings: list[str] = field(default_factory=list)

    def open(
        self,
        rules: str,
        question: str,
        variables: Variables,
        status: Status,
        *,
        example: Sequence[str] = (),
        request: str = "",
    ) -> None:
        """
        Begin: the rules, the worked example, then the question with the metadata of the variables.

        Args:
            rules: The system prompt.
            question: The person's words.
            variables: What the code finds among its names.
            status: What is left.
            example: Its turns, the user's first.
            request: What is asked for, at the end.
        """
        told = {name: describe(name, value, self.phrases) for name, value in variables.items() if value is not None}
        asked = self.phrases["question"] + "\n" + question
        self._again = self.phrases["asked"].format(question=cut_bytes(question.strip(), ASKED_BYTES))
        before = [text for name, text in told.items() if name != HISTORY] if self._again else []
        behind = [text for text in told.values() if text not in before]
        self._since_asked = sum(map(len, behind))
        parts = [*before, asked, *behind, *([request] if request else [])]
        turns = [_Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(example)]
        self._turns = [_Turn("system", rules), *turns, self._message("\n\n".join(parts), status)]
        self._fixed = len(self._turns)

    def replied(self, text: str) -> None:
        """Add the model's reply."""
        self._turns.append(_Turn("assistant", text or EMPTY))

    def observed(self, shown: str, code: str | None, status: Status) -> None:
        """Add what came of the reply, as `observation` tells it."""
        self._findings.append(_finding(code, shown))
        asking = self._asking(self.phrases["request"], len(self._turns[-1].text) + len(shown))
        self._turns.append(self._message(f"{shown}\n{asking}" if asking else shown, status))

    def leave_out(self, room_chars: int) -> bool:
        """
        Leave out the oldest steps until the rest has at most *room_chars* characters; what they set is still there.

        At least one goes; False where there is none.
        """
        first, steps = self._turns[: self._fixed], self._turns[self._fixed :]
        if not steps:
            return False
        size = sum(len(turn.text) for turn in self._turns)
        gone = 0
        while gone < len(steps) and (not gone or size > room_chars):
            size -= sum(len(turn.text) for turn in steps[gone : gone + 2])
            gone += 2
        question = first[-1]
        if self.phrases["left_out"] not in question.after:
            question = replace(question, after=question.after + "\n\n" + self.phrases["left_out"])
        self._turns = [*first[:-1], question, *steps[gone:]]
        return True

    def messages(self, *, naming: bool = False) -> tuple[Message, ...]:
        """Return the next request; with *naming*, without what is left of budget and time."""
        return tuple(Message(t.role, t.text if naming else t.before + t.text + t.after) for t in self._turns)

    def synthesis(self, rules: str, question: str, *, max_bytes: int) -> tuple[Message, ...]:
        """Return the request that asks for an answer from what was found, its content in at most *max_bytes*."""
        room = max_bytes - len(rules.encode())
        asked = cut_bytes(self.phrases["question"] + "\n" + question, room // 2)
        room -= len(asked.encode())
        found: list[str] = []
        for finding in reversed(self._findings):
            piece = "\n\n" + cut_bytes(finding, FINDING_BYTES)
            room -= len(piece.encode())
            if room < 0:
                break
            found.insert(0, piece)
        return (Message("system", rules), Message("user", asked + "".join(found)))

    def _asking(self, request: str, chars: int) -> str:
        """Return *request*, after the question where that stands far above: *chars* more have been added since."""
        self._since_asked += chars
        if not request or not self._again or self._since_asked <= AGAIN_AFTER_CHARS:
            return request
        self._since_asked = 0
        return f"{self._again} {request}"

    def _message(self, text: str, status: Status) -> _Turn:
        """Put what is left before *text*, and how late it is behind it."""
        late = "\n" + self.phrases["late"] if status.late else ""
        return _Turn("user", text, "\n".join([_status_line(status, self.phrases), *self._known(status), ""]), late)

    def _known(self, status: Status) -> list[str]:
        """Return what the steps before the newest one showed, in short, where the next step is the last one."""
        is_last = status.step >= status.steps or status.short
        earlier = [finding for finding in self._findings[:-1] if finding.strip()][-KNOWN_STEPS:]
        if not is_last or not earlier or not self.phrases["request"]:
            return []
        return [self.phrases["known"], *(cut_bytes(finding, KNOWN_CHARS) for finding in earlier)]


def describe(name: str, value: object, phrases: Phrases) -> str:
    """Return the metadata of a variable: its type, its length, and its first and last `PREVIEW_CHARS` characters."""
    if isinstance(value, Mapping):
        texts = [str(text) for text in value.values()]
        files = [f"{key!r} ({len(text):,})" for key, text in zip(value, texts, strict=True)]
        more = [f"and {len(files) - NAMES_SHOWN:,} more"] if len(files) > NAMES_SHOWN else []
        listed = ", ".join(files[:NAMES_SHOWN] + more)
        head = f"{name}: dict of {len(texts):,} texts, {sum(map(len, texts)):,} characters: {listed}"
        whole = texts[0] + texts[-1] if len(texts) > 1 else "".join(texts)
    elif isinstance(value, str):
        head, whole = f"{name}: str, {len(value):,} characters", value
    else:
        whole = json.dumps(value, ensure_ascii=False)
        size = f", {len(value):,} items" if isinstance(value, Sequence) else ""
        head = f"{name}: {type(value).__name__}{size}"
    if len(whole) <= 2 * PREVIEW_CHARS:
        return f"{head}\n{whole}"
    start, end = phrases["first"].format(n=PREVIEW_CHARS), phrases["last"].format(n=PREVIEW_CHARS)
    return f"{head}\n{start}\n{whole[:PREVIEW_CHARS]}\n{end}\n{whole[-PREVIEW_CHARS:]}"


def observation(outcome: StepOutcome, phrases: Phrases) -> str:
    """Return what the model is told of its last reply."""
    if outcome.cell.cut:
        return phrases["cut_reply" if outcome.cell.cut == "length" else "stopped_reply"]
    if outcome.cell.code is None:
        return phrases["no_code"]
    printed = cut_middle(outcome.output, OUTPUT_CHARS, length=outcome.output_chars, phrases=phrases).rstrip("\n")
    error = None if outcome.error is None else cut_middle(outcome.error, OUTPUT_CHARS, phrases=phrases).rstrip("\n")
    lines = [part for part in (printed, error) if part]
    if outcome.interrupted_s is not None:
        lines.append(phrases["interrupted"].format(seconds=f"{outcome.interrupted_s:g}"))
    if outcome.ended_by is not None:
        lines.append(phrases["killed"].format(reason=phrases[f"by_{outcome.ended_by}"], names=_listed(outcome.lost)))
    if outcome.answer_failed:
        lines.append(phrases["failed_answer"])
    if outcome.refusal is not None:
        lines.append(outcome.refusal)
    if outcome.restored:
        lines.append(phrases["restored"].format(names=_listed(outcome.restored)))
    if outcome.cell.more:
        lines.append(phrases["more_code"].format(more=outcome.cell.more))
    return "\n".join(lines) or phrases["nothing"]


def cut_middle(text: str, limit: int, *, phrases: Phrases, length: int | None = None) -> str:
    """
    Return *text* in at most *limit* characters and a line that says what is missing.

    Args:
        text: As much as was kept.
        limit: Characters of it that are shown.
        phrases: How the cut is said.
        length: The true length, where *text* was cut before.
    """
    length = max(length or 0, len(text))
    if length <= limit:
        return text
    head = min(len(text), limit * 2 // 3)
    tail = min(len(text) - head, limit - limit * 2 // 3)
    notice = phrases["cut"].format(cut=f"{length - head - tail:,}", length=f"{length:,}")
    return f"{text[:head]}\n{notice}\n{text[len(text) - tail :]}"


def cut_bytes(text: str, limit: int) -> str:
    """Return *text* in at most *limit* bytes of UTF-8, its middle left out."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    gap = "\n[…]\n"
    room = max(0, limit - len(gap.encode()))
    head = raw[: room * 2 // 3].decode("utf-8", "ignore")
    tail = raw[len(raw) - (room - room * 2 // 3) :].decode("utf-8", "ignore")
    return head + gap + tail if room else ""


def _status_line(status: Status, phrases: Phrases) -> str:
    left = "" if status.tokens is None else phrases["tokens_left"].format(tokens=status.tokens)
    left += "" if status.usd is None else phrases["usd_left"].format(usd=f"{status.usd:.4f}")
    line = phrases["status"].format(step=status.step, steps=status.steps, left=left)
    if status.step >= status.steps:
        return f"{line} {phrases['last_step']}"
    return f"{line} {phrases['short']}" if status.short else line


def _finding(code: str | None, shown: str) -> str:
    """Return one step for a synthesis: the code in short, and what it showed."""
    return f">>> {cut_bytes(code, FINDING_BYTES // 3)}\n{shown}" if code else shown


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - NAMES_SHOWN:,} more"] if len(names) > NAMES_SHOWN else []
    return ", ".join([*names[:NAMES_SHOWN], *more]) or "none"
