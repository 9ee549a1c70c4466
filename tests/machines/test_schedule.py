"""The schedule and the table of moves, driven as the supervisor drives them, beside a plain model."""

from __future__ import annotations

from dataclasses import replace

from fakes.moves import Event, apply
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.runs.schedule import startable


class Scheduling(RuleBasedStateMachine):
    """
    One daemon with its runs in a dict; after each dispatch, nothing that may start is left waiting.

    The model beside it is one list for each conversation: the runs that wait there, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[int, Run] = {}
        self.waiting: dict[str, list[int]] = {}

    def having(self, status: RunStatus) -> list[Run]:
        return [run for run in self.runs.values() if run.status is status]

    def move(self, run: Run, event: Event) -> None:
        self.runs[run.seq] = replace(run, status=apply(run.status, event))
        queue = self.waiting.setdefault(run.conversation, [])
        if self.runs[run.seq].status is RunStatus.PENDING:
            queue.append(run.seq)
            queue.sort()
        elif run.seq in queue:
            queue.remove(run.seq)

    @initialize(workers=st.integers(1, 3))
    def start_up(self, workers: int) -> None:
        self.workers = workers

    @rule(conversation=st.sampled_from("abcd"))
    def admit(self, conversation: str) -> None:
        seq = len(self.runs)
        self.runs[seq] = Run(
            run_id=f"run-{seq}",
            seq=seq,
            path=f"{conversation}_input.txt",
            kind=Kind.CHAT,
            conversation=conversation,
            prompt="ask",
            options={},
            digest=f"sha256:{seq}",
            status=RunStatus.PENDING,
            created_at="2026-11-23T09:15:02Z",
        )
        self.waiting.setdefault(conversation, []).append(seq)

    @rule(shuffle=st.randoms(use_true_random=False))
    def dispatch(self, shuffle) -> None:
        everything = list(self.runs.values())
        shuffle.shuffle(everything)
        running = self.having(RunStatus.RUNNING)
        chosen = startable(everything, running, self.workers)

        heads = {name: queue[0] for name, queue in self.waiting.items() if queue}
        idle = {seq for name, seq in heads.items() if name not in {run.conversation for run in running}}
        assert [run.seq for run in chosen] == sorted(idle)[: max(0, self.workers - len(running))]
        for run in chosen:
            self.move(run, Event.CLAIM)

    @precondition(lambda self: self.having(RunStatus.RUNNING))
    @rule(
        data=st.data(),
        event=st.sampled_from([Event.FINISH_COMPLETE, Event.FINISH_FAILED, Event.FINISH_CANCELLED, Event.HOLD]),
    )
    def finish_or_hold(self, data, event: Event) -> None:
        self.move(data.draw(st.sampled_from(self.having(RunStatus.RUNNING))), event)

    @precondition(lambda self: self.having(RunStatus.PENDING) or self.having(RunStatus.HELD))
    @rule(data=st.data())
    def cancel(self, data) -> None:
        self.move(
            data.draw(st.sampled_from(self.having(RunStatus.PENDING) + self.having(RunStatus.HELD))), Event.CANCEL
        )

    @rule()
    def release(self) -> None:
        for run in self.having(RunStatus.HELD):
            self.move(run, Event.RELEASE)

    @rule()
    def kill(self) -> None:
        for run in self.having(RunStatus.RUNNING):
            self.move(run, Event.RECLAIM)

    @invariant()
    def one_at_a_time(self) -> None:
        working = [run.conversation for run in self.having(RunStatus.RUNNING)]
        assert len(working) == len(set(working))
        assert len(working) <= (self.workers if self.runs else 1)

    def teardown(self) -> None:
        for _ in range(4 * len(self.runs) + 1):
            for run in self.having(RunStatus.HELD):
                self.move(run, Event.RELEASE)
            for run in startable(list(self.runs.values()), self.having(RunStatus.RUNNING), getattr(self, "workers", 1)):
                self.move(run, Event.CLAIM)
            for run in self.having(RunStatus.RUNNING):
                self.move(run, Event.FINISH_COMPLETE)
        assert all(run.status.ended for run in self.runs.values()), "a run was never started"


Scheduling.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_every_admitted_run_is_started_in_order_and_one_at_a_time = Scheduling.TestCase
