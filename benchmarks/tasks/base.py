"""What a problem is, and the words that several tasks are made of."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Problem:
    """
    One problem with a known answer.

    Attributes:
        context: A text, or the texts of files by name.
        oracle: The cells that a root model which knows the way would write, one a step.
        score: Of an answer, 0 to 1.
    """

    name: str
    question: str
    context: str | dict[str, str]
    oracle: tuple[str, ...]
    score: Callable[[object], float]

    @property
    def size(self) -> int:
        """Characters of the context."""
        return len(self.context) if isinstance(self.context, str) else sum(map(len, self.context.values()))


TEMPLATES = {
    "billing": (
        "I was charged twice for order {n} and want my {w} money back",
        "the invoice of {n} {w} euros is wrong, please correct it",
        "my card was debited {n} although the {w} subscription has ended",
    ),
    "delivery": (
        "parcel {n} has been in transit for {w} weeks",
        "the courier left box {n} at the {w} neighbour and nobody knows where",
        "tracking says {n} arrived, the {w} shelf is empty",
    ),
    "technical": (
        "after update {n} the {w} app crashes at start",
        "error {n} appears when I log in from the {w} browser",
        "the {w} screen freezes after {n} minutes",
    ),
    "praise": (
        "thank you, the {w} team solved case {n} wonderfully",
        "best {w} product I bought in {n} years",
        "I love how easy the {w} setup was, {n} stars",
    ),
}
"""Messages by what they are about; the word for it stands in none of them."""
TELLS = {
    "charged": "billing", "invoice": "billing", "debited": "billing",
    "parcel": "delivery", "courier": "delivery", "tracking": "delivery",
    "crashes": "technical", "error": "technical", "freezes": "technical",
    "thank": "praise", "best": "praise", "love": "praise",
}  # fmt: skip
STOPS = ("should be ended", "put a stop to it", "not go on", "call it off")
"""How a report says that its project is to be stopped."""
WORDS = ("old", "new", "blue", "small", "family", "kitchen", "second", "other", "spare", "office")


def message(random: Random, label: str) -> str:
    """Return a message that is about *label*."""
    return random.choice(TEMPLATES[label]).format(n=random.randint(2, 9999), w=random.choice(WORDS))


def label_of(text: str) -> str:
    """Return what a message is about, by the one word that tells it: what a sub-model would say."""
    return next((label for tell, label in TELLS.items() if tell in text.lower()), "unknown")


ANSWER_CHARS = 300
"""An answer that is longer does not tell which of its numbers it means."""


def number_is(truth: float) -> Callable[[object], float]:
    """Return what scores 1 for an answer of one line or so whose last number is *truth*."""

    def score(answer: object) -> float:
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", str(answer))
        return float(
            bool(numbers)
            and len(str(answer)) <= ANSWER_CHARS
            and abs(float(numbers[-1].replace(",", "")) - truth) < 0.005
        )

    return score


def word_is(truth: str, others: Iterable[str]) -> Callable[[object], float]:
    """Return what scores 1 for an answer that names *truth* and none of the *others*."""
    wrong = {other for other in others if other != truth}

    def score(answer: object) -> float:
        words = set(re.findall(r"[\w-]+", str(answer)))
        return float(truth in words and not words & wrong)

    return score


def rule_based(prompt: str) -> str:
    """Answer a sub-call as a perfect small model would: by the advice of a report, else one label for each `#` line."""
    if "Does this report" in prompt:
        return "yes" if any(tell in prompt for tell in STOPS) else "no"
    return "\n".join(label_of(line) for line in prompt.splitlines() if line.startswith("#"))
