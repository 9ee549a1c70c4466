"""
How good the answers are: `python benchmarks/quality.py [--tasks code] [--tokens 8000] [--seeds 1 2] [--model NAME]`.

Without `--model` the root is an oracle that writes the right cells and the
sub-model a table of rules, so that what is measured is the engine: a score below
1 is a fault of ours. With `--model` the provider that your configuration names
answers (it may cost money: `--max-cost-usd`, default 0.50 a run, holds), in up
to three ways side by side, on the same questions:

    plain           one call with the context in the prompt, its middle cut where it does not fit
    engine          the engine
    engine@FOLDER   the engine with the prompts of FOLDER, or of another checkout of rlmwatch

With `--keep FOLDER` every model call can be read in FOLDER/<way>/<task>-<tokens>-<seed>.txt, the scores stand in
FOLDER/scores.jsonl, and what stands there is not asked again. In the table of single questions the last column is
what was sent in all, in KB; the table at the end has the mean over seeds and its spread (standard deviation).
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from time import perf_counter

import structlog
from recording import Recording
from tasks import aggregate, logs, needle, pairs, reports, tables
from tasks.base import Problem, rule_based

from rlmwatch import clock
from rlmwatch.budget import Budget, Caps
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import Prompts, current_prompts
from rlmwatch.engine.task import EngineDeps, EngineResult, Task
from rlmwatch.engine.transcript import cut_middle
from rlmwatch.engine.window import room_chars
from rlmwatch.errors import ContextTooLong, RlmwatchError
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, Outcome, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.host.process import ProcessSandbox

CODE = {
    "log-errors": logs.errors,
    "log-noisiest": logs.noisiest,
    "log-slowest": logs.slowest,
    "log-users": logs.users,
    "table-sum": tables.total,
    "table-max": tables.largest,
    "table-groups": tables.best,
    "dates-month": tables.in_month,
    "dates-span": tables.span,
    "needle": needle.make,
    "two-hop": needle.two_hop,
    "mentions": needle.mentions,
}
"""Tasks that need code alone, no sub-call."""
READING = {"reports": reports.make, "aggregate": aggregate.make, "pairs": pairs.make}
"""Tasks that need judgement of meaning."""
TASKS = CODE | READING
GROUPS = {"code": list(CODE), "reading": list(READING), "all": list(TASKS)}
SECONDS = 1_800
HEAD = "task          tokens  seed  score outcome      steps  calls  seconds    sent KB"


@dataclass(frozen=True)
class Score:
    """One line of the table."""

    problem: Problem
    score: float
    result: EngineResult
    calls: int
    seconds: float
    sent_kb: float
    seed: int = 1
    way: str = "engine"
    out_tokens: int = 0


class Steps:
    """The trajectory of one run, for printing."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    async def step(self, _run_id: str, record: StepRecord) -> None:
        """See `Trajectory.step`."""
        self.records.append(record)

    async def steps(self, _run_id: str) -> list[StepRecord]:
        """See `Trajectory.steps`."""
        return self.records


def oracle(problem: Problem) -> Model:
    """Return a model that writes the right cells as the root, and follows rules as the sub-model."""
    rules = current_prompts().root.partition("{tools}")[0]

    def reply(request: Request) -> str:
        if not request.messages[0].content.startswith(rules):
            return rule_based(request.messages[-1].content)
        asked = next(n for n, message in enumerate(request.messages) if problem.question in message.content)
        step = sum(message.role == "assistant" for message in request.messages[asked:])
        return f"```python\n{problem.oracle[step]}\n```"

    return ScriptedModel(reply)


