"""
Whether the engine carries long tasks: `python benchmarks/quality.py [--tokens 8000 64000 1000000] [--model NAME]`.

Without `--model` the root is an oracle that writes the right cells and the
sub-model a table of rules, so that what is measured is the engine: a score below
1 is a fault of ours. With `--model` the provider that your configuration names
answers (it costs money: `--max-cost-usd`, default 0.50 a run, holds).

The last column is what was sent in all, in KB: the context itself never is.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tasks import aggregate, needle, pairs
from tasks.base import Problem, rule_based

from rlmwatch import clock
from rlmwatch.budget import Budget, Caps
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import current_prompts
from rlmwatch.engine.task import EngineDeps, EngineResult, Task
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.base import Model, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.host.process import ProcessSandbox

TASKS = {"needle": needle.make, "aggregate": aggregate.make, "pairs": pairs.make}
SECONDS = 900
HEAD = "task          tokens  score outcome      steps  calls  seconds    sent KB"


@dataclass(frozen=True)
class Score:
    """One line of the table."""

    problem: Problem
    score: float
    result: EngineResult
    calls: int
    seconds: float
    sent_kb: float


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
        step = sum(message.role == "assistant" for message in request.messages)
        return f"```python\n{problem.oracle[step]}\n```"

    return ScriptedModel(reply)


async def solve(
    problem: Problem, model: Model, options: RunOptions, sandbox: Sandbox, ledger: SqliteLedger
) -> tuple[Score, list[StepRecord]]:
    """Run *problem* with everything that a real run has: journal, budget, sandbox."""
    digest = f"sha256:{problem.name}{len(problem.context)}{clock.monotonic()}"
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
    deps = EngineDeps(options, calls, sandbox, steps, current_prompts())
    result = await run_engine(Task(problem.question, problem.context), deps)
    seconds = perf_counter() - begun
    done = [entry for entry in await ledger.entries(run.run_id) if entry.state is CallState.DONE]
    sent = sum(len(json.dumps(entry.call.request, ensure_ascii=False).encode()) for entry in done)
    return Score(problem, problem.score(result.value), result, len(done), seconds, sent / 1000), steps.records


async def provider(name: str) -> tuple[Model, str]:
    """Return the provider that the configuration names, and the model to ask."""
    from rlmwatch.daemon.credentials import find_all
    from rlmwatch.daemon.factories import find_model
    from rlmwatch.settings.sources import load, user_config_dir

    where = user_config_dir()
    loaded = load(user_dir=where, workspace=None, environ=os.environ)
    model, choice = await find_model(loaded, find_all(os.environ, where), os.environ)
    return model, choice.model if name == "default" else name


async def measure(problems: Iterable[Problem], options: RunOptions, *, real: Model | None, show: bool) -> list[Score]:
    """Solve each problem, and print its line."""
    scores = []
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        ledger = SqliteLedger.open(Path(folder) / "ledger.db")
        stack.push_async_callback(ledger.aclose)
        sandbox = ProcessSandbox()
        stack.push_async_callback(sandbox.aclose)
        await sandbox.start()
        for problem in problems:
            score, steps = await solve(problem, real or oracle(problem), options, sandbox, ledger)
            scores.append(score)
            print(line(score))
            if show:
                for step in steps:
                    print(json.dumps(asdict(step), ensure_ascii=False, indent=2))
    return scores


def line(score: Score) -> str:
    """Return one line of the table."""
    size, outcome = len(score.problem.context), score.result.outcome
    return (
        f"{score.problem.name:<10} {size // 4:>9,} {score.score:>6.2f} {outcome:<12} {score.result.steps:>5} "
        f"{score.calls:>6} {score.seconds:>8.2f} {score.sent_kb:>10,.0f}"
    )


async def main() -> int:
    """Print the table; 1 where the oracle did not score 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8_000, 64_000, 1_000_000])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--model", help="a model of your provider, or `default`; without it, the oracle")
    parser.add_argument("--max-steps", type=int, default=8)
    parser.add_argument("--max-cost-usd", type=float, default=0.50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print every step")
    said = parser.parse_args()
    real, name = await provider(said.model) if said.model else (None, "oracle")
    options = RunOptions(model=name, tokens=2_000, max_steps=said.max_steps, max_cost_usd=said.max_cost_usd)
    print(HEAD)
    problems = (TASKS[task](tokens, said.seed) for tokens in said.tokens for task in said.tasks)
    try:
        scores = await measure(problems, options, real=real, show=said.show)
    finally:
        if real is not None:
            await real.aclose()
    return int(real is None and any(score.score < 1 for score in scores))


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
