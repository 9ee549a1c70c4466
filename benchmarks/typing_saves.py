"""
What an editor that saves while one types costs: calls paid per finished question, with and without the rule of typing.

    python benchmarks/typing_saves.py [--questions 300] [--record DIR] [--first-rest S --longest-rest S]

Saves are recorded from a typist and an editor, in virtual time and with a seed; `--record` writes them as JSON. They
are played through the settle rule and the typing rule of the watcher, beside a conversation whose calls take a while.

Typist: desktop keystrokes 0.239 s apart (SD 0.112 s; Dhakal et al., Observations on Typing from 136 Million
Keystrokes, CHI 2018: 52 words a minute), on a phone 36 words a minute (Palin et al., How do People Type on Mobile
Devices?, MobileHCI 2019). Who composes is slower than who copies by the factor 19 / 32.5 (Karat et al., CHI 1999); the
rest of the time are pauses: after one word in five, after a comma, and longer ones after a sentence or a line, each
exponential. One pause in twelve ends with the last word typed anew.

Editors: VS Code with `files.autoSave: afterDelay` saves 1 s after the last keystroke, Obsidian 2 s after the first
that is not saved. On the phone an editor saves like Obsidian, Syncthing sends what has rested for 10 s
(`fsWatcherDelayS`), after 60 s in any case, and it comes 1 s later. By hand: once, at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlmwatch.contract.text import digest
from rlmwatch.watch import still_typing
from rlmwatch.watch.settle import Settling
from rlmwatch.watch.still_typing import Typed, Typing, Written

PATH = "note_input.txt"
DESKTOP = (0.239, 0.112)
PHONE = (0.333, 0.156)  # 36 words of five letters a minute, with the same spread
ANSWER_S = (1.5, 6.0)
"""From request to answer of a plain call; between them all are as likely."""

SHORT = "What is the capital of France, and since when has it been one?"
PARAGRAPH = (
    "I have a small garden in the north of Germany, with clay soil and little sun after four in the afternoon. Which "
    "three vegetables would you plant there in May, and what should I do with the soil before? Please keep it short."
)
LINES = (
    "Please plan a weekend in Leipzig for two people.\n\nWe like:\n- old bookshops\n- good coffee, not too loud\n"
    "- music, at best something by Bach in a church\n\nWe come by train on Friday evening and leave on Sunday at "
    "three. The hotel is near the station.\nWhat would you do on which day?"
)
QUESTIONS = {"one line": SHORT, "a paragraph": PARAGRAPH, "several lines": LINES}

Save = tuple[float, str]
"""When the file was saved, in seconds, and what it held then."""


def keystrokes(text: str, keys: tuple[float, float], chance: random.Random) -> Iterator[Save]:
    """Yield what stands there after each keystroke of somebody who composes *text*."""
    now, done = 0.0, ""
    mean, spread = keys
    while done != text:
        now += max(0.05, chance.gauss(mean, spread))
        done = text[: len(done) + 1]
        yield now, done
        pause = 0.0
        if done[-1] in ".?:\n":
            pause = chance.expovariate(1 / 4.0)
        elif done[-1] == "," or (done[-1] == " " and chance.random() < 0.2):
            pause = chance.expovariate(1 / 2.5)
        now += pause
        if pause and done != text and chance.random() < 1 / 12:  # the last word is typed anew
            kept = done.rstrip().rfind(" ") + 1
            for end in range(len(done) - 1, kept - 1, -1):
                now += max(0.05, chance.gauss(mean, spread))
                yield now, done[:end]
            done = done[:kept]


def vscode(typed: list[Save]) -> Iterator[Save]:
    """Yield a save 1 s after each keystroke that none follows within that."""
    for (at, text), (following, _) in zip(typed, [*typed[1:], (float("inf"), "")], strict=True):
        if following - at >= 1.0:
            yield at + 1.0, text


def obsidian(typed: list[Save]) -> Iterator[Save]:
    """Yield a save 2 s after each first keystroke that is not saved."""
    due: float | None = None
    held = ""
    for at, text in typed:
        if due is not None and at >= due:
            yield due, held
            due = None
        due, held = (at + 2.0 if due is None else due), text
    if due is not None:
        yield due, held


def syncthing(typed: list[Save]) -> Iterator[Save]:
    """Yield what arrives of an editor's saves on another machine."""
    first: float | None = None
    saves = list(obsidian(typed))
    for (at, text), (following, _) in zip(saves, [*saves[1:], (float("inf"), "")], strict=True):
        first = at if first is None else first
        if following - at >= 10.0 or following - first >= 60.0:
            yield min(at + 10.0, first + 60.0) + 1.0, text
            first = None


def by_hand(typed: list[Save]) -> Iterator[Save]:
    """Yield the one save of a person who saves a finished question."""
    yield typed[-1][0] + 0.5, typed[-1][1]


EDITORS: dict[str, tuple[Callable[[list[Save]], Iterator[Save]], tuple[float, float]]] = {
    "VS Code, afterDelay 1 s": (vscode, DESKTOP),
    "Obsidian, 2 s": (obsidian, DESKTOP),
    "phone, Syncthing": (syncthing, PHONE),
    "by hand": (by_hand, DESKTOP),
}