async def solve(
    problem: Problem,
    model: Model,
    options: RunOptions,
    sandbox: Sandbox,
    ledger: SqliteLedger,
    *,
    prompts: Prompts | None = None,
) -> tuple[Score, list[StepRecord]]:
    """Run *problem* with everything that a real run has: journal, budget, sandbox."""
    digest = f"sha256:{problem.name}{problem.size}{clock.monotonic()}"
    save = Save(f"{digest}_job_input.txt", Kind.JOB, digest, problem.question, {}, digest)
    run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())).run
    assert run is not None
    run = await ledger.claim(run.run_id, now=clock.utc())
    assert run is not None
    frame = AttemptScope(
        run.run_id, run.attempt, Ceilings(None, None), clock.monotonic() + SECONDS, clock.monotonic, clock.utc
    )
    budget = Budget("run", Caps(options.max_tokens, options.max_cost_usd))
    steps = Steps()
    calls = Calls(frame, ledger, model, budget)
    begun = perf_counter()
    deps = EngineDeps(options, calls, sandbox, steps, prompts or current_prompts())
    try:
        result = await run_engine(Task(problem.question, problem.context), deps)
    except RlmwatchError as error:
        result = EngineResult(str(error), None, Outcome.ERROR, partial=True, steps=0)
    seconds = perf_counter() - begun
    done = [entry for entry in await ledger.entries(run.run_id) if entry.state is CallState.DONE]
    sent = sum(len(json.dumps(entry.call.request, ensure_ascii=False).encode()) for entry in done)
    tokens = sum(entry.usage.output_tokens for entry in done if entry.usage)
    score = problem.score(result.value)
    return Score(problem, score, result, len(done), seconds, sent / 1000, out_tokens=tokens), steps.records


async def ask_plainly(problem: Problem, model: Model, options: RunOptions) -> Score:
    """Ask one call with the context in the prompt, cut in the middle where the model's window is too small."""
    assert options.model is not None
    assert options.tokens is not None
    context = problem.context
    if isinstance(context, dict):
        context = "\n\n".join(f"{name}:\n{text}" for name, text in context.items())
    begun = perf_counter()
    phrases, room = current_prompts().notices, len(context)
    while True:
        shown = cut_middle(context, room, phrases=phrases)
        messages = (
            Message("system", current_prompts().sub),
            Message("user", f"{problem.question}\n\n<data>\n{shown}\n</data>\n\n{problem.question}"),
        )
        request = Request(options.model, messages, options.tokens, options.temperature)
        try:
            async with model.turn(request):
                reply = await model.complete(request)
            break
        except ContextTooLong as error:
            room = min(room - 1, room_chars(request, error) - 1_500)
    seconds = perf_counter() - begun
    sent = sum(len(message.content.encode()) for message in messages) / 1000
    result = EngineResult(reply.text, reply.text, Outcome.SUCCESS, partial=reply.cut, steps=1)
    return Score(problem, problem.score(reply.text), result, 1, seconds, sent, out_tokens=reply.usage.output_tokens)


async def provider(name: str) -> tuple[Model, str]:
    """Return the provider that the configuration names, and the model to ask."""
    from rlmwatch.daemon.credentials import find_all
    from rlmwatch.daemon.factories import find_model
    from rlmwatch.settings.sources import load, user_config_dir

    where = user_config_dir()
    loaded = load(user_dir=where, workspace=None, environ=os.environ)
    model, choice = await find_model(loaded, find_all(os.environ, where), os.environ)
    return model, choice.model if name == "default" else name


async def measure(
    problems: Iterable[Problem], options: RunOptions, *, real: Model | None, show: bool = False
) -> list[Score]:
    """Solve each problem with the engine, and print its line."""
    scores = []
    async with AsyncExitStack() as stack:
        ledger, sandbox = await _machinery(stack)
        for problem in problems:
            score, steps = await solve(problem, real or oracle(problem), options, sandbox, ledger)
            scores.append(score)
            print(line(score))
            if show:
                for step in steps:
                    print(json.dumps(asdict(step), ensure_ascii=False, indent=2))
    return scores


async def _machinery(stack: AsyncExitStack) -> tuple[SqliteLedger, Sandbox]:
    folder = stack.enter_context(TemporaryDirectory())
    ledger = SqliteLedger.open(Path(folder) / "ledger.db")
    stack.push_async_callback(ledger.aclose)
    sandbox = ProcessSandbox()
    stack.push_async_callback(sandbox.aclose)
    await sandbox.start()
    return ledger, sandbox


