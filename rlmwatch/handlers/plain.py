"""A plain call: one request, pinned before it is sent, and what its reply means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from rlmwatch.contract.documents import Progress
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import NoProvider
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.runs.model import Outcome, Result, RunStatus

CUT = "length"
"""The protocol's `finish_reason` of a reply that reached `max_tokens`."""


def request(prompt: str, options: RunOptions, *, system: str, before: tuple[Message, ...] = ()) -> Request:
    """
    Return the request of one plain call: the system prompt, what was said *before*, and *prompt* as the last message.

    Raises:
        NoProvider: No model is named anywhere.
    """
    if options.model is None or options.tokens is None:
        raise NoProvider("no model is named: set `model` in your config.toml or in the front matter")
    said = system if options.system is None else options.system
    first = (Message("system", said),) if said else ()
    return Request(options.model, (*first, *before, Message("user", prompt)), options.tokens, options.temperature)


async def ask(pinned: Mapping[str, Any], bench: RunContext) -> Result:
    """Make the call that was *pinned* (a `Request` as JSON values) and return how the run ends."""
    bench.progress(Progress(note="asking the model"))
    messages = tuple(Message(**message) for message in pinned["messages"])
    reply = await bench.calls.llm(Request(**{**pinned, "messages": messages}), on_text=bench.on_text)
    return _result(reply, bench)


def pinned(made: Request) -> dict[str, Any]:
    """Return *made* as JSON values."""
    return asdict(made)


@cache
def prompt(name: str) -> str:
    """Return one of the prompts in `handlers/prompts/`."""
    return files("rlmwatch.handlers").joinpath(f"prompts/{name}.md").read_text(encoding="utf-8").strip()


def _result(reply: Reply, bench: RunContext) -> Result:
    cut = reply.finish_reason == CUT
    answer = reply.text.strip()
    if not answer:
        why = "it used all its tokens before the answer began; raise `tokens`" if cut else "ask again, or another model"
        return Result(
            RunStatus.FAILED,
            Outcome.PROVIDER_ERROR,
            error=f"{reply.model} gave an empty answer: {why}",
            usage=bench.calls.used,
            model=reply.model,
        )
    return Result(
        RunStatus.COMPLETE,
        Outcome.TOKEN_LIMIT if cut else Outcome.SUCCESS,
        answer=answer,
        partial=cut,
        usage=bench.calls.used,
        notes=bench.notes(),
        model=reply.model,
    )
