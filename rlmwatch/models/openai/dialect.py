"""
Where a provider is, and what its models take.

Pure: no request is made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from rlmwatch.models.base import Request
from rlmwatch.models.openai.errors import Caller


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    Where to ask, and as whom.

    Attributes:
        provider: Short name for people: `openrouter`, `openai`, `local`, or a host.
        base_url: Up to and with `/v1`.
        api_key: None where none is needed.
        key_name: The variable that the key came from, for error texts.
        key_header: The header that carries the key; in `Authorization` it stands after `Bearer`.
        extra_headers: What the user's own configuration sends to this address beside.
    """

    provider: str
    base_url: str
    api_key: SecretStr | None = None
    key_name: str | None = None
    key_header: str = "Authorization"
    extra_headers: Mapping[str, SecretStr] = field(default_factory=dict)

    @property
    def own_headers(self) -> dict[str, str]:
        """The headers that are for this address alone: the key, and what the user adds."""
        headers = {name: value.get_secret_value() for name, value in self.extra_headers.items()}
        if self.api_key is not None:
            key = self.api_key.get_secret_value()
            headers[self.key_header] = f"Bearer {key}" if self.key_header == "Authorization" else key
        return headers

    @property
    def caller(self) -> Caller:
        """What error texts need to know."""
        key = self.api_key.get_secret_value() if self.api_key is not None else ""
        return Caller(self.provider, self.base_url, self.key_name, key)


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    What one model takes, as far as its refusals have taught.

    The output limit is never left out: one of its two names is always sent, so a reservation holds.

    Attributes:
        limit_name: `max_tokens`, or `max_completion_tokens` where that is the name.
        without: Optional parameters that the model refused.
        tried: Names of the limit that were refused.
    """

    limit_name: str
    without: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()

    @classmethod
    def of(cls, base_url: str) -> Dialect:
        """Return the dialect to begin with: OpenAI's own newer models refuse `max_tokens`, others know only that."""
        host = urlsplit(base_url).hostname or ""
        is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
        return cls("max_completion_tokens" if is_openai else "max_tokens")

    def body(self, request: Request) -> dict[str, Any]:
        """Return *request* as the protocol's JSON."""
        optional = {
            "temperature": request.temperature,
            "seed": request.seed,
            "stream_options": {"include_usage": True},
        }
        return {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self.limit_name: request.max_tokens,
            "stream": True,
            **{name: value for name, value in optional.items() if value is not None and name not in self.without},
        }

    def after_refusal(self, body: Mapping[str, Any], words: str) -> Dialect | None:
        """Return what to try after *body* was refused with *words*; None where they name nothing that can change."""
        named = set(re.findall(r"\w+", words))
        for name in ("temperature", "seed", "stream_options"):
            if name in body and name in named:
                return replace(self, without=self.without | {name})
        other = "max_tokens" if self.limit_name == "max_completion_tokens" else "max_completion_tokens"
        if named & {self.limit_name, other} and other not in self.tried:
            return replace(self, limit_name=other, tried=self.tried | {self.limit_name})
        return None
