"""
Carries an embedded ledger over to a shared one.

In one transaction of the shared ledger, so it has happened whole or not at all:

1. rows are copied in their order, runs, calls and steps with them, under the name
   of this workspace; sums and counts follow from them by the triggers;
2. what came over is counted and summed in both, and must be the same;
3. only then it is committed.

The embedded ledger is only read. Whoever calls this holds the workspace's lock, and moves the file aside afterwards.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.postgres.connection import Server
from rlmwatch.ledger.postgres.schema import WRITER_LOCK, Connection
from rlmwatch.ledger.sqlite.connection import connect as connect_file
from rlmwatch.ledger.sqlite.connection import explain

TABLES = ("runs", "calls", "steps", "inputs", "deliveries", "spared")
"""In the order of their references."""
OF_A_WORKSPACE = frozenset({"runs", "inputs", "spared"})
NUMBERED = {"runs": "seq", "calls": "id", "steps": "id"}
"""Numbers that order the rows of a table; the shared ledger gives its own, in the same order."""
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Moved:
    """
    What came over.

    Attributes:
        rows: Rows by table.
        spent_usd: What all calls have cost or reserve.
    """

    rows: dict[str, int]
    spent_usd: float


def move(file: Path, url: str, workspace: str) -> Moved:
    """
    Copy the ledger in *file* into the shared one at *url*, as that of *workspace*. Blocks.

    Raises:
        LedgerError: Either cannot be used, *workspace* has runs there already, a run of the same id is there, or what
            came over is not what was there; nothing has changed then.
    """
    server = Server(url, workspace)
    target = server.open(create=True)
    try:
        source = connect_file(file, create=False)
    except LedgerError:
        server.close(target)
        raise
    try:
        with target.connection.transaction():
            target.connection.execute("SELECT pg_advisory_xact_lock(%s)", [WRITER_LOCK])
            _refuse_if_there(target.connection, server.name, workspace)
            _copy_all(source, target.connection, workspace)
            return _compare(source, target.connection, workspace)
    except psycopg.errors.UniqueViolation as error:
        raise LedgerError(
            f"the ledger {server.name} has a run of the same id already ({error.diag.message_detail}): was this one "
            "moved before, perhaps under another name of this machine? Nothing was changed"
        ) from None
    except psycopg.Error as error:
        raise server.explain(error) from None
    except sqlite3.Error as error:
        raise explain(error, file) from error
    finally:
        source.close()
        server.close(target)


def _refuse_if_there(target: Connection, name: str, workspace: str) -> None:
    there = target.execute("SELECT COUNT(*) AS n FROM runs WHERE workspace = %s", [workspace]).fetchone()
    if there is not None and there["n"]:
        raise LedgerError(
            f"the ledger {name} has {there['n']} runs of this workspace ({workspace}) already: it was moved before, or "
            "answered over the shared ledger since. Two histories are not merged; keep the file, or move it aside"
        )


def _copy_all(source: sqlite3.Connection, target: Connection, workspace: str) -> None:
    for table in TABLES:
        order = NUMBERED.get(table)
        rows = source.execute(f"SELECT * FROM {table}" + (f" ORDER BY {order}" if order else ""))  # noqa: S608 (our names)
        columns = [column[0] for column in rows.description if column[0] != order]
        whose = [workspace] if table in OF_A_WORKSPACE else []
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, [*(["workspace"] if whose else []), *columns])),
            sql.SQL(", ").join(sql.Placeholder() * (len(columns) + len(whose))),
        )
        with target.cursor() as cursor:
            while some := rows.fetchmany(ROWS_AT_ONCE):
                cursor.executemany(insert, [[*whose, *(_plain(row[column]) for column in columns)] for row in some])


def _plain(value: Any) -> Any:  # noqa: ANN401 (what a column holds)
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _compare(source: sqlite3.Connection, target: Connection, workspace: str) -> Moved:
    """Return what came over, once it is what was there."""
    ours = {
        "runs": "SELECT COUNT(*) AS n FROM runs WHERE workspace = %s",
        "inputs": "SELECT COUNT(*) AS n FROM inputs WHERE workspace = %s",
        "calls": "SELECT COUNT(*) AS n FROM calls JOIN runs USING (run_id) WHERE workspace = %s",
        "steps": "SELECT COUNT(*) AS n FROM steps JOIN runs USING (run_id) WHERE workspace = %s",
        "deliveries": "SELECT COUNT(*) AS n FROM deliveries JOIN runs USING (run_id) WHERE workspace = %s",
        "spared": "SELECT COUNT(*) AS n FROM spared WHERE workspace = %s",
        "open": "SELECT COUNT(*) AS n FROM runs WHERE workspace = %s AND completed_at IS NULL",
        "unpublished": (
            "SELECT COUNT(*) AS n FROM runs WHERE workspace = %s AND completed_at IS NOT NULL AND published = 0"
        ),
        "spent": (
            "SELECT COALESCE(SUM(spent_nano), 0)::bigint AS n FROM calls JOIN runs USING (run_id) WHERE workspace = %s"
        ),
    }
    theirs = {
        **{table: f"SELECT COUNT(*) FROM {table}" for table in TABLES},  # noqa: S608 (our names)
        "open": "SELECT COUNT(*) FROM runs WHERE completed_at IS NULL",
        "unpublished": "SELECT COUNT(*) FROM runs WHERE completed_at IS NOT NULL AND published = 0",
        "spent": "SELECT COALESCE(SUM(spent_nano), 0) FROM calls",
    }
    before = {what: int(source.execute(query).fetchone()[0]) for what, query in theirs.items()}
    after = {}
    for what, query in ours.items():
        row = target.execute(query.encode(), [workspace]).fetchone()
        after[what] = -1 if row is None else int(row["n"])
    if after != before:
        differing = ", ".join(f"{what} {before[what]} there, {after[what]} here" for what in before if after != before)
        raise LedgerError(f"what came over is not what was there ({differing}); nothing was changed. Please report it")
    return Moved({table: after[table] for table in TABLES}, after["spent"] / 1e9)
