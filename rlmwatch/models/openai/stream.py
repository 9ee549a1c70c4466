"""
One answer, put together from the chunks of a stream.

Pure: chunks are JSON values, as they come from strangers; what has the wrong shape is passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rlmwatch.contract.text import is_unseen
from rlmwatch.models.base import RESTART, Message
from rlmwatch.models.finish_reason import meaning, normalised
from rlmwatch.models.image_tokens import tokens_of_images
from rlmwatch.models.openai.thoughts import Thoughts
from rlmwatch.models.prices import Tokens

CHARS_PER_TOKEN = 4
"""Our estimate where a provider reports no usage: OpenAI's rule of thumb for English."""

MOST_TOKENS = 10**9
MOST_USD = 1e6
"""A report of more is not a sound one: the largest windows hold some million tokens."""

LEAST_REPEAT = 20
"""Characters of a last chunk from which on the same text again is a repetition: shorter ones may be meant so."""

DONE: Final = "[DONE]"
"""Stands among the chunks where the stream says that it is done."""

_DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_INT_DIGITS = 18


class NotTheProtocol(ValueError):
    """
    What came is neither events nor JSON.

    Attributes:
        text: It, for a person.
    """

    def __init__(self, text: str) -> None:
        super().__init__("not the protocol")
        self.text = text


