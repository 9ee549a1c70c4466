"""A needle in a haystack (S-NIAH style): one sentence in a long text holds the answer."""

from random import Random

from tasks.base import CHARS_PER_TOKEN, Problem, number_is

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
PEOPLE = ("Ada", "Bela", "Chidi", "Dora")


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
        number_is(int(numbers[city])),
    )


def two_hop(tokens: int, seed: int) -> Problem:
    """Return a problem whose answer takes two sentences: where somebody lives, and that city's number."""
    random = Random(f"two-hop{seed}")  # noqa: S311 (no secret)
    lines = make(tokens, seed).context.splitlines()  # type: ignore[union-attr]
    numbers = {line.split()[4]: line.split()[-1].rstrip(".") for line in lines if "magic number" in line}
    lives = dict(zip(PEOPLE, random.sample(CITIES, len(PEOPLE)), strict=True))
    for person, city in lives.items():
        lines.insert(random.randrange(len(lines)), f"{person} lives in {city}.")
    person = random.choice(PEOPLE)
    return Problem(
        "two-hop",
        f"What is the magic number of the city that {person} lives in? Answer with the number alone.",
        "\n".join(lines),
        (
            f"import re\ncity = re.search(r'{person} lives in (\\w+)', context).group(1)\nprint(city)",
            "answer(re.search(rf'magic number of {city} is (\\d+)', context).group(1))",
        ),
        number_is(int(numbers[lives[person]])),
    )


def mentions(tokens: int, seed: int) -> Problem:
    """Return a problem that asks how many sentences mention one thing."""
    random = Random(f"mentions{seed}")  # noqa: S311 (no secret)
    text = str(make(tokens, seed).context)
    thing = random.choice(OBJECTS)
    return Problem(
        "mentions",
        f"Each line is a sentence. How many of the sentences mention {thing}? Answer with the number alone.",
        text,
        ("print(context[:300])", f'answer(sum("{thing}" in line for line in context.splitlines()))'),
        number_is(sum(thing in line for line in text.splitlines())),
    )
