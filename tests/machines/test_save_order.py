"""
Saves of one conversation on two machines, whose clocks jump, beside a list in the order in which they were made.

The folder, its files, each machine's ledger and the rule of what came later are real; whoever is at work admits, ends
and publishes in any order that a daemon may, late ones included.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.execution.folder_history import FolderHistory
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import publish
from rlmwatch.workspace.status import DaemonProcess, StatusBoard

HOSTS = ("desk", "pi")
NAME = input_name("a_input.txt")


@dataclass
class Host:
    """A machine: its ledger, its clock, and its part in the conversation."""

    name: str
    ledger: SqliteLedger
    clock: datetime = datetime(2026, 11, 29, 12, tzinfo=UTC)
    waiting: list[Run] = field(default_factory=list)
    unpublished: list[Run] = field(default_factory=list)
    left_over: set[str] = field(default_factory=set)

    def now(self) -> str:
        self.clock += timedelta(seconds=1)
        return self.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class SaveOrder(RuleBasedStateMachine):
    """
    Whoever answers here and whatever the clocks say, once all that has ended is written, this holds.

    1. The output is the answer of the latest save that was answered.
    2. The error file says why the latest save that has ended gave no answer, or is not there.
    3. The turns are in the order of the saves, but for those of beginnings of a question that was answered later.
    """

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="rlmwatch-order-"))
        self.folder = self.place / "workspace"
        self.folder.mkdir()
        self.loop = asyncio.Runner()
        ledgers = (SqliteLedger.open(self.place / f"{name}.sqlite3") for name in HOSTS)
        self.hosts = {name: Host(name, ledger) for name, ledger in zip(HOSTS, ledgers, strict=True)}
        self.saves: list[str] = []  # run ids, in the order in which a person saved
        self.ended: dict[str, Result] = {}
        self.numbers: dict[str, int] = {}
        self.continues: dict[str, int] = {}  # of a save that goes on with others, the number of the first
        self.take_over("desk")

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for host in self.hosts.values():
                self.loop.run(host.ledger.aclose())
            self.loop.close()
            shutil.rmtree(self.place)

    @rule(name=st.sampled_from(HOSTS))
    def take_over(self, name: str) -> None:
        """Another machine answers from now on, or the same after a restart."""
        self.host = self.hosts[name]
        self.history = FolderHistory(self.folder, self.host.ledger)
        self.host.left_over = {run.run_id for run in (*self.host.waiting, *self.host.unpublished)}
        self.loop.run(self.history.shows(input_name("b_input.txt"), "", known=False))  # until it has read

    @rule(name=st.sampled_from(HOSTS), days=st.sampled_from([-20_000, -1, 400]))
    def jump(self, name: str, days: int) -> None:
        """The clock of a machine is set."""
        year = (self.hosts[name].clock + timedelta(days=days)).year
        if year >= 1970:
            self.hosts[name].clock += timedelta(days=days)

    @rule(goes_on=st.booleans())
    def save(self, *, goes_on: bool = False) -> None:
        """A person saves another question, or more of the last one, as an editor does that saves by itself."""
        host, word = self.host, f"q{len(self.saves)}"
        shown = self.loop.run(self.history.shows(NAME, f"sha256:{word}", known=True))
        save = Save(NAME.path, Kind.CHAT, NAME.conversation, word, {}, f"sha256:{word}", after=shown.number)
        last = self.saves[-1] if goes_on and self.saves else None
        if last is not None:
            save = save.continuing(self.continues.get(last, self.numbers[last]))
        admission = self.loop.run(host.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=host.now()))
        for replaced in admission.replaced:
            host.waiting = [each for each in host.waiting if each.run_id != replaced.run_id]
            host.unpublished.append(replaced)
        run = admission.run
        self.numbers[run.run_id] = run.number
        if save.continues is not None:
            self.continues[run.run_id] = save.continues
        StatusBoard(Root.open(self.folder), DaemonProcess(host.name, 1)).update(run, now=host.now())
        host.waiting.append(run)
        self.saves.append(run.run_id)

    @rule(answered=st.booleans())
    def end(self, *, answered: bool) -> None:
        """The first run that waits here ends."""
        host = self.host
        if not host.waiting:
            return
        run = self.loop.run(host.ledger.claim(host.waiting.pop(0).run_id, now=host.now()))
        if answered:
            result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, f"re: {run.prompt}")
        else:
            result = Result(RunStatus.FAILED, Outcome.PROVIDER_ERROR, error=f"no: {run.prompt}")
        host.unpublished.append(self.loop.run(host.ledger.finish(run.run_id, run.attempt, result, now=host.now())))
        self.ended[run.run_id] = result

    @rule(answered=st.booleans(), goes_on=st.booleans())
    def answer(self, *, answered: bool, goes_on: bool) -> None:
        """A person saves, and all that waits here ends and is written, as is usual."""
        self.save(goes_on=goes_on)
        while self.host.waiting:
            self.end(answered=answered)
        while self.host.unpublished:
            self.write(0)

    @rule(ends=st.booleans(), answered=st.booleans(), goes_on=st.booleans())
    def is_cut_off(self, *, ends: bool, answered: bool, goes_on: bool) -> None:
        """A machine goes down with a save that waits, or has ended and is not written; the other one takes over."""
        self.save(goes_on=goes_on)
        if ends:
            self.end(answered=answered)
        self.take_over(next(name for name in HOSTS if name != self.host.name))

    @rule(n=st.integers(0, 3))
    def write(self, n: int) -> None:
        """One of the runs that ended here is written, soon or late."""
        host = self.host
        if not host.unpublished:
            return
        run = host.unpublished.pop(n % len(host.unpublished))
        later = self.loop.run(self.history.later(run, left_over=run.run_id in host.left_over))
        publish(Root.open(self.folder), run, later=later, by=DaemonProcess(host.name, 1), now=host.now())
        self.loop.run(host.ledger.published(run.run_id))

    @invariant()
    def the_folder_shows_the_latest(self) -> None:
        if not hasattr(self, "saves") or any(host.unpublished for host in self.hosts.values()):
            return
        ended = [(run_id, self.ended[run_id]) for run_id in self.saves if run_id in self.ended]
        answers = [result.answer for _, result in ended if result.answer is not None]
        assert self.read("a_output.txt") == ([None, *answers])[-1]
        told = self.read("a_error.txt")
        assert (told and told.partition("\n\n(This is about")[0]) == (ended[-1][1].error if ended else None)
        turns = json.loads(self.read("a_state.json") or '{"turns": []}')["turns"]
        assert [turn["answer"] for turn in turns] == [
            result.answer for run_id, result in ended if result.answer is not None and not self.is_outgrown(run_id)
        ]

    def is_outgrown(self, run_id: str) -> bool:
        """Whether the question went on in a save that was answered."""
        return any(
            self.continues[later] <= self.numbers[run_id] < self.numbers[later]
            for later in self.continues
            if later in self.ended and self.ended[later].answer is not None
        )

    def read(self, file: str) -> str | None:
        path = self.folder / file
        return path.read_text().removesuffix("\n") if path.exists() else None


TestSaveOrder = SaveOrder.TestCase
TestSaveOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