@dataclass(slots=True)
class Answer:
    """
    What has come so far.

    Attributes:
        pieces: The text; thoughts are not part of it.
        finish_reason: The provider's word for it, once the text has ended.
        whole: Whether the text has ended by another sign: the stream said that it is done, or a whole message came.
        model: The model that answers, as the provider says.
        usage: The provider's last report.
        chars: Characters that came, thoughts included.
        odd: A chunk in which nothing was understood; None where there was none.
    """

    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    whole: bool = False
    model: str | None = None
    usage: Mapping[str, object] | None = None
    chars: int = 0
    odd: object = None
    _raw: list[str] = field(default_factory=list)
    _raw_chars: int = 0  # in all: a stranger may end every chunk, so `_raw` is joined only where that can tell
    _thoughts: Thoughts = field(default_factory=Thoughts)

    @property
    def text(self) -> str:
        """The text so far; nothing where it holds nothing that can be seen."""
        text = "".join(self.pieces)
        return "" if is_unseen(text) else text

    @property
    def ended(self) -> bool:
        """Whether nothing of the text is missing, as far as the provider says."""
        return self.finish_reason is not None or self.whole

    def take(self, chunk: object) -> list[str]:
        """Take in one chunk, or a whole reply; return the new text. `RESTART` in it: all before it was thought."""
        if chunk == DONE:
            self.whole = self.whole or self.chars > 0
            return []
        if not isinstance(chunk, dict):
            self.odd = chunk
            return []
        self._note(chunk)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            if choices is None:
                self.odd = chunk
            return []
        finish = choice.get("finish_reason") or choice.get("finishReason")
        if isinstance(finish, str) and normalised(finish) is not None:
            self.finish_reason = finish.strip()
        self._report(choice.get("usage"))
        new = self._delta(choice.get("delta"), last=self.finish_reason is not None)
        message = choice.get("message")
        if isinstance(message, dict):
            # Some servers send the whole text so far beside each delta (Perplexity): that is not the end.
            self.whole = self.whole or (not new and bool(_text(message) or choice.get("delta") is None))
            new += self._message(message)
        return self._kept(self._thoughts.feed(new)) if new else []

    def end(self) -> list[str]:
        """Return the text that was held back, once all has come."""
        return self._kept(self._thoughts.end(whole=meaning(self.finish_reason or "stop") == "stop"))

    def tokens(self, sent: Iterable[Message]) -> tuple[Tokens, bool]:
        """
        Return the tokens of the answer to *sent*, and whether they are, in part, our estimate.

        Where one of the two numbers is missing, or is 0 although there was something to count, it is what the total
        leaves, else estimated. Some providers count reasoning only in the total; output is then what the total leaves.
        """
        usage: Mapping[str, object] = self.usage or {}
        into = _count(usage.get("prompt_tokens"), usage.get("input_tokens"))
        out = _count(usage.get("completion_tokens"), usage.get("output_tokens"))
        total = _count(usage.get("total_tokens")) or 0
        ours = estimate(sent, self.chars)
        if not into and out and total > out:
            into = total - out
        if not out and into and total > into:
            out = total - into
        estimated = (not into and ours.input > 0) or (not out and (self.chars > 0 or out is None))
        into, out = into or ours.input, out or ours.output
        details = usage.get("prompt_tokens_details")
        details = details if isinstance(details, dict) else {}
        return Tokens(
            into,
            max(out, total - into),
            min(into, _count(details.get("cached_tokens")) or 0),
            min(into, _count(details.get("cache_write_tokens")) or 0),
        ), estimated

    def reasoning_tokens(self) -> int:
        """Return how many of the output tokens were thoughts, as the provider says; 0 where it does not say."""
        usage = self.usage or {}
        groups = (usage.get("completion_tokens_details"), usage.get("output_tokens_details"), usage)
        reported = (_count(group.get("reasoning_tokens")) for group in groups if isinstance(group, Mapping))
        return next((tokens for tokens in reported if tokens), 0)

    def reported_input(self) -> int:
        """Return the tokens that the provider says it read; 0 where it does not say."""
        return _count((self.usage or {}).get("prompt_tokens"), (self.usage or {}).get("input_tokens")) or 0

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
        if cost is not None and self.usage.get("is_byok") is True and isinstance(details, dict):
            cost += _money(details.get("upstream_inference_cost")) or 0.0
        return cost

    def _note(self, chunk: Mapping[str, object]) -> None:
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self.model = model
        self._report(chunk.get("usage"))
        groq = chunk.get("x_groq")
        if isinstance(groq, dict):
            self._report(groq.get("usage"))

    def _report(self, usage: object) -> None:
        """Keep the last report; one without output does not replace one with it."""
        if not isinstance(usage, dict) or not usage:
            return
        before = self.usage or {}
        new = _count(usage.get("completion_tokens"), usage.get("output_tokens"))
        if new or not _count(before.get("completion_tokens"), before.get("output_tokens")):
            self.usage = usage

    def _delta(self, delta: object, *, last: bool) -> str:
        """Return the text of *delta*, unless it is the last one and repeats the whole text."""
        new = _text(delta)
        if isinstance(delta, dict):
            self.chars += sum(len(thought) for thought in map(delta.get, _THOUGHTS) if isinstance(thought, str))
        repeats = last and len(new) >= LEAST_REPEAT and len(self._raw) > 1 and len(new) == self._raw_chars
        if repeats and new == "".join(self._raw):
            return ""
        self._add(new)
        return new

    def _message(self, message: Mapping[str, object]) -> str:
        """Return what *message*, which is whole, holds beyond the text so far."""
        whole = _text(message)
        if not self._raw:
            self.chars += sum(len(thought) for thought in map(message.get, _THOUGHTS) if isinstance(thought, str))
        goes_on = len(whole) > self._raw_chars and whole.startswith("".join(self._raw))
        new = whole[self._raw_chars :] if goes_on else ""
        self._add(new)
        return new

    def _add(self, new: str) -> None:
        if new:
            self._raw.append(new)
            self._raw_chars += len(new)
            self.chars += len(new)

    def _kept(self, parts: list[str]) -> list[str]:
        for part in parts:
            if part is RESTART:
                self.pieces.clear()
            else:
                self.pieces.append(part)
        return parts


