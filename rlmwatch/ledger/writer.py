"""
The one thread that speaks to the ledger's store.

A verb is a function of the connection. Rules

1. Verbs are carried out in the order in which they were asked, and each returns
   when what it did is durable.
2. Verbs that wait at the same moment share one transaction, so they share one
   fsync.
3. Where one of them raises, or the transaction fails as a whole (disk full, I/O
   error), nothing has happened, and each is carried out once more alone: it
   fails no other. That is rare, and cheaper than a savepoint around each verb.
4. A connection that failed is not used again. The next verb opens a new one, so
   the ledger works again as soon as the disk or the server does. Where the
   connection to a server was lost before the commit, nothing had happened, and
   its verbs are tried once more.
5. The thread outlives every error and logs nothing (a full disk under the log
   must not end it): what went wrong is raised where the verb was asked for.
6. A verb that was asked for is carried out, also when its caller no longer waits:
   a reply that was paid for is stored though the run was cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.statement import Db

T = TypeVar("T")
D = TypeVar("D", bound=Db)

GROUP_MAX = 256
"""Verbs per transaction, so that the first of a thousand does not wait for the last."""


class Store(Protocol[D]):
    """What the writer asks of a file or a server; it asks from one thread at a time."""

    @property
    def name(self) -> str:
        """What a person calls it; without a password."""
        ...

    @property
    def failures(self) -> type[Exception]:
        """What its connections raise of themselves."""
        ...

    def open(self, *, create: bool) -> D:
        """
        Return a new connection that begins no transaction by itself; *create* makes what is missing.

        Raises:
            LedgerError: It cannot be used; the text names the store and what to do.
        """
        ...

    def begin(self, db: D, *, writes: bool) -> None:
        """Begin a transaction; of those that write, one at a time, across all programs that use the store."""
        ...

    def close(self, db: D) -> None:
        """Give the connection back; a transaction that is open is rolled back. Raises nothing."""
        ...

    def is_busy(self, error: Exception) -> bool:
        """Whether *error* says that another program held the store for as long as anybody should wait."""
        ...

    def is_lost(self, error: Exception, db: D | None) -> bool:
        """Whether *error* came of a connection that broke, and not of what it was asked."""
        ...

    def explain(self, error: Exception) -> Exception:
        """Return what a caller gets: a `LedgerError` for a person; a fault of ours (a wrong statement) as it is."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """A verb, and who waits for it."""

    verb: Callable[[Any], Any]
    writes: bool
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _VerbResult:
    """What became of a verb: its value, or the error that it raised."""

    value: Any = None
    error: Exception | None = None


class Writer(Generic[D]):
    """Carries out verbs on the ledger in *store*, for any number of tasks and event loops."""

    def __init__(self, store: Store[D]) -> None:
        self._store = store
        self._db: D | None = None
        self._committing = False
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._closed = False
        self._door = threading.Lock()
        # A daemon thread: a program that forgets to close must still be able to end. Nothing is lost by that, since
        # whatever was answered is committed.
        self._thread = threading.Thread(target=self._work, name="rlmwatch-ledger", daemon=True)

    def start(self) -> None:
        """
        Open the store, making it where it is missing, and begin to work.

        Raises:
            LedgerError: It cannot be used.
        """
        self._db = self._store.open(create=True)
        self._thread.start()

    async def do(self, verb: Callable[[D], T], *, writes: bool = True) -> T:
        """
        Carry out *verb* and return what it returns, once that is durable.

        *verb* may be called twice, the first time without effect (rules 3 and 4).

        Raises:
            LedgerError: The store cannot be used now, or the ledger was closed; nothing was done.
            Exception: What *verb* itself raised; what it did is undone.
        """
        future = asyncio.get_running_loop().create_future()
        with self._door:
            if self._closed:
                raise LedgerError(f"the ledger {self._store.name} was closed already; open it again")
            self._asked.put(_Asked(verb, writes, future))
        value: T = await future
        return value

    async def aclose(self) -> None:
        """Carry out what was asked before, then close the store. Idempotent."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._asked.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        """Take what waits, carry it out together, answer; until closed. Waiting costs nothing."""
        more = True
        while more:
            group, more = self._next_group()
            if group:
                self._answer(group, self._carry_out(group))
        self._drop_connection()

    def _next_group(self) -> tuple[list[_Asked], bool]:
        """Wait for a verb and return it with those that wait behind it, and whether more may come."""
        group: list[_Asked] = []
        asked = self._asked.get()
        while asked is not None:
            group.append(asked)
            if len(group) == GROUP_MAX:
                return group, True
            try:
                asked = self._asked.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _carry_out(self, group: list[_Asked], *, again: bool = True) -> list[_VerbResult]:
        """Carry out *group* in one transaction, or, where that fails, each on its own."""
        try:
            return self._transact(group)
        except self._store.failures as error:
            lost = self._store.is_lost(error, self._db)
            self._drop_connection()
            if lost and again and not self._committing:
                return self._carry_out(group, again=False)
            if len(group) > 1 and not lost and not self._store.is_busy(error):  # busy has waited long enough for all
                return self._each_alone(group)
            return [_VerbResult(error=self._store.explain(error))] * len(group)
        except Exception as error:  # noqa: BLE001 (it belongs to the caller, who gets it; rule 5)
            if not self._rolled_back():
                self._drop_connection()
            return self._each_alone(group) if len(group) > 1 else [_VerbResult(error=error)]

    def _each_alone(self, group: list[_Asked]) -> list[_VerbResult]:
        return [result for asked in group for result in self._carry_out([asked])]

    def _transact(self, group: list[_Asked]) -> list[_VerbResult]:
        """Carry out *group* in one transaction; whatever is raised ends it as a whole."""
        if self._db is None:
            # Never made anew: an empty ledger in place of a lost one would end runs that are under way unseen.
            self._db = self._store.open(create=False)
        db = self._db
        self._committing = False
        self._store.begin(db, writes=any(asked.writes for asked in group))
        results = [_VerbResult(value=asked.verb(db)) for asked in group]
        self._committing = True
        db.execute("COMMIT")
        return results

    def _rolled_back(self) -> bool:
        """Undo the transaction that is open; return whether the connection is as good as before."""
        try:
            if self._db is not None:
                self._db.execute("ROLLBACK")
        except self._store.failures:
            return False
        return True

    def _drop_connection(self) -> None:
        """Close the connection; a transaction that is open is rolled back."""
        if self._db is not None:
            self._store.close(self._db)
            self._db = None

    def _answer(self, group: list[_Asked], results: list[_VerbResult]) -> None:
        """Wake who waits, with one call per event loop."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[_Asked, _VerbResult]]] = defaultdict(list)
        for asked, result in zip(group, results, strict=True):
            by_loop[asked.future.get_loop()].append((asked, result))
        for loop, answered in by_loop.items():
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, answered)


def _settle(answered: list[tuple[_Asked, _VerbResult]]) -> None:
    """Hand each result to its caller, unless that has stopped waiting. Runs in the caller's loop."""
    for asked, result in answered:
        if asked.future.done():
            continue
        if result.error is None:
            asked.future.set_result(result.value)
        else:
            asked.future.set_exception(result.error)
