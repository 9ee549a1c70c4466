"""What a problem is, and the messages that two of the tasks are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Problem:
    """
    One problem with a known answer.

    Attributes:
        oracle: The cells that a root model which knows the way would write, one a step.
        score: Of an answer, 0 to 1.
    """

    name: str
    question: str
    context: str
    oracle: tuple[str, ...]
    score: Callable[[object], float]


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
WORDS = ("old", "new", "blue", "small", "family", "kitchen", "second", "other", "spare", "office")


def message(random: Random, label: str) -> str:
    """Return a message that is about *label*."""
    return random.choice(TEMPLATES[label]).format(n=random.randint(2, 9999), w=random.choice(WORDS))


def label_of(text: str) -> str:
    """Return what a message is about, by the one word that tells it: what a sub-model would say."""
    return next((label for tell, label in TELLS.items() if tell in text.lower()), "unknown")


def rule_based(prompt: str) -> str:
    """Answer a sub-call as a perfect small model would: one label for each line that begins with `#`."""
    return "\n".join(label_of(line) for line in prompt.splitlines() if line.startswith("#"))
