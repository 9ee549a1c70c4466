"""A plain call: one request, frozen before it is sent, and what its reply means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib.resources import files
from typing import Any

from rlmwatch.contract.documents import Progress
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.text import is_unseen
from rlmwatch.engine.window import room_chars, too_long
from rlmwatch.errors import BudgetExceeded, ContextTooLong, NoProvider
from rlmwatch.handlers import structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import FinishReason, Message, Reply, Request
from rlmwatch.runs.model import Outcome, Result, RunStatus

LONGER = 4
"""Times its tokens, or its thoughts, that a call gets at its second try, where thoughts used all of the first."""
_OUTCOMES: Mapping[FinishReason, Outcome] = {
    "stop": Outcome.SUCCESS,
    "length": Outcome.TOKEN_LIMIT,
    "filter": Outcome.PROVIDER_ERROR,
    "interrupted": Outcome.PROVIDER_ERROR,
}
_WHY_EMPTY: Mapping[str, str] = {
    "length": "it used all its tokens before the answer began; raise `tokens`",
    "filter": "the provider withheld it ({word}); ask in other words, or another model",
    "interrupted": "the provider gave up ({word}); ask again, or another model",
}


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


async def ask(frozen: Mapping[str, Any], run_context: RunContext, wants: Mapping[str, Any] | None = None) -> Result:
    """
    Make the call that was *frozen* (a `Request` as JSON values) and return how the run ends.

    Where *wants* says so (`Run.wants_json`), the answer is JSON, and asked for once more where it is not.

    Where it is longer than the model's window, it is made again without the older turns.

    Raises:
        ContextTooLong: The question alone is too long; by how much, and what to do.
        InvalidAnswer: It is not the JSON that was asked for.
    """
    run_context.progress(Progress(note="asking the model"))
    messages = tuple(Message(**message) for message in frozen["messages"])
    whole = asked = Request(**{**frozen, "messages": messages})
    while True:
        try:
            reply = await _thought_through(asked, run_context)
            break
        except ContextTooLong as error:
            shorter = without_older(asked, 0 if asked is not whole else room_chars(asked, error))
            if shorter is None:
                raise too_long(asked, error) from error
            asked = shorter
    if wants is not None and not is_unseen(reply.text):
        reply = await structured.answered(asked, reply, wants, run_context)
    left_out = len(whole.messages) - len(asked.messages)
    return _result(reply, run_context, _left_out(left_out // 2) if left_out else ())


async def _thought_through(asked: Request, run_context: RunContext) -> Reply:
    """Return the reply to *asked*; where thoughts used all its tokens, ask once more with more, inside the caps."""
    reply = await run_context.calls.llm(asked, on_text=run_context.on_text)
    if reply.finish_reason != "length" or not is_unseen(reply.text):
        return reply
    longer = replace(asked, max_tokens=LONGER * max(asked.max_tokens, reply.reasoning_tokens))
    try:
        return await run_context.calls.llm(longer, on_text=run_context.on_text)
    except BudgetExceeded:
        return reply


def without_older(asked: Request, room: int) -> Request | None:
    """
    Return *asked* without its oldest turns, so that its messages have at most *room* characters; at least one goes.

    The system prompt and the last message stay, whatever their length. None where there is no turn to leave out.
    """
    first = 1 if asked.messages[0].role == "system" else 0
    *turns, last = asked.messages[first:]
    if not turns:
        return None
    kept = turns[2:]
    size = sum(len(message.content) for message in (*asked.messages[:first], *kept, last))
    while kept and size > room:
        size -= sum(len(message.content) for message in kept[:2])
        kept = kept[2:]
    return replace(asked, messages=(*asked.messages[:first], *kept, last))


def frozen(made: Request) -> dict[str, Any]:
    """Return *made* as JSON values."""
    return asdict(made)


@cache
def prompt(name: str) -> str:
    """Return one of the prompts in `handlers/prompts/`."""
    return files("rlmwatch.handlers").joinpath(f"prompts/{name}.md").read_text(encoding="utf-8").strip()


def _left_out(turns: int) -> tuple[str, ...]:
    what = "the oldest turn of this chat was" if turns == 1 else f"the {turns} oldest turns of this chat were"
    return (f"{what} left out of the request: with all of them it is longer than the model's window",)


def _result(reply: Reply, run_context: RunContext, notes: tuple[str, ...]) -> Result:
    why = _WHY_EMPTY.get(reply.finish_reason, "").format(word=reply.provider_reason or reply.finish_reason)
    if is_unseen(reply.text):
        return Result(
            RunStatus.FAILED,
            Outcome.PROVIDER_ERROR,
            error=f"{reply.model} gave an empty answer: {why or 'ask again, or another model'}",
            usage=run_context.calls.used,
            notes=(*run_context.notes(), *notes),
            model=reply.model,
        )
    early = f"the provider ended the answer early: {reply.provider_reason or reply.finish_reason}"
    ended_early = reply.finish_reason in ("filter", "interrupted") and not reply.notes
    return Result(
        RunStatus.COMPLETE,
        _OUTCOMES[reply.finish_reason],
        answer=reply.text.strip(),
        partial=reply.cut,
        usage=run_context.calls.used,
        notes=(*run_context.notes(), *notes, *((early,) if ended_early else ())),
        model=reply.model,
    )
