"""A plain call: one request, frozen before it is sent, and what its reply means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from rlmwatch.contract.data_marks import with_attached
from rlmwatch.contract.documents import Progress
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.text import is_unseen
from rlmwatch.engine.call_codec import plain as to_json
from rlmwatch.engine.window import room_chars, too_long
from rlmwatch.errors import BudgetExceeded, ContextTooLong, InputError, NoProvider
from rlmwatch.handlers import structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import FinishReason, Message, Model, Reply, Request
from rlmwatch.runs.attached import NOTHING_ATTACHED, Attached
from rlmwatch.runs.model import Outcome, Result, RunStatus

LONGER = 4
"""Times its tokens, or its thoughts, that a call gets at its second try, where thoughts used all of the first."""
MAX_ATTACHED_CHARS = 40_000
"""
Of all texts that a question of one plain call mentions: some 10,000 tokens, twenty pages, a tenth of the window of most
models today. What is longer costs more to send with each question than code needs to look through it.
"""
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


def request(
    prompt: str,
    options: RunOptions,
    *,
    system: str,
    before: tuple[Message, ...] = (),
    attached: Attached = NOTHING_ATTACHED,
) -> Request:
    """
    Return the request of one plain call: the system prompt, what was said *before*, and *prompt* as the last message.

    What is *attached* to the prompt stands below it, between data marks; images go beside it.

    Raises:
        InputError: The attached texts are longer than one call takes.
        NoProvider: No model is named anywhere.
    """
    _refuse_long(attached)
    if options.model is None or options.tokens is None:
        raise NoProvider("no model is named: set `model` in your config.toml or in the front matter")
    said = system if options.system is None else options.system
    first = (Message("system", said),) if said else ()
    last = Message("user", with_attached(prompt, attached.texts), attached.images)
    return Request(options.model, (*first, *before, last), options.tokens, options.temperature)


def _refuse_long(attached: Attached) -> None:
    size = sum(map(len, attached.texts.values()))
    if size > MAX_ATTACHED_CHARS:
        longest, text = max(attached.texts.items(), key=lambda each: len(each[1]))
        raise InputError(
            f"what the question mentions has {size:,} characters, {longest} alone {len(text):,}; one call takes "
            f"{MAX_ATTACHED_CHARS:,}. Mention less of it, as [[note#heading]] does, or have code look through it: add "
            "`handler: job` and `mode: rlm` to the front matter"
        )


def refuse_unseeing(attached: Attached, asked: Model, model: str | None) -> None:
    """
    Return if *model*, of the provider *asked*, may be shown the images that are *attached*.

    Raises:
        InputError: It is known to see none.
    """
    if attached.images and model is not None and asked.sees(model) is False:
        names = ", ".join(image.name for image in attached.images)
        raise InputError(f"{model} cannot see images ({names}): name a model that can, as `model:` in the front matter")


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
    messages = await _messages(frozen["messages"], run_context)
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


async def _messages(stored: Sequence[Mapping[str, Any]], run_context: RunContext) -> tuple[Message, ...]:
    """Return the messages that were frozen, with the bytes of their images."""
    if not any(message.get("images") for message in stored):
        return tuple(Message(message["role"], message["content"]) for message in stored)
    images = {image.digest: image for image in (await run_context.attached()).images}
    return tuple(
        Message(
            message["role"],
            message["content"],
            tuple(images[image["digest"]] for image in message.get("images", ())),
        )
        for message in stored
    )


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
    """Return *made* as JSON values; of images what they are, not their bytes."""
    return to_json(made)


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
