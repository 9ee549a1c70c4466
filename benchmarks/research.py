"""
Whether research reads: `python benchmarks/research.py [--model NAME] [--each 4] [--seed 1]`.

A made web of 200 pages (`tasks/web.py`) stands behind a fake Exa on loopback; everything else is real. Without
A made web of 200 pages (`tasks/web.py`) stands behind a fake Exa on loopback; everything else is real. Without
else. A careless one cites the wrong page, or changes a number. With `--model` the provider that your configuration
names answers (it may cost money; `--max-cost-usd` a question, default 0.05, holds).

    right      answers that say the right numbers
    cited      citations of a page that was fetched, and how many of those pages say the number that they stand behind
    shown      citations with a passage in `…_sources.json`: of those that bear, of those that do not (to be 0)
    tokens in  of the model, a question
"""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers.exa_server import ExaServer
from tasks import web

from rlmwatch import clock
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.engine.prompts import current_prompts
from rlmwatch.errors import RlmwatchError
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.models.base import Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice

RESULTS = 5
"""Of a search, by default."""
HEAD = "pages as     reader   right   cited  bear  shown: bear  not   searches  tokens in"
SHOWN = re.compile(r"Page\(n=(\d+), .*?date='?([\d-]+|None)'?(.*?)(?=Page\(n=|\Z)", re.DOTALL)


@dataclass
class Tally:
    """What came of all questions."""

    right: int = 0
    cited: int = 0
    bear: int = 0
    shown_bearing: int = 0
    shown_not: int = 0
    searches: int = 0
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)


def reader(
    questions: list[web.WebQuestion], spoil: Callable[[str], str], *, page_by_page: bool = False
) -> ScriptedModel:
    """
    Return a model that reads what it is shown, and answers from that; *spoil* makes it careless.

    It makes a search a step, and prints all that it found, or *page_by_page*, a step each.
    """

    def reply(request: Request) -> str:
        asked = 1 + len(current_prompts().example)
        opening = request.messages[asked].content
        question = next(each for each in questions if each.text in opening)
        step = sum(message.role == "assistant" for message in request.messages[asked:])
        queries = [f"visitors counted by the {about}" for about in question.about]
        cells = [f"pages = research({query!r})\nprint(pages{'[0]' if page_by_page else ''})" for query in queries]
        if page_by_page:
            cells = [cell for first in cells for cell in (first, *(f"print(pages[{n}])" for n in range(1, RESULTS)))]
        if step < len(cells):
            return f"```python\n{cells[step]}\n```"
        shown = "\n".join(message.content for message in request.messages[asked + 1 :] if message.role == "user")
        return f"```python\nanswer({spoil(answer_from(shown, question))!r})\n```"

    return ScriptedModel(reply)


def answer_from(shown: str, question: web.WebQuestion) -> str:
    """Return the answer that a careful person writes who sees *shown* and nothing else."""
    sentences, found = [], []
    for about in question.about:
        says = re.compile(rf"the {about} counted (\d+) visitors")
        pages = [
            (date, int(number), match[1]) for number, date, rest in SHOWN.findall(shown) if (match := says.search(rest))
        ]
        newest = sorted({page for page in pages if page[0] == max(each[0] for each in pages)}, key=lambda page: page[1])
        for value in dict.fromkeys(value for _, _, value in newest):
            number = next(number for _, number, said in newest if said == value)
            sentences.append(f"The {about} was visited by {value} people [{number}].")
            found.append(int(value))
    if len(question.about) > 1:
        sentences.append(f"Together that makes {sum(found)}.")
    return " ".join(sentences) or "The pages do not tell."


def other_page(answer: str) -> str:
    """Cite the page after the right one (of five, or the first)."""
    return re.sub(r"\[(\d+)\]", lambda match: f"[{int(match[1]) % 5 + 1}]", answer)


def other_number(answer: str) -> str:
    """Say another number than the page."""
    return re.sub(r"by (\d+)", lambda match: f"by {int(match[1]) + 7}", answer)


def is_right(answer: str, question: web.WebQuestion) -> bool:
    """Whether *answer* says the numbers that it must, and no other."""
    text = re.sub(r"\[\d+\]|https?:\S+", " ", answer.partition("\nSources:")[0])
    return {int(number) for number in re.findall(r"\d{3,}", text)} == set(question.numbers)


