"""The ledger as a state machine, beside a model of dicts and lists. Rules are its verbs, and `kill` is one."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import CeilingReached, Fenced, LedgerDiskError
from rlmwatch.ledger.sqlite.connection import File
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, JournalEntry, Outcome, PaidCall, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import Known, OnNewSave

PATHS = st.sampled_from(["a_input.txt", "a_input.md", "b_input.txt"])  # the first two are one conversation
CONTENTS = st.sampled_from(["", "x", "y"])
KEYS = st.sampled_from(["k0", "k1"])
CENTS = st.sampled_from([None, 0, 1, 3, 10])
NTH = st.integers(0, 7)
WAITING = (RunStatus.PENDING, RunStatus.HELD)


@dataclass
class Space:
    """
    What is left of a disk.

    Attributes:
        at: The verb that will find it full; `""` for none.
        full: The next transaction that writes does its work and cannot be committed.
        writes: The transaction that was begun writes.
    """

    at: str = ""
    full: bool = False
    writes: bool = False


@dataclass(frozen=True)
class Disk(File):
    """A ledger's file on a disk that may be full."""

    space: Space = field(kw_only=True)

    def open(self, *, create):
        return Connection(File.open(self, create=create), self.space)

    def begin(self, db, *, writes):
        self.space.writes = writes
        File.begin(self, db, writes=writes)


class Connection:
    """A connection to such a file."""

    def __init__(self, db, space):
        self._db = db
        self._space = space

    def execute(self, statement, *values):
        if statement == "COMMIT" and self._space.full and self._space.writes:
            self._space.full = False
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._db.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._db, name)


class TriedAgain:
    """The verbs of a ledger; one that is refused for the disk must have had no effect, and is asked for once more."""

    def __init__(self, ledger, space, unchanged):
        self._ledger = ledger
        self._space = space
        self._unchanged = unchanged

    def __getattr__(self, name):
        verb = getattr(self._ledger, name)

        async def tried(*given, **named):
            if name == self._space.at:
                self._space.full, self._space.at = True, ""
            try:
                return await verb(*given, **named)
            except LedgerDiskError:
                await self._unchanged()
                return await verb(*given, **named)

        return tried


@dataclass
class Call:
    """What the model keeps of a call."""

    run_id: str
    entry: JournalEntry
    cents: int

    @property
    def day(self) -> str:
        return self.entry.started_at[:10]


@dataclass
class Input:
    known: Known
    last_run: str = ""