def line(score: Score) -> str:
    """Return one line of the table of single questions."""
    outcome = score.result.outcome
    return (
        f"{score.problem.name:<12} {score.problem.size // 4:>7,} {score.seed:>5} {score.score:>6.2f} {outcome:<12} "
        f"{score.result.steps:>5} {score.calls:>6} {score.seconds:>8.2f} {score.sent_kb:>10,.0f}"
    )


@dataclass(frozen=True)
class Question:
    """One question in one way."""

    task: str
    tokens: int
    seed: int
    way: str

    @property
    def name(self) -> str:
        """Of its file, below the folder of its way."""
        return f"{self.task}-{self.tokens}-{self.seed}.txt"


class Kept:
    """The scores and trajectories of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scores = folder / "scores.jsonl"

    def scores(self) -> list[dict[str, object]]:
        """Return what was measured, each question in each way once: the newest."""
        lines = self._scores.read_text(encoding="utf-8").splitlines() if self._scores.exists() else []
        rows = [json.loads(each) for each in lines]
        return list({(row["way"], row["task"], row["tokens"], row["seed"]): row for row in rows}.values())

    def has(self, question: Question) -> bool:
        """Whether *question* was measured."""
        return any(
            (row["way"], row["task"], row["tokens"], row["seed"])
            == (question.way, question.task, question.tokens, question.seed)
            for row in self.scores()
        )

    def add(self, question: Question, score: Score, calls: str) -> None:
        """Keep *score* and the *calls* of *question*."""
        where = self._folder / question.way.replace("/", "_") / question.name
        where.parent.mkdir(parents=True, exist_ok=True)
        head = f"{line(score)}\n{score.problem.question}\nanswer: {score.result.answer}\n"
        where.write_text(head + calls, encoding="utf-8")
        row = asdict(question) | {
            "score": score.score,
            "outcome": score.result.outcome,
            "steps": score.result.steps,
            "calls": score.calls,
            "out_tokens": score.out_tokens,
            "seconds": round(score.seconds, 1),
            "sent_kb": round(score.sent_kb, 1),
        }
        with self._scores.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


async def compare(questions: list[Question], options: RunOptions, model: Model, kept: Kept, at_once: int) -> None:
    """Ask each question that was not measured yet, *at_once* side by side, and print its line."""
    waiting = iter([question for question in questions if not kept.has(question)])
    async with AsyncExitStack() as stack:
        ledger, sandbox = await _machinery(stack)

        async def work() -> None:
            for question in waiting:
                problem = TASKS[question.task](question.tokens, question.seed)
                recording = Recording(model)
                if question.way == "plain":
                    score = await ask_plainly(problem, recording, options)
                else:
                    folder = question.way.partition("@")[2]
                    prompts = _prompts(Path(folder)) if folder else current_prompts()
                    score, _ = await solve(problem, recording, options, sandbox, ledger, prompts=prompts)
                score = replace(score, seed=question.seed, way=question.way)
                kept.add(question, score, recording.text())
                print(f"{question.way:<14} {line(score)}", flush=True)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())


def _prompts(folder: Path) -> Prompts:
    """Return the prompts of the files in *folder*; what is not there is as it is in this checkout."""
    from rlmwatch.engine.prompts import read_prompts

    return read_prompts(folder)


async def _in_checkout(checkout: Path, way: str, arguments: argparse.Namespace) -> None:
    """Ask the same questions with the rlmwatch of another *checkout*, in a process of its own."""
    numbers = [str(n) for n in (*arguments.tokens, "--seeds", *arguments.seeds)]
    command = [__file__, "--tasks", *arguments.tasks, "--tokens", *numbers, "--model", arguments.model]
    command += ["--ways", "engine", "--called", way, "--keep", str(arguments.keep), "--max-steps"]
    command += [
        str(arguments.max_steps),
        "--call-tokens",
        str(arguments.call_tokens),
        "--at-once",
        str(arguments.at_once),
        "--no-table",
    ]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=_importing(checkout))
    if await process.wait():
        raise SystemExit(f"the measurement with {checkout} failed")


def _importing(checkout: Path) -> dict[str, str]:
    """Return an environment in which `rlmwatch` is that of *checkout*."""
    return {**os.environ, "PYTHONPATH": str(checkout.resolve())}


def table(rows: list[dict[str, object]]) -> str:
    """Return the table of means: one line for each task, length and way, and one for all code-only tasks."""
    lines = ["| tokens | task | way | n | score | spread | calls | tokens out | seconds |", "|" + " --- |" * 9]
    groups: dict[tuple[int, str, str], list[dict[str, object]]] = {}
    for row in rows:
        names = [row["task"]] + (["all code-only"] if row["task"] in CODE else [])
        for name in names:
            groups.setdefault((row["tokens"], name, row["way"]), []).append(row)  # type: ignore[arg-type]
    order = [*TASKS, "all code-only"]
    for (tokens, name, way), found in sorted(
        groups.items(), key=lambda at: (at[0][0], order.index(at[0][1]), at[0][2])
    ):
        by_seed = _by_seed(found)
        spread = f"{stdev(by_seed):.2f}" if len(by_seed) > 1 else "-"
        calls, out, seconds = (mean(float(row[key]) for row in found) for key in ("calls", "out_tokens", "seconds"))  # type: ignore[arg-type]
        score = mean(float(row["score"]) for row in found)  # type: ignore[arg-type]
        lines.append(
            f"| {tokens:,} | {name} | {way} | {len(found)} | {score:.2f} | {spread} | {calls:.1f} | {out:,.0f} "
            f"| {seconds:.0f} |"
        )
    return "\n".join(lines)


def _by_seed(rows: list[dict[str, object]]) -> list[float]:
    """Return the mean score of each seed."""
    seeds: dict[object, list[float]] = {}
    for row in rows:
        seeds.setdefault(row["seed"], []).append(float(row["score"]))  # type: ignore[arg-type]
    return [mean(scores) for scores in seeds.values()]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8_000, 64_000, 1_000_000], help="of the contexts")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS, *GROUPS], default=["all"])
    parser.add_argument("--model", help="a model of your provider, or `default`; without it, the oracle")
    parser.add_argument("--ways", nargs="+", default=["plain", "engine"], help="see above; only with --model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--call-tokens", type=int, default=800, help="output tokens of one call, at most")
    parser.add_argument("--max-steps", type=int, default=8)
    parser.add_argument("--max-cost-usd", type=float, default=0.50)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--at-once", type=int, default=1, help="questions side by side: seconds then mean little")
    parser.add_argument("--keep", type=Path, help="folder for scores and trajectories")
    parser.add_argument("--called", help="the name under which the way `engine` is kept")
    parser.add_argument("--no-table", action="store_true")
    parser.add_argument("--show", action="store_true", help="print every step (of the oracle)")
    arguments = parser.parse_args(argv)
    names = [name for given in arguments.tasks for name in GROUPS.get(given, [given])]
    arguments.tasks = list(dict.fromkeys(names))
    return arguments


async def main() -> int:
    """Print the tables; 1 where the oracle did not score 1."""
    said = parse()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if not said.model:
        options = RunOptions(model="oracle", tokens=2_000, max_steps=said.max_steps, max_cost_usd=said.max_cost_usd)
        print(HEAD)
        problems = (TASKS[task](tokens, s) for tokens in said.tokens for s in said.seeds for task in said.tasks)
        scores = await measure(problems, options, real=None, show=said.show)
        return int(any(score.score < 1 for score in scores))
    with TemporaryDirectory() as folder:
        said.keep = said.keep or Path(folder)
        kept = Kept(said.keep)
        real, name = await provider(said.model)
        options = RunOptions(
            model=name,
            tokens=said.call_tokens,
            max_steps=said.max_steps,
            max_cost_usd=said.max_cost_usd,
            temperature=said.temperature,
        )
        try:
            for way in said.ways:
                checkout = Path(way.partition("@")[2] or ".")
                if "@" in way and (checkout / "rlmwatch").is_dir():
                    await _in_checkout(checkout, way, said)
                    continue
                questions = [
                    Question(task, tokens, seed, (way == "engine" and said.called) or way)
                    for tokens in said.tokens
                    for seed in said.seeds
                    for task in said.tasks
                ]
                await compare(questions, options, real, kept, said.at_once)
        finally:
            await real.aclose()
        if not said.no_table:
            print("\n" + table(kept.scores()))
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
