"""A person, an editor that saves by itself, and answers that come when they like, beside a plain list of texts."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rlmwatch.contract.text import digest
from rlmwatch.watch.still_typing import FIRST_REST_S, LONGEST_REST_S, WINDOW_S, Typed, Typing, Written

PATH = "note_input.txt"
WORDS = st.sampled_from(["a", " b", "\n", "\nc", " ", "?", "d\n"])
PAUSES = st.sampled_from([0.0, 0.5, 2.0, 5.0, 30.0, 59.0, 61.0])


@dataclass
class Asked:
    """A save that was admitted."""

    text: str
    answered: bool = False


def stem(text: str) -> str:
    """Return *text* without its last word."""
    return text.rstrip()[: -len(text.rsplit(maxsplit=1)[-1])].rstrip()


class StillTyping(RuleBasedStateMachine):
    """
    Whatever is typed, and whenever answers come, this holds.

    1. What is no growth, nor a corrected slip, or comes a minute after the last save, is asked at once, for itself.
    2. What continues earlier saves has the last of their texts as its beginning, but for its last word.
    3. A new line under an answered text is a turn of its own, where no growth was seen before that answer.
    4. A rest is one of the stated ones, and grows by no more than the double.
    """

    @initialize()
    def begin(self) -> None:
        self.typing = Typing()
        self.now = 0.0
        self.text = ""
        self.saves: list[Asked] = []
        self.seen_at = 0.0
        self.unanswered_growth = False
        self.rest_s = 0.0

    @rule(word=WORDS, pause=PAUSES)
    def types(self, word: str, pause: float) -> None:
        self.text += word
        self.now += pause

    @rule(pause=PAUSES, cut=st.integers(1, 4))
    def deletes(self, pause: float, cut: int) -> None:
        self.text = self.text[:-cut]
        self.now += pause

    @rule(pause=PAUSES)
    def is_answered(self, pause: float) -> None:
        if self.saves:
            self.saves[-1].answered = True
        self.now += pause

    @rule(admits=st.booleans())
    def saves_it(self, *, admits: bool) -> None:
        if not self.text.strip() or (self.saves and self.saves[-1].text == self.text):
            return
        last = self.saves[-1] if self.saves else None
        seen = Written(digest(self.text.encode()), {}, self.text, self.text)
        grows = last is not None and self.text.startswith(last.text.rstrip()) and self.now - self.seen_at <= WINDOW_S
        typed = self.judge(seen, last)
        assert (typed == Typed()) or grows
        if last is not None and grows:
            added = self.text[len(last.text.rstrip()) :]
            new_line = "\n" in added[: len(added) - len(added.lstrip())]
            self.unanswered_growth |= not (new_line and last.answered)
            assert (typed.continues is not None) == self.unanswered_growth
            self.seen_at = self.now
        if typed.continues is not None:
            assert 1 <= typed.continues <= len(self.saves)
            assert self.text.startswith(stem(self.saves[-1].text))
        assert typed.rest_s == 0.0 or FIRST_REST_S <= typed.rest_s <= LONGEST_REST_S
        assert typed.rest_s <= max(FIRST_REST_S, 2 * self.rest_s)
        if admits:
            self.saves.append(Asked(self.text))
            number = len(self.saves)
            self.typing.admitted(PATH, seen, typed, run_id=f"run-{number}", number=number, now=self.now)
            self.seen_at, self.unanswered_growth, self.rest_s = self.now, False, typed.rest_s

    def judge(self, seen: Written, last: Asked | None) -> Typed:
        earlier = self.typing.grows_from(PATH, seen, now=self.now)
        if earlier is None or last is None:
            return Typed()
        assert earlier == f"run-{len(self.saves)}"
        return self.typing.judge(PATH, seen, answered=last.answered, now=self.now)


TestStillTyping = StillTyping.TestCase
TestStillTyping.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
