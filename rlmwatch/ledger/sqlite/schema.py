"""
The tables of the ledger, as numbered migrations.

    runs        the captured saves, and how each run went
    calls       the journal: every paid call
    steps       the trajectory: every step of the engine
    inputs      what is known of each input path; a job file is none
    deliveries  webhooks: which run's end is to be reported where, and how that went
    spending    what calls have cost or reserve, summed per UTC day
    tally       how many runs are in each status
    spared      what was not asked again, summed per UTC day

Rules

1. A migration is applied in one transaction together with its number
   (`PRAGMA user_version`): after a kill it has happened, or not at all.
2. A migration that was released is never edited; a change is a new one.
3. Two programs that migrate at the same time wait for each other; the second
   finds nothing left to do.
4. A ledger with a higher number than this program knows is refused, untouched.

`spending` and `tally` are maintained by triggers, so they change in the transaction
of the row that they sum, whichever statement changes it. With them and the
partial indexes every verb costs the same with 100,000 finished runs as with
none: the indexes hold only what is unfinished, and nothing is summed on demand.

Money is stored in whole nanodollars (10^-9 US dollars). Whole, because the sum of a
month must be exact and not depend on its order. Nano, because one call of a few
tokens on a cheap model costs less than a microdollar (0.02 dollars per million
tokens are 20 nanodollars each) and would round to nothing. 64 bits hold nine
billion dollars.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One step of the schema.

    Attributes:
        number: What `PRAGMA user_version` says once it is applied; one more than the step before.
        statements: What it does, in order.
    """

    number: int
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        1,
        (
            """
            CREATE TABLE runs (
                seq          INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id       TEXT    NOT NULL UNIQUE,
                path         TEXT    NOT NULL,
                kind         TEXT    NOT NULL,
                conversation TEXT    NOT NULL,
                digest       TEXT    NOT NULL,
                predecessor  TEXT    NOT NULL,            -- run before it on this path, '' for the first
                status       TEXT    NOT NULL,
                created_at   TEXT    NOT NULL,
                started_at   TEXT,
                completed_at TEXT,                        -- set exactly when it has ended
                attempt      INTEGER NOT NULL DEFAULT 0,
                published    INTEGER NOT NULL DEFAULT 0,
                held_for     TEXT,
                result       TEXT,                        -- JSON
                pinned       TEXT,                        -- JSON
                options      TEXT    NOT NULL,            -- JSON
                prompt       TEXT    NOT NULL,
                enclosed     TEXT,                        -- JSON; NULL for an input
                UNIQUE (path, digest, predecessor)
            ) STRICT
            """,
            "CREATE INDEX runs_open ON runs (status, seq) WHERE completed_at IS NULL",
            "CREATE INDEX runs_open_in ON runs (conversation, seq) WHERE completed_at IS NULL",
            """
            CREATE INDEX runs_unpublished ON runs (completed_at, seq)
                WHERE published = 0 AND completed_at IS NOT NULL
            """,
            "CREATE INDEX runs_of ON runs (conversation, seq)",
            """
            CREATE TABLE calls (
                id              INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id          TEXT    NOT NULL REFERENCES runs (run_id),
                key             TEXT    NOT NULL,
                what            TEXT    NOT NULL,
                model           TEXT    NOT NULL,
                state           TEXT    NOT NULL,
                attempt         INTEGER NOT NULL,
                day             TEXT    NOT NULL,         -- UTC day of the intent: the one that pays
                spent_nano      INTEGER NOT NULL,         -- nanodollars: the reservation, then the cost
                reserved_tokens INTEGER NOT NULL,
                reserved_usd    REAL,
                started_at      TEXT    NOT NULL,
                ended_at        TEXT,
                usage           TEXT,                     -- JSON
                request         TEXT    NOT NULL,         -- JSON
                reply           TEXT                      -- JSON
            ) STRICT
            """,
            "CREATE INDEX calls_of ON calls (run_id)",
            # At most one call under a key is in flight or has its reply: nothing is paid twice knowingly.
            "CREATE UNIQUE INDEX calls_live ON calls (run_id, key) WHERE state IN ('intent', 'done')",
            """
            CREATE TABLE steps (
                id     INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id TEXT    NOT NULL REFERENCES runs (run_id),
                path   TEXT    NOT NULL,                  -- which sub-engine, '' for the run itself
                step   INTEGER NOT NULL,
                record TEXT    NOT NULL,                  -- JSON
                UNIQUE (run_id, path, step)
            ) STRICT
            """,
            "CREATE INDEX steps_of ON steps (run_id, id)",
            """
            CREATE TABLE inputs (
                path      TEXT NOT NULL PRIMARY KEY,
                digest    TEXT NOT NULL,                  -- '' where the next content is new, whatever it is
                signature TEXT,                           -- JSON
                last_run  TEXT NOT NULL DEFAULT ''        -- predecessor of its next run
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE deliveries (
                run_id   TEXT    NOT NULL PRIMARY KEY REFERENCES runs (run_id),
                url      TEXT    NOT NULL,
                attempts INTEGER NOT NULL DEFAULT 0,
                due_at   TEXT    NOT NULL,
                ended_at TEXT,                            -- set exactly when it is not to be tried again
                said     TEXT    NOT NULL DEFAULT ''      -- how the last attempt went
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE INDEX deliveries_open ON deliveries (due_at) WHERE ended_at IS NULL",
            "CREATE TABLE spending (day TEXT NOT NULL PRIMARY KEY, nano INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            """
            CREATE TRIGGER calls_made AFTER INSERT ON calls WHEN NEW.spent_nano != 0 BEGIN
                INSERT INTO spending (day, nano) VALUES (NEW.day, NEW.spent_nano)
                    ON CONFLICT (day) DO UPDATE SET nano = nano + excluded.nano;
            END
            """,
            """
            CREATE TRIGGER calls_settled AFTER UPDATE OF spent_nano ON calls WHEN NEW.spent_nano != OLD.spent_nano BEGIN
                INSERT INTO spending (day, nano) VALUES (NEW.day, NEW.spent_nano - OLD.spent_nano)
                    ON CONFLICT (day) DO UPDATE SET nano = nano + excluded.nano;
            END
            """,
            "CREATE TABLE tally (status TEXT NOT NULL PRIMARY KEY, runs INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            """
            CREATE TRIGGER runs_made AFTER INSERT ON runs BEGIN
                INSERT INTO tally (status, runs) VALUES (NEW.status, 1)
                    ON CONFLICT (status) DO UPDATE SET runs = runs + 1;
            END
            """,
            """
            CREATE TRIGGER runs_moved AFTER UPDATE OF status ON runs WHEN NEW.status != OLD.status BEGIN
                UPDATE tally SET runs = runs - 1 WHERE status = OLD.status;
                INSERT INTO tally (status, runs) VALUES (NEW.status, 1)
                    ON CONFLICT (status) DO UPDATE SET runs = runs + 1;
            END
            """,
        ),
    ),
    Migration(
        2,
        (
            # Of the save in its conversation, and the highest one that the folder showed before: the order across
            # machines. That of one ledger is `seq`.
            "ALTER TABLE runs ADD COLUMN number INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE runs ADD COLUMN number_before INTEGER NOT NULL DEFAULT 0",
            "CREATE INDEX runs_by_content ON runs (digest)",
        ),
    ),
    Migration(
        3,
        (
            "CREATE INDEX calls_on ON calls (day)",
            """
            CREATE TABLE spared (
                day   TEXT    NOT NULL,
                what  TEXT    NOT NULL,                   -- a save of known bytes, or a reply from the journal
                times INTEGER NOT NULL,
                nano  INTEGER NOT NULL,                   -- what these had cost
                PRIMARY KEY (day, what)
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
)

NEWEST = MIGRATIONS[-1].number


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """
    Bring the ledger *db* at *path* to the newest schema.

    Each step is atomic; called again, it does nothing.

    Raises:
        LedgerError: It was written by a newer rlmwatch.
        sqlite3.Error: As SQLite says; the steps before the failing one stay.
    """
    for step in MIGRATIONS[_version(db) :]:
        with db:  # commits, or rolls back what raises
            db.execute("BEGIN IMMEDIATE")
            if _version(db) < step.number:
                for statement in step.statements:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {step.number}")
    version = _version(db)  # asked last: another program may have migrated it further meanwhile
    if version > NEWEST:
        raise LedgerError(
            f"the ledger {path} has schema version {version}, written by a newer rlmwatch; this one knows versions "
            f"up to {NEWEST}. Upgrade rlmwatch, or move {path} aside to begin a new ledger (what was answered is "
            "known from the workspace too)"
        )


def _version(db: sqlite3.Connection) -> int:
    """Return the number of the last migration that was applied; 0 for an empty file."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])
