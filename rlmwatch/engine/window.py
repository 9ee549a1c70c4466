"""
A request that is longer than the model's window: what of it fits, and how a person is told.

Pure. Providers name the window and what was asked for in their own ways, or not at all, so what fits is an estimate,
on the safe side; where even that is refused, what can be left out is left out.
"""

from __future__ import annotations

from rlmwatch.errors import ContextTooLong
from rlmwatch.models.base import Request

CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English, for what a person is told."""
SAFE_CHARS_PER_TOKEN = 3
"""Fewer in most languages and in code: for what must fit."""
SAFE_SHARE = 0.9
"""Of what should fit: the parts of a request differ in characters per token."""
LEAST_SHARE = 0.25
"""Of a window that is left for the input, however much output is asked for."""
UNKNOWN_SHARE = 0.5
"""Of a request that is asked again where no window is named: chats outgrow a window turn by turn."""


def room_chars(request: Request, error: ContextTooLong) -> int:
    """Return how many characters of messages are expected to fit; always fewer than *request* has."""
    size = _size(request)
    most = int(size * UNKNOWN_SHARE)
    limit = error.limit_tokens
    if limit is None:
        return most
    per_token = float(SAFE_CHARS_PER_TOKEN) if not error.asked_tokens else size / error.asked_tokens
    tokens = max(limit - request.max_tokens, int(limit * LEAST_SHARE))
    return min(int(tokens * per_token * SAFE_SHARE), int(size * SAFE_SHARE))


def too_long(request: Request, error: ContextTooLong) -> ContextTooLong:
    """Return *error* as a person is told it whose question alone is too long: by how much, and what to do."""
    return ContextTooLong(
        f"{_what_to_do(request, error)} ({error})",
        status=error.status,
        limit_tokens=error.limit_tokens,
        asked_tokens=error.asked_tokens,
    )


def _what_to_do(request: Request, error: ContextTooLong) -> str:
    asked = error.asked_tokens or -(-_size(request) // CHARS_PER_TOKEN)
    limit = error.limit_tokens
    if limit is None:
        how_long = f"it has about {asked:,} tokens, and the provider does not say how many {request.model} reads"
    elif request.max_tokens > limit * (1 - LEAST_SHARE):
        return (
            f"{request.model} reads and writes {limit:,} tokens at most in one call, and `tokens` asks for an answer "
            f"of up to {request.max_tokens:,}: set `tokens` lower."
        )
    else:
        over = max(1, (asked if asked > limit else asked + request.max_tokens) - limit)
        how_long = f"it has about {asked:,} tokens, {request.model} reads {limit:,}: about {over:,} too many"
    return (
        f"the question does not fit into the model's window: {how_long}. Shorten it, or make it a job with the text as "
        "material, of which each call reads only parts: the question in <name>_job_input.txt, the text in "
        "<name>_job_data.txt beside it."
    )


def _size(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)
