"""
The loop of a recursive language model: prompt, reply, cell, observation.

The long input is a variable of a sandboxed Python session; the model sees its
metadata, and what its own code prints. An engine ends

1. by `answer(value)` in code that ran to its end: `success`;
2. when three replies running hold no code: the text is the answer, `no_code`;
3. at a limit of steps, tokens, money or time: one more call, for which tokens,
   money and time were kept from the start, makes an answer of what was found;
   where even that fails, what was printed last is the answer.

All but the first are partial. A sub-engine is the same loop with a session of
its own, one level down, under the same budget and deadline.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count

import structlog

from rlmwatch.budget import Left
from rlmwatch.contract.data_marks import digest
from rlmwatch.contract.text import is_unseen
from rlmwatch.engine import tools
from rlmwatch.engine.call_site import CallSite
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.cells import Cells, Ran, cell_limit_s
from rlmwatch.engine.guidance import Guidance, names_of
from rlmwatch.engine.limits import Deadlines, is_short, less, outcome_of
from rlmwatch.engine.replay import between
from rlmwatch.engine.reply import FUNCTIONS, Cell, read_reply
from rlmwatch.engine.sub_sessions import SubSessions
from rlmwatch.engine.synthesis import Synthesis
from rlmwatch.engine.task import End, EngineDeps, EngineResult, Task
from rlmwatch.engine.tools import SubCalls
from rlmwatch.engine.transcript import OUTPUT_CHARS, Status, StepOutcome, Transcript, cut_middle, observation
from rlmwatch.engine.window import room_chars, too_long
from rlmwatch.errors import (
    BudgetExceeded,
    ContextTooLong,
    InputError,
    ProviderError,
    ProviderRefused,
    ProviderUnreachable,
    RunTimeout,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.base import Reply, Request
from rlmwatch.runs.model import Outcome, Usage
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.sandbox.base import CellError, HostFunction, JsonValue

MISFIT = "answer() was refused: {words}. Correct the value, and call answer() again."

log = structlog.get_logger()

LEAST_REPLY_TOKENS = 64
"""Fewer output tokens than this hold no useful cell: better to end and use what is kept."""
MOST_THOUGHTS = 8
"""Times `tokens` that are given on top of them for thoughts, at most."""
LONGER = 2
"""Times the tokens of a call that was cut before its code ended: it is made once more with so many."""


async def run_engine(task: Task, deps: EngineDeps) -> EngineResult:
    """
    Answer *task*. The run's deadline bounds everything.

    May be called again after a crash, with the same task, options and prompts, in an attempt whose calls are
    resumed: what was paid for comes from the journal.

    Raises:
        SessionBudgetExceeded: Nothing was left before the start. No call was made, nor for the next three.
        UnknownPrice: There is a cost cap, and a model's price is not known.
        SandboxUnavailable: This machine cannot lock down a sandbox.
        InputError: The context does not fit a session.
        BudgetExceeded, ProviderError, RunTimeout: It ended before anything was found; why.
        WrongKey, UnknownModel, ProviderUnreachable: The provider will not; also in the middle of a run.
        Fenced: Another attempt owns the run.
    """
    shared = await _shared(deps)
    engine = Engine(task, deps, shared)
    engine.last_call.hold()
    try:
        try:
            async with deps.calls.time.limit(shared.deadlines.work_until - deps.calls.time.now()) as limit:
                end = await engine.work()
        except TimeoutError:
            if not limit.expired():
                raise
            end = End(Outcome.TIMEOUT)
        value = await engine.value_of(end)
        await deps.calls.kept()
    finally:
        engine.last_call.let_go()
    log.info("engine.ended", run=deps.calls.frame.run_id, outcome=end.outcome, steps=engine.step)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    tally = shared.sub.tally
    answered = end.outcome is Outcome.SUCCESS
    outcome = tally.outcome() or end.outcome if answered else end.outcome
    return EngineResult(
        answer=text,
        value=value,
        outcome=outcome,
        partial=outcome is not Outcome.SUCCESS,
        steps=engine.step,
        notes=(*_notes(deps), *tally.notes()),
        model=engine.model,
        answered=answered,
    )


@dataclass(frozen=True, slots=True)
class RunResources:
    """
    What all engines of a run share.

    Attributes:
        cell_s: Time limit of a cell.
        sub_sessions: The places of this run's sub-engines.
        sub: Makes sub-calls.
        earlier: Steps of earlier attempts, by path and number.
    """

    deadlines: Deadlines
    cell_s: float
    sub: SubCalls
    earlier: Mapping[tuple[str, int], StepRecord]
    sub_sessions: SubSessions


@dataclass(frozen=True, slots=True)
class _Began:
    """When a step began, and what had been used by then."""

    used: Usage
    utc: str

    @classmethod
    def now(cls, calls: Calls) -> _Began:
        return cls(calls.replay.visible, calls.frame.utc())


@dataclass(slots=True)
class Engine:
    """
    One engine: the run's own, or one below it.

    Attributes:
        path: Its name in the journal: `""`, or `.<step>-<digest>-<n>` behind the path of the engine above.
        reserved_above: Tokens and money that the engines above keep for their last calls.
        step: The step that it is at.
        model: The model that replied, as the provider says.
    """

    task: Task
    deps: EngineDeps
    shared: RunResources
    path: str = ""
    depth: int = 0
    reserved_above: tuple[int, float] = (0, 0.0)
    step: int = 0
    model: str | None = None
    last_call: Synthesis = field(init=False)
    _start: Left = field(init=False)
    _transcript: Transcript = field(init=False)
    _offered: tuple[HostFunction, ...] = field(init=False)
    _cells: Cells = field(init=False)
    _children: Counter[str] = field(default_factory=Counter)
    _guidance: Guidance = field(init=False)
    _thoughts: int = 0
    _printed: str = ""

    def __post_init__(self) -> None:
        deps = self.deps
        above = less(deps.calls.shown_left(), *self.reserved_above)
        self.last_call = Synthesis.of(deps, self.path, above)
        self._start = self._left()
        self._transcript = Transcript(deps.prompts.notices)
        cells = [read_reply(turn).code for turn in deps.prompts.example]
        example = names_of(cell for cell in cells if cell is not None) | {"value"}  # of "call answer(value)"
        self._guidance = Guidance(deps.prompts.notices, example, self.task.context, deps.prompts.is_guided)
        self._offered = tuple(tool(self._call_site) for tool in deps.tools.values())
        functions = tools.functions(
            self.shared.sub, self._call_site, self._recurse, self._budget, self._offered, self._guidance.advice
        )
        seed = int(hashlib.sha256(f"{deps.calls.frame.run_id}{self.path}".encode()).hexdigest()[:8], 16)
        run_id = deps.calls.frame.run_id
        self._cells = Cells(deps.sandbox, self.task.variables(), seed, self.shared.cell_s, functions, run_id)

    async def work(self) -> End:
        """Make steps until an answer, or a limit of steps, tokens or money."""
        try:
            await self._cells.open()
            prompts, variables = self.deps.prompts, self.task.variables()
            self._transcript.open(
                self._rules(),
                self.task.question,
                variables,
                self._status(),
                example=prompts.example,
                request=prompts.request,
            )
            while self.step < self.deps.steps:
                self.step += 1
                began = _Began.now(self.deps.calls)
                reply, cell = await self._ask()
                ran, shown = await self._run(cell)
                self._record(cell, ran, shown, began)
                if ran.answer is not None:
                    return End(Outcome.SUCCESS, ran.answer)
                if self._guidance.has_stopped_coding:
                    return End(Outcome.NO_CODE, None if is_unseen(reply.text) else reply.text.strip())
                self._transcript.observed(shown, cell.code, self._status())
        except BudgetExceeded as spent:
            return End(outcome_of(spent), why=spent)
        except ProviderRefused as refused:
            if self.step <= 1 or isinstance(refused, WrongKey | UnknownModel | ProviderUnreachable):
                raise
            return End(Outcome.PROVIDER_ERROR, why=refused)
        finally:
            await self._cells.close()
        return End(Outcome.STEP_LIMIT)

    async def value_of(self, end: End) -> JsonValue:
        """
        Return the answer; where there is none yet, make one of what was found.

        Raises:
            RlmwatchError: Nothing was found; why.
        """
        if end.value is not None:
            return end.value
        within_s = self.shared.deadlines.until - self.deps.calls.time.now()
        made = await self.last_call.make(self._transcript, self.task.question, within_s=within_s)
        if made or self._printed:
            return made or self._printed
        nothing = RunTimeout("the run's time limit passed before anything was found; raise max_seconds")
        raise end.why or self.last_call.trouble or nothing

    async def _ask(self) -> tuple[Reply, Cell]:
        """
        Ask for the next cell.

        A reply that reached its token limit before its code ended, or before any text came, is asked for once more
        with more tokens, where the budget has them: half a program is of no use.
        """
        self._tell("asking the model")
        tokens = self.deps.tokens
        reply = await self._call(tokens + self._thoughts)
        cell = self._read(reply)
        if reply.finish_reason == "length" and cell.code is None and self.deps.prompts.is_guided:
            longer = LONGER * max(tokens, reply.usage.output_tokens) + self._thoughts
            left = self._left().tokens
            if left is None or left >= longer:
                reply = await self._call(longer)
                cell = self._read(reply)
        self._transcript.replied(reply.text)
        self.model = reply.model
        return reply, cell

    def _read(self, reply: Reply) -> Cell:
        names = {*FUNCTIONS, *(tool.name for tool in self._offered)} if self.deps.prompts.is_guided else ()
        return read_reply(reply.text, ended=reply.finish_reason, functions=names)

    async def _call(self, tokens: int) -> Reply:
        """Make the call of this step with up to *tokens* of output; without the oldest steps, where it must be."""
        deps, transcript = self.deps, self._transcript
        least = min(deps.tokens, LEAST_REPLY_TOKENS)
        for nth in count(1):
            temperature = self._guidance.temperature(deps.options.temperature)
            request = Request(deps.model, transcript.messages(), tokens, temperature)
            naming = replace(request, messages=transcript.messages(naming=True))
            try:
                reply = await deps.calls.llm(request, CallSite(self.path, self.step, least, naming, early=True))
                break
            except ContextTooLong as error:
                self._leave_out(request, error, room_chars(request, error) if nth == 1 else 0)
        self._thoughts = min(max(self._thoughts, reply.reasoning_tokens), MOST_THOUGHTS * deps.tokens)
        return reply

    def _leave_out(self, request: Request, error: ContextTooLong, room: int) -> None:
        """
        Leave the oldest steps out from now on, for *room* characters: *request* was longer than the model's window.

        Raises:
            ContextTooLong: There is nothing to leave out; by how much it is too long, and what to do.
        """
        if not self._transcript.leave_out(room):
            raise too_long(request, error) from error
        self.deps.calls.note(
            "steps were left out of the engine's requests: with all of them they are longer than the model's window"
        )

    async def _run(self, cell: Cell) -> tuple[Ran, str]:
        """Run *cell*, and return also what the model is told of it."""
        known = self.shared.earlier.get((self.path, self.step))
        if known is not None and known.code != cell.code:
            known = None
        if known is not None and known.ended == "killed":
            # It would end this session too, after its time limit.
            self.deps.calls.replay.pass_over(self.path, self.step)
            await self._cells.open()
            outcome = StepOutcome(cell, ended_by="limit")
            self._guidance.after(outcome, known.shown)
            return Ran(outcome, "killed"), known.shown
        self._tell("running its code")
        ran = await self._cells.run(cell)
        if (refusal := self._guidance.refuses(ran.answer) or await self._misfit(ran.answer)) is not None:
            ran = replace(ran, answer=None, ended="ok", outcome=replace(ran.outcome, refusal=refusal))
        if not is_unseen(printed := ran.outcome.output.strip()):
            self._printed = cut_middle(printed, OUTPUT_CHARS, phrases=self.deps.prompts.notices)
        shown = observation(ran.outcome, self.deps.prompts.notices)
        shown = "\n".join([shown, *self._guidance.after(ran.outcome, shown)])
        if known is not None and known.ended == ran.ended == "interrupted":
            return ran, known.shown  # where the limit strikes is chance
        return ran, shown

    async def _misfit(self, answer: JsonValue) -> str | None:
        """Return what is said of an *answer* of the run itself that is not in the form that was asked for."""
        if answer is None or self.path or self.deps.misfit is None or (words := await self.deps.misfit(answer)) is None:
            return None
        return MISFIT.format(words=words)

    def _record(self, cell: Cell, ran: Ran, shown: str, began: _Began) -> None:
        calls, known = self.deps.calls, self.shared.earlier.get((self.path, self.step))
        if known is not None and (known.code, known.shown) == (cell.code, shown):
            return
        record = StepRecord(
            path=self.path,
            step=self.step,
            attempt=calls.frame.attempt,
            code=cell.code,
            shown=shown,
            ended=ran.ended,
            answer=ran.answer,
            usage=between(began.used, calls.replay.visible),
            started_at=began.utc,
            cell_s=ran.cell_s,
            calls_s=ran.calls_s,
        )
        calls.keep(self.deps.trajectory.step(calls.frame.run_id, record))

    async def _recurse(self, prompt: str, context: JsonValue) -> JsonValue:
        """Answer `rlm_query`: by a sub-engine, or at the lowest level by a plain sub-call."""
        if self.depth >= self.deps.max_depth:
            return await self.shared.sub.ask(self._call_site(), prompt, context)
        name = f"{self.path}.{self.step}-{digest(json.dumps([prompt, context]))}"
        self._children[name] += 1
        path = f"{name}-{self._children[name]}"
        async with self.shared.sub_sessions.place(self.depth + 1):
            return await self._sub_engine(Task(prompt, context), path)

    async def _sub_engine(self, task: Task, path: str) -> JsonValue:
        """Answer *task* by a whole engine one level down, whose name in the journal is *path*."""
        tokens, usd = self.reserved_above
        engine = Engine(
            task,
            self.deps,
            self.shared,
            path=path,
            depth=self.depth + 1,
            reserved_above=(tokens + self.last_call.reserve.tokens, usd + self.last_call.usd),
        )
        try:
            engine.last_call.hold()
            end = await engine.work()
            value = await engine.value_of(end)
        except InputError as error:
            raise CellError("ValueError", str(error)) from error
        except (BudgetExceeded, ProviderError) as error:
            self.shared.sub.tally.failed(path, error)
            raise
        else:
            self.shared.sub.tally.ended(end.outcome)
            return value
        finally:
            engine.last_call.let_go()

    def _call_site(self) -> CallSite:
        return CallSite(self.path, self.step, tools.LEAST_SUB_TOKENS, early=True)

    def _left(self) -> Left:
        """Return what is left for work, as it is shown."""
        tokens, usd = self.reserved_above
        reserve = self.last_call.reserve.tokens
        left = less(self.deps.calls.shown_left(), tokens + reserve, usd + self.last_call.usd)
        return left if self.deps.calls.model.price(self.deps.model) else replace(left, usd=None)

    def _status(self) -> Status:
        """Return what the model is told before its next step."""
        left = self._left()
        late = self.deps.calls.time.now() >= self.shared.deadlines.late_at
        short = is_short(left, self._start, self.deps.tokens)
        return Status(self.step + 1, self.deps.steps, left.tokens, left.usd, short, late)

    def _budget(self) -> JsonValue:
        """Answer `budget()`: what is left of what is limited."""
        left = self._left()
        numbers = {
            "steps": self.deps.steps - self.step,
            "tokens": left.tokens,
            "usd": None if left.usd is None else round(left.usd, 6),
            "searches": left.searches if self.deps.tools else None,
        }
        return {name: number for name, number in numbers.items() if number is not None}

    def _rules(self) -> str:
        rules = self.deps.prompts.root.replace("{tools}", tools.listing(self._offered, self.deps.prompts.functions))
        return f"{rules}\n\n{self.deps.options.system}" if self.deps.options.system else rules

    def _tell(self, note: str) -> None:
        if not self.path:
            self.deps.progress(self.step, self.deps.steps, note)


async def _shared(deps: EngineDeps) -> RunResources:
    frame = deps.calls.frame
    now = deps.calls.time.now()
    _refuse_unknown_price(deps)
    rules, slots = deps.prompts.sub, asyncio.Semaphore(tools.AT_ONCE)
    temperature, guided = deps.options.temperature, deps.prompts.is_guided
    sub = SubCalls(deps.calls, deps.sub_model, deps.tokens, temperature, rules, slots, retries=guided)
    steps = await deps.trajectory.steps(frame.run_id) if frame.attempt > 1 else []
    earlier = {(record.path, record.step): record for record in steps}
    deadlines = Deadlines.of(now, frame.deadline)
    return RunResources(deadlines, cell_limit_s(frame.deadline - now), sub, earlier, deps.sub_sessions.of_run())


def _refuse_unknown_price(deps: EngineDeps) -> None:
    """Raise `UnknownPrice` now, where the sub-calls' model would do so in the middle of a paid run."""
    if deps.calls.model.price(deps.sub_model) is None:
        with suppress(BudgetExceeded):
            deps.calls.budget.release(deps.calls.budget.reserve(1, None))


def _notes(deps: EngineDeps) -> tuple[str, ...]:
    notes = {
        "replay_diverged": deps.calls.replay.diverged,
        "usage_estimated": deps.calls.estimated,
    }
    return tuple(note for note, holds in notes.items() if holds)
