"""handlers/rlm.py: what a run of the engine tells besides its answer."""

import asyncio

import pytest

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.errors import NoCodingModel, SessionBudgetExceeded
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.execution.outcomes import Hold, ended_by
from rlmwatch.handlers import rlm
from rlmwatch.handlers.research import how_to_raise
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice
from rlmwatch.runs.model import Outcome

ENDS = "```python\nanswer('done')\n```"
PROSE = "There are about forty lines."


def answered(tmp_path, script, *, writes_code=True, **options):
    """Answer a job with the engine, by a model that says what *script* does; return the result and the model."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    model = ScriptedModel(script)

    async def story():
        async def find_model(*_):
            return model, Choice("embedded", "small", "the test says so", writes_code=writes_code)

        async with DirectRunner(environ, parts=Parts(find_model=find_model)) as runner:
            save = save_of(Kind.JOB, "find it", RunOptions(model="small", **options))
            return (await runner.answer(save, CallerStorage(runner.state, clock.utc)))[1]

    return asyncio.run(story()), model


def test_a_model_that_cannot_write_code_is_never_asked(tmp_path):
    """Where it is known of the model, a run of the engine ends before anything is asked; a plain job is answered."""
    with pytest.raises(NoCodingModel, match="needs a model that can write code"):
        answered(tmp_path, [], writes_code=False, mode="rlm")
    result, model = answered(tmp_path, ["hello"], writes_code=False)
    assert (result.answer, len(model.requests)) == ("hello", 1)


def test_what_would_fail_here_is_held_where_there_is_a_later():
    """A daemon, `--once` and a cluster's worker hold such a run, with its words, until a reload."""
    end = ended_by(NoCodingModel("needs a model"), None)
    assert isinstance(end, Hold)
    assert end.reason.startswith("needs a model")
    assert not end.may_pass


def test_an_answer_in_prose_says_that_it_was_not_computed(tmp_path):
    """Of an answer that no code made, the notes say so; one by code has no such note."""
    result, _ = answered(tmp_path, lambda _request: PROSE, mode="rlm")
    assert (result.answer, result.outcome, result.partial) == (PROSE, Outcome.NO_CODE, True)
    assert rlm.NOT_COMPUTED in result.notes
    result, _ = answered(tmp_path, [ENDS], mode="rlm")
    assert result.notes == ()


def test_stream_on_a_run_of_the_engine_says_that_nothing_was_shown(tmp_path):
    """An option that changes nothing for this run is not passed over in silence."""
    result, _ = answered(tmp_path, [ENDS], mode="rlm", stream=True)
    assert rlm.IN_ONE_PIECE in result.notes


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
