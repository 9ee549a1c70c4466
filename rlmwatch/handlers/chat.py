"""
Chat: one plain call with the conversation's memory.

The request is the system prompt, as much of the history as fits (newest turns
first), and the input as the last user message, alone. It is pinned before the
call, so that an edit of the state file between two attempts changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from rlmwatch.contract.documents import ChatState, Progress
from rlmwatch.contract.history import history
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError, NoProvider
from rlmwatch.handlers.base import Bench
from rlmwatch.models.base import Message, Request
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus

HISTORY_CHARS = 8_000
"""Founding example (file chatbot); about 2,000 tokens, which the small local model's window holds too."""
CUT = "length"
"""The protocol's `finish_reason` of a reply that reached `max_tokens`."""


async def chat(run: Run, bench: Bench) -> Result:
    """Answer one chat turn."""
    pinned = run.pinned
    told: tuple[str, ...] = ()
    if pinned is None:
        remembered = await bench.memory()
        pinned = await bench.pin(asdict(compose(run.prompt, bench.options, remembered.state)))
        told = (remembered.warning,) if remembered.warning else ()
    bench.progress(Progress(note="asking the model"))
    reply = await bench.calls.llm(_request(dict(pinned)), on_text=bench.on_text)
    cut = reply.finish_reason == CUT
    answer = reply.text.strip()
    used = bench.calls.used
    estimated = ("the provider reported no usage: tokens are estimated",) if reply.estimated else ()
    if not answer:
        why = "it used all its tokens before the answer began; raise `tokens`" if cut else "ask again, or another model"
        return Result(
            RunStatus.FAILED,
            Outcome.PROVIDER_ERROR,
            error=f"{reply.model} gave an empty answer: {why}",
            usage=used,
            model=reply.model,
        )
    return Result(
        RunStatus.COMPLETE,
        Outcome.TOKEN_LIMIT if cut else Outcome.SUCCESS,
        answer=answer,
        partial=cut,
        usage=used,
        notes=(*bench.notes(), *estimated, *told),
        model=reply.model,
    )


def compose(prompt: str, options: RunOptions, memory: ChatState) -> Request:
    """
    Return the request of one chat turn.

    Raises:
        InputError: An option that a plain call cannot honour.
        NoProvider: No model is named anywhere.
    """
    if options.context or options.tools:
        named = "context" if options.context else "tools"
        raise InputError(
            f"`{named}` is not for a chat, which is one plain call; "
            "add `handler: job` to the front matter, or name the file <name>_job_input.txt"
        )
    if options.model is None or options.tokens is None:
        raise NoProvider("no model is named: set `model` in your config.toml or in the front matter")
    system = default_system() if options.system is None else options.system
    messages = [Message("system", system)] if system else []
    messages += [Message(role, text) for role, text in history(memory.turns, limit_chars=HISTORY_CHARS)]
    messages.append(Message("user", prompt))
    return Request(options.model, tuple(messages), options.tokens, options.temperature)


@cache
def default_system() -> str:
    """Return the system prompt of a chat."""
    return files("rlmwatch.handlers").joinpath("prompts/chat.md").read_text(encoding="utf-8").strip()


def _request(pinned: dict[str, Any]) -> Request:
    return Request(**{**pinned, "messages": tuple(Message(**message) for message in pinned["messages"])})
