"""Questions to a table of orders (CSV) that code alone answers: sums, maxima, groups, dates."""

from collections import Counter
from datetime import date, timedelta
from random import Random

from tasks.base import CHARS_PER_TOKEN, Problem, number_is, word_is

HEAD = "order,date,region,product,quantity,amount"
REGIONS = ("north", "south", "east", "west")
PRODUCTS = ("lamp", "chair", "table", "shelf", "carpet")
Row = tuple[int, date, str, str, int, float]

READ = """import csv, io
rows = list(csv.DictReader(io.StringIO(context)))
print(len(rows), rows[0])"""


def _orders(tokens: int, random: Random) -> list[Row]:
    first = date(2025, 1, 1)
    return [
        (
            10_000 + n,
            first + timedelta(days=random.randint(0, 364)),
            random.choice(REGIONS),
            random.choice(PRODUCTS),
            random.randint(1, 9),
            random.randint(500, 99_999) / 100,
        )
        for n in range(tokens * CHARS_PER_TOKEN // 41)
    ]


def _text(rows: list[Row]) -> str:
    return "\n".join([HEAD, *(",".join(str(cell) for cell in row) for row in rows)])


def total(tokens: int, seed: int) -> Problem:
    """Add up the amounts of one region."""
    random = Random(f"total{seed}")  # noqa: S311 (no secret)
    rows = _orders(tokens, random)
    region = random.choice(REGIONS)
    return Problem(
        "table-sum",
        f"What is the sum of the amounts of all orders of the region {region}? Answer with the number alone, "
        "rounded to two decimals.",
        _text(rows),
        (READ, f'answer(round(sum(float(row["amount"]) for row in rows if row["region"] == "{region}"), 2))'),
        number_is(round(sum(row[5] for row in rows if row[2] == region), 2)),
    )


def largest(tokens: int, seed: int) -> Problem:
    """Find the order with the largest amount of one product."""
    random = Random(f"largest{seed}")  # noqa: S311 (no secret)
    rows = _orders(tokens, random)
    product = random.choice(PRODUCTS)
    order = max((row for row in rows if row[3] == product), key=lambda row: row[5])[0]
    return Problem(
        "table-max",
        f"Which order of the product {product} has the largest amount? Answer with the order number alone.",
        _text(rows),
        (
            READ,
            (
                f'answer(max((row for row in rows if row["product"] == "{product}"), '
                'key=lambda row: float(row["amount"]))["order"])'
            ),
        ),
        number_is(order),
    )


def best(tokens: int, seed: int) -> Problem:
    """Find the product that sold most."""
    random = Random(f"best{seed}")  # noqa: S311 (no secret)
    rows = _orders(tokens, random)
    sold: Counter[str] = Counter()
    for row in rows:
        sold[row[3]] += row[4]
    product = sold.most_common(1)[0][0]
    rows.append((rows[-1][0] + 1, rows[-1][1], "north", product, 9, 9.99))  # no draw
    return Problem(
        "table-groups",
        "For which product is the total quantity over all orders the largest? Answer with the product's name alone.",
        _text(rows),
        (
            READ,
            (
                "from collections import Counter\nsold = Counter()\n"
                'for row in rows:\n    sold[row["product"]] += int(row["quantity"])\nanswer(sold.most_common(1)[0][0])'
            ),
        ),
        word_is(product, PRODUCTS),
    )


def in_month(tokens: int, seed: int) -> Problem:
    """Count the orders of one month."""
    random = Random(f"month{seed}")  # noqa: S311 (no secret)
    rows = _orders(tokens, random)
    month = random.randint(1, 12)
    return Problem(
        "dates-month",
        f"How many orders were made in {date(2025, month, 1):%B} 2025? Answer with the number alone.",
        _text(rows),
        (READ, f'answer(sum(row["date"][5:7] == "{month:02}" for row in rows))'),
        number_is(sum(row[1].month == month for row in rows)),
    )


def span(tokens: int, seed: int) -> Problem:
    """Count the days between the first and the last order of one product."""
    random = Random(f"span{seed}")  # noqa: S311 (no secret)
    rows = _orders(tokens, random)
    region, product = random.choice(REGIONS), random.choice(PRODUCTS)
    days = [row[1] for row in rows if (row[2], row[3]) == (region, product)]
    return Problem(
        "dates-span",
        f"How many days lie between the earliest and the latest order of the product {product} in the region "
        f"{region} (the difference of the two dates)? Answer with the number alone.",
        _text(rows),
        (
            READ,
            (
                f'from datetime import date\ndays = [date.fromisoformat(r["date"]) for r in rows '
                'if (r["region"], r["product"]) == '
                f'("{region}", "{product}")]\n'
                "answer((max(days) - min(days)).days)"
            ),
        ),
        number_is((max(days) - min(days)).days),
    )
