"""
What a cell may call.

`answer` belongs to the session itself; the rest is here. A function that fails
tells the cell by an exception that code can catch, and only with what is the
model's business: a spent budget, a provider that refuses a prompt. What a person
must fix (a wrong key, an unknown model, a missing price), and another attempt
that has taken over, ends the run.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlmwatch.contract.data_marks import between_marks
from rlmwatch.contract.text import is_unseen
from rlmwatch.engine.call_site import CallSite
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.limits import outcome_of
from rlmwatch.errors import BudgetExceeded, ContextTooLong, ProviderError, ProviderUnreachable, UnknownModel, WrongKey
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.runs.model import Outcome
from rlmwatch.sandbox.base import CellError, Failure, HostFunction, JsonValue, Parameter

AT_ONCE = 16
"""Sub-calls of a run in flight together (design, section 6): providers' limits for small accounts hold that many."""
APART_S = 0.002
"""
Between the first calls of a batch: calls that begin at the same moment are answered at the same moment, and then each
waits until all of them are dealt with, round after round.
"""
BATCH_PROMPTS = 1_000
"""Of one batch, at most. Larger ones come of a mistake; a thousand answers are more than a cell looks at."""
RUN_CALLS = 10_000
"""Sub-calls of one run, at most: some hours of them."""
THOUGHTS_FACTOR = 4
"""Times its tokens, or its thoughts, that a sub-call gets at its second try, where thoughts used all of the first."""
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


