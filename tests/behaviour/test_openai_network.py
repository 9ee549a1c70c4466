"""The way to a provider and back: headers, proxies, certificates, addresses, redirects, and how much may come."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import traceback
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from servers.raw_server import CERTIFICATE, STREAM, ProxyServer, RawServer, answer, endless

from rlmwatch.errors import ProviderCutOff, ProviderError, ProviderRefused, ProviderUnavailable, ProviderUnreachable
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel, Timeouts, load
from rlmwatch.version import __version__

KEY = "sk-very-secret-0123456789"
LOGIN = "squid:very-private"
LOGIN_SENT = "Basic c3F1aWQ6dmVyeS1wcml2YXRl"
NAMED = "https://provider.example/v1"
PLAIN = "http://provider.example/v1"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(
    url: str, *, key: str | None = KEY, provider: str = "test", tokens: int = 50, text: str = "hello"
) -> Reply:
    secret = None if key is None else SecretStr(key)
    model = OpenAIModel(Endpoint(provider, url, secret, "TEST_KEY"), timeouts=Timeouts(connect_s=5, idle_s=5))
    try:
        return await model.complete(Request("m", (Message("user", text),), tokens))
    finally:
        await model.aclose()


def fails(url: str | None = None, talk: Any = None, **options: Any) -> ProviderError:
    """Return how a call fails, at *url* or at a server that says *talk*; its traceback holds no secret."""

    async def one() -> None:
        if url is not None:
            await ask(url, **options)
        else:
            async with RawServer(talk) as server:
                await ask(server.url, **options)

    with pytest.raises(ProviderError) as caught:
        asyncio.run(one())
    told = "".join(traceback.format_exception(caught.value))
    for secret in (KEY, "very-private", LOGIN_SENT):
        assert secret not in told
    return caught.value


HEADERS = {
    "host",
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "user-agent",
}
"""All that a provider is told beside the question."""


def test_all_headers_of_a_call(monkeypatch):
    """A provider learns our name and version and its own key, and nothing of the machine or of OpenAI's variables."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-custom\nX-Team: secret-team")

    async def heads() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        async with RawServer() as server:
            await ask(server.url)
            await ask(server.url, key=None)
            await ask(server.url, provider="openai")
            return server.headers(0), server.headers(1), server.headers(2)

    other, keyless, openai = asyncio.run(heads())
    assert other.keys() == HEADERS
    assert other["authorization"] == f"Bearer {KEY}"
    assert other["user-agent"] == f"rlmwatch/{__version__}"
    assert keyless.keys() == HEADERS - {"authorization"}
    assert openai.keys() == HEADERS | {"openai-organization", "openai-project"}


def test_a_proxy_of_an_https_address_is_told_the_address_alone(monkeypatch):
    """The CONNECT holds host and port: no key, and nothing else of the request."""

    async def heads() -> tuple[str, dict[str, str], dict[str, str]]:
        async with RawServer(tls=True) as server, ProxyServer(server.port) as proxy:
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            assert (await ask(NAMED)).text == "hi"
            return proxy.heads[0], proxy.headers(0), server.headers(0)

    line, told, sent = asyncio.run(heads())
    assert line.startswith("CONNECT provider.example:443 HTTP/1.1\r\n")
    assert told.keys() <= {"host", "accept", "accept-encoding", "user-agent", "connection"}
    assert KEY not in line
    assert sent.keys() == HEADERS
    assert sent["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxys_login_goes_to_the_proxy_alone(monkeypatch, scheme):
    """With a login in the proxy's address the CONNECT holds that login, and the provider does not hear of it."""

    async def heads() -> tuple[dict[str, str], dict[str, str]]:
        async with RawServer(tls=True) as server, ProxyServer(server.port) as proxy:
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}{LOGIN}@{proxy.address}")
            assert (await ask(NAMED)).text == "hi"
            return proxy.headers(0), server.headers(0)

    told, sent = asyncio.run(heads())
    assert told["proxy-authorization"] == LOGIN_SENT
    assert sent.keys() == HEADERS


