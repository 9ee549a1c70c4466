"""
Aggregation (OOLONG style): every line must be judged, and the judgements counted.

Scored as OOLONG scores numbers: 0.75 to the power of the distance.
"""

import re
from collections import Counter
from random import Random

from tasks.base import CHARS_PER_TOKEN, TEMPLATES, Problem, message

LINES_A_CALL = 50
LABELS = "Say for each line what it is about: billing, delivery, technical or praise. One word a line, nothing else."
JUDGE = f"""lines = [line for line in context.splitlines() if line.startswith("#")]
chunks = [lines[i:i + {LINES_A_CALL}] for i in range(0, len(lines), {LINES_A_CALL})]
replies = llm_batch([{LABELS!r} + "\\n" + "\\n".join(chunk) for chunk in chunks])
labels = [label.strip() for reply in replies for label in str(reply).splitlines()]
print(len(lines), len(chunks), len(labels), labels[:5])"""


def make(tokens: int, seed: int) -> Problem:
    """Return a problem whose context has about *tokens* tokens."""
    random = Random(seed)  # noqa: S311 (no secret)
    counts: Counter[str] = Counter()
    lines: list[str] = []
    size = 0
    weights = [random.uniform(1, 4) for _ in TEMPLATES]
    while size < tokens * CHARS_PER_TOKEN:
        label = random.choices(list(TEMPLATES), weights)[0]
        counts[label] += 1
        lines.append(f"#{len(lines) + 1} {message(random, label)}")
        size += len(lines[-1]) + 1
    label = random.choice(list(TEMPLATES))
    return Problem(
        "aggregate",
        f"Each line of the context is a message to a shop: about billing, delivery, a technical problem, or praise. "
        f"How many are about {label}? Answer with the number alone.",
        "\n".join(lines),
        ("print(len(context), context[:300])", JUDGE, f"answer(labels.count({label!r}))"),
        lambda answer: _score(answer, counts[label]),
    )


def _score(answer: object, truth: int) -> float:
    number = re.search(r"\d+", str(answer).replace(",", ""))
    return 0.75 ** abs(int(number.group()) - truth) if number else 0.0
