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
import itertools
import random
from dataclasses import dataclass, replace
from math import exp
from statistics import median, quantiles

from queueing.sim import Gate, Ledger, Server, Simulation, Slots, Step

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
SHARED_TURN_S, SHARED_VERB_S = 0.0005, 0.0005
"""Of Postgres over a unix socket: benchmarks/shared_ledger.py has 1,400 verbs a second, from one program or eight."""
ROUND_TRIPS_A_TURN, ROUND_TRIPS_A_VERB = 1, 1.5
"""The commit; a statement, and in some verbs a second one."""
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
    daemons: int = 1
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


@dataclass
class Found:
    """What a simulation showed."""

    per_minute: float
    wait_median_s: float
    wait_late_s: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        full = [what for what, share in self.busy.items() if share > 0.93]
        # Places are held while other parts are waited for: they are the bottleneck only where nothing else is.
        return next((what for what in full if what != "workers"), full[0] if full else "-")


class Model:
    """The parts of a plan, and the processes that queue for them."""

    def __init__(self, plan: Plan, seed: int = 7) -> None:
        self.plan, self.chance = plan, random.Random(seed)  # noqa: S311 (a model's dice)
        self.sim = sim = Simulation()
        self.daemons = [Server(sim) for _ in range(plan.daemons)]
        self.ledger = Ledger(sim, *plan.turn())
        self.gate = Gate(sim, plan.requests_per_minute)
        self.slots = Slots(sim, plan.workers * plan.at_once)
        self.cpus = [Server(sim) for _ in range(plan.workers)] if plan.shared else self.daemons
        self.next_worker = itertools.cycle(range(len(self.cpus)))
        self.waits: list[float] = []

    def used(self) -> list[float]:
        cpu_s = sum(cpu.busy_s for cpu in self.cpus)
        daemon_s = sum(daemon.busy_s for daemon in self.daemons) / len(self.daemons)
        return [daemon_s, self.ledger.busy_s, self.gate.passed, self.slots.busy_s, cpu_s]

    def call(self, program: int) -> Step:
        """Make one call, again where it fails, and return the seconds that it took."""
        took_s = 0.0
        while True:
            yield self.ledger, program, 1  # intend
            yield (self.gate,)
            spread = self.chance.lognormvariate(0.0, CALL_SPREAD) / exp(CALL_SPREAD**2 / 2)
            took_s += spread * self.plan.call_s
            yield (spread * self.plan.call_s,)
            yield self.ledger, program, 1  # record, or release
            if self.chance.random() >= self.plan.failures:
                return took_s
            yield (BACK_OFF_S,)

    def answered_by(self, worker: int) -> Step:
        """Work on one run, and return the seconds that its calls took."""
        plan, called_s = self.plan, 0.0
        program = plan.daemons + worker if plan.shared else 0
        if plan.worker_dies_every_s and self.chance.random() < plan.call_s / plan.worker_dies_every_s:
            yield (plan.call_s / 2 + LEASE_S,)  # the attempt that died in the middle of its call
        yield self.ledger, program, 3  # claim, freeze, how far it is
        yield self.cpus[worker], WORKER_S if plan.shared else EMBEDDED_ANSWER_S
        for n in range(plan.calls):
            if n:
                yield self.cpus[worker], FURTHER_CALL_S
            called_s += yield from self.call(program)
        yield self.ledger, program, 1  # finish
        return called_s

    def conversation(self, of: int) -> Step:
        """Save in the folder *of* a daemon, read the answer, think, for ever."""
        plan, sim, daemon = self.plan, self.sim, self.daemons[of]
        yield (self.chance.random() * plan.think_s,)
        while True:
            saved = sim.now
            yield (SETTLE_S,)
            yield daemon, SHARED_INTAKE_S if plan.shared else EMBEDDED_INTAKE_S
            yield self.ledger, of, 2 if plan.shared else 1  # admit, hand out
            if plan.shared:
                yield (TAKE_S + FETCH_POLL_S,)
            yield (self.slots,)
            taken = sim.now
            called_s = yield from self.answered_by(next(self.next_worker))
            self.slots.leave(sim.now - taken)
            yield daemon, SHARED_PUBLISH_S if plan.shared else EMBEDDED_PUBLISH_S
            yield self.ledger, of, 1  # published
            self.waits.append(sim.now - saved - called_s)
            yield (self.chance.expovariate(1 / plan.think_s),)


def simulate(plan: Plan, seconds: float) -> Found:
    """Run *plan* for *seconds* after a warm-up; return what was answered, and how long it waited beyond its calls."""
    model = Model(plan)
    for n in range(plan.conversations):
        model.sim.go_on(model.conversation(n % plan.daemons))
    warm_s = 2 * plan.think_s + 5 * plan.call_s * plan.calls
    model.sim.run(warm_s)
    before = model.used()
    model.waits.clear()
    model.sim.run(warm_s + seconds)
    daemon, ledger, calls, held, cpu = ((b - a) / seconds for a, b in zip(before, model.used(), strict=True))
    busy = {
        "daemon": daemon,
        "Postgres" if plan.shared else "ledger": ledger,
        "rate limit": calls * 60 / plan.requests_per_minute,
        "workers": held / model.slots.places,
    }
    if plan.shared:
        busy["workers' CPU"] = cpu / len(model.cpus)
    waits = model.waits
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
        "daemon (watch, publish)": 60 * plan.daemons / daemon_s,
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
        shares = " | ".join(
            f"{min(share, 1):.0%}" for share in (busy["daemon"], ledger, busy["rate limit"], busy["workers"])
        )
        print(
            f"| {name} | {found.per_minute:,.0f} | {found.wait_median_s:.2f} | {found.wait_late_s:.2f} | {shares} "
            f"| {found.bottleneck} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=float, default=60.0)
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
        "Postgres, one daemon, 6,000 conversations, workers of 16",
        [(f"{n} workers", replace(shared, conversations=6000, workers=n)) for n in (2, 4, 8, 16, 32)],
        given.seconds,
    )
    show(
        "Postgres, four daemons, 20,000 conversations, 64 workers: what a higher limit of the provider leaves",
        [
            (
                f"{rpm:,} requests a minute",
                replace(shared, conversations=20_000, workers=64, daemons=4, requests_per_minute=rpm),
            )
            for rpm in (3_000, 10_000)
        ],
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
                ("2 ms to Postgres", {"rtt_s": 0.002}),
                ("5 ms to Postgres", {"rtt_s": 0.005}),
                ("one call in five fails", {"failures": 0.2}),
                ("each worker dies every 10 minutes", {"worker_dies_every_s": 600.0}),
            )
        ],
        given.seconds,
    )


if __name__ == "__main__":
    main()
