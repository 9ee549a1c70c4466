"""A provider that is asked no faster than it allows: the waiting, and the headers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch import clock
from rlmwatch.errors import ProviderUnavailable
from rlmwatch.models.base import Message, Model, Reply, Request
from rlmwatch.models.rate_limit import FIRST_WINDOW, LimitedModel, Limits, RateLimitHeaders, asked, parse
from rlmwatch.models.scripted import ScriptedModel

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def request(text: str = "q", model: str = "m") -> Request:
    return Request(model, (Message("user", text),), 10)


def limited(model: ScriptedModel, **limits: float) -> tuple[LimitedModel, Limits]:
    made = Limits(clock.monotonic, clock.utc, **limits)
    return LimitedModel(model, made), made


async def ask(model: Model, sent: Request) -> Reply:
    async with model.turn(sent):
        return await model.complete(sent)


def test_a_thousand_calls_at_once_are_no_thousand_refusals():
    """Of a thousand calls that begin at once, a provider that is busy refuses those that it got, and no more."""
    refused = 0

    def answer(_: Request) -> str | ProviderUnavailable:
        busy = len(script.requests) <= FIRST_WINDOW + 2
        return ProviderUnavailable("slow down", status=429, retry_after_s=0.02) if busy else "ok"

    async def insisting(model: Model, n: int) -> None:
        nonlocal refused
        while True:
            try:
                await ask(model, request(str(n)))
            except ProviderUnavailable:
                refused += 1
            else:
                return

    async def run() -> None:
        model, _ = limited(script)
        await asyncio.gather(*(insisting(model, n) for n in range(1000)))

    script = ScriptedModel(answer)
    asyncio.run(run())
    assert refused == FIRST_WINDOW + 2
    assert len(script.requests) == 1000 + refused  # none is lost or doubled


def test_while_nothing_is_known_few_go_at_once():
    """Before the provider has told or shown its limits, no more than a batch of calls is in flight."""

    async def run() -> None:
        go_on, at_once = asyncio.Event(), 0

        async def answer(_: Request) -> str:
            nonlocal at_once
            at_once += 1
            await go_on.wait()
            return "ok"

        model, _ = limited(ScriptedModel(answer))
        calls = [asyncio.ensure_future(ask(model, request(str(n)))) for n in range(200)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert at_once <= FIRST_WINDOW
        go_on.set()
        await asyncio.gather(*calls)
        assert at_once == 200

    asyncio.run(run())


def test_calls_go_in_the_order_of_asking():
    """Who asked first goes first, however long all wait; who gives up while waiting was never sent."""

    async def run() -> None:
        script = ScriptedModel(lambda r: r.messages[0].content)
        model, _ = limited(script, requests_per_minute=6000)
        calls = [asyncio.ensure_future(ask(model, request(str(n)))) for n in range(640)]
        await asyncio.sleep(0)
        calls[630].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        sent = [int(r.messages[0].content) for r in script.requests]
        assert sent == [n for n in range(640) if n != 630]
        assert isinstance(done[630], asyncio.CancelledError)

    asyncio.run(run())


def test_a_call_that_fails_or_is_cancelled_gives_its_place_back():
    """Whatever becomes of a call, another may go in its place."""

    async def run() -> None:
        async def answer(r: Request) -> str | ProviderUnavailable:
            if "hang" in r.messages[0].content:
                await asyncio.Event().wait()
            return ProviderUnavailable("down", status=503)

        model, _ = limited(ScriptedModel(answer))
        hanging = [asyncio.ensure_future(ask(model, request("hang"))) for _ in range(FIRST_WINDOW)]
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(ask(model, request("fail")))
        for call in hanging:
            call.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        with pytest.raises(ProviderUnavailable):
            await waiting
        for _ in range(FIRST_WINDOW * 2):
            with pytest.raises(ProviderUnavailable):
                await ask(model, request("fail"))

    asyncio.run(run())


def test_models_do_not_wait_for_each_other():
    """The limit of one model holds up no call to another."""

    async def run() -> None:
        model, limits = limited(ScriptedModel(lambda _: "ok"))
        limits.received("busy", {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "3600"})
        waits = asyncio.ensure_future(ask(model, request(model="busy")))
        reply: Reply = await ask(model, request(model="free"))
        assert reply.text == "ok"
        assert not waits.done()
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)

    asyncio.run(run())


def test_headers_are_understood():
    """OpenAI's six headers and OpenRouter's three are read; what is not a number tells nothing."""
    openai = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "29000",
        "x-ratelimit-reset-tokens": "2s",
    }
    assert parse(openai, NOW) == {
        "requests": RateLimitHeaders(500, 499, 0.12),
        "tokens": RateLimitHeaders(30000, 29000, 2.0),
    }
    reset_ms = str(int(NOW.timestamp() * 1000) + 30_000)
    openrouter = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "5", "x-ratelimit-reset": reset_ms}
    assert parse(openrouter, NOW) == {"requests": RateLimitHeaders(20, 5, pytest.approx(30.0))}
    for bad in ({"x-ratelimit-limit": "20"}, {"x-ratelimit-limit": "a", "x-ratelimit-remaining": "b"}):
        assert parse(bad, NOW) == {}


NAMES = [
    f"x-ratelimit-{word}{what}" for word in ("limit", "remaining", "reset") for what in ("", "-requests", "-tokens")
]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12) | st.floats().map(str)))
def test_no_header_can_stop_all_calls(headers):
    """Whatever headers say, what is left comes back at some speed."""
    for told in parse(headers, NOW).values():
        assert told.per_s() > 0
        assert told.limit >= told.remaining >= 0


def test_what_is_asked_is_what_is_sent_and_what_may_come():
    """Providers count the request's own max_tokens against the limit, not what comes in the end."""
    assert asked(request("x" * 400)) == 110
