"""What providers list, and the prices that they publish, over loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr

from rlmwatch import clock
from rlmwatch.errors import ProviderError, ProviderUnavailable, WrongKey
from rlmwatch.models import listing
from rlmwatch.models.listing import Offer, models_address, offered
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.prices import Prices
from rlmwatch.models.published import Published

KEY = "made-up-key-41c7"


def entry(
    model: str, prompt: object = "0.000001", completion: object = "0.000004", **more: object
) -> dict[str, object]:
    return {"id": model, "pricing": {"prompt": prompt, "completion": completion, **more}}


@dataclass
class Lists:
    """A server that answers every request with the next of *answers*, the last one again and again."""

    answers: list[tuple[int, bytes]]
    heads: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n".encode())
        writer.write(b"Location: http://127.0.0.1:9/elsewhere\r\n\r\n" + body)
        try:
            await writer.drain()
        except ConnectionError:
            return
        writer.close()


@asynccontextmanager
async def serving(*answers: object) -> AsyncIterator[Lists]:
    """Serve *answers*: JSON values, bytes, or (status, words)."""

    def made(answer: object) -> tuple[int, bytes]:
        if isinstance(answer, tuple):
            return answer[0], json.dumps({"error": {"message": answer[1]}}).encode()
        return 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    lists = Lists([made(answer) for answer in answers])
    server = await asyncio.start_server(lists.serve, "127.0.0.1", 0)
    lists.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield lists
    finally:
        server.close()


def endpoint(lists: Lists, **more: object) -> Endpoint:
    return Endpoint("gate", lists.url, SecretStr(KEY), "GATE_KEY", **more)  # type: ignore[arg-type]


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_a_list_is_asked_for_with_the_key_and_the_users_headers():
    """The address is `…/models`, the key and the user's own headers go along, and the order is the server's."""

    async def work() -> None:
        async with serving({"data": [{"id": "b"}, {"id": "a"}, {"no": "id"}, "x"]}) as lists:
            where = endpoint(lists, extra_headers={"X-Team": SecretStr("t-1")})
            assert await offered(where) == [Offer("b"), Offer("a")]
            (head,) = lists.heads
            assert head.startswith("GET /v1/models HTTP/1.1")
            assert f"Authorization: Bearer {KEY}" in head
            assert "X-Team: t-1" in head

    run(work)


def test_a_key_may_stand_in_a_header_of_its_own():
    """Azure's `api-key` holds the key alone, and there is no `Authorization`."""

    async def work() -> None:
        async with serving({"data": []}) as lists:
            assert await offered(endpoint(lists, key_header="api-key")) == []
            assert f"api-key: {KEY}" in lists.heads[0]
            assert "authorization" not in lists.heads[0].lower()

    run(work)


@pytest.mark.parametrize(
    ("base_url", "models"),
    [
        ("https://x.example/v1/", "https://x.example/v1/models"),
        ("https://x.example/v1/chat/completions", "https://x.example/v1/models"),
        ("https://a.b/openai/deployments/d?api-version=1", "https://a.b/openai/models?api-version=1"),
    ],
)
def test_the_list_is_beside_the_chats(base_url, models):
    """Whatever form a base URL has, its list is found."""
    assert models_address(base_url) == models


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((401, f"bad key {KEY}"), WrongKey, "bad key"),
        ((503, "busy"), ProviderUnavailable, "busy"),
        ((302, "go there"), ProviderError, "HTTP 302.*Redirects are not followed"),
        (b"<html>hello</html>", ProviderError, "is not a list of models"),
        (b"[" * 100_000, ProviderError, "is not a list of models"),
        ({"data": {"a": 1}}, ProviderError, "is not a list of models"),
    ],
)
def test_what_is_no_list_is_an_error_in_words_without_the_key(answer, kind, words):
    """A refusal, a page, a redirect: the error says what came, the key is not in it, and nobody else is asked."""

    async def work() -> None:
        async with serving(answer) as lists:
            with pytest.raises(kind, match=words) as caught:
                await offered(endpoint(lists))
            assert KEY not in str(caught.value)
            assert len(lists.heads) == 1

    run(work)


def test_a_list_without_end_is_given_up():
    """A list that is longer than its limit is read no further."""

    async def work() -> None:
        async with serving(b" " * (listing.LIMIT_BYTES + 1)) as lists:
            with pytest.raises(ProviderUnavailable, match="longer than"):
                await offered(endpoint(lists))

    run(work)


