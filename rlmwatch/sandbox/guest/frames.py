"""
Frames between the host and a worker: four bytes of length, big-endian, then one JSON object in UTF-8.

Standard library only, and so is `contract/structure.py`; both halves use it. What comes from a worker was written by
code that nobody trusts, so a frame is refused before it costs anything:

1. its length is at most `MAX_BYTES`, known before the body is read;
2. it holds at most `MAX_STRUCTURE` brackets, commas and colons outside strings, counted before it is parsed
   (measured: 24 MB of `[],` become 600 MB of lists);
3. it nests at most `MAX_DEPTH` deep (200 KB of `[` are a RecursionError);
4. it is UTF-8, an object, and holds no NaN and no infinity: what the host keeps of it must be JSON again.

A half frame waits for its rest; whoever reads sets the limit of time.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from rlmwatch.contract.structure import excess

MAX_BYTES = 8 * 1024 * 1024
MAX_STRUCTURE = 200_000  # the dearest, `{"a":1},`, then costs the reader about 15 MB
MAX_DEPTH = 64
MAX_HOST_BYTES = 64 * 1024 * 1024  # what a worker takes from its host, which it trusts
QUESTION = b"?"
"""Of the host to the zygote, no frame: whether it is there. It is sent back."""
_HEAD = 4

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Made once: a cell that replaces `json.dumps` does not replace it here.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class BadFrame(ValueError):
    """The other side broke the protocol, or was about to."""


def encode(frame: dict[str, Any], *, max_bytes: int = MAX_BYTES) -> bytes:
    """
    Return *frame* as bytes for the wire.

    Lone surrogates become `?`.

    Raises:
        BadFrame: It would be refused on the other side: too long, too much structure, NaN or infinity.
        TypeError: It holds something that is not JSON.
    """
    try:
        text = _to_json(frame)
    except RecursionError as error:
        raise BadFrame("nests too deep for JSON") from error
    except ValueError as error:
        raise BadFrame(str(error)) from error
    body = text.encode("utf-8", "replace")
    check(body, max_bytes=max_bytes)
    return len(body).to_bytes(_HEAD, "big") + body


def encode_trusted(frame: dict[str, Any]) -> bytes:
    """Return *frame* from the host as bytes for the wire; only its length is checked."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    if len(body) > MAX_HOST_BYTES:
        raise BadFrame(f"{len(body):,} bytes for a cell; at most {MAX_HOST_BYTES:,}")
    return len(body).to_bytes(_HEAD, "big") + body


def check(body: bytes, *, max_bytes: int = MAX_BYTES) -> None:
    """
    Refuse *body* if parsing it could cost too much.

    Raises:
        BadFrame: Too long, too wide or too deep; the text says which.
    """
    if len(body) > max_bytes:
        raise BadFrame(f"{len(body):,} bytes; at most {max_bytes:,}")
    if (why := excess(body, max_marks=MAX_STRUCTURE, max_depth=MAX_DEPTH)) is not None:
        raise BadFrame(why)


def decode(body: bytes) -> dict[str, Any]:
    """
    Return the object in *body*, which was written by a worker.

    Raises:
        BadFrame: By one of the rules above.
    """
    check(body)
    try:
        frame = json.loads(body.decode(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"no JSON: {type(error).__name__}") from error
    if not isinstance(frame, dict):
        raise BadFrame("no object")
    return _without_surrogates(frame) if _SURROGATE.search(body) else frame


class Buffer:
    """
    Bytes as they come, cut into frames.

    Attributes:
        max_bytes: The longest body that is taken.
        trusted: Whether bodies are parsed unchecked (a worker reading its host).
        last_bytes: Length of the last frame.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, trusted: bool = False) -> None:
        self.max_bytes = max_bytes
        self.trusted = trusted
        self.last_bytes = 0
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._bytes += data

    def next(self) -> dict[str, Any] | None:
        """
        Return the next whole frame, or None until more bytes come.

        Raises:
            BadFrame: What has come cannot become a frame.
        """
        if len(self._bytes) < _HEAD:
            return None
        length = int.from_bytes(self._bytes[:_HEAD], "big")
        if not 0 < length <= self.max_bytes:
            raise BadFrame(f"a frame of {length:,} bytes; at most {self.max_bytes:,}")
        if len(self._bytes) < _HEAD + length:
            return None
        body = bytes(self._bytes[_HEAD : _HEAD + length])
        del self._bytes[: _HEAD + length]
        self.last_bytes = length
        if self.trusted:
            frame: dict[str, Any] = json.loads(body)
            return frame
        return decode(body)


def _no_constant(name: str) -> float:
    raise BadFrame(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise BadFrame("a number too large")
    return number


def _without_surrogates(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
