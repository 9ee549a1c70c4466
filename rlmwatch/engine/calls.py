"""
The paid calls of one run: reserved, journalled, made, recorded, settled.

For every call, in this order:

1. reserve tokens and money in the tree of budgets; the request is clamped to it.
   While other calls of the run are in flight, one that does not fit whole waits
   for them to settle: what they leave may do, and who is refused does not depend
   on who was first. Alone it takes what is left, or is refused;
2. commit the intent to the journal, once all earlier replies are durable; a
   reply that an earlier attempt paid for is handed out instead, and no request
   is made;
3. make the call, once all steps are durable; what may work later is tried again,
   with back-off, until the run's deadline; each try has an intent of its own;
4. settle the reservation, commit the reply. The engine gets it while it is
   being committed (`CallSite.early`): by 2 and 3, and since the end of a run waits
   too (`kept`), nothing that comes of it leaves this process before that.

A call that is cancelled in the middle is booked with the text that had come.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import stamina

from rlmwatch.budget import Budget, Left, Reservation
from rlmwatch.engine.call_codec import plain, plain_reply, price_of, reply_of
from rlmwatch.engine.call_site import ROOT, AttemptScope, CallSite
from rlmwatch.engine.replay import Replay, booked
from rlmwatch.errors import BudgetExceeded, ProviderCutOff, ProviderError, ProviderUnavailable
from rlmwatch.models.base import RESTART, Model, Reply, Request
from rlmwatch.runs.journal import Journal
from rlmwatch.runs.model import CallState, PaidCall, Usage

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Back-off between tries: doubles from the first to the longest; a provider's Retry-After goes before it."""
CHARS_PER_TOKEN = 4
"""Rule of thumb for English text, for what was received when no usage was reported."""


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
        trouble: Why a call was tried again, last; None since one was answered.
        estimated: Whether a provider reported no usage, so that some of it is our estimate.
        on_again: Is told that a call is made again: what came of its text is void.
        crash_at: Is told the named points at which a crash must lose nothing (`call.intended`, ...).
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
    estimated: bool = False
    on_again: Callable[[], None] = field(default=lambda: None)
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    _nth: Counter[str] = field(default_factory=Counter)
    _in_flight: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _replies: set[asyncio.Future[None]] = field(default_factory=set)
    _keeping: set[asyncio.Future[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start = self.budget.left()

    async def resume(self) -> None:
        """Book what earlier attempts paid: once, before the first call of this attempt."""
        entries = await self.journal.entries(self.frame.run_id)
        self.replay = Replay.of(entries)
        for entry in entries:
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
            Fenced: Another attempt owns the run.
        """
        key = self.name(plain(at.naming or request), at)
        held = at.held
        try:
            if (earlier := self.replay.take(key)) is not None:
                return self._heard(reply_of(earlier))
            if at.naming is not None and self.replay.waits_for(at.path):
                self.replay.diverge()
            async for attempt in self.tries():
                with attempt:
                    granted, held = held, None
                    return self._heard(await self._made(key, request, at, granted, on_text))
        finally:
            if held is not None:
                self.budget.release(held)
        raise AssertionError("a retry context returns or raises")  # pragma: no cover

    def tries(self, at_most: int | None = None) -> AsyncIterator[stamina.Attempt]:
        """Return the tries of one call: what may work later is tried again, with back-off, until the deadline."""
        return aiter(
            stamina.retry_context(
                on=self._wait_before_retry,
                attempts=at_most,
                timeout=max(0.0, self.frame.deadline - self.frame.monotonic()),
                wait_initial=FIRST_WAIT_S,
                wait_max=LONGEST_WAIT_S,
            )
        )

    def keep(self, verb: Coroutine[Any, Any, None]) -> None:
        """Begin to carry out *verb*, which makes something durable; no request is sent before it has."""
        _begin(verb, self._keeping)

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
        price = price_of(self.model, request)
        while True:
            wanted = request.max_tokens if self._in_flight else at.least
            try:
                granted, held = held or self.budget.reserve(request.max_tokens, price, least=wanted), None
                sent = replace(request, max_tokens=granted.tokens)
                return await self._once(key, sent, at, granted, on_text)
            except BudgetExceeded:
                if not self._in_flight:
                    raise
            self._settled.clear()
            await self._settled.wait()

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """Decide whether *error* is worth another try, and after how long."""
        if not isinstance(error, ProviderUnavailable):
            return False
        self.trouble = error
        self.on_again()
        if error.retry_after_s is None:
            return True
        # A wait that ends past the deadline is no use: say so now, in the provider's words.
        return error.retry_after_s if self.frame.monotonic() + error.retry_after_s < self.frame.deadline else False

    async def _once(
        self, key: str, sent: Request, at: CallSite, held: Reservation, on_text: Callable[[str], None] | None
    ) -> Reply:
        """Make *sent* under the reservation *held*, which it uses up."""
        self._in_flight += 1
        try:
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
            await self._cut(key, sent, held, cut.text_so_far)
            raise
        except ProviderUnavailable as error:
            if error.may_be_billed:
                self.book(held, Usage(0, held.tokens, held.usd, 1))
                await self.lose(key, None)
            else:
                await self.give_back(key, held)
            raise
        except ProviderError:
            await self.give_back(key, held)
            raise
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
            done = await self.journal.intend(
                self.frame.run_id, self.frame.attempt, call, ceilings=self.frame.ceilings, now=self.frame.utc()
            )
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

    async def _record(self, key: str, reply: Reply) -> None:
        await self.journal.record(self.frame.run_id, key, plain_reply(reply), reply.usage, now=self.frame.utc())
        self.crash_at("call.recorded")

    async def give_back(self, key: str, held: Reservation) -> None:
        """Release *held*: the provider refused before any work."""
        self.budget.release(held)
        await self.journal.release(self.frame.run_id, key, now=self.frame.utc())

    async def _cut(self, key: str, sent: Request, held: Reservation, text: str) -> None:
        """Book what had come when a call ended in the middle: its input, and the text so far."""
        self.text_so_far = text
        tokens = min(held.tokens, -(-len(text) // CHARS_PER_TOKEN))
        price = price_of(self.model, sent)
        usd = None if price is None else price.input_usd + tokens * price.usd_per_output_token
        used = Usage(sum(len(m.content) for m in sent.messages) // CHARS_PER_TOKEN, tokens, usd, 1)
        self.book(held, used)
        await self.lose(key, used)

    async def lose(self, key: str, usage: Usage | None) -> None:
        """Mark a call as lost in the journal: it was cut off, and may be billed."""
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self.journal.lose(self.frame.run_id, key, usage=usage, now=self.frame.utc()))

    def book(self, held: Reservation, usage: Usage) -> None:
        """Settle *held* with what was used."""
        self._settle(held, usage)
        self.replay.made(usage)

    def _settle(self, held: Reservation, usage: Usage) -> None:
        self.budget.settle(held, tokens=usage.output_tokens, usd=usage.cost_usd, searches=usage.searches)
        self.used = self.used + usage

    def _heard(self, reply: Reply) -> Reply:
        self.estimated = self.estimated or reply.estimated
        self.trouble = None
        return reply

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
