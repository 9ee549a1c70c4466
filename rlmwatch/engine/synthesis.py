"""
The last call of an engine that reached a limit: an answer from what was found.

Its tokens and its money are reserved before the engine's first call, so it is
affordable whatever the run spends, and so are those of the engines above.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlmwatch.budget import CostBound, Left, Reservation
from rlmwatch.engine.call_codec import TOKENS_PER_MESSAGE
from rlmwatch.engine.call_site import CallSite
from rlmwatch.engine.limits import LEAST_TOKENS, SynthesisReserve
from rlmwatch.engine.task import EngineDeps
from rlmwatch.engine.transcript import Transcript
from rlmwatch.errors import BudgetExceeded, ProviderError, SessionBudgetExceeded
from rlmwatch.models.base import Request

SYNTHESIS_STEP = 0
"""Its step in the journal: cells count from 1."""


@dataclass(slots=True)
class Synthesis:
    """
    The synthesis of one engine.

    Attributes:
        path: The engine's.
        reserve: Its size.
        trouble: Why it could not be made.
    """

    deps: EngineDeps
    path: str
    reserve: SynthesisReserve
    trouble: Exception | None = None
    _held: Reservation | None = None

    @classmethod
    def of(cls, deps: EngineDeps, path: str, left: Left) -> Synthesis:
        """Return the synthesis of an engine that begins with *left*, by the share that is kept."""
        return cls(deps, path, SynthesisReserve.of(left, deps.tokens, deps.calls.model.price(deps.model)))

    @property
    def usd(self) -> float:
        """US dollars that it may cost; 0 where the price is unknown."""
        price = self._price()
        return 0.0 if price is None else price.input_usd + self.reserve.tokens * price.usd_per_output_token

    def hold(self) -> None:
        """
        Reserve it, before the engine's first call.

        Where an earlier attempt spent so much that it does not fit, what was paid for is replayed without it.

        Raises:
            SessionBudgetExceeded: Nothing is left, and this run has spent nothing.
            BudgetExceeded: The same, for a sub-engine.
            UnknownPrice: There is a cost cap, and the model's price is not known.
        """
        calls = self.deps.calls
        try:
            self._held = calls.budget.reserve(self.reserve.tokens, self._price(), least=LEAST_TOKENS)
        except BudgetExceeded as spent:
            if self.path and not calls.replay.waits_for(self.path):
                raise
            if not self.path and not calls.used.llm_calls:
                raise SessionBudgetExceeded(str(spent), cap=spent.cap, limit=spent.limit, used=spent.used) from spent

    def let_go(self) -> None:
        """Give back what was reserved and not used. Idempotent."""
        if self._held is not None:
            self.deps.calls.budget.release(self._held)
            self._held = None

    async def make(self, transcript: Transcript, question: str, *, within_s: float) -> str:
        """Return the answer from what was found; `""` where it could not be made, and `trouble` says why."""
        deps, held = self.deps, self._held
        room = self.reserve.request_bytes - 2 * TOKENS_PER_MESSAGE
        messages = transcript.synthesis(self._rules(), question, max_bytes=room)
        request = Request(deps.model, messages, self.reserve.tokens, deps.options.temperature)
        self._held = None
        deps.calls.text_so_far = ""
        try:
            async with deps.calls.time.limit(within_s):
                reply = await deps.calls.llm(request, CallSite(self.path, SYNTHESIS_STEP, LEAST_TOKENS, held=held))
                return reply.text.strip()
        except TimeoutError:
            self.trouble = deps.calls.trouble
            return deps.calls.text_so_far.strip()
        except (BudgetExceeded, ProviderError) as error:
            self.trouble = error
            return deps.calls.text_so_far.strip()

    def _price(self) -> CostBound | None:
        return self.reserve.price(self.deps.calls.model.price(self.deps.model))

    def _rules(self) -> str:
        system = self.deps.options.system
        return f"{self.deps.prompts.synthesis}\n\n{system}" if system else self.deps.prompts.synthesis
