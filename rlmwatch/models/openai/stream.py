"""
One answer, put together from the chunks of a stream.

Pure: chunks are JSON values, as they come from strangers; what has the wrong shape is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rlmwatch.models.base import Message
from rlmwatch.models.prices import Tokens

CHARS_PER_TOKEN = 4
"""Our estimate where a provider reports no usage: OpenAI's rule of thumb for English."""


@dataclass(slots=True)
class Answer:
    """
    What has come so far.

    Attributes:
        pieces: The text; reasoning is not part of it.
        finish_reason: Set once the text is whole.
        model: The model that answers, as the provider says.
        usage: The provider's last report.
    """

    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    model: str | None = None
    usage: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    def take(self, chunk: object) -> str:
        """Take in one chunk, or a whole reply of a server that does not stream; return the new text."""
        if not isinstance(chunk, Mapping):
            return ""
        model, usage = chunk.get("model"), chunk.get("usage")
        if isinstance(model, str) and model:
            self.model = model
        if isinstance(usage, Mapping):
            self.usage = usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            return ""
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish_reason = finish
        new = _text(choice.get("delta") or choice.get("message"))
        if new:
            self.pieces.append(new)
        return new

    def tokens(self) -> Tokens | None:
        """
        Return the tokens as the provider counted them; None where it did not.

        Some providers count reasoning only in the total; output is then what the total leaves.
        """
        if self.usage is None:
            return None
        into, out = _count(self.usage.get("prompt_tokens")), _count(self.usage.get("completion_tokens"))
        if into is None or out is None:
            return None
        total = _count(self.usage.get("total_tokens")) or 0
        details = self.usage.get("prompt_tokens_details")
        details = details if isinstance(details, Mapping) else {}
        return Tokens(
            into,
            max(out, total - into),
            _count(details.get("cached_tokens")) or 0,
            _count(details.get("cache_write_tokens")) or 0,
        )

    def reported_cost(self) -> float | None:
        """
        Return the cost in US dollars that the reply itself reports; None where it does not.

        With a key of one's own behind OpenRouter, `cost` is OpenRouter's fee alone; what the provider behind
        it bills is added.
        """
        if self.usage is None:
            return None
        cost = _money(self.usage.get("cost"))
        details = self.usage.get("cost_details")
        if cost is not None and self.usage.get("is_byok") is True and isinstance(details, Mapping):
            cost += _money(details.get("upstream_inference_cost")) or 0.0
        return cost


@dataclass(slots=True)
class Events:
    """
    Server-sent events: bytes in, as they come, the data of each whole event out.

    1. An event ends with an empty line; what has none at the end of the stream is no event.
    2. Its data are its lines `data: …`, joined by line breaks; all other lines are passed over.
    3. Lines end with LF or CRLF, wherever the bytes were cut.
    """

    _line: bytes = b""
    _data: list[bytes] = field(default_factory=list)

    def feed(self, piece: bytes) -> list[bytes]:
        """Take in *piece*, and return the events that it ends."""
        whole: list[bytes] = []
        *lines, self._line = (self._line + piece).split(b"\n")
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[len(b"data:") :].removeprefix(b" "))
            elif not line and self._data:
                whole.append(b"\n".join(self._data))
                self._data = []
        return whole


def estimate(messages: Iterable[Message], text: str) -> Tokens:
    """Return the tokens of a call whose provider counted none: `CHARS_PER_TOKEN` characters each, rounded up."""
    sent = sum(len(message.content) for message in messages)
    return Tokens(math.ceil(sent / CHARS_PER_TOKEN), math.ceil(len(text) / CHARS_PER_TOKEN))


def _text(delta: object) -> str:
    """Return the text of a delta: a string, or a list of parts of which those of type `text` count."""
    if not isinstance(delta, Mapping):
        return ""
    content = delta.get("content") or delta.get("refusal")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _money(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
