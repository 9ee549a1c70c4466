"""
A provider's failures in our own terms.

| what the provider said                                  | what it becomes                        |
| ------------------------------------------------------- | -------------------------------------- |
| 401, 403                                                | WrongKey                               |
| 404 about the model or the address                      | UnknownModel                           |
| any other 4xx                                           | ProviderRefused                        |
| 408, 409, 425, 429, 5xx                                 | ProviderUnavailable                    |
| no connection, silence, or something that is not JSON   | ProviderUnavailable                    |
| the same once text has come                             | ProviderCutOff (in `openai_api`)       |

The text is the provider's own, without markup, cut to a screenful, and the key is taken out of it wherever the
provider repeats it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from rlmwatch.errors import (
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.openai.address import advice

WORDS_LIMIT = 600
"""Characters of a provider's words that are shown: some send whole pages."""

WAIT_LIMIT_S = 24 * 3600.0
"""A wait beyond a day is a clock that differs or a unit that we misread; it is not believed."""

_ERROR_STATUSES = range(400, 600)
_RETRYABLE = frozenset({408, 409, 425, 429})

# Gateways that gave up waiting: the model behind them may have finished, and be billed. An answer 500 or 503 is not
# billed by OpenAI or OpenRouter.
_MAY_BE_BILLED = frozenset({408, 504, 524})

_ABOUT_MODEL_OR_ADDRESS = re.compile(r"model|endpoint|route|path|url|page|file not found|^not found$", re.IGNORECASE)

_STATUS_OF_CODE = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_request_error": 400,
    "content_policy_violation": 400,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 503,
    "server_error": 500,
}
"""Codes and types that stand in an error inside a stream, where there is no HTTP status."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")
_MILLISECONDS_SINCE_1970 = 1e11  # seconds reach this number in the year 5138


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who is asked, for the person who reads the error.

    Attributes:
        provider: Short name of the provider.
        base_url: Where it was asked.
        key_name: The variable that holds the key; None where none is needed.
        key: The key, to be taken out of every text; `""` where there is none.
    """

    provider: str
    base_url: str
    key_name: str | None
    key: str

    def text(self, words: str) -> str:
        """Return *words* on one line, cut, with the provider's name in front and without the key."""
        said = " ".join(words.split())
        if self.key:
            said = said.replace(self.key, "[key]")
        if len(said) > WORDS_LIMIT:
            said = said[:WORDS_LIMIT] + " …"
        return f"{self.provider}: {said}"


def words_of(payload: object) -> str:
    """
    Return what *payload*, an error's body as JSON values or as text, says to a person.

    Understands the shapes `{"error": {"message": …}}` (OpenAI), with `metadata.raw` (OpenRouter: the words of the
    provider behind it), `{"error": "…"}` (Ollama), `{"message": …}` and `{"detail": …}`; HTML loses its markup.
    """
    if isinstance(payload, str):
        without_code = re.sub(r"(?s)<(script|style)\b.*?(</\1>|\Z)", " ", payload)
        return re.sub(r"<[^<>]*>", " ", without_code)
    if not isinstance(payload, Mapping):
        return json.dumps(payload, ensure_ascii=False, default=str)
    inner = payload.get("error", payload)
    if isinstance(inner, str):
        return inner
    if not isinstance(inner, Mapping):
        return json.dumps(payload, ensure_ascii=False, default=str)
    said = inner.get("message") or inner.get("detail") or inner
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
    metadata = inner.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return f"{text} ({raw})" if raw and isinstance(raw, str) else text


def status_of(error: object) -> int | None:
    """Return the HTTP status that an error inside a stream stands for; None where it does not say."""
    if not isinstance(error, Mapping):
        return None
    for name in (error.get("code"), error.get("status"), error.get("type")):
        if isinstance(name, int) and name in _ERROR_STATUSES:
            return name
        if isinstance(name, str):
            if re.fullmatch(r"[45]\d\d", name):
                return int(name)
            if name in _STATUS_OF_CODE:
                return _STATUS_OF_CODE[name]
    return None


def by_status(
    caller: Caller, status: int, payload: object, *, headers: Mapping[str, str], model: str, now: datetime
) -> ProviderError:
    """Return the error that an answer with *status* and the body *payload* stands for."""
    words = words_of(payload).strip() or "no words"
    text = caller.text(f"HTTP {status}: {words}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        cure = f" (check {caller.key_name})" if caller.key_name else " (no key was sent)"
        return WrongKey(text + cure, status=status)
    if status == HTTPStatus.NOT_FOUND and (isinstance(payload, str) or _ABOUT_MODEL_OR_ADDRESS.search(words)):
        return UnknownModel(f"{text} (model {model!r}; {advice(caller.base_url)})", status=status)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return ProviderUnreachable(f"{text} ({advice(caller.base_url)})", status=status)
    if status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable(
            text, status=status, retry_after_s=wait_asked(headers, now), may_be_billed=status in _MAY_BE_BILLED
        )
    return ProviderRefused(text, status=status)


def wait_asked(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Return the seconds that a provider asks to wait; None where it does not say.

    In this order: `retry-after-ms`, `retry-after` (seconds or an HTTP date), and the longest
    `x-ratelimit-reset…` whose `x-ratelimit-remaining…` is 0 (a duration such as `6m0s`, or a time since 1970).
    """
    wait = number_in(headers.get("retry-after-ms"))
    if wait is not None:
        return _believed(wait / 1000)
    after = headers.get("retry-after")
    if after is not None:
        seconds = number_in(after)
        return _believed(seconds if seconds is not None else _until(after, now))
    resets = [
        seconds_until_reset(value, now)
        for name, value in headers.items()
        if name.lower().startswith("x-ratelimit-reset")
        and number_in(headers.get(name.lower().replace("reset", "remaining"))) == 0
    ]
    known = [reset for reset in resets if reset is not None]
    return _believed(max(known)) if known else None


def number_in(text: str | None) -> float | None:
    """Return the number that a header is; None where it is none."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _until(date: str, now: datetime) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(date) - now).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None


def seconds_until_reset(text: str, now: datetime) -> float | None:
    """Return the seconds that an `x-ratelimit-reset…` asks to wait: a duration such as `6m0s`, or a time since 1970."""
    since_1970 = number_in(text)
    if since_1970 is None:
        match = _DURATION.match(text.strip())
        if match is None or not any(match.groups()):
            return None
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    if since_1970 > _MILLISECONDS_SINCE_1970:
        since_1970 /= 1000
    return since_1970 - now.timestamp() if since_1970 > now.timestamp() / 2 else since_1970


def _believed(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= WAIT_LIMIT_S else None
