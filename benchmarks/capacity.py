"""
Where the limits are beyond these machines: a discrete-event model of daemon, ledger, workers and provider.

    python benchmarks/capacity.py [--seconds 60] [--rtt-ms 0.3] [--think 60] [--call 4]

M conversations each save a question, read the answer, think, and save the next one. A save settles (watcher), is taken
in by the daemon, waits for a free worker, is answered by calls to the provider (with failures, and its rate limit), and
is published by the daemon; every step is kept in the ledger. Conversations, workers, call times and failures are given;
what each step costs was measured (constants below, with their sources). What is modelled, not measured, is how they
queue for each other.

Not modelled: the network beyond its round trip, Postgres' own disk falling behind, other users of the same machines.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from math import exp
from statistics import median, quantiles

SETTLE_S = 0.05
"""From the end of an atomic save to its admission begun; benchmarks/saves.py, benchmarks/daemon.py."""
EMBEDDED_INTAKE_S, EMBEDDED_ANSWER_S, EMBEDDED_PUBLISH_S = 0.005, 0.004, 0.006
"""
CPU of the daemon's process per run with one call, 15 ms in all: 400 saves at once with a provider that answers at once
(2 cores, November 2026). The event loop is one thread, so a process gives at most one second of it per second. How it
divides among the three is a guess; only the sum matters here.
"""
SHARED_INTAKE_S, SHARED_PUBLISH_S = 0.008, 0.0095
"""The same with a shared ledger and the runs answered elsewhere: 17.5 ms."""
WORKER_S = 0.012
"""CPU of a worker per run with one call, likewise."""
FURTHER_CALL_S = 0.004
"""CPU of whoever answers, per further call of the engine; cells not counted (they run in processes of their own)."""
EMBEDDED_TURN_S, EMBEDDED_VERB_S = 0.0003, 0.0001
"""Of the embedded ledger's writer: a transaction with its fsync, and each verb in it; benchmarks/ledger.py."""
SHARED_TURN_S, SHARED_VERB_S = 0.0007, 0.0006
"""
Of Postgres over a unix socket: benchmarks/shared_ledger.py has 1,500 verbs a second from one program that has 16 waiting
and 900 from eight (2 cores, with the programs themselves on them).
"""
ROUND_TRIPS_A_TURN, ROUND_TRIPS_A_VERB = 2, 4
VERBS_A_GROUP = 256
"""As the writer's GROUP_MAX."""
TAKE_S, FETCH_POLL_S = 0.0023, 0.002
"""The engine (procrastinate) per run: offered, taken, ended; and the wait for a notification."""
LEASE_S = 6.0
"""Until a dead worker's runs go on: the lease of 5 s and up to one sweep."""
BACK_OFF_S = 1.0
CALL_SPREAD = 0.5
"""Of the logarithm of a call's time: the slowest of twenty takes 2.3 times the median."""
AT_ONCE = 16
"""Runs of one worker."""


@dataclass(frozen=True)
class Plan:
    """What is asked of which machines."""

    conversations: int
    workers: int
    shared: bool
    at_once: int = AT_ONCE
    calls: int = 1
    call_s: float = 4.0
    think_s: float = 60.0
    failures: float = 0.01
    requests_per_minute: float = 10_000
    worker_dies_every_s: float = 0.0
    rtt_s: float = 0.0003

    def turn(self) -> tuple[float, float]:
        """Return the seconds of one transaction, and of each verb in it."""
        if not self.shared:
            return EMBEDDED_TURN_S, EMBEDDED_VERB_S
        rtt = self.rtt_s
        return SHARED_TURN_S + ROUND_TRIPS_A_TURN * rtt, SHARED_VERB_S + ROUND_TRIPS_A_VERB * rtt


Step = Generator[tuple, None, float | None]


class Simulation:
    """Virtual time. A process is a generator that yields what it waits for: a delay, or a place and what it does there."""

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
    """Something that serves *places* processes at a time, each for the seconds that it asks for; first in, first out."""

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


@dataclass
class Found:
    """What a simulation showed."""

    per_minute: float
    wait_median_s: float
    wait_late_s: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        what, share = max(self.busy.items(), key=lambda each: each[1])
        return what if share > 0.85 else "-"


