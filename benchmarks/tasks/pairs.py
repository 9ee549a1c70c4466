"""Pairs (OOLONG-Pairs style): every line must be judged, and pairs of writers be found by the judgements."""

import json
import re
from collections import defaultdict
from itertools import combinations
from random import Random

from tasks.aggregate import JUDGE
from tasks.base import CHARS_PER_TOKEN, TEMPLATES, Problem, message

LINES_A_USER = 12
CHARS_A_LINE = 65
QUIET = [label for label in TEMPLATES if label != "billing"]
BILLED = ["billing", "billing", *QUIET]
FITTING = 12
"""Users who never write about billing: few, so that the pairs can be listed however long the context is."""
COMBINE = """import re
from itertools import combinations
about = {}
for line, label in zip(lines, labels):
    about.setdefault(int(re.search(r"user (\\d+)", line).group(1)), set()).add(label)
users = sorted(user for user, said in about.items() if "praise" in said and "billing" not in said)
answer([list(pair) for pair in combinations(users, 2)])"""


def make(tokens: int, seed: int) -> Problem:
    """Return a problem whose context has about *tokens* tokens."""
    random = Random(seed)  # noqa: S311 (no secret)
    about: defaultdict[int, set[str]] = defaultdict(set)
    lines: list[str] = []
    size = 0
    users = max(2 * FITTING, tokens * CHARS_PER_TOKEN // CHARS_A_LINE // LINES_A_USER)
    never = set(random.sample(range(1, users + 1), FITTING))
    while size < tokens * CHARS_PER_TOKEN:
        user = random.randint(1, users)
        label = random.choice(QUIET if user in never else BILLED)
        about[user].add(label)
        lines.append(f"#{len(lines) + 1} user {user}: {message(random, label)}")
        size += len(lines[-1]) + 1
    fitting = sorted(user for user, labels in about.items() if "praise" in labels and "billing" not in labels)
    truth = {tuple(pair) for pair in combinations(fitting, 2)}
    return Problem(
        "pairs",
        "Each line is a message of a user to a shop: about billing, delivery, a technical problem, or praise. List all "
        "pairs [a, b] of users, a < b, who both wrote at least one praise and none about billing. Answer with the "
        "JSON list of pairs.",
        "\n".join(lines),
        (
            "print(len(context), context[:300])",
            JUDGE,
            COMBINE,
        ),
        lambda answer: _f1(answer, truth),
    )


def _f1(answer: object, truth: set[tuple[int, ...]]) -> float:
    """Return the harmonic mean of precision and recall."""
    try:
        listed = answer if isinstance(answer, list) else json.loads(re.sub(r"^[^\[]*|[^\]]*$", "", str(answer)))
        found = {tuple(int(user) for user in pair) for pair in listed}
    except (ValueError, TypeError):
        return 0.0
    if not found or not truth:
        return float(found == truth)
    return 2 * len(found & truth) / (len(found) + len(truth))
