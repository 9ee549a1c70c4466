"""A needle in a haystack (S-NIAH style): one sentence in a long text holds the answer."""

from random import Random

from tasks.base import CHARS_PER_TOKEN, Problem

SUBJECTS = (
    "The harbour",
    "A quiet road",
    "The old library",
    "Every winter",
    "The committee",
    "Her brother",
    "The river",
)
VERBS = ("remembers", "waits for", "has never seen", "was built beside", "belongs to", "speaks of", "looks like")
OBJECTS = ("the northern gate", "a market day", "the long summer", "an empty theatre", "the first train", "a salt mine")
CITIES = ("Turin", "Ghent", "Porto", "Tartu", "Graz", "Bergen")


def make(tokens: int, seed: int) -> Problem:
    """Return a problem whose context has about *tokens* tokens."""
    random = Random(seed)  # noqa: S311 (no secret)
    lines: list[str] = []
    size = 0
    while size < tokens * CHARS_PER_TOKEN:
        lines.append(f"{random.choice(SUBJECTS)} {random.choice(VERBS)} {random.choice(OBJECTS)}.")
        size += len(lines[-1]) + 1
    numbers = {city: str(random.randint(1_000_000, 9_999_999)) for city in CITIES}
    for city in CITIES:  # the others are there to be mixed up with
        lines.insert(random.randrange(len(lines)), f"The magic number of {city} is {numbers[city]}.")
    city = random.choice(CITIES)
    return Problem(
        "needle",
        f"What is the magic number of {city}? Answer with the number alone.",
        "\n".join(lines),
        (
            f"import re\nhits = re.findall(r'.*magic number of {city}.*', context)\nprint(len(hits), hits[:3])",
            "answer(re.search(r'is (\\d+)', hits[0]).group(1))",
        ),
        lambda answer: float(numbers[city] in str(answer)),
    )
