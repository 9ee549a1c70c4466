"""
What earlier attempts paid for, and how much of it this attempt has come to again.

Pure. After a kill a run replays its cells; the replies come from the journal.
All that was paid counts against the caps from the start. What the model is
*shown* of the budget must be what it was shown before, or its requests would
differ from those in the journal. So of the earlier entries

1. a reply (DONE) is visible once it was handed out again;
2. a LOST call that was tried again in its own attempt is visible with the reply
   of that try;
3. any other LOST call was in flight at a kill: the attempt after it saw it once
   it had replayed all before it. It is visible once every reply that stands
   before it in the journal was handed out;
4. a RELEASED call is never visible: nothing was spent. A request that was refused
   and led to another one (too long) is asked, and refused, again: no divergence.

A replay has diverged when an engine asks something new while replies of its own
are still waiting. From then on everything is visible: there is nothing left to
be true to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from rlmwatch.runs.model import CallState, JournalEntry, Usage


@dataclass(slots=True)
class Replay:
    """
    The journal of earlier attempts, as it is handed out again.

    Attributes:
        visible: What the run has used, as far as the model may be shown.
        diverged: Whether this attempt went another way than an earlier one.
    """

    visible: Usage = field(default_factory=Usage)
    diverged: bool = False
    _waiting: dict[str, JournalEntry] = field(default_factory=dict)
    _refused: frozenset[str] = frozenset()
    _order: list[str] = field(default_factory=list)
    _with_reply: dict[str, list[Usage]] = field(default_factory=lambda: defaultdict(list))
    _in_flight: list[tuple[int, Usage]] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[JournalEntry]) -> Replay:
        """Return the replay of *entries*, oldest first."""
        entries = list(entries)
        done = {e.call.key: e for e in entries if e.state is CallState.DONE}
        refused = frozenset(e.call.key for e in entries if e.state is CallState.RELEASED)
        replay = cls(_waiting=dict(done), _order=list(done), _refused=refused)
        replies_before = 0
        for entry in entries:
            key = entry.call.key
            if entry.state is CallState.DONE:
                replies_before += 1
            elif entry.state is not CallState.RELEASED:
                if key in done and done[key].attempt == entry.attempt:
                    replay._with_reply[key].append(booked(entry))
                else:
                    replay._in_flight.append((replies_before, booked(entry)))
        replay._show_lost()
        return replay

    def take(self, key: str) -> JournalEntry | None:
        """Hand out the reply under *key*, once; None where no earlier attempt has one."""
        entry = self._waiting.pop(key, None)
        if entry is not None and not self.diverged:
            self.visible = sum(self._with_reply.pop(key, []), self.visible + booked(entry))
            self._show_lost()
        return entry

    def made(self, usage: Usage) -> None:
        """Note a call that this attempt made itself."""
        self.visible = self.visible + usage

    def waits_for(self, path: str) -> bool:
        """Whether replies of the engine *path*, or of engines below it, were not handed out yet."""
        return any(_is_below(key, path) for key in self._waiting)

    def was_refused(self, key: str) -> bool:
        """Whether an earlier attempt asked this under *key*, and the provider refused it."""
        return key in self._refused

    def pass_over(self, path: str, step: int) -> None:
        """Count the replies of a cell as handed out: it is not run again, since it would end the session again."""
        for key in [key for key in self._waiting if _is_of_step(key, path, step)]:
            self.take(key)

    def diverge(self) -> None:
        """Note that this attempt goes another way; what was paid and not handed out is visible now."""
        if not self.diverged:
            rest = [booked(entry) for entry in self._waiting.values()]
            rest += [usage for usages in self._with_reply.values() for usage in usages]
            rest += [usage for _, usage in self._in_flight]
            self.visible = sum(rest, self.visible)
            self.diverged = True

    def _show_lost(self) -> None:
        if not self._in_flight:
            return
        replayed = next((n for n, key in enumerate(self._order) if key in self._waiting), len(self._order))
        for replies_before, usage in self._in_flight:
            if replies_before <= replayed:
                self.visible = self.visible + usage
        self._in_flight = [lost for lost in self._in_flight if lost[0] > replayed]


def booked(entry: JournalEntry) -> Usage:
    """Return what counts as used: a reply as reported, a lost call as reserved."""
    call = entry.call
    if call.what == "search":
        return entry.usage or Usage(cost_usd=call.reserved_usd, searches=1)
    return entry.usage or Usage(0, call.reserved_tokens, call.reserved_usd, 1)


def between(before: Usage, after: Usage) -> Usage:
    """Return what was used from *before* to *after*."""
    usd = None if after.cost_usd is None else after.cost_usd - (before.cost_usd or 0.0)
    return Usage(
        after.input_tokens - before.input_tokens,
        after.output_tokens - before.output_tokens,
        usd,
        after.llm_calls - before.llm_calls,
        after.searches - before.searches,
    )


def _is_below(key: str, path: str) -> bool:
    return not path or key.startswith((f"{path}/", f"{path}."))


def _is_of_step(key: str, path: str, step: int) -> bool:
    return key.startswith((f"{path}/{step}/", f"{path}.{step}-"))