def test_a_proxy_of_an_http_address_gets_its_login_with_the_request(monkeypatch):
    """Where nothing is encrypted a proxy passes the request on, and takes its login from it."""

    async def heads() -> str:
        async with RawServer() as server, ProxyServer(server.port) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://{LOGIN}@{proxy.address}")
            assert (await ask(PLAIN)).text == "hi"
            return proxy.heads[0]

    head = asyncio.run(heads())
    assert head.startswith("POST http://provider.example/v1/chat/completions HTTP/1.1\r\n")
    assert f"proxy-authorization: {LOGIN_SENT}".lower() in head.lower()


def through_proxy(monkeypatch: pytest.MonkeyPatch, refusal: bytes, url: str = NAMED) -> ProviderError:
    failed: list[ProviderError] = []

    async def one() -> None:
        async with ProxyServer(refuses=refusal) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.address}")
            monkeypatch.setenv("HTTP_PROXY", f"http://{LOGIN}@{proxy.address}")
            try:
                await ask(url)
            except ProviderError as error:
                failed.append(error)

    asyncio.run(one())
    (error,) = failed
    told = "".join(traceback.format_exception(error))
    assert KEY not in told
    assert "very-private" not in told
    assert LOGIN_SENT not in told
    return error


@pytest.mark.parametrize("url", [NAMED, PLAIN])
def test_a_proxy_that_refuses_the_login_waits_for_a_person(monkeypatch, url):
    """407 ends the call at once, names the proxy without its login, and nothing was sent."""
    error = through_proxy(
        monkeypatch, b'HTTP/1.1 407 Nope\r\nProxy-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\n\r\n', url
    )
    assert type(error) is ProviderUnreachable
    assert "the proxy http://127.0.0.1:" in str(error)
    assert "407" in str(error)


