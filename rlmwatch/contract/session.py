"""
The research session's own document, `…_session.json`: exchanges, spending, caps.

Pure. People may read and edit it; deleting it starts afresh. Spending is booked
per run, so that booking the same run again, with what it used meanwhile, counts
once:

1. `booked` of a run that is known takes the difference; of a new one all of it.
   A late word that says less than is booked already changes nothing.
2. What the last `KNOWN_RUNS` runs used stands beside the sum; a run is resumed,
   or published again, long before so many others have gone by.
3. An exchange carries its run's id and is added once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from rlmwatch.contract.documents import SCHEMA_VERSION
from rlmwatch.contract.memory import Edited, Turn, is_undone, placed
from rlmwatch.contract.options import Money, PositiveInt

KNOWN_RUNS = 20
MOST_SPENT = 10**15
"""More is no sound report, and would not fit what it is added to."""
SHORT_QUESTION_CHARS = 200
SHORT_ANSWER_CHARS = 400
SHORT_EXCHANGES = 3
"""What a prompt tells of earlier exchanges: some 500 tokens; all of them are the variable `history`."""


class Used(Edited):
    """Output tokens, reasoning included, and US dollars."""

    output_tokens: Annotated[int, Field(ge=0, le=MOST_SPENT)] = 0
    cost_usd: Annotated[float, Field(ge=0, le=MOST_SPENT, allow_inf_nan=False)] = 0.0


class SessionState(Edited):
    """
    One research session.

    Attributes:
        turns: Questions and answers, oldest first.
        undone: Those that were taken back (`rlmwatch undo`): the model is not told of them.
        spent: What all runs used, those that gave no answer included.
        runs: What the last runs used, by run id.
        max_tokens: Cap that was raised in Python (`Session.raise_caps`); None where nobody did.
        max_cost_usd: Likewise.
    """

    schema_version: int = SCHEMA_VERSION
    conversation: str = ""
    turns: Annotated[tuple[Turn, ...], Field(strict=False)] = ()
    undone: Annotated[tuple[Turn, ...] | None, Field(strict=False)] = None
    spent: Used = Used()
    runs: dict[str, Used] = Field(default_factory=dict)
    max_tokens: PositiveInt | None = None
    max_cost_usd: Money | None = None

    def spent_before(self, run_id: str) -> Used:
        """Return what all runs but *run_id* used: its own is counted by its journal."""
        own = self.runs.get(run_id, Used())
        return Used(
            output_tokens=max(0, self.spent.output_tokens - own.output_tokens),
            cost_usd=max(0.0, self.spent.cost_usd - own.cost_usd),
        )

    def booked(self, run_id: str, used: Used) -> SessionState:
        """Return this session with all that *run_id* *used* so far."""
        before, known = self.spent_before(run_id), self.runs.get(run_id, Used())
        used = Used(
            output_tokens=max(used.output_tokens, known.output_tokens), cost_usd=max(used.cost_usd, known.cost_usd)
        )
        others = {other: was for other, was in self.runs.items() if other != run_id}
        kept = dict(list(others.items())[-(KNOWN_RUNS - 1) :])
        total = Used(output_tokens=before.output_tokens + used.output_tokens, cost_usd=before.cost_usd + used.cost_usd)
        return self.model_copy(update={"spent": total, "runs": {**kept, run_id: used}})

    def with_turn(self, turn: Turn, *, later: Collection[str] = ()) -> SessionState:
        """Return this session with *turn* in its place before those of *later* runs (see `placed`)."""
        if is_undone(self.undone, turn):
            return self
        turns = placed(self.turns, turn, later)
        return self if turns is self.turns else self.model_copy(update={"turns": turns})

    def history(self) -> str | None:
        """Return all exchanges as one text, for the variable `history`; None where there are none."""
        said = [f"Question: {turn.input.strip()}\nAnswer: {turn.answer.strip()}" for turn in self.turns]
        return "\n\n".join(said) or None

    def in_short(self) -> str:
        """Return the last exchanges in short, for the prompt; `""` where there are none."""
        last = self.turns[-SHORT_EXCHANGES:]
        return "\n".join(
            f"Q: {_cut(turn.input, SHORT_QUESTION_CHARS)}\nA: {_cut(turn.answer, SHORT_ANSWER_CHARS)}" for turn in last
        )


def _cut(text: str, chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[:chars].rstrip()} … [{len(line)} characters in all]"