def count(tally: Tally, sources: dict, pages: dict[str, web.WebPage]) -> None:
    """Add what *sources*, a run's `…_sources.json`, shows to *tally*."""
    urls = {row["n"]: row["url"] for row in sources["pages"]}
    for claim in sources["claims"]:
        numbers = {int(number) for number in re.findall(r"\d{3,}", claim["claim"])}
        bears = numbers <= set(pages[urls[claim["n"]]].facts.values()) and bool(numbers)
        tally.cited += 1
        tally.bear += bears
        tally.shown_bearing += bears and claim["quote"] is not None
        tally.shown_not += not bears and claim["quote"] is not None


async def measure(  # noqa: PLR0913 (keywords alone)
    *, highlights: bool, page_by_page: bool = False, spoil: Callable[[str], str] = str, model: str | None = None,
    each: int = 4, seed: int = 1,max_cost_usd: float = 0.05,
) -> Tally:  # fmt: skip
    """Ask every question, and return what came of it."""
    pages, questions = web.make(seed, each)
    by_url, tally = {page.url: page for page in pages}, Tally()
    with TemporaryDirectory() as folder, ExaServer(web.Engine(pages, highlights=highlights)) as exa:
        environ = {**os.environ, "EXA_API_KEY": "made-up", "EXA_BASE_URL": exa.url, "XDG_STATE_HOME": folder}

        async def scripted(*_: object) -> tuple[ScriptedModel, Choice]:
            return reader(questions, spoil, page_by_page=page_by_page), Choice("scripted", "reader", "the benchmark's")

        parts = Parts(users_options=True) if model else Parts(find_model=scripted, users_options=True)
        async with DirectRunner(environ, parts=parts) as runner:
            name = None if model == "default" else model
            options = RunOptions(model=name, max_steps=20, max_seconds=600, max_searches=9, max_cost_usd=max_cost_usd)
            for question in questions:
                storage = CallerStorage(runner.state, clock.utc)
                try:
                    _, result = await runner.answer(save_of(Kind.EXA, question.text, options), storage)
                except RlmwatchError as error:
                    tally.wrong.append(f"{question.kind}: {error}")
                    continue
                right = is_right(result.answer or "", question)
                tally.right += right
                tally.searches += result.usage.searches
                tally.tokens += result.usage.input_tokens
                if not right:
                    tally.wrong.append(f"{question.kind}, {question.numbers}: {result.answer}")
                if result.sources:
                    count(tally, json.loads(result.sources), by_url)
        tally.tokens //= len(questions)
    return tally


def line(way: str, who: str, tally: Tally, asked: int) -> str:
    """Return one line of the table."""
    return (
        f"{way:<12} {who:<8} {tally.right:>2}/{asked:<3} {tally.cited:>6} {tally.bear:>5} {tally.shown_bearing:>12} "
        f"{tally.shown_not:>4} {tally.searches:>10} {tally.tokens:>10,}"
    )


async def main() -> int:
    """Print the table; 1 where the careful reader was wrong, or a citation that bears nothing has a passage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model of your provider, or `default`; without it, the scripted readers")
    parser.add_argument("--each", type=int, default=4, help="questions of each of the six kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-cost-usd", type=float, default=0.05)
    parser.add_argument("--show", action="store_true", help="print wrong answers")
    given = parser.parse_args()
    readers = {"careful": str, "page": other_page, "number": other_number}
    if given.model:
        readers = {given.model[:9]: str}
    print(HEAD)
    bad = False
    ways = {"text": (False, False), "page by page": (False, True), "highlights": (True, False)}
    if given.model:
        del ways["page by page"]  # how it reads is its own matter
    quiet()
    for way, (highlights, page_by_page) in ways.items():
        for who, spoil in readers.items():
            tally = await measure(
                highlights=highlights, page_by_page=page_by_page, spoil=spoil, model=given.model, each=given.each,
                seed=given.seed, max_cost_usd=given.max_cost_usd,
            )  # fmt: skip
            print(line(way, who, tally, 6 * given.each))
            if given.show:
                print("\n".join(f"    {wrong}" for wrong in tally.wrong))
            bad |= not given.model and (tally.shown_not > 0 or (highlights and who == "careful" and bool(tally.wrong)))
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
