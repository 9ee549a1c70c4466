"""One suite over every model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from behaviour.embedded_weights import on_one_core, path_or_skip
from servers.openai_server import Answer, Fault, OpenAIServer
from servers.openai_server import Reply as ServerReply

from rlmwatch.errors import UnknownModel
from rlmwatch.models.base import Message, Model, Reply, Request
from rlmwatch.models.llamacpp.model import EmbeddedModel
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel
from rlmwatch.models.scripted import ScriptedModel

NAME = "smollm2-135m-instruct"
LONG = "Tell me a very long story about a lighthouse."


@dataclass
class Subject:
    """
    A model under test, and how to know that it has begun a long answer.

    Attributes:
        make: Makes the model.
        loaded: In place of it, a model that is loaded once for all tests, and its loop.
    """

    make: Callable[[Subject], Model] | None = None
    loaded: tuple[asyncio.Runner, Model] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def run(self, test: Callable[[Model], Awaitable[None]]) -> None:
        if self.loaded is not None:
            loop, model = self.loaded
            loop.run(test(model))
            return

        async def whole() -> None:
            model = self.make(self)
            try:
                await test(model)
            finally:
                await model.aclose()

        asyncio.run(whole())


def _server_answers(body: dict[str, Any]) -> Answer:
    if body["model"] != NAME:
        return Fault.status(404, {"error": {"message": "no such model", "code": "model_not_found"}})
    if body["messages"][-1]["content"] == LONG:
        return ServerReply("word " * 2000, gap_s=0.001)
    return "Hello there, friend."


def _scripted(subject: Subject) -> ScriptedModel:
    async def answer(request: Request) -> str:
        if request.messages[-1].content == LONG and request.max_tokens > 100:
            subject.begun.set()
            await asyncio.Event().wait()
        return "word " * 2000 if request.messages[-1].content == LONG else "Hello there, friend."

    return ScriptedModel(answer, models=(NAME,))


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[asyncio.Runner, Model]]:
    """The embedded model, which takes seconds to load."""
    path = path_or_skip()
    with on_one_core(), asyncio.Runner() as loop:
        model = EmbeddedModel(path)
        yield loop, model
        loop.run(model.aclose())


@pytest.fixture(params=["openai", "scripted", "embedded"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "openai":
        with OpenAIServer(_server_answers) as server:
            yield Subject(lambda _: OpenAIModel(Endpoint("local", server.url)))
    elif request.param == "scripted":
        yield Subject(_scripted)
    else:
        yield Subject(loaded=request.getfixturevalue("loaded"))


def ask(text: str, max_tokens: int = 20, model: str = NAME) -> Request:
    return Request(model, (Message("user", text),), max_tokens, temperature=0.0, seed=1)


def test_a_reply_has_text_and_usage(subject):
    """Every reply says what it is, which model made it, and what it used: one call, its tokens and its cost."""

    async def test(model: Model) -> None:
        reply = await model.complete(ask("Say hello."))
        assert reply.text.strip()
        assert reply.model == NAME
        assert reply.finish_reason in ("stop", "length")
        assert reply.usage.llm_calls == 1
        assert reply.usage.input_tokens > 0
        assert 0 < reply.usage.output_tokens <= 20
        assert reply.usage.cost_usd == 0.0
        assert reply.usage.searches == 0
        assert not reply.estimated

    subject.run(test)


def test_the_text_is_handed_out_as_it_comes(subject):
    """The pieces that a caller is given are the reply, in order and in more than one piece."""

    async def test(model: Model) -> None:
        pieces: list[str] = []
        reply = await model.complete(ask("Say hello."), on_text=pieces.append)
        assert "".join(pieces) == reply.text
        assert len(pieces) > 1

    subject.run(test)


def test_an_answer_is_cut_at_its_limit(subject):
    """No reply has more output tokens than the request allows, and it says that it was cut."""

    async def test(model: Model) -> None:
        reply = await model.complete(ask(LONG, max_tokens=8))
        assert reply.finish_reason == "length"
        assert reply.usage.output_tokens <= 8

    subject.run(test)


def test_a_cancelled_call_ends_at_once_and_the_next_is_answered(subject):
    """A cancel stops the call that it is for, and leaves the model fit for the next."""

    async def test(model: Model) -> None:
        call = asyncio.create_task(
            model.complete(ask(LONG, max_tokens=3000), on_text=lambda _piece: subject.begun.set())
        )
        await asyncio.wait_for(subject.begun.wait(), 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, 10)
        assert (await model.complete(ask("Say hello."))).text

    subject.run(test)


def test_an_error_of_the_listener_is_its_own(subject):
    """What goes wrong where the text is shown is not taken for a failure of the provider."""

    async def test(model: Model) -> None:
        def broken(_piece: str) -> None:
            raise ValueError("the terminal is gone")

        with pytest.raises(ValueError, match="the terminal is gone"):
            await model.complete(ask("Say hello."), on_text=broken)
        assert (await model.complete(ask("Say hello."))).text

    subject.run(test)


def test_an_unknown_model_is_refused_by_name(subject):
    """A model that is not there is not replaced by another: the error names it."""

    async def test(model: Model) -> None:
        with pytest.raises(UnknownModel, match="gpt-nowhere"):
            await model.complete(ask("Say hello.", model="gpt-nowhere"))

    subject.run(test)


def test_calls_side_by_side_each_get_their_reply(subject):
    """Sub-calls of one run may be made at the same time."""

    async def test(model: Model) -> None:
        replies: list[Reply] = await asyncio.gather(*(model.complete(ask("Say hello.", 5)) for _ in range(4)))
        assert all(reply.text for reply in replies)

    subject.run(test)


def test_a_price_is_known_before_the_call(subject):
    """A model on this machine costs nothing, and says so beforehand."""

    async def test(model: Model) -> None:
        assert model.price(NAME) == (0.0, 0.0)

    subject.run(test)


def test_a_model_can_be_closed_twice_and_unused(subject):
    """Closing gives back what was taken, also when nothing was."""

    async def test(model: Model) -> None:
        await model.aclose()
        await model.aclose()

    subject.run(test)