@pytest.mark.parametrize(
    ("pricing", "price"),
    [
        ({"prompt": "0.000001", "completion": "0.000004"}, (1e-6, 4e-6)),
        ({"prompt": 0, "completion": 0}, (0.0, 0.0)),
        (
            {"prompt": "1e-6", "completion": "4e-6", "input_cache_write": "2e-6", "internal_reasoning": "5e-6"},
            (2e-6, 5e-6),
        ),
        ({"prompt": "1e-6", "completion": "4e-6", "request": "0.01"}, None),
        ({"prompt": "-1", "completion": "-1"}, None),
        ({"prompt": "nan", "completion": "0"}, None),
        ({"prompt": "inf", "completion": "0"}, None),
        ({"prompt": "9" * 400, "completion": "0"}, None),
        ({"prompt": True, "completion": "0"}, None),
        ({"completion": "0"}, None),
        ([], None),
    ],
)
def test_a_published_price_is_an_upper_bound_or_none(pricing, price):
    """A fee per request, a price that varies and a number that is none give no price; the dearest token counts."""
    assert listing.price_in(pricing) == price


def test_published_prices_come_before_the_shipped_table_and_after_the_users_own():
    """A provider's own list is believed; who writes a price under `[prices]` has the last word."""
    published = {"openai/gpt-4.1-mini": (9e-6, 9e-6), "brand/new": (1e-6, 2e-6)}
    prices = Prices("openrouter", "https://openrouter.ai/api/v1", {"mine": (1.0, 1.0)}, published)
    assert prices.price("openai/gpt-4.1-mini") == (9e-6, 9e-6)
    assert prices.price("brand/new") == (1e-6, 2e-6)
    own = Prices("openrouter", prices.base_url, {"brand/new": (5.0, 5.0)}, published)
    assert own.price("brand/new") == pytest.approx((5e-6, 5e-6))


def test_prices_are_read_once_a_day_and_kept(tmp_path):
    """The list is kept in the state folder: another program asks again only when it is a day old."""
    file = tmp_path / "prices" / "gate.json"

    async def work() -> None:
        async with serving({"data": [entry("brand/new")]}) as lists:
            first = Published(endpoint(lists), file)
            assert dict(first) == {}
            await first.refreshed()
            assert dict(first) == {"brand/new": (1e-6, 4e-6)}
            assert "authorization" not in lists.heads[0].lower()
            second = Published(endpoint(lists), file)
            assert dict(second) == {"brand/new": (1e-6, 4e-6)}
            await asyncio.gather(second.refreshed(), second.refreshed(), first.refreshed())
            assert len(lists.heads) == 1
            kept = json.loads(file.read_text())
            kept["asked_at"] = (datetime.fromisoformat(clock.utc()) - timedelta(hours=25)).isoformat()
            file.write_text(json.dumps(kept))
            third = Published(endpoint(lists), file)
            await asyncio.gather(third.refreshed(), third.refreshed())
            assert len(lists.heads) == 2

    run(work)


@pytest.mark.parametrize("bad", [b"<html>", {"data": []}, {"data": [{"id": "x"}]}, (500, "broken"), b"[" * 100_000])
def test_a_bad_list_is_ignored_and_what_was_known_stays(tmp_path, bad):
    """A list that is none, or holds no price, takes no price away, and is not asked for again at once."""
    file = tmp_path / "gate.json"

    async def work() -> None:
        async with serving(bad) as lists:
            old = {"asked_at": "2020-01-01T00:00:00Z", "base_url": lists.url, "prices": {"known": [1e-6, 2e-6]}}
            file.write_text(json.dumps(old))
            published = Published(endpoint(lists), file)
            await published.refreshed()
            assert dict(published) == {"known": (1e-6, 2e-6)}
            await published.refreshed()
            assert len(lists.heads) == 1

    run(work)


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{}",
        "[]",
        '{"asked_at": "x", "base_url": "%s", "prices": {}}',
        '{"asked_at": "2999-01-01T00:00:00Z", "base_url": "%s", "prices": {"m": [-1, 0]}}',
        '{"asked_at": "2999-01-01T00:00:00Z", "base_url": "http://other/v1", "prices": {"m": [0, 0]}}',
        '{"asked_at": "2999-01-01T00:00:00Z", "base_url": "%s", "prices": {"m": [0]}}',
    ],
)
def test_a_kept_file_that_is_not_sound_is_passed_over(tmp_path, kept):
    """A damaged file in the state folder, or that of another address, gives no price; the list is read again."""
    file = tmp_path / "gate.json"

    async def work() -> None:
        async with serving({"data": [entry("new")]}) as lists:
            file.write_text(kept.replace("%s", lists.url))
            published = Published(endpoint(lists), file)
            assert dict(published) == {}
            await published.refreshed()
            assert list(published) == ["new"]

    run(work)


def test_a_proxy_is_told_no_key(monkeypatch):
    """Through a proxy without a login the key and the user's headers go to the provider alone."""
    heads: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        where = Endpoint(
            "gate", "https://llm.example.com/v1", SecretStr(KEY), "K", "api-key", {"X-T": SecretStr("t-1")}
        )
        with pytest.raises(ProviderError) as caught:
            await offered(where)
        assert KEY not in str(caught.value)
        server.close()

    run(work)
    (head,) = heads
    assert head.startswith("CONNECT llm.example.com:443")
    assert KEY not in head
    assert "t-1" not in head
