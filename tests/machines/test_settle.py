"""The settle rule under any order of events and answers, beside a plain model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rlmwatch.watch.settle import (
    DEADLINE_S,
    HELD_OPEN_LIMIT_S,
    QUIET_AGAIN_S,
    QUIET_S,
    TYPING_DEADLINE_S,
    UNPROVEN_REST_S,
    Settling,
    WhereOpen,
)

PATHS = st.sampled_from(["a_input.txt", "b_input.txt"])
LONG_REST_S = 12.0
PAUSES = st.sampled_from([0.0, 0.001, 0.03, 0.049, 0.05, 0.26, 0.5, 1.9, 2.1, 4.99, 5.0, 10.0, 30.0])


class Settle(RuleBasedStateMachine):
    """
    The model keeps, per path, only what is promised: the last event, and whether a look is owed for it.

    A change that was never looked at and is not waiting would be a lost save.
    """

    @initialize()
    def begin(self) -> None:
        self.settling = Settling()
        self.now = 0.0
        self.owed: dict[str, float] = {}  # path → its last event
        self.phase: dict[str, str] = {}
        self.first: dict[str, float] = {}  # path → its first change since it was read
        self.busy: set[str] = set()  # were open since they were read
        self.out: dict[str, float] = {}  # handed out → the last event it was handed out for

    @rule(path=PATHS, done=st.booleans(), pause=PAUSES)
    def event(self, path: str, done: bool, pause: float) -> None:
        self.now += pause
        if path not in self.owed and path not in self.out:
            self.first[path] = self.now
        (self.settling.done if done else self.settling.writing)(path, now=self.now)
        self.owed[path] = self.now
        self.phase[path] = "done" if done else "writing"

    @rule(path=PATHS)
    def gone(self, path: str) -> None:
        self.settling.gone(path)
        self.owed.pop(path, None)
        self.out.pop(path, None)

    @rule(pause=PAUSES)
    def look(self, pause: float) -> None:
        self.now += pause
        for due in self.settling.due(now=self.now):
            assert due.path in self.owed, "handed out for nothing"
            last = self.owed.pop(due.path)
            assert self.now >= last + QUIET_S - 1e-9 or self.now >= self.first[due.path] + DEADLINE_S, (
                "handed out before it rested"
            )
            if self.phase[due.path] == "writing" and not due.probe:
                assert self.now >= last + UNPROVEN_REST_S - 1e-9, "read unproven without a rest"
            assert not (self.phase[due.path] == "done" and due.probe and due.path not in self.busy)
            assert due.where_open is not WhereOpen.READ or self.now >= last + HELD_OPEN_LIMIT_S
            self.out[due.path] = last

    def _answered(self, path: str, *, again: bool) -> None:
        last = self.out.pop(path)
        if again:
            self.owed.setdefault(path, last)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), answer=st.sampled_from(["busy", "unknown", "changed", "read", "admitted"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        path = data.draw(st.sampled_from(sorted(self.out)))
        match answer:
            case "busy":
                self.settling.busy(path, now=self.now)
                self.busy.add(path)
            case "unknown":
                self.settling.unknown(path)
            case "changed":
                self.settling.changed(path, now=self.now)
            case "read":
                self.settling.read(path)
            case "admitted":
                self.settling.read(path)
                self.settling.admitted(path, now=self.now)
        self._answered(path, again=answer in ("busy", "unknown", "changed"))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), rest_s=st.sampled_from([3.0, LONG_REST_S]))
    def rests_for(self, data: st.DataObject, rest_s: float) -> None:
        """A text that is still typed is read again, once it has rested; never later than the deadline."""
        path = data.draw(st.sampled_from(sorted(self.out)))
        last, first = self.out[path], self.first[path]
        rested = self.settling.rests_for(path, rest_s, now=self.now)
        if self.now >= first + TYPING_DEADLINE_S:
            assert rested
        elif path not in self.owed:
            assert rested == (self.now >= min(last + rest_s, first + TYPING_DEADLINE_S))
        if rested:
            self.settling.read(path)
        self._answered(path, again=not rested)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every path that is owed a look waits for one, within a bounded time after its last event and answer."""
        assert set(self.settling._unrest) == set(self.owed)
        next_due = self.settling.next_due()
        assert (next_due is None) == (not self.owed)
        if next_due is not None:
            assert next_due <= max(self.now, *self.owed.values()) + LONG_REST_S + UNPROVEN_REST_S + QUIET_AGAIN_S

    def teardown(self) -> None:
        """However it went, half a minute of rest brings every owed path out."""
        if hasattr(self, "settling"):
            due = {due.path for due in self.settling.due(now=self.now + 30.0)}
            assert due == set(self.owed)


TestSettle = Settle.TestCase
TestSettle.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
