"""
Exa's failures in our own terms.

| what Exa answered                                     | what it becomes     |
| ----------------------------------------------------- | ------------------- |
| 401, 403                                              | WrongKey            |
| 402 (no credit, or the key's own budget is spent)     | ProviderRefused     |
| a redirect, any other 4xx                             | ProviderRefused     |
| 408, 409, 425, 429, 5xx                               | ProviderUnavailable |
| no connection, silence, something that is not Exa's   | ProviderUnavailable |

The text is Exa's own words with its tag and the id of the request, cut to a screenful, without markup and key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from rlmwatch.addresses import redirected, shown
from rlmwatch.errors import ProviderError, ProviderRefused, ProviderUnavailable, WrongKey
from rlmwatch.redaction import redact

KEY_NAME = "EXA_API_KEY"
ADDRESS_NAME = "EXA_BASE_URL"

WORDS_LIMIT = 600
"""Characters of Exa's words that are shown: a gateway may send a whole page."""

WORDS_READ = 16 * WORDS_LIMIT
"""Characters that are looked at: a hostile page of a megabyte takes no time."""

WAIT_LIMIT_S = 24 * 3600.0
"""A wait beyond a day is a clock that differs or a unit that we misread; it is not believed."""

_RETRYABLE = frozenset({408, 409, 425, 429})
_MAY_BE_BILLED = frozenset({408, 504, 524})
"""Gateways that gave up waiting: the search behind them may have finished."""


class Answered(Exception):
    """
    An HTTP answer that is not a success, on its way through the SDK, whose own error loses the headers.

    Attributes:
        headers: With lower-case names.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(frozen=True, slots=True)
class ExaFailures:
    """
    Who asked, for the person who reads the error.

    Attributes:
        base_url: Where Exa was asked.
        key: The key, to be taken out of every text.
    """

    base_url: str
    key: str = field(repr=False)

    def text(self, words: str) -> str:
        """Return *words* on one line, cut, with Exa's name in front and without the key."""
        said = " ".join(redact(words[:WORDS_READ], (self.key,), "[key]").split())
        return "exa: " + (said if len(said) <= WORDS_LIMIT else said[:WORDS_LIMIT] + " …")

    def failure(self, answered: Answered, *, now: datetime) -> ProviderError:
        """Return the error that *answered* stands for."""
        status = answered.status
        text = self.text(f"HTTP {status}: {words_of(answered.body)}")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return WrongKey(f"{text} (check {KEY_NAME})", status=status)
        if status == HTTPStatus.PAYMENT_REQUIRED:
            return ProviderRefused(f"{text} (add credit, or raise the key's budget, in Exa's dashboard)", status=status)
        if status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = wait_asked(answered.headers, now)
            return ProviderUnavailable(text, status=status, retry_after_s=wait, may_be_billed=status in _MAY_BE_BILLED)
        if status < HTTPStatus.BAD_REQUEST:
            words = redirected(status, self.base_url, answered.headers.get("location"), ADDRESS_NAME)
            return ProviderRefused(self.text(words), status=status)
        if status == HTTPStatus.NOT_FOUND:
            return ProviderRefused(f"{text} (is {shown(self.base_url)} Exa? check {ADDRESS_NAME})", status=status)
        return ProviderRefused(text, status=status)


def words_of(body: str) -> str:
    """Return what an error's *body* says to a person: `error`, `tag` and `requestId`, or the text without markup."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, Mapping):
        plain = re.sub(r"(?s)<(script|style)\b.*?(</\1>|\Z)", " ", body)
        return re.sub(r"<[^<>]*>", " ", plain).strip() or "no words"
    words = said.get("error") or said.get("message") or said
    text = words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)
    request = said.get("requestId")
    more = [str(said["tag"])] if said.get("tag") else []
    more += [f"request {request}"] if request else []
    return text + (f" ({', '.join(more)})" if more else "")


def wait_asked(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that `retry-after` (seconds or an HTTP date) asks to wait; None where it does not say."""
    after = headers.get("retry-after")
    if after is None:
        return None
    try:
        seconds = float(after)
    except ValueError:
        try:
            seconds = max(0.0, (parsedate_to_datetime(after) - now).total_seconds())
        except (ValueError, TypeError):  # TypeError: a date without a zone
            return None
    return seconds if 0 <= seconds <= WAIT_LIMIT_S else None
