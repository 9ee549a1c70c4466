"""
The paid calls of one run: reserved, journalled, made, recorded, settled.

For every call, in this order:

1. reserve tokens and money in the tree of budgets; the request is clamped to it.
   While other calls of the run are in flight, one that does not fit whole waits
   for them to settle: what they leave may do, and who is refused does not depend
   on who was first. Alone it takes what is left, or is refused;
2. wait until the provider's rate limit lets it pass; who gives up here has sent
   nothing, and nothing is booked;
3. commit the intent to the journal, once all earlier replies are durable; a
   reply that an earlier attempt paid for is handed out instead, and no request
   is made;
4. make the call, once all steps are durable; what may work later is tried again,
   with back-off, until the run's deadline; each try has an intent of its own;
5. settle the reservation, commit the reply. The engine gets it while it is
   being committed (`CallSite.early`): by 3 and 4, and since the end of a run waits
   too (`kept`), nothing that comes of it leaves this process before that.

A call that is cancelled in the middle is booked with the text that had come, one
that failed with what the provider reported as used.

A provider may bill more than its price table says. What it reports becomes the
reservation of the next calls (`Costs`). Until a model has replied once, and while
less is left than a few calls of a model that bills more, calls go one at a time,
so that no more than one of them can pass a cap. Other runs wait a moment for the
first reply of a model, too, but not for long: it may be slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import structlog

from rlmwatch.budget import Budget, CostBound, Left, Reservation
from rlmwatch.engine.call_codec import plain, plain_reply, reply_of
from rlmwatch.engine.call_site import ROOT, AttemptScope, CallSite
from rlmwatch.engine.costs import NEAR_CALLS, Costs
from rlmwatch.engine.replay import Replay, booked
from rlmwatch.engine.run_time import WAIT_SHOWN_S, RunTime
from rlmwatch.errors import BudgetExceeded, NotSent, ProviderCutOff, ProviderError, ProviderUnavailable, RunTimeout
from rlmwatch.models.base import RESTART, Model, Reply, Request
from rlmwatch.models.image_tokens import tokens_of_images
from rlmwatch.runs.journal import Journal
from rlmwatch.runs.model import CallState, JournalEntry, PaidCall, Usage

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
JITTER_S = 1.0
"""
Back-off between tries: doubles from the first to the longest, and up to a second by chance, so that calls which failed
together do not come back together; a provider's Retry-After goes before it.
"""
UNSTORED = (
    "a reply that was paid for is kept in memory: the ledger cannot store it now. Free some space on the disk of "
    "rlmwatch's state folder (its log names the file); it goes on by itself"
)
UNWRITTEN = (
    "the ledger cannot be written now, and nothing is asked until it can: is the disk of rlmwatch's state folder full? "
    "Its log says more; it goes on by itself"
)
LATE = "the run's time (max_seconds) was up when the call failed"
FIRST_REPLY_POLL_S = 0.05
FIRST_REPLY_POLLS = 40
"""Two seconds: a short answer is there by then, and who waits for a slow one in vain hardly notices."""
CHARS_PER_TOKEN = 4
"""Rule of thumb for English text, for what was received when no usage was reported."""

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(slots=True)
class Calls:
    """
    Makes the paid calls of one attempt of one run.

    Attributes:
        frame: Which run, and until when.
        used: What this run used so far, calls of earlier attempts included.
        replay: What earlier attempts paid for, and how much of it this one has come to again.
        start: What was left before this run's first call, the same at each attempt.
        text_so_far: What had come of the last call that was cut off.
        trouble: Why a call was tried again, last, or was never sent; None since one was answered.
        waits_for: What a call waits for now, in words for the person: until it is asked again, or may be asked at all.
        notes: What the providers' replies say that a person should know, each once, in their order.
        costs: What models were seen to bill beyond their price; shared by the runs of a program.
        estimated: Whether a provider reported no usage, so that some of it is our estimate.
        on_again: Is told that a call is made again: what came of its text is void.
        on_wait: Is told that `waits_for` has changed.
        crash_at: Is told the named points at which a crash must lose nothing (`call.intended`, ...).
        time: Stands still while the ledger is waited for; in it the deadline is meant.
    """

    frame: AttemptScope
    journal: Journal
    model: Model
    budget: Budget
    used: Usage = field(default_factory=Usage)
    replay: Replay = field(default_factory=Replay)
    start: Left = field(init=False)
    text_so_far: str = ""
    trouble: ProviderUnavailable | None = None
    waits_for: str | None = None
    notes: dict[str, None] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    estimated: bool = False
    on_again: Callable[[], None] = field(default=lambda: None)
    on_wait: Callable[[], None] = field(default=lambda: None)
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    time: RunTime = field(init=False)
    _nth: Counter[str] = field(default_factory=Counter)
    _in_flight: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _replies: set[asyncio.Future[None]] = field(default_factory=set)
    _keeping: set[asyncio.Future[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start = self.budget.left()
        self.time = RunTime(self.frame.monotonic, self._waits)

    async def resume(self) -> None:
        """Book what earlier attempts paid: once, before the first call of this attempt."""
        entries = await self.journal.entries(self.frame.run_id)
        self.replay = Replay.of(entries)
        for entry in entries:
            if entry.state is CallState.DONE and entry.usage is not None:
                if entry.call.what == "llm":
                    self.costs.learn(self.model, entry.call.model, entry.usage)
                else:
                    self.costs.learn_search(
                        entry.call.model, entry.call.reserved_usd or 0.0, entry.usage.cost_usd or 0.0
                    )
            if entry.state is not CallState.RELEASED:
                self._settle(Reservation(0, 0.0), booked(entry))

    def shown_left(self) -> Left:
        """
        Return what the model is told is left: the same at each attempt, wherever a replay stands.

        Calls in flight are not taken off: who shows it has waited for its own.
        """
        seen = self.replay.visible
        return Left(
            None if self.start.tokens is None else max(0, self.start.tokens - seen.output_tokens),
            None if self.start.usd is None else max(0.0, self.start.usd - (seen.cost_usd or 0.0)),
            None if self.start.searches is None else max(0, self.start.searches - seen.searches),
        )

    async def llm(
        self, request: Request, at: CallSite = ROOT, *, on_text: Callable[[str], None] | None = None
    ) -> Reply:
        """
        Make one model call, or hand out the reply that an earlier attempt paid for.

        Args:
            request: `max_tokens` is what is wanted; what is granted may be less.
            at: Where in the run it is made.
            on_text: Is given each new piece of text as it comes.

        Raises:
            BudgetExceeded, UnknownPrice, CeilingReached: No call was made.
            ProviderError: It failed for good, or until the deadline.
            RunTimeout: The deadline had passed when it failed.
            Fenced: Another attempt owns the run.
        """
        key = self.name(plain(at.naming or request), at)
        held = at.held

        async def once() -> Reply:
            nonlocal held
            granted, held = held, None
            return await self._made(key, request, at, granted, on_text)

        try:
            if (earlier := self.replay.take(key)) is not None:
                return self._received(reply_of(earlier))
            if at.naming is not None and self.replay.waits_for(at.path) and not self.replay.was_refused(key):
                self.replay.diverge()
            return self._received(await self.insist(once, self.model.provider))
        finally:
            if held is not None:
                self.budget.release(held)

    async def insist(self, once: Callable[[], Awaitable[T]], server: str, at_most: int | None = None) -> T:
        """
        Do *once*; what may work later is tried again, with back-off, until the deadline.

        Args:
            once: One try of a call.
            server: Who is asked, for the person.
            at_most: Tries; None leaves it to the deadline.

        Raises:
            ProviderUnavailable: It failed *at_most* times, or asked to wait past the deadline.
            RunTimeout: It failed when the deadline had passed.
        """
        for nth in count(1):
            try:
                return await once()
            except ProviderUnavailable as error:
                self.trouble = error
                if nth == at_most:
                    raise
                if self.frame.deadline <= self.time.now():  # before the run's own timer struck
                    raise RunTimeout(LATE) from error
                if (wait_s := self._wait_s(nth, error)) is None:
                    raise
                self.on_again()
                self._tell_retry(nth, server, error, wait_s)
            await asyncio.sleep(wait_s)
        raise AssertionError("it is tried until it returns or raises")  # pragma: no cover

    def keep(self, verb: Coroutine[Any, Any, None]) -> None:
        """Begin to carry out *verb*, which makes something durable; no request is sent before it has."""
        _begin(self.time.stored(verb, UNWRITTEN), self._keeping)

    async def kept(self) -> None:
        """
        Wait until all that was to be kept is durable.

        Raises:
            LedgerError: Some of it could not be kept.
        """
        await _finish(self._replies)
        await _finish(self._keeping)

    async def _made(
        self, key: str, request: Request, at: CallSite, held: Reservation | None, on_text: Callable[[str], None] | None
    ) -> Reply:
        """Make one try, as soon as it fits under the caps and ceilings or no call in flight could leave more."""
        await self._first_of_others(request.model)
        while True:
            price = self.costs.price(self.model, request)
            if self._in_flight and held is None and await self._goes_alone(request.model, price):
                await self._next_settled()
                continue
            wanted = request.max_tokens if self._in_flight else at.least
            try:
                granted, held = held or self.budget.reserve(request.max_tokens, price, least=wanted), None
                sent = replace(request, max_tokens=granted.tokens)
                return await self._once(key, sent, at, granted, on_text)
            except BudgetExceeded:
                if not self._in_flight:
                    raise
            await self._next_settled()

    async def _first_of_others(self, model: str) -> None:
        """Give the first call of *model*, by another run, a moment to reply: then it is known what the model bills."""
        for _ in range(FIRST_REPLY_POLLS):
            if self._in_flight or not self.has_limit_usd or not self.costs.first_is_under_way(self.model, model):
                return
            await asyncio.sleep(FIRST_REPLY_POLL_S)

    async def _next_settled(self) -> None:
        """Wait until a call in flight has ended, where there is one."""
        if self._in_flight:
            self._settled.clear()
            await self._settled.wait()

    async def _goes_alone(self, model: str, price: CostBound | None) -> bool:
        """Whether a call to *model* waits for those in flight: it is not known what it bills, or little is left."""
        if not self.has_limit_usd:
            return False
        if not self.costs.is_known(self.model, model):
            return True
        if price is None or not self.costs.is_beyond(self.model, model):
            return False
        return await self.left_usd() < NEAR_CALLS * price.input_usd

    @property
    def has_limit_usd(self) -> bool:
        """Whether a cap or a ceiling limits what this run may cost."""
        return any(limit is not None for limit in self._limits_usd())

    async def left_usd(self) -> float:
        """Return what is left under the caps and ceilings, where there are any, in US dollars."""
        spent = (0.0, *await self.journal.spent_usd(now=self.frame.utc(), of_user=self.frame.ceilings.of_user))
        limits = self._limits_usd()
        return min(limit - used for limit, used in zip(limits, spent, strict=True) if limit is not None)

    def _limits_usd(self) -> tuple[float | None, float | None, float | None]:
        return self.budget.left().usd, self.frame.ceilings.per_day_usd, self.frame.ceilings.per_month_usd

    def _wait_s(self, nth: int, error: ProviderUnavailable) -> float | None:
        """Return how long to wait after *error* of the *nth* try; None where another would come too late."""
        left_s = self.frame.deadline - self.time.now()
        if error.retry_after_s is None:
            backoff_s = FIRST_WAIT_S * 2.0 ** min(nth - 1, 16) + random.uniform(0, JITTER_S)  # noqa: S311 (no secret)
            return min(LONGEST_WAIT_S, backoff_s)
        # A wait that ends past the deadline is no use: say so now, in the provider's words.
        return error.retry_after_s if error.retry_after_s < left_s else None

    def _tell_retry(self, nth: int, server: str, error: ProviderUnavailable, wait_s: float) -> None:
        """Say, in the log and to who follows the run, what a call waits for, and until when."""
        again_at = (datetime.fromisoformat(self.frame.utc()) + timedelta(seconds=wait_s)).isoformat(timespec="seconds")
        log.info(
            "call.retry_scheduled",
            run=self.frame.run_id,
            server=server,
            why=str(error),
            tries=nth,
            again_in_s=round(wait_s, 1),
            again_at=again_at,
        )
        self._waits(f"{error}; asked again at {again_at} ({nth} {'try' if nth == 1 else 'tries'} so far)")

    def _waits(self, what: str | None) -> None:
        if what != self.waits_for:
            self.waits_for = what
            self.on_wait()

    async def _turn(self, stack: AsyncExitStack, sent: Request, held: Reservation) -> None:
        """
        Take the provider's turn for *sent*, until *stack* is closed; say so where it is long in coming.

        Whoever gives up while it waits gets *held* back: nothing was sent.
        """
        words = f"{self.model.provider}: waiting for its rate limit; the call is not sent yet"
        shown = asyncio.get_running_loop().call_later(WAIT_SHOWN_S, self._waits, words)
        try:
            await stack.enter_async_context(self.model.turn(sent))
        except BaseException:
            self.budget.release(held)
            late = f"{self.model.provider}: the call waited for the rate limit, and was not sent"
            tried = self.trouble is not None and not isinstance(self.trouble, NotSent)
            self.trouble = NotSent(f"{self.trouble}\nThen {late}" if tried else late)
            raise
        finally:
            shown.cancel()
            if self.waits_for == words:
                self._waits(None)

    async def _once(
        self, key: str, sent: Request, at: CallSite, held: Reservation, on_text: Callable[[str], None] | None
    ) -> Reply:
        """Make *sent* under the reservation *held*, which it uses up."""
        self._in_flight += 1
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(self.costs.asking(self.model, sent.model))
                await self._turn(stack, sent, held)
                return await self._try(key, sent, at, held, on_text)
        finally:
            self._in_flight -= 1
            self._settled.set()

    async def _try(
        self, key: str, sent: Request, at: CallSite, held: Reservation, on_text: Callable[[str], None] | None
    ) -> Reply:
        if (earlier := await self._intend(key, sent, held)) is not None:
            return earlier
        pieces: list[str] = []
        hear = _listener(pieces, on_text, self.on_again)
        try:
            reply = await self.model.complete(sent, on_text=hear)
        except asyncio.CancelledError:
            await self._cut(key, sent, held, "".join(pieces))
            raise
        except ProviderCutOff as cut:
            await self._cut(key, sent, held, cut.text_so_far, cut.usage)
            raise
        except ProviderError as error:
            await self._failed(key, sent, held, error)
            raise
        self.costs.learn(self.model, sent.model, reply.usage)
        self.crash_at("call.replied")
        self.book(held, reply.usage)
        if at.early:
            _begin(self._record(key, reply), self._replies)
        else:
            await asyncio.shield(self._record(key, reply))
        return reply

    async def _intend(self, key: str, sent: Request, held: Reservation) -> Reply | None:
        """Commit the intent, with all that goes before it; or return the reply that is there already."""
        call = PaidCall(key, "llm", sent.model, plain(sent), held.tokens, held.usd)
        try:
            # Not beside the intent: a kill between the two would count this call as one that was in flight.
            await _finish(self._replies)
            done = await self.intend(call)
        except BaseException:
            self.budget.release(held)
            raise
        if done is not None:
            self.budget.release(held)
            return reply_of(done)
        try:
            await _finish(self._keeping)
        except BaseException:
            await self.give_back(key, held)
            raise
        self.crash_at("call.intended")
        return None

    async def intend(self, call: PaidCall) -> JournalEntry | None:
        """Commit the intent of *call* under the ceilings; return its entry where it was made before."""
        frame = self.frame
        intended = self.journal.intend(frame.run_id, frame.attempt, call, ceilings=frame.ceilings, now=frame.utc())
        return await self.time.stored(intended, UNWRITTEN)

    async def _record(self, key: str, reply: Reply) -> None:
        """Store a reply that was paid for. While the ledger cannot, it is kept here, and that is said."""
        recorded = self.journal.record(self.frame.run_id, key, plain_reply(reply), reply.usage, now=self.frame.utc())
        await self.time.stored(recorded, UNSTORED)
        self.crash_at("call.recorded")

    async def _failed(self, key: str, sent: Request, held: Reservation, error: ProviderError) -> None:
        """Book what a call that gave no answer has used: as reported, else all of *held* where it may be billed."""
        if error.usage is not None:
            await self._lost(key, sent, held, error.usage)
        elif isinstance(error, ProviderUnavailable) and error.may_be_billed:
            self.book(held, Usage(0, held.tokens, held.usd, 1))
            await self.lose(key, None)
        else:
            await self.give_back(key, held)

    async def give_back(self, key: str, held: Reservation) -> None:
        """Release *held*: the provider refused before any work."""
        self.budget.release(held)
        await self.time.stored(self.journal.release(self.frame.run_id, key, now=self.frame.utc()), UNWRITTEN)

    async def _cut(self, key: str, sent: Request, held: Reservation, text: str, reported: Usage | None = None) -> None:
        """Book a call that ended in the middle: as *reported*, else its input and the text so far by our estimate."""
        self.text_so_far = text
        tokens = min(held.tokens, -(-len(text) // CHARS_PER_TOKEN))
        sent_tokens = sum(len(m.content) for m in sent.messages) // CHARS_PER_TOKEN
        sent_tokens += sum(tokens_of_images(sent.model, m) for m in sent.messages)
        await self._lost(key, sent, held, reported or Usage(sent_tokens, tokens, None, 1))

    async def _lost(self, key: str, sent: Request, held: Reservation, used: Usage) -> None:
        """Book what a call without an answer has *used*; at the upper bound of its price where no cost was reported."""
        if used.cost_usd is None and (price := self.costs.price(self.model, sent)) is not None:
            used = replace(used, cost_usd=price.input_usd + used.output_tokens * price.usd_per_output_token)
        used = replace(used, llm_calls=1)
        self.costs.learn(self.model, sent.model, used)
        self.book(held, used)
        await self.lose(key, used)

    async def lose(self, key: str, usage: Usage | None) -> None:
        """Mark a call as lost in the journal: it was cut off, and may be billed."""
        with suppress(asyncio.CancelledError):
            lost = self.journal.lose(self.frame.run_id, key, usage=usage, now=self.frame.utc())
            await asyncio.shield(self.time.stored(lost, UNWRITTEN))

    def book(self, held: Reservation, usage: Usage) -> None:
        """Settle *held* with what was used."""
        self._settle(held, usage)
        self.replay.made(usage)

    def _settle(self, held: Reservation, usage: Usage) -> None:
        self.budget.settle(held, tokens=usage.output_tokens, usd=usage.cost_usd, searches=usage.searches)
        self.used = self.used + usage

    def _received(self, reply: Reply) -> Reply:
        self.estimated = self.estimated or reply.estimated
        self.notes.update(dict.fromkeys(reply.notes))
        self.answered()
        return reply

    def note(self, text: str) -> None:
        """Keep *text* for the person, once."""
        self.notes[text] = None

    def answered(self) -> None:
        """Note that a call was answered: nothing is waited for."""
        self.trouble = None
        self._waits(None)

    def name(self, asked: Mapping[str, Any], at: CallSite) -> str:
        """
        Name a call independently of the order in which parallel calls arrive; each call of this asks for the next.

        What is granted depends on that order, so the hash is over what was *asked* for.
        """
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        stem = f"{at.path}/{at.step}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._nth[stem] += 1
        return f"{stem}/{self._nth[stem]}"


def _listener(
    pieces: list[str], on_text: Callable[[str], None] | None, on_again: Callable[[], None]
) -> Callable[[str], None]:
    """Return what collects the text of a call in *pieces* as it comes, and hands it on."""

    def hear(piece: str) -> None:
        if piece is RESTART:
            pieces.clear()
            on_again()
            return
        pieces.append(piece)
        if on_text is not None:
            on_text(piece)

    return hear


def _begin(verb: Coroutine[Any, Any, None], under_way: set[asyncio.Future[None]]) -> None:
    future = asyncio.ensure_future(verb)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # raised by `_finish`, if that comes
    under_way.add(future)


async def _finish(under_way: set[asyncio.Future[None]]) -> None:
    """Wait for what is *under_way* now, and raise what one of them raised."""
    waited_for = frozenset(under_way)
    if any(not future.done() for future in waited_for):
        await asyncio.wait(waited_for)  # unlike `gather`, it leaves them alone when it is cancelled
    under_way -= waited_for
    for future in waited_for:
        future.result()
