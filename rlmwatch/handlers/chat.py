"""
Chat: one plain call with the conversation's memory.

The request is the system prompt, as much of the history as fits (newest turns
first), and the input as the last user message, alone. It is frozen before the
call, so that an edit of the state file between two attempts changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from rlmwatch.contract.history import history
from rlmwatch.contract.memory import ChatState
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError
from rlmwatch.handlers import plain, structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import Message, Request
from rlmwatch.runs.attached import NOTHING_ATTACHED, Attached
from rlmwatch.runs.model import Result, Run, Save


async def chat(run: Run, run_context: RunContext) -> Result:
    """Answer one chat turn."""
    if run.frozen is not None:
        return await plain.ask(run.frozen, run_context, run.wants_json)
    remembered = await run_context.memory()
    attached = await run_context.attached()
    plain.refuse_unseeing(attached, run_context.calls.model, run_context.options.model)
    frozen = await run_context.freeze(plain.frozen(request(run, run_context.options, remembered.state, attached)))
    result = await plain.ask(frozen, run_context, run.wants_json)
    return replace(result, notes=(*result.notes, remembered.warning)) if remembered.warning else result


def request(
    asked: Run | Save, options: RunOptions, memory: ChatState, attached: Attached = NOTHING_ATTACHED
) -> Request:
    """
    Return the request of one chat turn, for an answer in JSON where *asked* wants that.

    Raises:
        InputError, NoProvider: As `compose`.
    """
    return structured.with_format(compose(structured.question(asked), options, memory, attached), asked)


def compose(prompt: str, options: RunOptions, memory: ChatState, attached: Attached = NOTHING_ATTACHED) -> Request:
    """
    Return the request of one chat turn.

    Raises:
        InputError: An option that a plain call cannot honour, or more text is attached than one takes.
        NoProvider: No model is named anywhere.
    """
    if options.context or options.tools:
        named = "context" if options.context else "tools"
        raise InputError(
            f"`{named}` is not for a chat, which is one plain call; "
            "add `handler: job` to the front matter, or name the file <name>_job_input.txt"
        )
    said = tuple(Message(role, text) for role, text in history(memory.turns))
    return plain.request(prompt, options, system=plain.prompt("chat"), before=said, attached=attached)