@dataclass(slots=True)
class Events:
    """
    Server-sent events: bytes in, as they come, the data of each whole event out.

    As the WHATWG's rules say (html.spec.whatwg.org, 9.2.6), but where servers differ from them:

    1. Lines end with LF, CRLF or CR, wherever the bytes were cut; a byte order mark at the beginning is passed over.
    2. An event ends with an empty line. Its data are its lines `data: …`, joined by line breaks. Comments and unknown
       fields are passed over, and so is an event without data or with blank ones.
    3. The data of an event of the type `error`, or of a field of that name (llama.cpp until 2025, ggml-org/llama.cpp
       #16104), are handed out as the value of `error`. Those of another named event that are not JSON say nothing.
    4. At the end of the stream an event without its empty line counts if its data are whole JSON, or the mark of the
       end. Where there was no event at all, the body is a document, or one of JSON lines, under a wrong name.
    """

    _line: bytearray = field(default_factory=bytearray)
    _data: list[bytes] = field(default_factory=list)
    _type: bytes = b""
    _after_cr: bool = False
    _body: bytearray | None = field(default_factory=bytearray)

    def feed(self, piece: bytes) -> list[bytes]:
        """Take in *piece*, and return the data of the events that it ends. How much may come is the caller's to say."""
        if self._body is not None:
            self._body += piece
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = piece.split(b"\n")
        self._line += first
        if not others:
            return []
        whole: list[bytes] = []
        *lines, rest = [bytes(self._line), *others]
        self._line = bytearray(rest)
        for line in lines:
            whole += self._take(line)
        if whole:
            self._body = None
        return whole

    def end(self) -> list[bytes]:
        """
        Return what else the stream says by its end.

        Raises:
            NotTheProtocol: There was no event, and what came is not JSON either.
        """
        body = self._body
        if self._line:
            self._take(bytes(self._line))
        data = b"\n".join(self._data).strip()
        if data.startswith(_DONE) or _is_json(data) or (data and self._type == b"error"):
            return self._take(b"")
        text = bytes(body or b"").removeprefix(_BOM).strip()
        if not text or data:
            return []
        if _is_json(text):
            return [text]
        lines = [line for line in text.splitlines() if line.strip()]
        if all(map(_is_json, lines)):
            return lines
        if all(line.startswith((b":", b"event:", b"id:", b"retry:", b"data:")) for line in lines):
            return []
        raise NotTheProtocol(text.decode("utf-8", "replace"))

    def _take(self, line: bytes) -> list[bytes]:
        if not line:
            return self._dispatch()
        name, _, value = line.removeprefix(_BOM).partition(b":")
        value = value.removeprefix(b" ")
        if name in (b"data", b"error"):
            self._data.append(value)
        if name == b"error":
            self._type = b"error"
        elif name == b"event":
            self._type = value.strip()
        return []

    def _dispatch(self) -> list[bytes]:
        data, kind = b"\n".join(self._data).strip(), self._type
        self._data, self._type = [], b""
        if not data:
            return []
        if kind == b"error":
            return [
                b'{"error": %s}' % (data if _is_json(data) else json.dumps(data.decode("utf-8", "replace")).encode())
            ]
        if kind in (b"", b"message") or data.startswith(_DONE) or _is_json(data):
            return [data]
        return []


def value(data: bytes) -> object:
    """
    Return the JSON value of an event's *data*, or `DONE`.

    Raises:
        NotTheProtocol: They are not JSON.
    """
    if data.startswith(_DONE):
        return DONE
    try:
        return _decoder.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise NotTheProtocol(data.decode("utf-8", "replace")) from None


def estimate(messages: Iterable[Message], received: int) -> Tokens:
    """Return the tokens of a call whose provider counted none: `CHARS_PER_TOKEN` characters each; images at most."""
    sent = images = 0
    for message in messages:
        sent += len(message.content)
        images += tokens_of_images("", message)
    return Tokens(math.ceil(sent / CHARS_PER_TOKEN) + images, math.ceil(received / CHARS_PER_TOKEN))


def _integer(digits: str) -> int | float:
    # Python refuses to read a number of 5,000 digits, and with it the answer that it stands in.
    return int(digits) if len(digits) <= _INT_DIGITS else float(digits)


_decoder = json.JSONDecoder(parse_int=_integer)
_THOUGHTS = ("reasoning_content", "reasoning")


def _is_json(data: bytes) -> bool:
    try:
        value(data)
    except NotTheProtocol:
        return False
    return not data.startswith(_DONE)


def _text(delta: object) -> str:
    """Return the text of a delta: a string, or a list of parts of which those of type `text` count."""
    if not isinstance(delta, dict):
        return ""
    content = delta.get("content") or delta.get("refusal")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str))


def _count(*values: object) -> int | None:
    """Return the first of *values* that is a number of tokens; None where none is."""
    for number in values:
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST_TOKENS:
            return number
    return None


def _money(number: object) -> float | None:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return float(number) if 0 <= number <= MOST_USD else None
