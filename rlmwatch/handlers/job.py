"""
Job: one plain call, or a run of the engine where there is something to work on.

It is one plain call when it has no data, no tools and no `max_steps` above 1, and
an RLM run when it has any; `mode` says otherwise.
"""

from __future__ import annotations

from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError
from rlmwatch.handlers import plain, structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.handlers.rlm import Material, rlm
from rlmwatch.models.base import Request
from rlmwatch.runs.attached import NOTHING_ATTACHED, Attached
from rlmwatch.runs.model import Result, Run, Save
from rlmwatch.settings.model import tokens_of_job
from rlmwatch.workspace.context import Context


async def job(run: Run, run_context: RunContext) -> Result:
    """Answer one job."""
    if run.frozen is not None and "messages" in run.frozen:
        return await plain.ask(run.frozen, run_context, run.wants_json)
    context = await run_context.context()
    if is_plain(run_context.options, context):
        attached = await run_context.attached()
        plain.refuse_unseeing(attached, run_context.calls.model, run_context.options.model)
        frozen = await run_context.freeze(plain.frozen(request(run, run_context.options, attached)))
        return await plain.ask(frozen, run_context, run.wants_json)
    return await rlm(run, structured.question(run, by_code=True), Material(context), run_context)


def is_plain(options: RunOptions, context: Context) -> bool:
    """
    Whether a task is one plain call.

    Raises:
        InputError: `mode: chat` was asked for, and there is material that one call cannot have.
    """
    if options.mode == "rlm":
        return False
    simple = context.value is None and not options.tools and (options.max_steps or 1) <= 1
    if options.mode == "chat" and not simple:
        raise InputError("`mode: chat` is one plain call: it takes no data, no tools and no max_steps above 1")
    return simple


def request(asked: Run | Save, options: RunOptions, attached: Attached = NOTHING_ATTACHED) -> Request:
    """
    Return the request of a job that is one plain call, for an answer in JSON where *asked* wants that.

    Raises:
        NoProvider: No model is named anywhere.
    """
    return structured.with_format(compose(structured.question(asked), options, attached), asked)


def compose(prompt: str, options: RunOptions, attached: Attached = NOTHING_ATTACHED) -> Request:
    """
    Return the request of a job that is one plain call.

    Raises:
        InputError: More text is attached than one call takes.
        NoProvider: No model is named anywhere.
    """
    tokens = tokens_of_job(options, plain=True)
    with_tokens = options.model_copy(update={"tokens": tokens})
    return plain.request(prompt, with_tokens, system=plain.prompt("job"), attached=attached)
