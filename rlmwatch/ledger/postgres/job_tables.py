"""
The tables of procrastinate, which hands runs out, in the ledger's own schema.

procrastinate brings its newest schema whole, and the way to it from older ones
as numbered files, but does not keep a record of what was applied. We do:

1. in a new database its schema is made whole, and all of its files count as
   applied;
2. a newer procrastinate applies the files that it has and the record has not;
3. an older one, which lacks a file of the record, is refused.

Each time in one transaction, one program after the other.
"""

from __future__ import annotations

from importlib.resources import files

from rlmwatch.errors import LedgerError
from rlmwatch.ledger.postgres.connection import connect, described
from rlmwatch.ledger.postgres.schema import WRITER_LOCK


def prepare(url: str) -> None:
    """
    Bring procrastinate's tables to what the installed version needs. Blocks; idempotent.

    Raises:
        LedgerError: A newer procrastinate was here.
        psycopg.Error: As Postgres says; nothing was changed.
    """
    ours = sorted(file.name for file in files("procrastinate.sql.migrations").iterdir() if file.name.endswith(".sql"))
    with connect(url) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [WRITER_LOCK])
        connection.execute("CREATE TABLE IF NOT EXISTS procrastinate_migrations (name TEXT PRIMARY KEY)")
        applied = {row["name"] for row in connection.execute("SELECT name FROM procrastinate_migrations")}
        if newer := applied - set(ours):
            raise LedgerError(
                f"the ledger {described(url)} was used with a newer procrastinate ({max(newer)} is not known here): "
                "upgrade it on this machine, with rlmwatch[cluster]"
            )
        missing = [name for name in ours if name not in applied]
        if not applied:
            connection.execute(files("procrastinate.sql").joinpath("schema.sql").read_bytes())
        else:
            for name in missing:
                connection.execute(files("procrastinate.sql.migrations").joinpath(name).read_bytes())
        for name in missing:
            connection.execute("INSERT INTO procrastinate_migrations (name) VALUES (%s)", [name])
