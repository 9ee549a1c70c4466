"""The engine carries long tasks: small versions of `benchmarks/quality.py`."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import pytest

from rlmwatch.contract.options import RunOptions
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.model import Outcome

OPTIONS = RunOptions(model="oracle", tokens=2_000, max_steps=8, max_cost_usd=0.5)


@pytest.fixture
def quality(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("quality")


def solved(quality, problem, real=None):
    (score,) = asyncio.run(quality.measure([problem], OPTIONS, real=real, show=False))
    return score


@pytest.mark.parametrize("task", ["needle", "aggregate", "pairs"])
@pytest.mark.parametrize("tokens", [8_000, 50_000])
def test_a_root_that_knows_the_way_gets_there(quality, task, tokens):
    """With the right cells and a sub-model without fault, every task is solved, and the context is never sent whole."""
    score = solved(quality, quality.TASKS[task](tokens, 3))
    assert (score.score, score.result.outcome) == (1.0, Outcome.SUCCESS)
    assert len(score.problem.context) + 1 >= tokens * 4
    assert score.calls > (1 if task == "needle" else tokens // 1_000)


def test_the_needle_is_found_by_reading_little(quality):
    """The needle costs the same few kilobytes whatever the haystack's size."""
    small, large = (solved(quality, quality.TASKS["needle"](tokens, 5)).sent_kb for tokens in (8_000, 200_000))
    assert large < 1.1 * small < 10


@pytest.mark.parametrize("task", ["needle", "aggregate", "pairs"])
def test_a_wrong_answer_scores_low(quality, task):
    """A root that guesses does not score: the harness tells right from wrong."""
    problem = quality.TASKS[task](8_000, 3)
    guess = ScriptedModel(lambda _request: "```python\nanswer('[[1, 2]] or 12')\n```")
    assert solved(quality, problem, real=guess).score < 0.2


def test_a_sub_model_that_misjudges_lowers_the_score(quality):
    """Aggregation depends on the sub-calls: with wrong labels the count is wrong."""
    problem = quality.TASKS["aggregate"](8_000, 3)
    oracle = quality.oracle(problem)

    async def misjudge(request):
        reply = await oracle.complete(request)
        return reply.text.replace("praise", "billing").replace("delivery", "billing")

    assert solved(quality, problem, real=ScriptedModel(misjudge)).score < 0.2