def test_a_proxy_that_may_not_lead_there_waits_for_a_person(monkeypatch):
    """A CONNECT that is forbidden is forbidden the next time, too."""
    error = through_proxy(monkeypatch, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert type(error) is ProviderUnreachable


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_does_not_get_through_is_tried_again(monkeypatch, status):
    """A bad gateway may heal; nothing was sent, so nothing is booked."""
    error = through_proxy(monkeypatch, b"HTTP/1.1 %d Bad\r\nContent-Length: 0\r\n\r\n" % status)
    assert isinstance(error, ProviderUnavailable)
    assert not error.may_be_billed
    assert f"HTTP {status}" in str(error)


def test_a_proxy_that_is_not_there_is_named_without_its_login(monkeypatch):
    """A refused connection to a proxy is tried again, and says that it was the proxy's."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@127.0.0.1:{taken.getsockname()[1]}")
        error = fails(NAMED)
    assert isinstance(error, ProviderUnavailable)
    assert not error.may_be_billed
    assert "the proxy http://127.0.0.1:" in str(error)


@pytest.mark.parametrize(
    "proxy",
    [
        f"socks5://{LOGIN}@127.0.0.1:1080",
        "socks5h://127.0.0.1:1080",
        "socks4://127.0.0.1:1",
        f"http://{LOGIN}@",
        "ftp://p",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_name(monkeypatch, proxy):
    """A SOCKS proxy is not spoken to in HTTP: the call ends before anything is sent, and the text says which it was."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    error = fails(NAMED)
    assert type(error) is ProviderUnreachable
    assert f"{proxy.partition(':')[0]}://" in str(error)
    assert "ALL_PROXY" in str(error)


def test_a_certificate_that_is_not_accepted_waits_for_a_person():
    """A self-signed certificate is none the next time either; the key was not sent."""

    async def one() -> list[str]:
        async with RawServer(tls=True) as server:
            with pytest.raises(ProviderUnreachable, match=r"certificate is not accepted: self-signed.*SSL_CERT_FILE"):
                await ask(server.url)
            return server.heads

    assert asyncio.run(one()) == []


def test_a_certificate_that_ssl_cert_file_names_is_accepted(monkeypatch):
    """`SSL_CERT_FILE` counts, as it does for other programs."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def one() -> str:
        async with RawServer(tls=True) as server:
            return (await ask(server.url)).text

    assert asyncio.run(one()) == "hi"


def test_certificates_that_are_not_there_wait_for_a_person(monkeypatch, tmp_path):
    """`SSL_CERT_FILE` with a file that does not exist is a person's matter."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    error = fails(NAMED)
    assert type(error) is ProviderUnreachable
    assert "SSL_CERT_FILE" in str(error)


def test_https_where_http_is_spoken_waits_for_a_person():
    """A server without TLS has none the next time either."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def one() -> None:
        async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
            with pytest.raises(ProviderUnreachable, match="http:// address"):
                await ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")

    asyncio.run(one())


def test_a_connection_that_is_not_made_in_time_is_tried_again():
    """A server that accepts and then says nothing of TLS is given up, and its address is shown without its query."""

    async def one() -> ProviderError:
        async with RawServer() as server:
            model = OpenAIModel(
                Endpoint("test", server.url.replace("http:", "https:") + "?api-key=very-private"),
                timeouts=Timeouts(connect_s=0.2, idle_s=5),
            )
            with pytest.raises(ProviderUnavailable) as caught:
                await model.complete(Request("m", (Message("user", "hi"),), 50))
            await model.aclose()
            return caught.value

    error = asyncio.run(one())
    assert not error.may_be_billed
    assert "very-private" not in str(error)


def test_an_unknown_host_waits_for_a_person(monkeypatch):
    """A name that no name server knows is not asked for again and again."""

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    error = fails("https://no-such-host.invalid/v1")
    assert type(error) is ProviderUnreachable
    assert "no-such-host.invalid" in str(error)


def test_a_name_server_that_does_not_answer_is_tried_again(monkeypatch):
    """A machine whose network is not up yet comes back by itself."""

    def later(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", later)
    error = fails("https://provider.example/v1")
    assert isinstance(error, ProviderUnavailable)
    assert not error.may_be_billed


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", "http://host:no/v1", "http://:80/v1"])
def test_what_is_no_address_waits_for_a_person(url):
    """Nobody can be asked at what is not an http or https address."""
    assert type(fails(url)) is ProviderUnreachable


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-\u00e9", "sk-\r\nX-Injected: 1"])
def test_a_key_that_cannot_be_sent_waits_for_a_person(key):
    """A key with a line break or letters that no key has is named by its variable, and is in no text."""
    error = fails("http://127.0.0.1:9/v1", key=key)
    assert type(error) is ProviderUnreachable
    assert "TEST_KEY" in str(error)
    assert "sk-" not in str(error)


def test_a_login_in_the_address_is_sent_and_never_shown():
    """A server behind a login is asked with it where there is no key; its address is shown without."""

    async def one() -> tuple[dict[str, str], str]:
        async with RawServer() as server:
            url = server.url.replace("//", f"//{LOGIN}@")
            await ask(url, key=None)
            server.talk = answer(404, b'{"error": {"message": "no such model"}}', "application/json")
            with pytest.raises(ProviderError) as caught:
                await ask(url + "?api-key=very-private", key=None)
            return server.headers(0), str(caught.value)

    headers, words = asyncio.run(one())
    assert headers["authorization"] == LOGIN_SENT
    assert "squid" not in words
    assert "very-private" not in words


def test_a_login_in_the_address_and_a_key_are_one_too_many():
    """Both are sent as `Authorization`: that is refused before anything is sent."""
    error = fails(f"http://{LOGIN}@127.0.0.1:9/v1")
    assert type(error) is ProviderUnreachable
    assert "TEST_KEY" in str(error)
    assert "squid" not in str(error)


@pytest.mark.parametrize(
    ("ending", "path"),
    [
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("", "/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        (
            "/openai/deployments/d?api-version=2024-10-21",
            "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        ("/v1/chat/completions?a=1&b=%20", "/v1/chat/completions?a=1&b=%20"),
    ],
)
def test_whole_addresses_work(ending, path):
    """An address may end before or after `/chat/completions`, and may have a query."""

    async def one() -> str:
        async with RawServer() as server:
            await ask(server.url.removesuffix("/v1") + ending)
            return server.heads[0].split(" ")[1]

    assert asyncio.run(one()) == path


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_wrong_path_names_what_was_asked_and_what_was_meant(status, kind):
    """Without `/v1` many servers know nothing: the error says which address was asked, and which is probably right."""

    async def one() -> str:
        async with RawServer(answer(status, b'{"detail": "Not Found"}', kind)) as server:
            root = server.url.removesuffix("/v1")
            with pytest.raises(ProviderRefused) as caught:
                await ask(root)
            return str(caught.value).replace(root, "ROOT")

    words = asyncio.run(one())
    assert "ROOT/chat/completions" in words
    assert "ROOT/v1" in words


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    """Whoever a provider points at gets neither the question nor the key; the error names both addresses."""

    async def one() -> tuple[list[str], str, str, str]:
        async with RawServer() as new, RawServer() as old:
            to = f"http://{LOGIN}@127.0.0.1:{new.port}/v1/chat/completions?token=very-private"
            old.talk = answer(status, b"", Location=to)
            with pytest.raises(ProviderUnreachable) as caught:
                await ask(old.url)
            return new.heads, str(caught.value), old.url, new.url

    heads, words, old, new = asyncio.run(one())
    assert heads == []
    assert f"{old}/chat/completions" in words
    assert f"{new}/chat/completions" in words
    assert "squid" not in words
    assert "very-private" not in words


def test_a_redirect_without_an_address_ends_as_well():
    """A redirect that does not say where to is none that could be followed."""
    assert type(fails(talk=answer(304, b""))) is ProviderUnreachable


@pytest.mark.parametrize("to", ["http://[::bad/", "//[", "http://a:b:c/", "javascript:alert(1)", "\\\\a", "/" * 5_000])
def test_a_redirect_to_no_address_is_an_error_in_words(to):
    """Whatever a server writes as the address to go on to, the person reads of a redirect, not of a fault of ours."""
    error = fails(talk=answer(302, b"", Location=to))
    assert type(error) is ProviderUnreachable
    assert "Redirects are not followed" in str(error)


TOO_LONG = b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": "x" * 10_000}}]}).encode()


def test_a_stream_ends_at_what_max_tokens_can_hold():
    """A stream that goes on for ever is cut, as a model's own limit cuts it."""

    async def one() -> Reply:
        async with RawServer(endless(TOO_LONG)) as server:
            return await ask(server.url, tokens=10)

    reply = asyncio.run(one())
    assert reply.finish_reason == "length"
    assert len(reply.text) < 2 << 20


ENDLESS: dict[str, Any] = {
    "a line": endless(b"data: " + b"x" * 50_000),
    "lines of one event": endless(b"data: x\n" * 5_000),
    "comments": endless(b": wait\n\n" * 5_000),
    "a document": endless(b"[" * 50_000, "application/json"),
    "a page": endless(b"<p>" * 20_000, "text/html"),
}


@pytest.mark.parametrize("talk", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_not_read_for_ever(talk):
    """No body, line or event is read beyond a stated limit, and it is not asked for again."""
    asyncio.run(load())
    tracemalloc.start()
    try:
        error = fails(talk=talk, tokens=3000)
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(error, ProviderRefused)


BOMB = gzip.compress(bytes(300 << 20))
STREAM_BOMB = gzip.compress(b": wait\n\n" * (40 << 20))


@pytest.mark.parametrize(
    "talk",
    [
        answer(200, BOMB, "application/json", Content_Encoding="gzip"),
        answer(200, STREAM_BOMB, Content_Encoding="gzip"),
    ],
    ids=["document", "stream"],
)
def test_a_small_body_that_unpacks_to_a_large_one_is_not_unpacked(talk):
    """The limits hold for what a body is when unpacked."""
    asyncio.run(load())
    tracemalloc.start()
    try:
        error = fails(talk=talk, tokens=50)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(error, ProviderRefused)


@pytest.mark.parametrize(
    "talk",
    [
        endless(b"no " * 10_000, "text/plain", 500),
        answer(500, BOMB, "text/plain", Content_Encoding="gzip"),
        answer(500, b"not packed", "text/plain", Content_Encoding="gzip"),
    ],
    ids=["endless", "packed", "garbage"],
)
def test_a_refusal_of_any_length_is_a_refusal(talk):
    """What a refusal says is cut: its status counts."""
    tracemalloc.start()
    try:
        error = fails(talk=talk)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(error, ProviderUnavailable)
    assert error.status == 500


def test_packed_answers_are_read():
    """A server may pack what it says."""

    async def one() -> str:
        async with RawServer(answer(200, gzip.compress(STREAM), Content_Encoding="gzip")) as server:
            return (await ask(server.url)).text

    assert asyncio.run(one()) == "hi"


@pytest.mark.parametrize("depth", [200, 200_000])
def test_a_chunk_of_brackets_is_not_json(depth):
    """What is nested deeper than Python can read is a broken answer, and no fault of ours."""
    body = b"data: " + b"[" * depth + b"]" * depth + b"\n\n"
    assert isinstance(fails(talk=answer(200, body)), ProviderUnavailable)


def test_an_answer_before_the_question_was_read_ends_the_call():
    """A server that refuses a long question at once is heard, while it reads no further."""
    heard = asyncio.Event()
    gone = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(413, b'{"error": {"message": "too large"}}', "application/json")(writer)
        await heard.wait()
        while await reader.read(1 << 20):
            pass
        writer.close()
        gone.set()

    async def one() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1 << 12) as server:
            with pytest.raises(ProviderRefused, match="too large"):
                await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", text="word " * 2_000_000)
            heard.set()
            await gone.wait()

    asyncio.run(one())


def test_any_number_of_calls_go_out_at_once():
    """Two hundred calls wait for the provider side by side, and not for each other's connection."""
    waiting: list[asyncio.StreamWriter] = []
    all_there = asyncio.Event()

    async def one() -> list[Reply]:
        async def talk(writer: asyncio.StreamWriter) -> None:
            waiting.append(writer)
            if len(waiting) == 200:
                all_there.set()
            await all_there.wait()
            await answer()(writer)

        async with RawServer(talk) as server:
            model = OpenAIModel(Endpoint("test", server.url), timeouts=Timeouts(connect_s=20, idle_s=20))
            request = Request("m", (Message("user", "hello"),), 50)
            try:
                return await asyncio.gather(*(model.complete(request) for _ in range(200)))
            finally:
                await model.aclose()

    assert [reply.text for reply in asyncio.run(one())] == ["hi"] * 200


def broken_by(close: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> ProviderError:
    return fails(talk=close)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n" + TOO_LONG[:50])
    await writer.drain()
    writer.transport.abort()


def test_a_refused_connection_and_a_hang_up_are_told_apart():
    """Where nothing was sent nothing is booked; a server that hung up may have begun to work."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = fails(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    hung_up, cut = broken_by(_hang_up), broken_by(_cut)
    for error, billed in ((refused, False), (hung_up, True), (cut, True)):
        assert isinstance(error, ProviderUnavailable)
        assert not isinstance(error, ProviderCutOff)
        assert error.may_be_billed is billed


@pytest.mark.parametrize(
    "page",
    [b"<p>" + b"<script" * 140_000, b"<p>" + b"<a" * 500_000, b"<p>" + b"<!--" * 250_000, b"[" * 1_000_000],
    ids=["script", "tag", "comment", "["],
)
def test_a_refusal_made_to_be_slow_is_read_at_once(page):
    """A page of a megabyte that never closes what it opens costs no more time than another: it took hours."""
    assert isinstance(fails(talk=answer(500, page, "text/html")), ProviderUnavailable)