class LedgerMachine(RuleBasedStateMachine):
    """Each rule does one verb to the ledger and to the model, and compares what both say."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.generation = 0
        self.loop = asyncio.Runner()
        self.disk_was_full = False
        self.open(self.folder / "0" / "ledger.db")
        self.clock = datetime(2026, 11, 29, 23, 59, 0, tzinfo=UTC)
        self.inputs: dict[str, Input] = {}
        self.runs: dict[str, Run] = {}
        self.calls: list[Call] = []

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.run(self.ledger.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)

    # What the rules are made of

    def open(self, path):
        self.space = Space()
        writer = Writer(Disk(path, space=self.space))
        writer.start()
        self.ledger = TriedAgain(SqliteLedger(writer), self.space, self.compare)

    def do(self, verb):
        return self.loop.run(verb)

    def now(self) -> str:
        self.clock += timedelta(seconds=1)
        return self.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def nth(self, n: int, status: RunStatus = RunStatus.RUNNING) -> Run | None:
        """Return a run, more often than not one of *status*, which the verb is about."""
        runs = list(self.runs.values())
        if n % 4:
            runs = [run for run in runs if run.status is status] or runs
        return runs[n % len(runs)] if runs else None

    def move(self, run: Run, **facts) -> Run:
        self.runs[run.run_id] = replace(run, **facts)
        return self.runs[run.run_id]

    def owned(self, run: Run, attempt: int) -> bool:
        return run.status is RunStatus.RUNNING and run.attempt == attempt

    def usage(self, run: Run) -> Usage:
        total = Usage()
        for call in self.calls:
            entry = call.entry
            in_flight = entry.state is CallState.INTENT and self.owned(run, entry.attempt)
            if call.run_id == run.run_id and entry.state is not CallState.RELEASED and not in_flight:
                reserved = Usage(0, entry.call.reserved_tokens, entry.call.reserved_usd, 1)
                total += entry.usage or reserved
        return total

    def end(self, run: Run, status: RunStatus, outcome: Outcome, now: str, **facts) -> Run:
        result = Result(status, outcome, usage=self.usage(run), **facts)
        return self.move(run, status=status, completed_at=now, held_for=None, result=result)

    def live(self, run: Run, key: str, *states: CallState) -> Call | None:
        calls = [call for call in self.calls if (call.run_id, call.entry.call.key) == (run.run_id, key)]
        return next((call for call in reversed(calls) if call.entry.state in states), None)

    def spent(self, period: str) -> int:
        return sum(call.cents for call in self.calls if call.day.startswith(period))

    # Saves

    @rule(
        path=PATHS,
        content=CONTENTS,
        mode=st.sampled_from(OnNewSave),
        bad=st.booleans(),
        after=st.integers(0, 9),
        continues=st.sampled_from([None, None, 1, 3]),
    )
    def admit(self, path, content, mode, bad, after, continues=None):
        now = self.now()
        problem = "bad" if bad else None
        save = Save(path, Kind.CHAT, path[0], content, {}, f"sha256:{content}", problem=problem, after=after)
        save = save.continuing(continues)
        admission = self.do(self.ledger.admit(save, on_new_save=mode, now=now))
        before = self.inputs.get(path)
        if before is not None and before.known.digest == save.digest:
            assert admission.run is None
            assert (admission.replaced, admission.to_cancel) == ((), ())
            return
        earlier = [run for run in self.runs.values() if run.conversation == path[0] and not run.status.ended]
        run = admission.run
        assert run.run_id not in self.runs
        assert all(run.seq > other.seq for other in self.runs.values())
        result = Result(RunStatus.FAILED, Outcome.BAD_INPUT, error="bad") if bad else None
        status = RunStatus.FAILED if bad else RunStatus.PENDING
        facts = (run.run_id, run.seq, path, Kind.CHAT, path[0], content, {}, save.digest, status, now)
        number = 1 + max([after, *(run.number for run in self.runs.values() if run.conversation == path[0])])
        assert run == Run(
            *facts, completed_at=now if bad else None, result=result, number=number, after=after, enclosed=save.enclosed
        )
        self.runs[run.run_id] = run
        self.inputs[path] = Input(Known(save.digest, None), run.run_id)
        replaced = [
            self.end(old, RunStatus.CANCELLED, Outcome.REPLACED, now)
            for old in earlier
            if old.status in WAITING
            and (mode is not OnNewSave.QUEUE or self.is_outgrown(old, run))
            and (mode is OnNewSave.CANCEL or old.status is RunStatus.HELD or old.started_at is None)
        ]
        at_work = [old.run_id for old in earlier if old.status is RunStatus.RUNNING]
        assert admission.replaced == tuple(replaced)
        assert admission.to_cancel == (tuple(at_work) if mode is OnNewSave.CANCEL else ())
        outgrown = [old.run_id for old in earlier if old.run_id in at_work and self.is_outgrown(old, run)]
        assert admission.outgrown == (tuple(outgrown) if mode is OnNewSave.QUEUE else ())

    def is_outgrown(self, old: Run, by: Run) -> bool:
        """Whether the question of *old* went on in the save of *by*."""
        return by.continues is not None and old.path == by.path and old.number >= by.continues

    @rule(path=PATHS, content=CONTENTS)
    def note(self, path, content):
        known = Known(f"sha256:{content}" if content else "", None)
        self.do(self.ledger.note(path, known))
        self.inputs.setdefault(path, Input(known)).known = known

    @rule(path=PATHS)
    def again(self, path):
        assert self.do(self.ledger.again(path)) == (path in self.inputs)
        if path in self.inputs:
            self.inputs[path].known = Known("", None)

    # Runs

    @rule(n=NTH)
    def claim(self, n):
        run, now = self.nth(n, RunStatus.PENDING), self.now()
        if run is None:
            return
        claimed = self.do(self.ledger.claim(run.run_id, now=now))
        if run.status is RunStatus.PENDING:
            started = run.started_at or now
            run = self.move(run, status=RunStatus.RUNNING, attempt=run.attempt + 1, started_at=started)
            assert claimed == run
        else:
            assert claimed is None

    @rule(path=PATHS, mode=st.sampled_from(OnNewSave))
    def a_run_begins(self, path, mode):
        """As is usual: without it few examples get as far as a call."""
        self.admit(path, f"{len(self.runs)} anew", mode, bad=False, after=0)
        run, now = list(self.runs.values())[-1], self.now()
        claimed = self.do(self.ledger.claim(run.run_id, now=now))
        assert claimed == self.move(run, status=RunStatus.RUNNING, attempt=1, started_at=now)

    @rule(n=NTH, stale=st.booleans(), seed=st.integers(0, 3))
    def freeze(self, n, stale, seed):
        run = self.nth(n)
        if run is None:
            return
        attempt = run.attempt - stale
        if self.owned(run, attempt):
            run = self.move(run, frozen=run.frozen or {"seed": seed})
            assert self.do(self.ledger.freeze(run.run_id, attempt, {"seed": seed})) == run.frozen
        else:
            with pytest.raises(Fenced):
                self.do(self.ledger.freeze(run.run_id, attempt, {"seed": seed}))

    @rule(n=NTH, stale=st.booleans())
    def hold(self, n, stale):
        run = self.nth(n)
        if run is None:
            return
        held = self.do(self.ledger.hold(run.run_id, run.attempt - stale, "no key", now=self.now()))
        if self.owned(run, run.attempt - stale):
            assert held == self.move(run, status=RunStatus.HELD, held_for="no key")
        else:
            assert held is None

    @rule()
    def release_held(self):
        released = self.do(self.ledger.release_held(now=self.now()))
        held = [run for run in self.runs.values() if run.status is RunStatus.HELD]
        assert released == [
            self.move(run, status=RunStatus.PENDING, held_for=None, frozen=self.frozen_after(run)) for run in held
        ]

    def frozen_after(self, run: Run) -> Mapping[str, Any] | None:
        """What stays frozen of a run that is released: nothing where no reply is in its journal."""
        paid = any(call.run_id == run.run_id and call.entry.state is CallState.DONE for call in self.calls)
        return run.frozen if paid else None

    @rule()
    def reclaim(self):
        reclaimed = self.do(self.ledger.reclaim(now=self.now()))
        orphans = [run for run in self.runs.values() if run.status is RunStatus.RUNNING]
        assert reclaimed == [self.move(run, status=RunStatus.PENDING) for run in orphans]

    @rule(n=NTH, stale=st.booleans(), status=st.sampled_from([s for s in RunStatus if s.ended]), full=st.booleans())
    def finish(self, n, stale, status, full):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        if full and self.owned(run, run.attempt - stale):
            self.fill("finish")
        result = Result(status, Outcome.ERROR, answer="42", notes=("a",))
        finished = self.do(self.ledger.finish(run.run_id, run.attempt - stale, result, now=now))
        if not self.owned(run, run.attempt - stale):
            assert finished is None
            return
        run = self.move(run, status=status, completed_at=now, result=result)
        assert finished == run
        for old in list(self.runs.values()):
            earlier = old.conversation == run.conversation and old.seq < run.seq
            if status is RunStatus.COMPLETE and earlier and old.status is RunStatus.HELD:
                self.end(old, RunStatus.FAILED, Outcome.PROVIDER_ERROR, now, notes=("no key",))

    @rule(n=NTH)
    def cancel(self, n):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        ended = self.do(self.ledger.cancel(run.run_id, "enough", now=now))
        if run.status in WAITING:
            assert ended == self.end(run, RunStatus.CANCELLED, Outcome.CANCELLED, now, error="enough")
        else:
            assert ended is None

    @rule(n=NTH)
    def published(self, n):
        run = self.nth(n)
        if run is not None:
            self.do(self.ledger.published(run.run_id))
            self.move(run, published=run.status.ended)

    # Calls

    @rule(n=NTH, stale=st.booleans(), key=KEYS, cents=CENTS, ceiling=CENTS)
    def intend(self, n, stale, key, cents, ceiling):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        attempt = run.attempt - stale
        call = PaidCall(key, "llm", "small", {"k": key}, 7, None if cents is None else cents / 100)
        per_day = None if ceiling is None else ceiling / 100
        asked = self.ledger.intend(run.run_id, attempt, call, ceilings=Ceilings(per_day, 0.25), now=now)
        done = self.live(run, key, CallState.DONE)
        cost = cents or 0
        if not self.owned(run, attempt):
            with pytest.raises(Fenced):
                self.do(asked)
        elif done is not None:
            assert self.do(asked) == done.entry
        elif (ceiling is not None and self.spent(now[:10]) + cost > ceiling) or self.spent(now[:7]) + cost > 25:
            with pytest.raises(CeilingReached):
                self.do(asked)
        else:
            assert self.do(asked) is None
            before = self.live(run, key, CallState.INTENT)
            if before is not None:
                before.entry = replace(before.entry, state=CallState.LOST, ended_at=now)
            self.calls.append(Call(run.run_id, JournalEntry(call, CallState.INTENT, attempt, now), cost))

    @rule(n=NTH, key=KEYS, cents=CENTS, full=st.booleans())
    def record(self, n, key, cents, full):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        if full and self.live(run, key, CallState.INTENT):
            self.fill("record")
        usage = Usage(1, 2, None if cents is None else cents / 100, 1)
        self.do(self.ledger.record(run.run_id, key, {"at": now}, usage, now=now))
        done = self.live(run, key, CallState.DONE)
        call = self.live(run, key, CallState.INTENT) or self.live(run, key, CallState.LOST)
        if done is None and call is not None:
            call.cents = call.cents if cents is None else cents
            call.entry = replace(call.entry, state=CallState.DONE, ended_at=now, reply={"at": now}, usage=usage)

    @rule(n=NTH, key=KEYS)
    def release(self, n, key):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        self.do(self.ledger.release(run.run_id, key, now=now))
        call = self.live(run, key, CallState.INTENT)
        if call is not None:
            call.cents = 0
            call.entry = replace(call.entry, state=CallState.RELEASED, ended_at=now)

    @rule(n=NTH, key=KEYS, cents=CENTS, known=st.booleans())
    def lose(self, n, key, cents, known):
        run, now = self.nth(n), self.now()
        if run is None:
            return
        usage = Usage(1, 2, None if cents is None else cents / 100, 1) if known else None
        self.do(self.ledger.lose(run.run_id, key, usage=usage, now=now))
        call = self.live(run, key, CallState.INTENT)
        if call is not None:
            call.cents = call.cents if usage is None or cents is None else cents
            call.entry = replace(call.entry, state=CallState.LOST, ended_at=now, usage=usage)

    # The world

    @rule()
    def kill(self):
        """The process dies: what is left is the files as they are, the log not folded in, nothing closed."""
        old, self.generation = self.ledger, self.generation + 1
        before = self.folder / str(self.generation - 1)
        after = self.folder / str(self.generation)
        after.mkdir()
        for file in ("ledger.db", "ledger.db-wal"):  # -shm is memory: it dies too
            shutil.copy(before / file, after / file)
        self.open(after / "ledger.db")
        self.do(old.aclose())

    @rule()
    def reopen(self):
        self.do(self.ledger.aclose())
        self.open(self.folder / str(self.generation) / "ledger.db")

    @precondition(lambda self: not self.disk_was_full)  # what is paid for waits half a second for it
    @rule(verb=st.sampled_from(["admit", "claim", "hold", "intend", "lose"]))
    def the_disk_fills(self, verb):
        """The next *verb* finds it full: it waits for space, or is refused and has done nothing."""
        self.space.at, self.disk_was_full = verb, True

    def fill(self, verb):
        """Let *verb*, which comes now, find the disk full; once in an example, for it waits half a second."""
        if not self.disk_was_full:
            self.space.at, self.disk_was_full = verb, True

    @rule(hours=st.sampled_from([1, 30, -30, -400 * 24]))
    def time_passes(self, hours):
        self.clock += timedelta(hours=hours)

    # What holds after every verb

    @invariant()
    def both_say_the_same(self):
        if not hasattr(self, "runs"):
            return
        self.do(self.compare())

    async def compare(self):
        ledger, runs = self.ledger, list(self.runs.values())
        assert await ledger.recent(1000) == runs[::-1]
        assert await ledger.recent(2, "a") == [run for run in runs[::-1] if run.conversation == "a"][:2]
        assert await ledger.pending() == [run for run in runs if run.status is RunStatus.PENDING]
        unpublished = [run for run in runs if run.status.ended and not run.published]
        assert await ledger.unpublished() == sorted(unpublished, key=lambda run: (run.completed_at, run.seq))
        assert await ledger.count() == {s: sum(run.status is s for run in runs) for s in RunStatus}
        assert await ledger.known() == {path: one.known for path, one in self.inputs.items()}
        for run in runs:
            later = [other for other in runs if other.conversation == run.conversation and other.seq > run.seq]
            assert await ledger.ended_after(run) == [other for other in later if other.status.ended]
            assert await ledger.entries(run.run_id) == [c.entry for c in self.calls if c.run_id == run.run_id]
            assert await ledger.usage(run.run_id) == self.usage(run)
        today = self.clock.date().isoformat()
        day, month = await ledger.spent_usd(now=f"{today}T00:00:00.000Z")
        assert (day, month) == (self.spent(today) / 100, self.spent(today[:7]) / 100)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
