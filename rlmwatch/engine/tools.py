"""
What a cell may call.

`answer` belongs to the session itself; the rest is here. A function that fails
tells the cell by an exception that code can catch, and only with what is the
model's business: a spent budget, a provider that refuses a prompt. What a person
must mend (a wrong key, an unknown model, a missing price), and another attempt
that has taken over, ends the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlmwatch.engine.call_site import CallSite
from rlmwatch.engine.calls import Calls
from rlmwatch.errors import BudgetExceeded, ProviderError, ProviderUnreachable, UnknownModel, WrongKey
from rlmwatch.models.base import Message, Request
from rlmwatch.sandbox.base import CellError, Failure, HostFunction, JsonValue, Parameter

AT_ONCE = 16
"""Sub-calls of a run in flight together (design, section 6): providers' limits for small accounts hold that many."""
APART_S = 0.002
"""
Between the first calls of a batch: calls that begin at the same moment are answered at the same moment, and then each
waits until all of them are dealt with, round after round.
"""
LEAST_SUB_TOKENS = 16
"""Fewer output tokens than this hold no reply worth its price."""
SPENT, REFUSED = "BudgetExceeded", "ProviderError"
"""The classes under `Error` that a cell may catch."""


Tool = Callable[[Callable[[], CallSite]], HostFunction]
"""
A function that is offered beside the engine's own, such as `research`: makes the host function, given what tells the
place of a paid call at the time of the call. It is listed for the model as `prompts/functions.md` says, else by its
`doc`. What it raises of `BudgetExceeded` and `ProviderError` is told to the cell.
"""
OWN = ("llm_query", "llm_batch", "rlm_query", "answer", "budget")
"""The engine's own functions, in the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class SubCalls:
    """
    How sub-calls of a run are made.

    Attributes:
        model: Their model.
        tokens: Output tokens of one, at most.
        rules: Their system prompt.
        slots: Held by each call while it is made; one for the whole run.
    """

    calls: Calls
    model: str
    tokens: int
    temperature: float | None
    rules: str
    slots: asyncio.Semaphore

    async def ask(self, at: CallSite, prompt: str, context: JsonValue = None) -> str:
        """Make one sub-call; the instruction and the data stay apart."""
        messages = (Message("system", self.rules), Message("user", sub_prompt(prompt, context)))
        request = Request(self.model, messages, self.tokens, self.temperature)
        async with self.slots:
            return (await self.calls.llm(request, at)).text

    async def ask_all(self, at: CallSite, prompts: Sequence[str]) -> list[str | Failure]:
        """Make many sub-calls side by side; results in order, a failed one is a `Failure` in its place."""

        async def one(nth: int, prompt: str) -> str | Failure:
            await asyncio.sleep(min(nth, AT_ONCE) * APART_S)
            try:
                return await self.ask(at, prompt)
            except Exception as error:
                told = for_the_cell(error)
                if told is None:
                    raise
                return Failure(told.name, told.text)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(nth, prompt)) for nth, prompt in enumerate(prompts)]
        return [task.result() for task in tasks]


Recurse = Callable[[str, JsonValue], Awaitable[JsonValue]]
"""Runs a whole sub-engine on (prompt, context) and returns its answer."""


def listing(offered: Sequence[HostFunction], lines: Mapping[str, str]) -> str:
    """
    Return the lines that tell the model what it may call.

    Args:
        offered: The functions that are offered beside the engine's own.
        lines: How each is told, by name (`prompts/functions.md`, pinned).
    """
    return "\n".join([*(lines[name] for name in OWN), *(lines.get(tool.name, tool.doc) for tool in offered)])


def functions(
    sub: SubCalls,
    place: Callable[[], CallSite],
    recurse: Recurse,
    budget: Callable[[], JsonValue],
    offered: Sequence[HostFunction],
) -> tuple[HostFunction, ...]:
    """
    Return the host functions of one engine.

    Args:
        sub: Makes sub-calls.
        place: Tells where in the run a call is made, at the time of the call.
        recurse: Runs a sub-engine.
        budget: Tells what is left.
        offered: The functions that are offered beside the engine's own.
    """

    async def llm_query(prompt: str, context: JsonValue) -> str:
        return await sub.ask(place(), prompt, context)

    async def llm_batch(prompts: list[str]) -> list[str | Failure]:
        try:
            return await sub.ask_all(place(), prompts)
        except ExceptionGroup as group:
            # One that ends the run has cancelled the others; it alone is of interest.
            raise group.exceptions[0] from None

    async def left() -> JsonValue:
        return budget()

    prompt, context = Parameter("prompt"), Parameter("context", "json", None)
    own = (
        HostFunction("llm_query", llm_query, (prompt, context)),
        HostFunction("llm_batch", llm_batch, (Parameter("prompts", "strings"),)),
        HostFunction("rlm_query", _by_keyword(recurse), (prompt, context)),
        HostFunction("budget", left),
    )
    return tuple(_told(function) for function in (*own, *offered))


def sub_prompt(prompt: str, context: JsonValue) -> str:
    """
    Return the user message of a sub-call.

    The marks around the data carry a digest of it: text that closes them itself cannot be written beforehand.
    """
    if context is None:
        return prompt
    text = context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)
    mark = digest(text)
    return f"{prompt}\n\n<data {mark}>\n{text}\n</data {mark}>"


def digest(text: str) -> str:
    """Return eight characters that stand for *text*."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def for_the_cell(error: Exception) -> CellError | None:
    """
    Return *error* as the cell is told it; None where it ends the run.

    The text about a budget names the cap and no numbers: a replay must tell the same.
    """
    if isinstance(error, CellError):
        return error
    if isinstance(error, BudgetExceeded):
        return CellError(SPENT, f"the budget is spent: {error.cap}; finish with what you have")
    if isinstance(error, ProviderError) and not isinstance(error, (WrongKey, UnknownModel, ProviderUnreachable)):
        return CellError(REFUSED, str(error))
    return None


def _told(function: HostFunction) -> HostFunction:
    """Return *function* with its failures told to the cell."""

    async def call(**arguments: Any) -> JsonValue:  # noqa: ANN401 (JSON)
        try:
            return await function.call(**arguments)
        except Exception as error:
            told = for_the_cell(error)
            if told is None:
                raise
            raise told from error

    errors = tuple(dict.fromkeys((SPENT, REFUSED, *function.errors)))
    return replace(function, call=call, errors=errors)


def _by_keyword(recurse: Recurse) -> Callable[..., Awaitable[JsonValue]]:
    async def rlm_query(prompt: str, context: JsonValue) -> JsonValue:
        return await recurse(prompt, context)

    return rlm_query
