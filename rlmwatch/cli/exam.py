"""`rlmwatch doctor --exam`: what a model can do with the engine, by a handful of questions that need code alone."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from random import Random

from rlmwatch import clock
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.errors import (
    BudgetExceeded,
    CeilingReached,
    ProviderError,
    ProviderUnreachable,
    RunTimeout,
    UnknownModel,
    UsageError,
    WrongKey,
)
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.execution.model_choice import ModelChoice, choose_model
from rlmwatch.money import dollars
from rlmwatch.workspace.context import Context

TOKENS, STEPS = 400, 6
"""Of one question: with these the engine was measured (docs/engine.md)."""
LONGEST_REQUEST = 8_000
"""Tokens of one request, at most, for the price: ten steps over a short context stay under 20 KB."""
SECONDS = 300.0
"""Of one question: a small model on two cores writes 10 tokens a second."""
LINES = 300
NUMBER = "Answer with the number alone."
PASSED = 0.8
"""Of the questions: what the engine wants of a model (docs/engine.md)."""


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """A question with a known answer, a number, that one cell of code can find."""

    name: str
    task: str
    context: str
    answer: str


@dataclass(frozen=True, slots=True)
class Marked:
    """
    How one question went.

    Attributes:
        answer: What the model answered; None where it did not.
        why: The run's outcome, or why there is no answer.
    """

    name: str
    right: bool
    expected: str
    answer: str | None
    why: str
    calls: int
    usd: float | None
    seconds: float


def exam(environ: Mapping[str, str], model: str | None, *, yes: bool, as_json: bool, parts: Parts | None = None) -> int:
    """
    Put the questions to *model* (None: the configured one), say what it can do, and return the exit status.

    The user's own ceilings hold, and what is spent counts in them. Nothing of a workspace is read or written.

    Raises:
        UsageError: It costs money, nobody can be asked here, and *yes* was not said.
        RlmwatchError: There is nothing to ask, or it refuses.
    """
    return asyncio.run(_exam(environ, model, yes=yes, as_json=as_json, parts=parts))


async def _exam(environ: Mapping[str, str], model: str | None, *, yes: bool, as_json: bool, parts: Parts | None) -> int:
    async with DirectRunner(environ, parts=parts or Parts(users_options=True)) as runner:
        options = RunOptions(model=model, mode="rlm", tokens=TOKENS, max_steps=STEPS, max_seconds=SECONDS)
        chosen = await choose_model(runner.config, Kind.JOB, options)
        name = f"{chosen.options.model} ({chosen.model.provider})"
        asked = questions(seed=1) if chosen.no_engine_reason is None else []
        calls, usd = len(asked) * (STEPS + 1), usd_at_most(chosen, len(asked))
        if asked:
            bound = dollars(usd, at_most=True)
            say(f"{name}: {len(asked)} questions that need code, at most {calls} calls and {bound}.")
            say(chosen.note or "Your ceilings hold, and what is spent counts in them.")
            if usd > 0 and not yes:
                _confirm()
        caps = {"max_cost_usd": max(usd / max(1, len(asked)), 1e-6), "max_tokens": TOKENS * (STEPS + 2)}
        options = options.model_copy(update=caps)
        marked = []
        async for each in _marked(runner, options, asked):
            marked.append(each)
            if not as_json:
                found = "right" if each.right else f"wrong ({each.why}): {each.answer or 'no answer'}"
                put(f"{each.name:>12}  {found}; {each.calls} calls, {each.seconds:.0f} s")
    right = sum(each.right for each in marked)
    words = verdict(right, len(marked)) if marked else f"it cannot do the engine's work; it {chosen.no_engine_reason}"
    if as_json:
        facts = {"model": chosen.options.model, "provider": chosen.model.provider, "right": right, "of": len(marked)}
        rows = [asdict(each) for each in marked]
        print_json(facts | {"verdict": words, "most_usd": usd, "questions": rows})
    else:
        put(f"{name}: {right} of {len(marked)} right: {words}" if marked else f"{name}: {words}")
    return 0 if marked and right >= PASSED * len(marked) else 1


def usd_at_most(chosen: ModelChoice, count: int) -> float:
    """Return what *count* questions cost at most: every step and the synthesis, each with the longest request."""
    price = chosen.model.price(chosen.options.model or "")
    if price is None:
        raise AssertionError(f"{chosen.options.model} was chosen without a price")
    return count * (STEPS + 1) * (LONGEST_REQUEST * price[0] + TOKENS * price[1])


def verdict(right: int, count: int) -> str:
    """Return in a sentence what a model can do that answered so many of *count* questions right."""
    if right >= PASSED * count:
        return "it can do the engine's work: jobs with material, research, exa"
    if right > count / 3:
        return "it does some of the engine's work; check its answers, or take a larger model for jobs with material"
    return "it cannot do the engine's work; use it for chats and plain jobs"


def questions(seed: int) -> list[ExamQuestion]:
    """Return the questions: the same for the same *seed*."""
    random = Random(seed)  # noqa: S311 (no secret)
    levels = random.choices(("INFO", "WARNING", "ERROR"), (6, 2, 1), k=LINES)
    log = [f"2026-03-{1 + i // 30:02} {level} request {random.randint(1000, 9999)}" for i, level in enumerate(levels)]
    amounts = [(random.choice(("north", "south", "east", "west")), random.randint(10, 900)) for _ in range(LINES)]
    table = ["order,region,amount", *(f"{i + 1},{region},{amount}" for i, (region, amount) in enumerate(amounts))]
    south = sum(amount for region, amount in amounts if region == "south")
    days = [f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}" for _ in range(LINES)]
    secret = str(random.randint(100_000, 999_999))
    diary = [f"Page {i + 1}: it rained, and nothing else happened." for i in range(LINES)]
    diary.insert(random.randrange(LINES), f"Page 0: the number of the safe is {secret}.")
    return [
        ExamQuestion("log count", f"How many lines of this log are ERROR lines? {NUMBER}", "\n".join(log),
                     str(levels.count("ERROR"))),
        ExamQuestion("table sum", f"What is the sum of `amount` over all orders of region south? {NUMBER}",
                     "\n".join(table), str(south)),
        ExamQuestion("maximum", f"What is the largest `amount` of any order? {NUMBER}", "\n".join(table),
                     str(max(amount for _, amount in amounts))),
        ExamQuestion("dates", f"One date a line. How many of them are in June 2026? {NUMBER}", "\n".join(days),
                     str(sum(day.startswith("2026-06") for day in days))),
        ExamQuestion("needle", f"What is the number of the safe? {NUMBER}", "\n".join(diary), secret),
    ]  # fmt: skip


def is_right(answer: str | None, expected: str) -> bool:
    """Whether *answer* gives the number *expected*, and no other."""
    return {*re.findall(r"\d+(?:\.\d+)?", (answer or "").replace(",", ""))} in ({expected}, {f"{expected}.0"})


async def _marked(runner: DirectRunner, options: RunOptions, asked: list[ExamQuestion]) -> AsyncIterator[Marked]:
    """
    Yield how each question went.

    Raises:
        RlmwatchError: The model, the sandbox or the ceilings refuse: no other question would go better.
    """
    for each in asked:
        began = clock.monotonic()
        storage = CallerStorage(runner.state, clock.utc, Context(each.context))
        answer, calls, usd = None, 0, None
        try:
            _, result = await runner.answer(save_of(Kind.JOB, each.task, options), storage)
            answer, why = result.answer, str(result.outcome)
            calls, usd = result.usage.llm_calls, result.usage.cost_usd
        except (CeilingReached, WrongKey, UnknownModel, ProviderUnreachable):
            raise
        except (BudgetExceeded, RunTimeout, ProviderError) as error:
            why = str(error)
        right = is_right(answer, each.answer)
        yield Marked(each.name, right, each.answer, answer, why, calls, usd, round(clock.monotonic() - began, 1))


def _confirm() -> None:
    """
    Ask whether to go on.

    Raises:
        UsageError: Nobody can be asked, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise UsageError("this costs money: add --yes to go on")
    say("Go on? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was asked")
