"""
What the verbs of the ledger are made of.

A verb is one method: its statements stand above it, and its body is one function of a connection inside a transaction,
which the writer's thread carries out. What a caller may rely on stands in the port (`runs/`); a verb that no port
declares says it itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from rlmwatch.ledger.rows import run_of
from rlmwatch.ledger.statement import Db, Row, Statement
from rlmwatch.ledger.writer import Writer
from rlmwatch.runs.model import Run

D = TypeVar("D", bound=Db)
T = TypeVar("T")


class Transactions(Generic[D]):
    """
    The ways in which a verb is carried out.

    Each is one transaction (or its own part of a shared one) and durable when it returns. A verb whose caller stops
    waiting happens all the same. Every verb raises `LedgerError` where the store cannot be used; then it has done
    nothing, and may be asked again. Only where the connection to a server breaks during the commit, it may have
    happened: the text says so.
    """

    def __init__(self, writer: Writer[D]) -> None:
        self._writer = writer

    async def aclose(self) -> None:
        """Carry out what was asked before, then close the store. Idempotent."""
        await self._writer.aclose()

    async def alive(self) -> None:
        """Return once the writer's thread has carried out a transaction that does nothing."""
        await self._read(lambda _db: None)

    async def _read(self, work: Callable[[Db], T]) -> T:
        """Carry out *work*, which changes nothing."""
        return await self._writer.do(work, writes=False)

    async def _write(self, work: Callable[[Db], T]) -> T:
        """Carry out *work*."""
        return await self._writer.do(work)

    async def _insist(self, work: Callable[[Db], T]) -> T:
        """Carry out *work*, which keeps what was paid for or how a run ended. A store may override it to wait."""
        return await self._write(work)

    async def _within_run(self, work: Callable[[Db], T]) -> T:
        """Carry out *work* of a run under way. A store that no other worker can reach may override it to wait."""
        return await self._write(work)


def first(db: Db, statement: Statement, values: Mapping[str, Any]) -> Row | None:
    """Carry out *statement* to its end and return its first row, if any."""
    rows: list[Row] = db.execute(statement, values).fetchall()
    return rows[0] if rows else None


def one_run(db: Db, statement: Statement, values: Mapping[str, Any]) -> Run | None:
    """Return the run that *statement* found or moved; None if there is none."""
    row = first(db, statement, values)
    return None if row is None else run_of(row)


def all_runs(db: Db, statement: Statement, values: Mapping[str, Any] | None = None) -> list[Run]:
    """Return the runs that *statement* found or moved, as it orders them."""
    return [run_of(row) for row in db.execute(statement, values or {}).fetchall()]
