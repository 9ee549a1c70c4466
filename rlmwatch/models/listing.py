"""
What a provider says that it offers: `GET …/models`.

Nothing of a workspace is sent; the key goes along, since most providers tell nobody else. The answer is a stranger's:
it is read up to a limit, no redirect is followed, and what is not the protocol's is an error in words.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from rlmwatch import clock
from rlmwatch.addresses import proxy_to, redirected, shown, without_login
from rlmwatch.errors import ProviderError, ProviderUnavailable
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.errors import by_status

LIMIT_BYTES = 8 << 20
"""Of a list: OpenRouter's, the longest known, has half a megabyte."""
LIMIT_MODELS = 20_000
LONGEST_NAME = 200
"""As long as `model` may be."""
TIMEOUT_S = 15.0
"""For the whole list."""
DEAREST_USD_PER_TOKEN = 0.1
"""A list that asks for more is misread: the dearest model there is takes a hundredth of this."""


@dataclass(frozen=True, slots=True)
class Offer:
    """
    One model of a list.

    Attributes:
        price: US dollars per (input token, output token), at most; None where the list does not say.
        sees: Whether it can be shown images; None where the list does not say.
    """

    model: str
    price: tuple[float, float] | None = None
    sees: bool | None = None


def models_address(base_url: str) -> str:
    """Return where the list of the provider at *base_url* is."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    head, deployments, _ = path.partition("/deployments/")
    return urlunsplit(parts._replace(path=f"{head if deployments else path}/models", fragment=""))


async def offered(endpoint: Endpoint, *, timeout_s: float = TIMEOUT_S) -> list[Offer]:
    """
    Return the models that *endpoint* lists, in its own order.

    Raises:
        ProviderError: It does not answer, refuses, or what it answers is no list; without the key.
    """
    return parse(await _read(endpoint, timeout_s), endpoint)


def parse(body: bytes, endpoint: Endpoint) -> list[Offer]:
    """
    Return the models in the list *body*; entries that have no name are passed over.

    Raises:
        ProviderError: It is not a list of models.
    """
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        listed = None
    entries = listed.get("data", listed.get("models")) if isinstance(listed, Mapping) else listed
    if not isinstance(entries, list):
        raise ProviderError(endpoint.caller.text(f"{shown(models_address(endpoint.base_url))} is not a list of models"))
    found: dict[str, Offer] = {}
    for entry in entries[:LIMIT_MODELS]:
        name = (entry.get("id") or entry.get("name")) if isinstance(entry, Mapping) else None
        if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable():
            found[name] = Offer(name, price_in(entry.get("pricing")), sees_in(entry.get("architecture")))
    return list(found.values())


def price_in(pricing: object) -> tuple[float, float] | None:
    """
    Return US dollars per (input token, output token) of OpenRouter's `pricing`, at most; None where there is no bound.

    Its numbers are texts, in US dollars per token. A fee per request has no bound per token, a negative number means
    that the price varies, and one that is out of all proportion is not believed.
    """
    if not isinstance(pricing, Mapping):
        return None
    into, out = _usd(pricing.get("prompt")), _usd(pricing.get("completion"))
    if into is None or out is None or _usd(pricing.get("request", "0")) != 0:
        return None
    written = _usd(pricing.get("input_cache_write", "0")) or 0.0
    reasoning = _usd(pricing.get("internal_reasoning", "0")) or 0.0
    return max(into, written), max(out, reasoning)


def sees_in(architecture: object) -> bool | None:
    """Return whether images go into a model of OpenRouter's `architecture`; None where it does not say."""
    kinds = architecture.get("input_modalities") if isinstance(architecture, Mapping) else None
    return "image" in kinds if isinstance(kinds, list) else None


def _usd(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 <= number <= DEAREST_USD_PER_TOKEN else None


async def _read(endpoint: Endpoint, timeout_s: float) -> bytes:
    """Return the body of the list."""
    import aiohttp

    url, login = without_login(models_address(endpoint.base_url))
    own = endpoint.own_headers if login is None else {"Authorization": login, **endpoint.own_headers}
    words = f"no answer from {shown(url)}"
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            # The headers go with the request, never with the session: a session's go to the proxy as well.
            headers = {"Accept": "application/json", **own}
            async with session.get(url, headers=headers, proxy=proxy_to(url), allow_redirects=False) as response:
                body = await _bounded(response)
                if response.status == HTTPStatus.OK:
                    return body
                if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
                    to = response.headers.get("Location")
                    raise ProviderError(endpoint.caller.text(redirected(response.status, url, to)))
                raise by_status(
                    endpoint.caller,
                    response.status,
                    _payload(body),
                    headers=response.headers,
                    model="",
                    now=datetime.fromisoformat(clock.utc()),
                )
    except TimeoutError:
        words = f"{words} within {timeout_s:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = f"{words}: {_reason(error)}"
    raise ProviderUnavailable(endpoint.caller.text(words))


async def _bounded(response: object) -> bytes:
    import aiohttp

    assert isinstance(response, aiohttp.ClientResponse)  # noqa: S101 (aiohttp is loaded late)
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > LIMIT_BYTES:
            raise ValueError(f"the list is longer than {LIMIT_BYTES >> 20} MB")
    return bytes(body)


def _payload(body: bytes) -> object:
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _reason(error: Exception) -> str:
    """Return what the system says; an address in it may hold a login."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error) if isinstance(error, ValueError) and not hasattr(error, "url") else type(error).__name__
