"""What becomes of every way in which a provider can fail."""

from __future__ import annotations

import asyncio
import socket
import traceback
from typing import Any

import pytest
from behaviour.openai_calls import KEY, REQUEST, ask, complete, failure
from servers.openai_server import Fault, OpenAIServer, Reply

from rlmwatch.errors import (
    ProviderCutOff,
    ProviderRefused,
    ProviderUnavailable,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.base import Request
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel, Timeouts
from rlmwatch.models.prices import Prices


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderRefused),
        (401, WrongKey),
        (403, WrongKey),
        (422, ProviderRefused),
        (408, ProviderUnavailable),
        (409, ProviderUnavailable),
        (429, ProviderUnavailable),
        (500, ProviderUnavailable),
        (503, ProviderUnavailable),
    ],
)
def test_a_status_becomes_its_error_and_nothing_is_retried(status, kind):
    """The caller learns what happened after one request: retrying is its own decision."""
    with OpenAIServer([Fault.status(status)]) as server:
        error = failure(server)
        assert type(error) is kind
        assert f"scripted {status}" in str(error)
        assert error.status == status
        assert server.count == 1


def test_an_unknown_model_is_told_apart():
    """A 404 about the model is an unknown model, with the provider's words."""
    with OpenAIServer([Fault.status(404, {"error": {"message": "The model `x` does not exist"}})]) as server:
        error = failure(server)
        assert type(error) is UnknownModel
        assert "The model `x` does not exist" in str(error)


def test_a_rate_limit_says_when_to_come_back():
    """Retry-After reaches the caller."""
    with OpenAIServer([Fault.status(429, headers={"Retry-After": "12"})]) as server:
        error = failure(server)
        assert isinstance(error, ProviderUnavailable)
        assert error.retry_after_s == 12


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(401, {"error": {"message": f"bad key {KEY}"}}),
        Fault.status(500, f"<html>{KEY}</html>"),
        Fault.error_in_stream({"message": f"bad key {KEY}", "code": 502}),
        Fault.garbage(f"hello {KEY}"),
    ],
)
def test_the_key_is_in_no_error_and_in_no_traceback(fault):
    """A provider that repeats the key does not get it into a file, a log or a traceback."""
    with OpenAIServer([fault]) as server:
        error = failure(server)
        assert KEY not in "".join(traceback.format_exception(error))
        assert error.__cause__ is None
        assert error.__context__ is None
        assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"


