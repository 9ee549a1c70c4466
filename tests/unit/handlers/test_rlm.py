"""handlers/rlm.py: what a run of the engine tells besides its answer."""

import asyncio

import pytest
from structlog.testing import capture_logs

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.errors import SessionBudgetExceeded
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.handlers import rlm
from rlmwatch.handlers.research import how_to_raise
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice

ENDS = "```python\nanswer('done')\n```"


def answers(tmp_path, times, **options):
    """Answer a job with the engine so many times, by the embedded model; return the results and the log."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    async def story():
        model = ScriptedModel([ENDS] * times)
        model.provider = rlm.SMALL

        async def find_model(*_):
            return model, Choice(rlm.SMALL, "small", "the test says so")

        async with DirectRunner(environ, parts=Parts(find_model=find_model)) as runner:
            chosen = RunOptions(model="small", mode="rlm", **options)
            saves = [save_of(Kind.JOB, "find it", chosen) for _ in range(times)]
            return [(await runner.answer(save, CallerStorage(runner.state, clock.utc)))[1] for save in saves]

    with capture_logs() as logs:
        return asyncio.run(story()), [line for line in logs if line["event"] == "engine.small_model"]


def test_a_run_on_the_embedded_model_says_once_that_it_is_too_small(tmp_path):
    """The log says once, and the status of each run, that the embedded model does not research."""
    rlm._tell_once.cache_clear()
    results, logged = answers(tmp_path, 3)
    assert [result.notes for result in results] == [(rlm.TOO_SMALL,)] * 3
    assert len(logged) == 1


def test_stream_on_a_run_of_the_engine_says_that_nothing_was_shown(tmp_path):
    """An option that changes nothing for this run is not passed over in silence."""
    results, _ = answers(tmp_path, 1, stream=True)
    assert rlm.IN_ONE_PIECE in results[0].notes


@pytest.mark.parametrize(
    ("cap", "limit", "used", "number"),
    [("max_tokens", 1200, 1187, "2387"), ("max_cost_usd", 0.05, 0.0499, "0.0999"), ("max_tokens", 50, 700, "750")],
)
def test_the_line_to_write_leaves_room_for_as_much_again(cap, limit, used, number):
    """A session with nothing left names the line for front matter, for rlmwatch.toml and for Python."""
    said = how_to_raise(SessionBudgetExceeded("spent", cap=cap, limit=limit, used=used))
    assert f"    {cap}: {number}\n" in said
    assert f"    {cap} = {number}\n" in said
    assert f"session.raise_caps({cap}={number})" in said
