"""How many tokens a call gets where nobody set any."""

import asyncio

import pytest

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice


def first_request(tmp_path, kind, **options):
    """Answer one question by a model that ends at once; return its first request."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    model = ScriptedModel(lambda _request: "```python\nanswer('done')\n```")

    async def find_model(*_):
        return model, Choice("scripted", "m", "the test says so")

    async def story():
        async with DirectRunner(environ, parts=Parts(find_model=find_model)) as runner:
            save = save_of(kind, "find it", RunOptions(model="m", **options))
            await runner.answer(save, CallerStorage(runner.state, clock.utc))

    asyncio.run(story())
    return model.requests[0]


@pytest.mark.parametrize(
    ("kind", "options", "tokens"),
    [
        (Kind.JOB, {"mode": "rlm"}, 800),
        (Kind.JOB, {"max_steps": 3}, 800),
        (Kind.JOB, {"mode": "rlm", "tokens": 250}, 250),
        (Kind.JOB, {"mode": "rlm", "max_tokens": 2000}, 500),
        (Kind.JOB, {}, 200),
        (Kind.JOB, {"tokens": 90}, 90),
    ],
)
def test_a_call_gets_the_tokens_that_fit_the_work(tmp_path, kind, options, tokens):
    """The engine's calls for a job get 800, a plain job 200; what is set holds."""
    assert first_request(tmp_path, kind, **options).max_tokens == tokens