def test_nobody_listening_is_not_billed():
    """A provider that cannot be reached did no work."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint("test", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(ProviderUnavailable, match="no connection to") as caught:
            ask(endpoint)
    assert not caught.value.may_be_billed


def test_a_connection_that_breaks_before_the_answer_may_be_billed():
    """Once the request was sent nobody knows whether the provider worked."""
    with OpenAIServer([Fault.hang_up()]) as server:
        error = failure(server)
        assert type(error) is ProviderUnavailable
        assert error.may_be_billed


@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall(after="")])
def test_a_silent_provider_is_given_up(fault):
    """A provider that says nothing for the idle timeout is unavailable, and the connection is closed."""
    with OpenAIServer([fault]) as server:
        error = failure(server, timeouts=Timeouts(idle_s=0.2))
        assert type(error) is ProviderUnavailable
        assert "said nothing for 0.2 s" in str(error)
        assert error.may_be_billed
        server.wait_for_hang_ups()


def test_silence_after_text_keeps_the_text():
    """A provider that falls silent in the middle has cut its answer off; what came is kept."""
    with OpenAIServer([Fault.stall(after="Half an")]) as server:
        error = failure(server, timeouts=Timeouts(idle_s=0.2))
        assert isinstance(error, ProviderCutOff)
        assert error.text_so_far == "Half an"
        server.wait_for_hang_ups()


def test_a_slow_answer_is_no_silence():
    """The idle timeout counts from chunk to chunk, not from the beginning."""
    with OpenAIServer([Reply("one two three four five six", gap_s=0.15)]) as server:
        assert complete(server, timeouts=Timeouts(idle_s=0.6)).text == "one two three four five six"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault.cut_off("Half an"), "Half an"),
        (Fault.cut_off("Half an", clean=True), "Half an"),
        (Fault.empty_stream(), ""),
        (Fault.garbage_in_stream("Half an"), "Half an"),
        (Fault.error_in_stream({"message": "upstream died", "code": 502}, "Half an"), "Half an"),
    ],
)
def test_an_answer_that_ends_before_its_end_is_cut_off(fault, text):
    """However the answer breaks, what came is kept, and may be billed."""
    with OpenAIServer([fault]) as server:
        error = failure(server)
        assert isinstance(error, ProviderCutOff)
        assert error.text_so_far == text
        assert error.may_be_billed
        assert str(error).startswith("test: ")
        assert str(error).count("test: ") == 1


def test_a_break_before_any_text_is_unavailable():
    """A stream that breaks before its first word is a provider that is down."""
    with OpenAIServer([Fault.cut_off()]) as server:
        assert type(failure(server)) is ProviderUnavailable


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "slow down", "code": 429}, ProviderUnavailable, 429),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ProviderUnavailable, 429),
        ({"message": "slow down", "type": "server_error", "code": None}, ProviderUnavailable, 500),
        ({"message": "slow down", "code": 400}, ProviderRefused, 400),
        ({"message": "slow down", "code": 401}, WrongKey, 401),
        ({"message": "slow down", "code": "mystery"}, ProviderUnavailable, None),
        ("slow down", ProviderUnavailable, None),
    ],
)
def test_an_error_inside_a_good_answer_is_an_error(error, kind, status):
    """Status 200 does not make an error an answer: its own code says what it is."""
    with OpenAIServer([Fault.error_in_stream(error)]) as server:
        caught = failure(server)
        assert type(caught) is kind
        assert caught.status == status
        assert "slow down" in str(caught) or error == "slow down"


def test_an_error_in_a_document_with_status_200_is_an_error():
    """The same holds for a server that answers the error as one document."""
    with OpenAIServer([Fault.status(200, {"error": {"message": "slow down", "code": 429}})]) as server:
        caught = failure(server)
        assert (type(caught), caught.status) == (ProviderUnavailable, 429)


@pytest.mark.parametrize(
    "fault",
    [Fault.garbage(), Fault.garbage("Welcome to the hotel", "text/plain"), Fault.garbage('{"hotel": "Welcome"}')],
)
def test_something_that_is_not_the_protocol_is_unavailable_with_its_words(fault):
    """A login page of a hotel is no answer, and its words help the person."""
    with OpenAIServer([fault]) as server:
        error = failure(server)
        assert type(error) is ProviderUnavailable
        assert "Welcome" in str(error)
        assert "<" not in str(error)


def test_a_chunk_that_is_no_json_is_unavailable():
    """A stream of garbage is a provider that is down."""
    with OpenAIServer([Fault.garbage_in_stream()]) as server:
        error = failure(server)
        assert type(error) is ProviderUnavailable
        assert "no JSON" in str(error)


def test_a_cancel_closes_the_connection_before_the_headers():
    """Cancelling a call that has not answered yet hangs up, which stops the bill."""

    async def cancelled(server: OpenAIServer) -> None:
        model = OpenAIModel(Endpoint("test", server.url))
        call = asyncio.create_task(model.complete(REQUEST))
        await asyncio.to_thread(server.wait_for_calls, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_hang_ups)  # before the model is closed
        await model.aclose()

    with OpenAIServer([Fault.stall()]) as server:
        asyncio.run(cancelled(server))


def test_a_cancel_closes_the_connection_in_the_middle_of_the_answer():
    """Cancelling a call that is talking hangs up, which stops the generation."""

    async def cancelled(server: OpenAIServer) -> None:
        model = OpenAIModel(Endpoint("test", server.url))
        heard = asyncio.Event()
        call = asyncio.create_task(model.complete(REQUEST, on_text=lambda _piece: heard.set()))
        await asyncio.wait_for(heard.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_hang_ups)
        await model.aclose()

    with OpenAIServer([Fault.stall(after="Half an")]) as server:
        asyncio.run(cancelled(server))


def test_a_listener_that_fails_closes_the_connection():
    """A call whose listener fails does not go on being billed."""

    async def broken(server: OpenAIServer) -> None:
        model = OpenAIModel(Endpoint("test", server.url))

        def listener(_piece: str) -> None:
            raise RuntimeError("gone")

        with pytest.raises(RuntimeError, match="gone"):
            await model.complete(REQUEST, on_text=listener)
        await asyncio.to_thread(server.wait_for_hang_ups)
        await model.aclose()

    with OpenAIServer([Fault.stall(after="Half an")]) as server:
        asyncio.run(broken(server))


def test_usage_that_is_missing_is_estimated_and_says_so():
    """Where the provider counts nothing, four characters are a token, and the reply says that it is an estimate."""
    with OpenAIServer([Reply("12345678", usage=False)]) as server:
        reply = complete(server)
        assert reply.estimated
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (2, 2)


def test_an_answer_whose_end_never_comes_is_not_lost():
    """A provider that has said everything but does not hang up does not hold the answer back."""
    with OpenAIServer([Reply("done", keep_open=True)]) as server:
        reply = complete(server, timeouts=Timeouts(last_chunk_s=0.2))
        assert reply.text == "done"
        assert not reply.estimated


def test_a_reported_cost_wins_over_every_table():
    """What the provider reports is what it cost; `[prices]` and loopback count only without a report."""
    with OpenAIServer([Reply("hi", cost=0.25), Reply("hi")]) as server:
        prices = Prices("openrouter", server.url, {"test-model": (1e6, 1e6)})
        assert complete(server, provider="openrouter", prices=prices).usage.cost_usd == 0.25
        reply = complete(server, provider="openrouter", prices=prices)
        assert reply.usage.cost_usd == reply.usage.input_tokens + reply.usage.output_tokens


def test_openrouter_is_asked_for_the_cost():
    """OpenRouter reports costs only to those who ask."""
    with OpenAIServer() as server:
        complete(server, provider="openrouter")
        complete(server, provider="test")
        assert server.calls[0].body["usage"] == {"include": True}
        assert "usage" not in server.calls[1].body


def test_reasoning_is_no_text_but_is_paid_for():
    """What a model thinks is not shown, and is counted as output."""
    with OpenAIServer([Reply("yes", reasoning="hmm " * 10)]) as server:
        pieces: list[str] = []
        reply = complete(server, on_text=pieces.append)
        assert reply.text == "".join(pieces) == "yes"
        assert reply.usage.output_tokens > 10


def test_a_server_that_cannot_stream_is_heard():
    """A whole reply in place of a stream is an answer too."""
    with OpenAIServer([Reply("all at once", stream=False)]) as server:
        pieces: list[str] = []
        reply = complete(server, on_text=pieces.append)
        assert reply.text == "all at once"
        assert pieces == ["all at once"]
        assert reply.finish_reason == "stop"


def test_a_refused_parameter_is_learned_once_per_model():
    """A model that refuses a parameter is asked again without it, and from then on never with it."""

    def picky(body: dict[str, Any]) -> Fault | str:
        for name in ("temperature", "max_tokens"):
            if name in body and body["model"] == "picky":
                text = f"Unsupported parameter: '{name}' is not supported with this model."
                return Fault.status(400, {"error": {"message": text, "param": name, "code": "unsupported_parameter"}})
        return "fine"

    async def both(server: OpenAIServer) -> None:
        model = OpenAIModel(Endpoint("test", server.url))
        try:
            for name in ("picky", "picky", "easy"):
                reply = await model.complete(Request(name, REQUEST.messages, 9, temperature=0.1, seed=4))
                assert reply.text == "fine"
                assert reply.usage.llm_calls == 1
        finally:
            await model.aclose()

    with OpenAIServer(picky) as server:
        asyncio.run(both(server))
        bodies = [call.body for call in server.calls]
        assert len(bodies) == 5
        assert "temperature" not in bodies[3]
        assert bodies[3]["max_completion_tokens"] == 9
        assert bodies[3]["seed"] == 4
        assert bodies[4]["temperature"] == 0.1
        assert bodies[4]["max_tokens"] == 9


def test_a_refusal_that_changes_nothing_is_passed_on():
    """A limit that is too large under both names is refused, in the provider's words, and nothing is learned."""
    with OpenAIServer(lambda _body: Fault.status(400, {"error": {"message": "max_tokens is too large"}})) as server:
        error = failure(server)
        assert type(error) is ProviderRefused
        assert "max_tokens is too large" in str(error)
        assert server.count == 2


def test_the_keys_of_the_environment_go_nowhere_by_themselves(monkeypatch):
    """A server that needs no key is sent none, whatever the environment holds."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "leak-me")
    with OpenAIServer() as server:
        ask(Endpoint("local", server.url))
        assert "leak-me" not in str(server.calls[0].headers)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch):
    """Local models are reached directly, also behind a company's proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with OpenAIServer(["direct"]) as server:
        assert complete(server).text == "direct"
