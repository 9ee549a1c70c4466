"""
Where a provider is, and what its models take.

Pure: no request is made here.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from rlmwatch.contract.json_answer import allows_object
from rlmwatch.models.base import Message, Request
from rlmwatch.models.openai.errors import ProviderIdentity

_BAD_REQUEST = (400, 422)

_NO_SYSTEM = re.compile(
    r"""
      (does\ not|doesn't|not|no)\ (support|allow|accept)\w*\ .{0,30}\b(system|developer)\b
    | \b(system|developer)'?\ ?(role|message|prompt|instruction)s?\b.{0,40}
      \ (not|isn't|aren't|cannot|unsupported|invalid)\b
    | messages?\[\d+\]\.role | unsupported\ role | role\ must\ be\ (one\ of\ )?.{0,10}user
    | only\ (the\ )?.?user.?\ (and|or|,).{0,20}assistant | roles\ must\ alternate
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""How servers refuse a system message: `param: messages[0].role` (OpenAI's o1), "System role not supported" (the chat
templates of Gemma, in vLLM, llama.cpp and LM Studio), "Developer instruction is not enabled" (Gemini)."""

_NO_STREAM = re.compile(
    r"""
      must\ be\ verified\ to\ stream | \bparam\W+stream\b
    | stream(ing|ed)?\b.{0,30}\ (not|isn't|unsupported|disabled|unavailable)\b
    | (not|n't|cannot|unsupported|without)\ (support\w*\ |allow\w*\ |be\ )?(\w+\ ){0,3}stream(ing|ed)?\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_NO_FORMAT = re.compile(
    r"""
      response[_ ]?format | json[_ ](schema|object|mode|output) | structured[_ ]outputs? | \bgrammar\b
    | json_validate_failed | guided[_ ](json|decoding)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""How servers refuse JSON, or one kind of schema: "This response_format type is unavailable now" (DeepSeek), "does not
support response format `json_schema`" (Groq, which also ends what the model got wrong so), "failed to parse grammar"
(llama.cpp), "Invalid schema for response_format" (OpenAI)."""


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
    def caller(self) -> ProviderIdentity:
        """What error texts need to know."""
        key = self.api_key.get_secret_value() if self.api_key is not None else ""
        return ProviderIdentity(self.provider, self.base_url, self.key_name, key)


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    What one model takes, as far as its refusals have taught.

    The output limit is never left out: one of its two names is always sent, so a reservation holds.

    Attributes:
        limit_name: `max_tokens`, or `max_completion_tokens` where that is the name.
        without: Optional parameters that the model refused, and types of `response_format`.
        tried: Names of the limit that were refused.
        streams: Whether an answer comes as a stream; OpenAI streams some models to verified organisations only.
        system: Whether it takes a message of the role `system`; where not, that stands before the first of the user.
    """

    limit_name: str
    without: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()
    streams: bool = True
    system: bool = True

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
            "stream_options": {"include_usage": True} if self.streams else None,
            "response_format": self._format(request),
        }
        messages = request.messages if self.system else _without_system(request.messages)
        return {
            "model": request.model,
            "messages": [{"role": message.role, "content": _content(message)} for message in messages],
            self.limit_name: request.max_tokens,
            "stream": self.streams,
            **{name: value for name, value in optional.items() if value is not None and name not in self.without},
        }

    def _format(self, request: Request) -> dict[str, Any] | None:
        """Return what holds the reply to JSON, of the protocol's two types; None where only the words do."""
        if request.answer_format is None:
            return None
        schema = request.answer_format["schema"]
        if schema is not None and "json_schema" not in self.without:
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        if allows_object(schema) and "json_object" not in self.without:
            return {"type": "json_object"}
        return None

    def after_refusal(self, body: Mapping[str, Any], words: str, *, status: int = 400) -> Dialect | None:
        """
        Return what to try after *body* was refused with *words*; None where they name nothing that can change.

        Servers refuse system messages (also as a fault of their own, 500) and streams with many statuses; a parameter
        is taken for the cause only where the *status* says that the request was wrong.
        """
        if any(message["role"] == "system" for message in body["messages"]) and _NO_SYSTEM.search(words):
            return replace(self, system=False)
        if "response_format" in body and status in _BAD_REQUEST and _NO_FORMAT.search(words):
            return replace(self, without=self.without | {body["response_format"]["type"]})
        named = set(re.findall(r"\w+", words)) if status in _BAD_REQUEST else set[str]()
        for name in ("temperature", "seed", "stream_options"):
            if name in body and name in named:
                return replace(self, without=self.without | {name})
        for_good = status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED
        if body["stream"] and ("stream" in named or (for_good and _NO_STREAM.search(words))):
            return replace(self, streams=False)
        other = "max_tokens" if self.limit_name == "max_completion_tokens" else "max_completion_tokens"
        if named & {self.limit_name, other} and other not in self.tried:
            return replace(self, limit_name=other, tried=self.tried | {self.limit_name})
        return None

    def differences(self) -> dict[str, Any]:
        """Return, for the log, what a model takes otherwise than others."""
        return {
            "limit": self.limit_name,
            "without": sorted(self.without),
            "streams": self.streams,
            "system": self.system,
        }


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return *messages* with the text of the system before that of the first message of the user."""
    said = "\n\n".join(message.content for message in messages if message.role == "system")
    others = [message for message in messages if message.role != "system"]
    at = next((at for at, message in enumerate(others) if message.role == "user"), None)
    if not said or at is None:
        return tuple(others) if others else tuple(replace(message, role="user") for message in messages)
    return (*others[:at], replace(others[at], content=f"{said}\n\n{others[at].content}"), *others[at + 1 :])


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Return the content of *message*: its text, or with images the protocol's parts, as data URLs."""
    if not message.images:
        return message.content
    urls = (f"data:{image.media_type};base64,{b64encode(image.data).decode()}" for image in message.images)
    return [{"type": "text", "text": message.content}, *({"type": "image_url", "image_url": {"url": u}} for u in urls)]
