"""The model that follows a script."""

from __future__ import annotations

import asyncio

import pytest

from rlmwatch.errors import ProviderCutOff, ProviderUnavailable
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.runs.model import Usage

REQUEST = Request("m", (Message("user", "12345678"),), 10)


def test_replies_come_in_order_and_requests_are_kept():
    """A script is followed line by line, and what was asked can be read afterwards."""

    async def test() -> None:
        model = ScriptedModel(["one", Reply("two", "stop", Usage(llm_calls=1), "other")])
        assert (await model.complete(REQUEST)).text == "one"
        assert (await model.complete(REQUEST)).model == "other"
        assert model.requests == [REQUEST, REQUEST]
        with pytest.raises(AssertionError, match="no reply left"):
            await model.complete(REQUEST)

    asyncio.run(test())


def test_usage_is_four_characters_a_token_and_costs_what_the_script_says():
    """The same script always uses and costs the same."""

    async def test() -> None:
        model = ScriptedModel(["abcd"], usd_per_token=(1.0, 10.0))
        assert (await model.complete(REQUEST)).usage == Usage(2, 1, 12.0, 1)
        assert model.price("m") == (1.0, 10.0)
        unknown = ScriptedModel(["abcd"], usd_per_token=None)
        assert (await unknown.complete(REQUEST)).usage.cost_usd is None
        assert unknown.price("m") is None

    asyncio.run(test())


def test_errors_are_part_of_the_script():
    """A script can fail as a provider does; what a cut-off answer had said is heard."""

    async def test() -> None:
        model = ScriptedModel([ProviderUnavailable("down"), ProviderCutOff("cut", text_so_far="Half an")])
        heard: list[str] = []
        with pytest.raises(ProviderUnavailable, match="down"):
            await model.complete(REQUEST)
        with pytest.raises(ProviderCutOff):
            await model.complete(REQUEST, on_text=heard.append)
        assert "".join(heard) == "Half an"

    asyncio.run(test())


def test_a_delay_is_something_that_is_awaited():
    """A script may wait for whatever the test decides, and a cancel in that time is counted."""

    async def test() -> None:
        gate = asyncio.Event()

        async def later(_request: Request) -> str:
            await gate.wait()
            return "late"

        model = ScriptedModel(later)
        first, second = (asyncio.create_task(model.complete(REQUEST)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        assert (await first).text == "late"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert model.cancelled == 1

    asyncio.run(test())
