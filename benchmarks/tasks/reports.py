"""Reading over several files: each report must be judged by its meaning, and the judgements counted."""

from random import Random

from tasks.base import CHARS_PER_TOKEN, STOPS, Problem, number_is
from tasks.needle import OBJECTS, SUBJECTS, VERBS

FILES = 12
STOP = (
    "In our view the project should be ended before the summer.",
    "We advise the board to put a stop to it.",
    "After long talks we hold that it must not go on.",
    "The sponsors would rather call it off now than pay for another year.",
)
GO_ON = (
    "In our view the project deserves another year.",
    "We advise the board to grant the second half of the money.",
    "After long talks we hold that it is worth its price.",
    "The sponsors are content and want to see it finished.",
)
ASK = "Does this report want its project to be stopped? Answer yes or no."


def make(tokens: int, seed: int) -> Problem:
    """Return a problem whose files have about *tokens* tokens together."""
    random = Random(f"reports{seed}")  # noqa: S311 (no secret)
    files: dict[str, str] = {}
    stopped = 0
    for n in range(1, FILES + 1):
        stop = random.random() < 0.4
        stopped += stop
        lines = [f"Report {n}.", random.choice(STOP if stop else GO_ON)]
        size = 0
        while size < tokens * CHARS_PER_TOKEN // FILES:
            lines.insert(
                random.randrange(1, len(lines) + 1),
                f"{random.choice(SUBJECTS)} {random.choice(VERBS)} {random.choice(OBJECTS)}.",
            )
            size += len(lines[-1]) + 1
        files[f"report-{n:02}.txt"] = "\n".join(lines)
    return Problem(
        "reports",
        f"The {FILES} files are reports on projects. How many of the reports want their project to be stopped? "
        "Answer with the number alone.",
        files,
        (
            "print(len(context), list(context)[:3])",
            (
                f'replies = llm_batch([{ASK!r} + "\\n" + text for text in context.values()])\n'
                'answer(sum("yes" in str(reply).lower() for reply in replies))'
            ),
        ),
        number_is(stopped),
    )


assert all(any(tell in text for tell in STOPS) for text in STOP)