def recorded(editor: str, text: str, seed: int) -> tuple[list[Save], float]:
    """Return the saves of one finished question, and when its last key was hit."""
    saves, keys = EDITORS[editor]
    typed = list(keystrokes(text, keys, random.Random(seed)))  # noqa: S311 (no secret)
    return [save for save in saves(typed) if save[1].strip()], typed[-1][0]


@dataclass
class Conversation:
    """
    The watcher's rules and one conversation's runs, in virtual time.

    Attributes:
        sees_typing: Whether the rule of typing holds.
        brought: Whether a sync tool brings the saves.
        calls: When each call was sent, and for what.
        turns: Save numbers and texts of the memory.
    """

    sees_typing: bool
    chance: random.Random
    brought: bool = False
    calls: list[Save] = field(default_factory=list)
    turns: list[tuple[int, str]] = field(default_factory=list)
    _settling: Settling = field(default_factory=Settling)
    _typing: Typing = field(default_factory=Typing)
    _waiting: list[tuple[int, str, int | None]] = field(default_factory=list)
    _running: tuple[float, tuple[int, str, int | None]] | None = None
    _answered: set[int] = field(default_factory=set)
    _admitted: str = ""
    _number: int = 0
    _text: str = ""

    def play(self, saves: list[Save]) -> None:
        """Play *saves*, and what follows until all is at rest."""
        for at, text in [*saves, (saves[-1][0] + 300.0, saves[-1][1])]:
            while (due := self._next()) is not None and due <= at:
                self._work(due)
            if text != self._text:
                self._text = text
                self._settling.done(PATH, now=at)

    def _next(self) -> float | None:
        ends = [] if self._running is None else [self._running[0]]
        settled = self._settling.next_due()
        return min([*ends, *([] if settled is None else [settled])], default=None)

    def _work(self, now: float) -> None:
        if self._running is not None and self._running[0] <= now:
            number, text, continues = self._running[1]
            self.turns = [turn for turn in self.turns if continues is None or turn[0] < continues]
            self.turns.append((number, text))
            self._answered.add(number)
            self._running = None
        for due in self._settling.due(now=now):
            self._read(due.path, now)
        if self._running is None and self._waiting:
            self._running = (now + self.chance.uniform(*ANSWER_S), self._waiting.pop(0))
            self.calls.append((now, self._running[1][1]))

    def _read(self, path: str, now: float) -> None:
        text, typed = self._text, Typed()
        if text == self._admitted:
            self._settling.read(path)
            return
        written = Written(digest(text.encode()), {}, text, text)
        if self.sees_typing and (earlier := self._typing.grows_from(path, written, now=now)) is not None:
            typed = self._typing.judge(path, written, answered=int(earlier) in self._answered, now=now)
            typed = replace(typed, rest_s=0.0) if self.brought else typed
            if typed.rest_s and not self._settling.rests_for(path, typed.rest_s, now=now):
                return
        self._settling.read(path)
        self._settling.admitted(path, now=now)
        self._number += 1
        self._admitted = text
        number, continues = self._number, typed.continues
        self._typing.admitted(path, written, typed, run_id=str(number), number=number, now=now)
        if continues is not None:
            self._waiting = [each for each in self._waiting if each[0] < continues]
        self._waiting.append((number, text, continues))


@dataclass
class Measured:
    """What finished questions took: calls, turns in the memory, and seconds from last key to the request."""

    calls: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Return it as cells of a table."""
        late = sorted(self.late_s)
        worst = late[int(len(late) * 0.95)]
        calls, turns = statistics.mean(self.calls), statistics.mean(self.turns)
        return f"{calls:.1f} | {turns:.1f} | {statistics.median(late):.1f} | {worst:.1f}"


def measure(editor: str, text: str, questions: int, *, sees_typing: bool) -> Measured:
    """Return what *questions* of one text take with an editor."""
    found = Measured()
    for seed in range(questions):
        saves, ended_at = recorded(editor, text, seed)
        conversation = Conversation(sees_typing, random.Random(seed), brought=editor.startswith("phone"))  # noqa: S311 (no secret)
        conversation.play(saves)
        asked_at, asked = conversation.calls[-1]
        if asked.rstrip() != text:
            raise AssertionError(f"{editor}: the finished question was not asked last, but {asked!r}")
        found.calls.append(len(conversation.calls))
        found.turns.append(len(conversation.turns))
        found.late_s.append(asked_at - ended_at)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--first-rest", type=float, default=still_typing.FIRST_REST_S)
    parser.add_argument("--longest-rest", type=float, default=still_typing.LONGEST_REST_S)
    asked = parser.parse_args()
    still_typing.FIRST_REST_S, still_typing.LONGEST_REST_S = asked.first_rest, asked.longest_rest
    if asked.record:
        asked.record.mkdir(parents=True, exist_ok=True)
        for editor in EDITORS:
            saves, ended_at = recorded(editor, PARAGRAPH, 0)
            name = editor.partition(",")[0].replace(" ", "-").lower()
            (asked.record / f"{name}.json").write_text(json.dumps({"ended_at": ended_at, "saves": saves}, indent=1))
    print("| editor | question | rule | calls | turns | s to request | 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for editor in EDITORS:
        for what, text in QUESTIONS.items():
            for rule, sees_typing in (("without", False), ("with", True)):
                found = measure(editor, text, asked.questions, sees_typing=sees_typing)
                print(f"| {editor} | {what} | {rule} | {found.row()} |")


if __name__ == "__main__":
    main()