def simulate(plan: Plan, seconds: float, seed: int = 7) -> Found:
    """Run *plan* for *seconds* after a warm-up, and return what was answered and how long it waited beyond its calls."""
    chance = random.Random(seed)  # noqa: S311 (a model's dice)
    sim = Simulation()
    daemon, ledger = Server(sim), Ledger(sim, *plan.turn())
    gate, slots = Gate(sim, plan.requests_per_minute), Slots(sim, plan.workers * plan.at_once)
    cpus = [Server(sim) for _ in range(plan.workers)] if plan.shared else [daemon]
    numbers = itertools.count()
    warm_s = plan.think_s + 5 * plan.call_s
    waits: list[float] = []

    def answered_by(worker: int) -> Step:
        """Work on one run, and return the seconds that its calls took."""
        program = 1 + worker if plan.shared else 0
        called = 0.0
        yield ledger, program, 3  # claim, pin, how far it is
        yield cpus[worker], WORKER_S if plan.shared else EMBEDDED_ANSWER_S
        for n in range(plan.calls):
            if n:
                yield cpus[worker], FURTHER_CALL_S
            while True:
                yield ledger, program, 1  # intend
                yield (gate,)
                call_s = chance.lognormvariate(0.0, CALL_SPREAD) * plan.call_s / exp(CALL_SPREAD**2 / 2)
                called += call_s
                yield (call_s,)
                yield ledger, program, 1  # record, or release
                if chance.random() >= plan.failures:
                    break
                yield (BACK_OFF_S,)
        yield ledger, program, 1  # finish
        return called

    def conversation() -> Step:
        yield (chance.random() * plan.think_s,)
        while True:
            saved = sim.now
            yield (SETTLE_S,)
            yield daemon, SHARED_INTAKE_S if plan.shared else EMBEDDED_INTAKE_S
            yield ledger, 0, 2 if plan.shared else 1  # admit, hand out
            if plan.shared:
                yield (TAKE_S + FETCH_POLL_S,)
            yield (slots,)
            taken = sim.now
            if plan.worker_dies_every_s and chance.random() < plan.call_s / plan.worker_dies_every_s:
                yield (plan.call_s / 2 + LEASE_S,)  # the attempt that died in the middle of its call
            called = yield from answered_by(next(numbers) % len(cpus))
            slots.leave(sim.now - taken)
            yield daemon, SHARED_PUBLISH_S if plan.shared else EMBEDDED_PUBLISH_S
            yield ledger, 0, 1  # published
            if sim.now >= warm_s:
                waits.append(sim.now - saved - called)
            yield (chance.expovariate(1 / plan.think_s),)

    for _ in range(plan.conversations):
        sim.go_on(conversation())
    sim.run(warm_s)
    at_start = (daemon.busy_s, ledger.busy_s, gate.passed, slots.busy_s, sum(cpu.busy_s for cpu in cpus))
    sim.run(warm_s + seconds)
    at_end = (daemon.busy_s, ledger.busy_s, gate.passed, slots.busy_s, sum(cpu.busy_s for cpu in cpus))
    used = [(end - start) / seconds for start, end in zip(at_start, at_end, strict=True)]
    busy = {
        "daemon": used[0],
        "Postgres" if plan.shared else "ledger": used[1],
        "rate limit": used[2] * 60 / plan.requests_per_minute,
        "workers": used[3] / slots.places,
    }
    if plan.shared:
        busy["workers' CPU"] = used[4] / len(cpus)
    late = quantiles(waits, n=20)[-1] if len(waits) > 1 else 0.0
    return Found(len(waits) / seconds * 60, median(waits or [0.0]), late, busy)


