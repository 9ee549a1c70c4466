"""Questions to a server's log that code alone answers: counts, the most frequent, the slowest, how many differ."""

from collections import Counter
from random import Random

from tasks.base import CHARS_PER_TOKEN, Problem, number_is, word_is

LEVELS = {"INFO": 12, "WARN": 3, "ERROR": 2}
SERVICES = ("auth", "billing", "search", "mailer", "export")
WHAT = {
    "INFO": ("request served", "session opened", "cache filled"),
    "WARN": ("slow answer", "retry planned", "queue is long"),
    "ERROR": ("connection refused", "time limit passed", "disk is full"),
}


def _log(tokens: int, random: Random) -> list[tuple[str, str, str, int, str]]:
    """Return rows of (time, level, service, milliseconds, user)."""
    weights = [random.uniform(1, 3) for _ in SERVICES]
    rows = []
    minute = 0
    for _ in range(tokens * CHARS_PER_TOKEN // 76):
        minute += random.randint(0, 3)
        level = random.choices(list(LEVELS), list(LEVELS.values()))[0]
        service = random.choices(SERVICES, weights)[0]
        time = f"2026-03-{1 + minute // 1440 % 28:02} {minute // 60 % 24:02}:{minute % 60:02}"
        rows.append((time, level, service, random.randint(3, 99_999), f"u{random.randint(100, 399)}"))
    return rows


def _text(rows: list[tuple[str, str, str, int, str]], random: Random) -> str:
    return "\n".join(
        f"{time} {level} [{service}] user={user} {random.choice(WHAT[level])} ms={ms}"
        for time, level, service, ms, user in rows
    )


ROWS = r"""import re
rows = [re.match(r"(\S+ \S+) (\S+) \[(\w+)\] user=(\w+) .* ms=(\d+)", line).groups() for line in context.splitlines()]
print(len(rows), rows[:2])"""


def errors(tokens: int, seed: int) -> Problem:
    """How many errors one service has."""
    random = Random(f"errors{seed}")  # noqa: S311 (no secret)
    rows = _log(tokens, random)
    service = random.choice(SERVICES)
    return Problem(
        "log-errors",
        f"How many lines of the log are errors (level ERROR) of the service {service}? Answer with the number alone.",
        _text(rows, random),
        (ROWS, f'answer(sum(row[1] == "ERROR" and row[2] == "{service}" for row in rows))'),
        number_is(sum(row[1] == "ERROR" and row[2] == service for row in rows)),
    )


def noisiest(tokens: int, seed: int) -> Problem:
    """Which service warns most often."""
    random = Random(f"noisiest{seed}")  # noqa: S311 (no secret)
    rows = _log(tokens, random)
    counts = Counter(row[2] for row in rows if row[1] == "WARN").most_common()
    first = counts[0][0]
    rows += [(rows[-1][0], "WARN", first, 500, "u100")]  # no draw
    return Problem(
        "log-noisiest",
        "Which service has the most lines of level WARN in the log? Answer with its name alone.",
        _text(rows, random),
        (
            ROWS,
            'warned = [row[2] for row in rows if row[1] == "WARN"]\nanswer(max(set(warned), key=warned.count))',
        ),
        word_is(first, SERVICES),
    )


def slowest(tokens: int, seed: int) -> Problem:
    """Which user had the slowest request."""
    random = Random(f"slowest{seed}")  # noqa: S311 (no secret)
    rows = _log(tokens, random)
    slow = random.randrange(len(rows))
    time, level, service, _, _ = rows[slow]
    rows[slow] = (time, level, service, 123_456, "u777")
    return Problem(
        "log-slowest",
        "Which user had the request that took the most milliseconds (ms=)? Answer with the name alone, like u123.",
        _text(rows, random),
        (ROWS, "answer(max(rows, key=lambda row: int(row[4]))[3])"),
        word_is("u777", {row[4] for row in rows}),
    )


def users(tokens: int, seed: int) -> Problem:
    """How many users a service had."""
    random = Random(f"users{seed}")  # noqa: S311 (no secret)
    rows = _log(tokens, random)
    service = random.choice(SERVICES)
    return Problem(
        "log-users",
        f"How many different users appear in the log lines of the service {service}? Answer with the number alone.",
        _text(rows, random),
        (ROWS, f'answer(len({{row[3] for row in rows if row[2] == "{service}"}}))'),
        number_is(len({row[4] for row in rows if row[2] == service})),
    )
