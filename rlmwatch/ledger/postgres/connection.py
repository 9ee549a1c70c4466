"""
One connection to the ledger's Postgres, and what its failures mean for a person.

Guarantees

1. What is committed is on the server's disk (`synchronous_commit` on).
2. Transactions that write come one after another, across all programs and workspaces: each begins with an advisory
   lock, as in the embedded ledger each begins with the file's lock. So the verbs mean the same in both, and a ceiling
   holds to the last digit. Programs that wait share their next transaction (`writer.py`), so the more there is to
   write, the more is written at once.
3. A program that stands still in the middle of a transaction (stopped, or cut off from the network) holds the others
   up for `STANDSTILL_S` at most: then the server ends its connection and undoes what it had begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from typing_extensions import override

from rlmwatch.errors import ConfigError, LedgerError
from rlmwatch.ledger.postgres.schema import SCHEMA, WRITER_LOCK, Connection, migrate
from rlmwatch.ledger.statement import Rows, Statement
from rlmwatch.ledger.writer import Store

CONNECT_S = 5
STANDSTILL_S = 5
"""As long as a worker may be silent before its runs are given to another (`LEASE_S`): the same worker, after all."""
PATIENCE_S = 30
"""For one statement, the wait for its turn included: six times `STANDSTILL_S`, so a hang-up ends in an error."""

_ENDS = ("COMMIT", "ROLLBACK")


class _Nothing:
    """What a word on the transaction returns."""

    def fetchall(self) -> list[Any]:
        return []

    def fetchone(self) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        return iter(())


_NOTHING = _Nothing()


class SharedDb:
    """
    A connection inside a transaction, for the rows of one workspace (port `Db`).

    BEGIN travels with the statement that follows it: a transaction of one statement costs two round trips, while
    others wait.

    Attributes:
        connection: What it speaks over.
        workspace: Whose rows; None for a worker, which asks by run ids alone.
    """

    def __init__(self, connection: Connection, workspace: str | None) -> None:
        self.connection = connection
        self.workspace = workspace
        self._begin = ""

    def execute(self, statement: str, values: Mapping[str, Any] | None = None, /) -> Rows:
        """Carry out *statement*. Postgres cannot keep a NUL in a text: what is not JSON has U+FFFD in its place."""
        begin, self._begin = self._begin, ""
        if not isinstance(statement, Statement):
            if statement not in _ENDS:
                self._begin = statement
                return _NOTHING
            return _NOTHING if begin else self.connection.execute(statement.encode())  # what has not begun needs no end
        asked = {name: _plain(value) for name, value in (values or {}).items()}
        text = f"{begin}; {statement.shared}" if begin else statement.shared
        cursor = self.connection.execute(text.encode(), {**asked, "workspace": self.workspace})
        while cursor.nextset():  # the last result is the statement's
            pass
        return cursor


@dataclass(frozen=True, slots=True)
class Server(Store[SharedDb]):
    """
    The ledger's database, as the writer asks for it.

    Attributes:
        url: A libpq connection string or URL; it may hold a password, so it is never shown.
        standstill_s: See guarantee 3.
    """

    url: str
    workspace: str | None
    standstill_s: int = STANDSTILL_S

    @property
    @override
    def name(self) -> str:
        return described(self.url)

    @property
    @override
    def failures(self) -> type[Exception]:
        return psycopg.Error

    @override
    def open(self, *, create: bool) -> SharedDb:
        try:
            connection = connect(self.url, standstill_s=self.standstill_s)
        except psycopg.Error as error:
            raise self.explain(error) from None  # the chain would hold the connection string
        try:
            if create:
                migrate(connection, self.name)
        except psycopg.Error as error:
            connection.close()
            raise self.explain(error) from None
        except LedgerError:
            connection.close()
            raise
        return SharedDb(connection, self.workspace)

    @override
    def begin(self, db: SharedDb, *, writes: bool) -> None:
        db.execute(f"BEGIN; SELECT pg_advisory_xact_lock({WRITER_LOCK})" if writes else "BEGIN READ ONLY")

    @override
    def close(self, db: SharedDb) -> None:
        with suppress(psycopg.Error):
            db.connection.close()

    @override
    def is_busy(self, error: Exception) -> bool:
        return isinstance(error, psycopg.errors.QueryCanceled)

    @override
    def is_lost(self, error: Exception, db: SharedDb | None) -> bool:
        return db is not None and db.connection.closed

    @override
    def explain(self, error: Exception) -> Exception:
        ours = isinstance(
            error, psycopg.IntegrityError | psycopg.DataError | psycopg.errors.SyntaxErrorOrAccessRuleViolation
        )
        denied = isinstance(error, psycopg.errors.InsufficientPrivilege)
        if not isinstance(error, psycopg.Error) or (ours and not denied):
            return error
        words = " ".join(str(error).split())
        if denied:
            cure = f"Let this user own the schema {SCHEMA} of that database"
        elif isinstance(error, psycopg.errors.DiskFull):
            cure = "Free some space on the server; rlmwatch goes on by itself"
        else:
            cure = (
                "See that the server runs and takes connections from here, and look at `ledger` in your config.toml; "
                "rlmwatch goes on by itself. What was being committed just now may have happened"
            )
        return LedgerError(f"the ledger {self.name} cannot be used ({words}). {cure}")


def connect(url: str, *, standstill_s: int = STANDSTILL_S) -> Connection:
    """
    Return a new connection with our settings.

    Raises:
        psycopg.Error: It cannot connect.
        ConfigError: *url* is not a connection string.
    """
    return psycopg.connect(
        with_settings(url, standstill_s=standstill_s),
        autocommit=True,
        row_factory=dict_row,
        # Values are put into the text here: statements in which a value's type follows from nothing work too, and so
        # do connection poolers that lose prepared statements.
        cursor_factory=psycopg.ClientCursor,
    )


def with_settings(url: str, *, standstill_s: int = STANDSTILL_S) -> str:
    """
    Return *url* with our settings; what the person wrote into it stays, and so does `sslmode` and the like.

    Raises:
        ConfigError: It is not a connection string.
    """
    parts = _parts(url)
    ours = (
        f"-c search_path={SCHEMA} -c synchronous_commit=on -c statement_timeout={PATIENCE_S}s "
        f"-c idle_in_transaction_session_timeout={standstill_s}s"
    )
    defaults = {
        "application_name": "rlmwatch",
        "connect_timeout": CONNECT_S,
        # A peer that is gone without a word is noticed in about this time, instead of after two hours.
        "keepalives_idle": CONNECT_S,
        "keepalives_interval": CONNECT_S,
        "keepalives_count": 3,
        "tcp_user_timeout": STANDSTILL_S * 2 * 1000,
    }
    options = f"{ours} {parts.pop('options', '') or ''}".strip()
    return make_conninfo("", **{**defaults, **parts, "options": options})


def described(url: str) -> str:
    """Return, for people, database and host of *url*; never its user or password."""
    parts = _parts(url)
    return f"{parts.get('dbname') or 'postgres'} on {parts.get('host') or 'this machine'}"


def _parts(url: str) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "ledger: not a PostgreSQL address, which looks like postgresql://user@host/database"
        ) from None
    if any("@" in str(parts.get(key) or "") for key in ("host", "port", "dbname")):  # half a password is there
        raise ConfigError("ledger: write / and @ in a password as %2F and %40: postgresql://user:a%2Fb@host/database")
    return parts


def _plain(value: Any) -> Any:  # noqa: ANN401 (what a column takes)
    if isinstance(value, Enum):
        return value.value
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