def ends_at(plan: Plan) -> dict[str, float]:
    """Return how many runs a minute each part carries by itself."""
    turn_s, verb_s = plan.turn()
    verbs = (3 if plan.shared else 2) + 4 + 2 * plan.calls
    daemon_s = (
        SHARED_INTAKE_S + SHARED_PUBLISH_S
        if plan.shared
        else EMBEDDED_INTAKE_S + EMBEDDED_ANSWER_S + EMBEDDED_PUBLISH_S + (plan.calls - 1) * FURTHER_CALL_S
    )
    found = {
        "daemon (watch, publish)": 60 / daemon_s,
        "Postgres" if plan.shared else "ledger": 60 / (verbs * (verb_s + turn_s / 8)),
        "rate limit": plan.requests_per_minute / plan.calls / (1 + plan.failures),
        "workers (places)": 60 * plan.workers * plan.at_once / (plan.calls * plan.call_s),
    }
    if plan.shared:
        found["workers (CPU)"] = 60 * plan.workers / (WORKER_S + (plan.calls - 1) * FURTHER_CALL_S)
    return found


def show(title: str, plans: list[tuple[str, Plan]], seconds: float) -> None:
    print(f"\n{title}\n")
    print("| | answered a minute | wait beyond the calls, median s | slowest of 20, s | daemon | ledger | provider |"
          " workers | bottleneck |")  # fmt: skip
    print("| --- " * 9 + "|")
    for name, plan in plans:
        found = simulate(plan, seconds)
        busy = found.busy
        ledger = busy["Postgres" if plan.shared else "ledger"]
        shares = " | ".join(f"{share:.0%}" for share in (busy["daemon"], ledger, busy["rate limit"], busy["workers"]))
        print(
            f"| {name} | {found.per_minute:,.0f} | {found.wait_median_s:.2f} | {found.wait_late_s:.2f} | {shares} "
            f"| {found.bottleneck} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rtt-ms", type=float, default=0.3, help="between a program and Postgres")
    parser.add_argument("--think", type=float, default=60.0, help="seconds between an answer and the next question")
    parser.add_argument("--call", type=float, default=4.0, help="seconds of one call, on average")
    given = parser.parse_args()
    base = Plan(100, 1, shared=False, call_s=given.call, think_s=given.think, rtt_s=given.rtt_ms / 1000)
    shared = replace(base, shared=True)

    print("What each part carries by itself, in runs a minute (one call of", f"{given.call:g} s each)\n")
    print("| part | one machine, workers = 4 | one machine, workers = 64 | Postgres, 8 workers of 16 |")
    print("| --- | --- | --- | --- |")
    three = [ends_at(replace(base, at_once=4)), ends_at(replace(base, at_once=64)), ends_at(replace(shared, workers=8))]
    for part in three[2] | {"ledger": 0.0}:
        cells = [f"{ends[part]:,.0f}" if part in ends else "" for ends in three]
        print(f"| {part} | {' | '.join(cells)} |")

    many = (30, 100, 300, 1000, 3000)
    show(
        "One machine, embedded ledger, workers = 4 (the default)",
        [(f"{m} conversations", replace(base, conversations=m, at_once=4)) for m in many[:3]],
        given.seconds,
    )
    show(
        "One machine, embedded ledger, workers = 64",
        [(f"{m} conversations", replace(base, conversations=m, at_once=64)) for m in many],
        given.seconds,
    )
    show(
        "Postgres, one daemon, 3,000 conversations, workers of 16",
        [(f"{n} workers", replace(shared, conversations=3000, workers=n)) for n in (2, 4, 8, 16, 32)],
        given.seconds,
    )
    show(
        "Postgres, 16 workers, engine runs of 8 calls",
        [(f"{m} conversations", replace(shared, conversations=m, workers=16, calls=8)) for m in (100, 300, 1000)],
        given.seconds,
    )
    show(
        "Postgres, 16 workers, 2,000 conversations: the provider's limit, the distance, failures",
        [
            (f"{name}", replace(shared, conversations=2000, workers=16, **change))
            for name, change in (
                ("500 requests a minute", {"requests_per_minute": 500}),
                ("2,000 requests a minute", {"requests_per_minute": 2000}),
                ("10,000 requests a minute", {}),
                ("5 ms to Postgres", {"rtt_s": 0.005}),
                ("20 ms to Postgres", {"rtt_s": 0.020}),
                ("one call in five fails", {"failures": 0.2}),
                ("each worker dies every 10 minutes", {"worker_dies_every_s": 600.0}),
            )
        ],
        given.seconds,
    )


if __name__ == "__main__":
    main()
