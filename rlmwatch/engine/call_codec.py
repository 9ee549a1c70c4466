"""Requests and replies as the journal keeps them, and what a request may cost. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, get_args

from rlmwatch.budget import CostBound
from rlmwatch.models.base import FinishReason, Message, Reply, Request
from rlmwatch.models.finish_reason import meaning
from rlmwatch.models.image_tokens import tokens_of_images
from rlmwatch.runs.model import JournalEntry, Usage

TOKENS_PER_MESSAGE = 16
"""More than any chat template adds to a message, for the upper bound of a request's input."""


def plain(request: Request) -> dict[str, Any]:
    """Return *request* as JSON values; what `asdict` returns, in a tenth of its time."""
    # A key that was not always there stands here only where it says something: calls are known again by all of this.
    wanted = {} if request.answer_format is None else {"answer_format": request.answer_format}
    return {
        "model": request.model,
        "messages": [plain_message(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        **wanted,
    }


def plain_message(message: Message) -> dict[str, Any]:
    """Return *message* as JSON values; of images what they are, not their bytes, which lie in the private state."""
    images = {"images": [image.values() for image in message.images]} if message.images else {}
    return {"role": message.role, "content": message.content, **images}


def plain_reply(reply: Reply) -> dict[str, Any]:
    """Return *reply* as JSON values, as `reply_of` reads them; as fast as `plain`."""
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "usage": asdict(reply.usage),
        "model": reply.model,
        "estimated": reply.estimated,
        "provider_reason": reply.provider_reason,
        "notes": list(reply.notes),
        "reasoning_tokens": reply.reasoning_tokens,
    }


def price_of(per_token: tuple[float, float] | None, request: Request) -> CostBound | None:
    """
    Return the upper bound of what *request* may cost at US dollars *per_token* (input, output); None where unknown.

    A token is at least one byte of UTF-8 in every byte-level vocabulary, so bytes bound the input from above. Images
    count what `image_tokens` says.
    """
    if per_token is None:
        return None
    size = sum(len(m.content.encode()) + TOKENS_PER_MESSAGE for m in request.messages)
    size += sum(tokens_of_images(request.model, m) for m in request.messages if m.images)
    if request.answer_format is not None:  # providers count the schema as input
        size += len(json.dumps(request.answer_format).encode()) + TOKENS_PER_MESSAGE
    return CostBound(size * per_token[0], per_token[1])


def reply_of(entry: JournalEntry) -> Reply:
    """
    Return the reply that a DONE *entry* keeps.

    Earlier versions stored the provider's own word for its end, and neither that nor notes beside it.
    """
    stored: dict[str, Any] = dict(entry.reply or {})
    word = stored["finish_reason"]
    if word not in get_args(FinishReason):
        reason = meaning(word)
        stored["finish_reason"] = "interrupted" if reason == "failed" else reason
    return Reply(**{**stored, "usage": Usage(**stored["usage"]), "notes": tuple(stored.get("notes", ()))})