@dataclass(slots=True)
class Tally:
    """
    How the sub-calls of a run went: what was refused leaves an answer partial.

    Attributes:
        asked: How many were asked for.
        cut: Words for replies that were not whole, and how many there were.
    """

    asked: int = 0
    cut: Counter[str] = field(default_factory=Counter)
    _failed: dict[Hashable, list[Exception]] = field(default_factory=dict)
    _ended: Counter[Outcome] = field(default_factory=Counter)

    def begin(self, calls: int) -> None:
        """
        Count *calls* sub-calls that are about to be made.

        Raises:
            CellError: The run has made as many as a run may.
        """
        if self.asked + calls > RUN_CALLS:
            raise CellError(
                SPENT,
                f"a run makes at most {RUN_CALLS:,} sub-calls; {self.asked:,} were made and {calls:,} are asked for: "
                "finish with what you have",
            )
        self.asked += calls

    def failed(self, what: Hashable, error: Exception) -> None:
        """Note that the sub-call *what* failed."""
        self._failed.setdefault(what, []).append(error)

    def answered(self, what: Hashable) -> None:
        """Note that the sub-call *what* was answered: of its earlier failures one has been made good."""
        if earlier := self._failed.get(what):
            earlier.pop()

    def ended(self, outcome: Outcome) -> None:
        """Note how a sub-engine ended that gave an answer."""
        self._ended[outcome] += outcome is not Outcome.SUCCESS

    def outcome(self) -> Outcome | None:
        """Return by what an answer is partial; None where all sub-calls were answered."""
        errors = self._errors()
        spent = next((error for error in errors if isinstance(error, BudgetExceeded)), None)
        if spent is not None:
            return outcome_of(spent)
        return Outcome.PROVIDER_ERROR if errors else None

    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of the sub-calls."""
        why = Counter(reason(error) for error in self._errors())
        cut = [f"{n:,} of {self.asked:,} sub-calls' replies are not whole: {word}" for word, n in self.cut.items()]
        ended = [f"{n:,} sub-engines ended at a limit: {word}" for word, n in self._ended.items() if n]
        return (*(f"{n:,} of {self.asked:,} sub-calls were refused: {word}" for word, n in why.items()), *cut, *ended)

    def _errors(self) -> list[Exception]:
        return [error for errors in self._failed.values() for error in errors]


@dataclass(frozen=True, slots=True)
class SubCalls:
    """
    How sub-calls of a run are made.

    Attributes:
        model: Their model.
        tokens: Output tokens of one, at most.
        rules: Their system prompt.
        slots: Held by each call while it is made; one for the whole run.
        tally: How they went.
        retries: Whether a call whose thoughts used all its tokens is made once more, with more.
    """

    calls: Calls
    model: str
    tokens: int
    temperature: float | None
    rules: str
    slots: asyncio.Semaphore
    tally: Tally = field(default_factory=Tally)
    retries: bool = True

    async def ask(self, at: CallSite, prompt: str, context: JsonValue = None) -> str:
        """
        Make one sub-call; the instruction and the data stay apart.

        Raises:
            CellError: It is one too many, or came back empty.
        """
        self.tally.begin(1)
        return await self._ask(at, sub_prompt(prompt, context))

    async def ask_all(self, at: CallSite, prompts: Sequence[str]) -> list[str | Failure]:
        """
        Make many sub-calls, `AT_ONCE` side by side; results in order, a failed one is a `Failure` in its place.

        Raises:
            CellError: There are too many.
        """
        if len(prompts) > BATCH_PROMPTS:
            raise CellError(
                "ValueError",
                f"llm_batch(): {len(prompts):,} prompts; at most {BATCH_PROMPTS:,} in one batch, and "
                f"{RUN_CALLS:,} sub-calls in a run",
            )
        self.tally.begin(len(prompts))
        results: list[str | Failure] = [""] * len(prompts)
        waiting = iter(enumerate(prompts))

        async def work(nth: int) -> None:
            await asyncio.sleep(nth * APART_S)
            for place, prompt in waiting:
                try:
                    results[place] = await self._ask(at, prompt)
                except Exception as error:
                    failure = for_the_cell(error)
                    if failure is None:
                        raise
                    results[place] = Failure(failure.name, failure.text)

        async with asyncio.TaskGroup() as group:
            for nth in range(min(AT_ONCE, len(prompts))):
                group.create_task(work(nth))
        return results

    async def _ask(self, at: CallSite, text: str) -> str:
        messages = (Message("system", self.rules), Message("user", text))
        request = Request(self.model, messages, self.tokens, self.temperature)
        try:
            async with self.slots:
                reply = await self.calls.llm(request, at)
                if reply.finish_reason == "length" and is_unseen(reply.text) and self.retries:
                    # Thoughts have used it all.
                    longer = THOUGHTS_FACTOR * max(self.tokens, reply.reasoning_tokens)
                    reply = await self.calls.llm(replace(request, max_tokens=longer), at)
            if reply.cut:
                self._note_cut(reply)
        except (BudgetExceeded, ProviderError, CellError) as error:
            self.tally.failed(text, error)
            raise
        self.tally.answered(text)
        return reply.text

    def _note_cut(self, reply: Reply) -> None:
        word = reply.provider_reason or reply.finish_reason
        if is_unseen(reply.text):
            raise CellError(REFUSED, f"the reply is empty: it ended before any text came ({word})")
        self.tally.cut[word] += 1


Recurse = Callable[[str, JsonValue], Awaitable[JsonValue]]
"""Runs a whole sub-engine on (prompt, context) and returns its answer."""


def listing(offered: Sequence[HostFunction], lines: Mapping[str, str]) -> str:
    """
    Return the lines that tell the model what it may call.

    Args:
        offered: The functions that are offered beside the engine's own.
        lines: How each is told, by name (`prompts/functions.md`, frozen).
    """
    return "\n".join([*(lines[name] for name in OWN), *(lines.get(tool.name, tool.doc) for tool in offered)])


def functions(
    sub: SubCalls,
    place: Callable[[], CallSite],
    recurse: Recurse,
    budget: Callable[[], JsonValue],
    offered: Sequence[HostFunction],
    advice: Callable[[Sequence[str], int], str | None] = lambda _prompts, _tokens: None,
) -> tuple[HostFunction, ...]:
    """
    Return the host functions of one engine.

    Args:
        sub: Makes sub-calls.
        place: Tells where in the run a call is made, at the time of the call.
        recurse: Runs a sub-engine.
        budget: Tells what is left.
        offered: The functions that are offered beside the engine's own.
        advice: Returns what is said of a batch before it is sent, given its prompts and the tokens of a reply; None
            where it is sent.
    """

    async def llm_query(prompt: str, context: JsonValue) -> str:
        return await sub.ask(place(), prompt, context)

    async def llm_batch(prompts: list[str]) -> list[str | Failure]:
        if len(prompts) <= BATCH_PROMPTS and (said := advice(prompts, sub.tokens)) is not None:
            raise CellError("ValueError", said)
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
    return tuple(_reporting_to_cell(function) for function in (*own, *offered))


def sub_prompt(prompt: str, context: JsonValue) -> str:
    """Return the user message of a sub-call."""
    if context is None:
        return prompt
    text = context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)
    return f"{prompt}\n\n{between_marks(text)}"


def for_the_cell(error: Exception) -> CellError | None:
    """
    Return *error* as the cell is told it; None where it ends the run.

    The text about a budget names the cap and no numbers: a replay must tell the same.
    """
    if isinstance(error, CellError):
        return error
    if isinstance(error, BudgetExceeded):
        return CellError(SPENT, f"the budget is spent: {error.cap}; finish with what you have")
    if isinstance(error, ContextTooLong):
        limit = "" if error.limit_tokens is None else f" (the model reads {error.limit_tokens:,} tokens)"
        return CellError(REFUSED, f"this sub-call is too long{limit}: split its text. {error}")
    if isinstance(error, ProviderError) and not isinstance(error, (WrongKey, UnknownModel, ProviderUnreachable)):
        return CellError(REFUSED, str(error))
    return None


def reason(error: Exception) -> str:
    """Return why a call was refused, in words that are the same for all of a kind."""
    return f"the budget is spent ({error.cap})" if isinstance(error, BudgetExceeded) else str(error)


def _reporting_to_cell(function: HostFunction) -> HostFunction:
    """Return *function* with its failures told to the cell."""

    async def call(**arguments: Any) -> JsonValue:  # noqa: ANN401 (JSON)
        try:
            return await function.call(**arguments)
        except Exception as error:
            cell_error = for_the_cell(error)
            if cell_error is None:
                raise
            raise cell_error from error

    errors = tuple(dict.fromkeys((SPENT, REFUSED, *function.errors)))
    return replace(function, call=call, errors=errors)


def _by_keyword(recurse: Recurse) -> Callable[..., Awaitable[JsonValue]]:
    async def rlm_query(prompt: str, context: JsonValue) -> JsonValue:
        return await recurse(prompt, context)

    return rlm_query
