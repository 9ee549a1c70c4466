"""
A provider's failures in our own terms.

| what the provider said                                           | what it becomes                         |
| ---------------------------------------------------------------- | --------------------------------------- |
| the request is too long, whatever the status                     | ContextTooLong                          |
| no such model or no access to it, whatever the status            | UnknownModel                            |
| 404 about the model or the address                               | UnknownModel                            |
| no such address, whatever the status; 405                        | ProviderUnreachable                     |
| 401; 403, but about content or region                            | WrongKey                                |
| content, region or money, also as 403 or 429                     | ProviderRefused                         |
| any other 4xx                                                    | ProviderRefused                         |
| 408, 409, 425, 429, 5xx                                          | ProviderUnavailable                     |
| no connection, silence, or something that is not JSON            | ProviderUnavailable                     |
| the same as ProviderUnavailable once text has come               | ProviderCutOff (in `model`)             |

The text is the provider's own, without markup, cut to a screenful, and the key is taken out of it wherever the
provider repeats it, in whatever form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from rlmwatch.errors import (
    ContextTooLong,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.openai.address import advice
from rlmwatch.models.openai.error_bodies import as_json, codes_of, words_of
from rlmwatch.models.openai.refusals import About, about, numbers, wait_in
from rlmwatch.redaction import redact

WORDS_LIMIT = 600
"""Characters of a provider's words that are shown: some send whole pages."""

WORDS_READ = 16 * WORDS_LIMIT
"""Characters that are looked at: a hostile page of a megabyte takes no time."""

WAIT_LIMIT_S = 24 * 3600.0
"""A wait beyond a day is a clock that differs or a unit that we misread; it is not believed."""

_RETRYABLE = frozenset({408, 409, 425, 429})

# Gateways that gave up waiting: the model behind them may have finished, and be billed. An answer 500 or 503 is not
# billed by OpenAI or OpenRouter.
_MAY_BE_BILLED = frozenset({408, 504, 524})

_ABOUT_MODEL_OR_ADDRESS = re.compile(r"model|endpoint|route|path|url|page|file not found|^not found$", re.IGNORECASE)

_OTHER_THAN_EXISTENCE = re.compile(
    r"not (available|loaded|deployed|supported|served)|loaded|access|providers", re.IGNORECASE
)
_PER_TIME = re.compile(r"per[ -](min|hour|day|second)|rate limit|wait|try again|slow down|throttl", re.IGNORECASE)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")
_MILLISECONDS_SINCE_1970 = 1e11  # seconds reach this number in the year 5138


@dataclass(frozen=True, slots=True)
class ProviderIdentity:
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
        said = self.hidden(words)
        if len(said) > WORDS_LIMIT:
            said = said[:WORDS_LIMIT] + " …"
        return f"{self.provider}: {said}"

    def hidden(self, words: str) -> str:
        """Return *words* on one line and without the key, in whatever form it stands there."""
        return " ".join(redact(words[:WORDS_READ], (self.key,), "[key]").split())


def by_status(
    caller: ProviderIdentity,
    status: int | None,
    payload: object,
    *,
    headers: Mapping[str, str],
    model: str,
    now: datetime,
) -> ProviderError:
    """
    Return the error that an answer with *status* and the body *payload* stands for.

    *status* is None where an answer with status 200 holds an error that names none.
    """
    words = words_of(payload).strip()[:WORDS_READ] or "no words"
    text = caller.text(words if status is None else f"HTTP {status}: {words}")
    if (what := _about(status, payload, words)) is not None:
        return _refused(what, text, status, payload, f"model {model!r}; {advice(caller.base_url)}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        cure = f" (check {caller.key_name})" if caller.key_name else " (no key was sent)"
        return WrongKey(text + cure, status=status)
    if status is None or status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = wait_asked(headers, now)
        return ProviderUnavailable(
            text,
            status=status,
            retry_after_s=_believed(wait_in(words)) if wait is None else wait,
            may_be_billed=status is None or status in _MAY_BE_BILLED,
        )
    return ProviderRefused(text, status=status)


def _refused(what: About, text: str, status: int | None, payload: object, asked: str) -> ProviderRefused:
    """Return the error of a refusal for *what*; *asked* says which model was asked for, and where."""
    match what:
        case About.TOO_LONG:
            limit, more = numbers(f"{words_of(payload)[:WORDS_READ]} {as_json(payload)[:WORDS_READ]}")
            return ContextTooLong(text, status=status, limit_tokens=limit, asked_tokens=more)
        case About.MODEL:
            return UnknownModel(f"{text} ({asked})", status=status)
        case About.ADDRESS:
            return ProviderUnreachable(f"{text} ({asked})", status=status)
        case _:
            return ProviderRefused(text, status=status)


def _about(status: int | None, payload: object, words: str) -> About | None:
    """Return what an answer refuses for, where that counts more than its *status*."""
    what = about(codes_of(payload), words)
    if status == HTTPStatus.UNAUTHORIZED:
        return None
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return About.ADDRESS
    if status == HTTPStatus.NOT_FOUND and what in (None, About.CONTENT):
        lost = isinstance(payload, str) or _ABOUT_MODEL_OR_ADDRESS.search(words)
        return About.MODEL if lost else what
    if status in _RETRYABLE or (status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return what if what is not None and _cannot_heal(what, words) else None
    return what


def _cannot_heal(what: About, words: str) -> bool:
    """Return whether a refusal for *what* is for good although its status says that it may work later."""
    match what:
        case About.TOO_LONG:  # and not about tokens per minute, unless one request alone has more
            return not _PER_TIME.search(words) or "too large" in words.lower()
        case About.MODEL:
            return not _OTHER_THAN_EXISTENCE.search(words)
        case About.MONEY:
            return wait_in(words) is None
        case _:
            return False


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
