"""Processes, servers and a ledger with group commit, in virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Generator

VERBS_A_GROUP = 256
"""As the writer's GROUP_MAX."""

Step = Generator[tuple, None, float | None]


class Simulation:
    """Virtual time. A process is a generator; it yields what it waits for: a delay, or a place and what it does."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def go_on(self, process: Step) -> None:
        """Carry *process* to its next wait."""
        try:
            wait, *what = next(process)
        except StopIteration:
            return
        if isinstance(wait, float):
            self.at(self.now + wait, lambda: self.go_on(process))
        else:
            wait.enter(process, *what)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()


class Server:
    """Serves *places* processes at a time, each for the seconds that it asks for; first in, first out."""

    def __init__(self, sim: Simulation, places: int = 1) -> None:
        self.sim, self.free, self.places, self.busy_s = sim, places, places, 0.0
        self._queue: deque[tuple[Step, float]] = deque()

    def enter(self, process: Step, seconds: float) -> None:
        self._queue.append((process, seconds))
        self._serve()

    def _serve(self) -> None:
        while self.free and self._queue:
            process, seconds = self._queue.popleft()
            self.free -= 1
            self.busy_s += seconds
            self.sim.at(self.sim.now + seconds, lambda p=process: self._served(p))

    def _served(self, process: Step) -> None:
        self.free += 1
        self._serve()
        self.sim.go_on(process)


class Slots(Server):
    """Places that are held until they are given back."""

    def enter(self, process: Step, _seconds: float = 0.0) -> None:
        self._queue.append((process, 0.0))
        self._serve()

    def _serve(self) -> None:
        while self.free and self._queue:
            process, _ = self._queue.popleft()
            self.free -= 1
            self.sim.at(self.sim.now, lambda p=process: self.sim.go_on(p))

    def leave(self, held_s: float) -> None:
        self.free += 1
        self.busy_s += held_s
        self._serve()


class Ledger:
    """One transaction at a time; a program's next one carries all its verbs that wait."""

    def __init__(self, sim: Simulation, turn_s: float, verb_s: float) -> None:
        self.sim, self.turn_s, self.verb_s, self.busy_s = sim, turn_s, verb_s, 0.0
        self._waiting: dict[int, deque[tuple[Step, int]]] = defaultdict(deque)
        self._turns: deque[int] = deque()
        self._busy = False

    def enter(self, process: Step, program: int, verbs: int) -> None:
        if not self._waiting[program]:
            self._turns.append(program)
        self._waiting[program].append((process, verbs))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._turns)
        if not self._busy:
            return
        program = self._turns.popleft()
        queue, group, verbs = self._waiting[program], [], 0
        while queue and verbs < VERBS_A_GROUP:
            process, some = queue.popleft()
            group.append(process)
            verbs += some
        if queue:
            self._turns.append(program)
        takes = self.turn_s + verbs * self.verb_s
        self.busy_s += takes
        self.sim.at(self.sim.now + takes, lambda: self._done(group))

    def _done(self, group: list[Step]) -> None:
        self._next()
        for process in group:
            self.sim.go_on(process)


class Gate:
    """The provider's rate limit, kept by the limiter: calls go at its pace, first in, first out."""

    def __init__(self, sim: Simulation, per_minute: float) -> None:
        self.sim, self.every_s, self.free_at, self.passed = sim, 60 / per_minute, 0.0, 0

    def enter(self, process: Step) -> None:
        self.free_at = max(self.sim.now, self.free_at) + self.every_s
        self.passed += 1
        self.sim.at(self.free_at, lambda: self.sim.go_on(process))
