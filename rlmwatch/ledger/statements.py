"""
Every statement that the ledger makes, each once.

A statement that moves a run or a call names the state that it leaves, and
returns the row that it moved: it happens once, however many ask. The states
stand in the text, not in parameters, so that a test can hold them against the
table of legal moves in `runs/transitions.py`; *finish* alone is told where it
goes, since a run may end in three ways.

`completed_at IS NULL` and `state IN ('intent', 'done')` look idle beside a
condition on the status; they are what lets SQLite use the partial indexes.
`INDEXED BY` stands where it would rather read a conversation's whole history.
"""

from __future__ import annotations

# Inputs

KNOWN = "SELECT path, digest, signature FROM inputs"

LAST_RUN = "SELECT last_run FROM inputs WHERE path = :path"

SAME_BYTES = """
    UPDATE inputs SET signature = COALESCE(:signature, signature)
    WHERE path = :path AND digest = :digest
    RETURNING path
"""

NOTE = """
    INSERT INTO inputs (path, digest, signature, last_run)
    VALUES (:path, :digest, :signature, COALESCE(:last_run, ''))
    ON CONFLICT (path) DO UPDATE SET
        digest = excluded.digest, signature = excluded.signature, last_run = COALESCE(:last_run, last_run)
"""

AGAIN = "UPDATE inputs SET digest = '', signature = NULL WHERE path = :path RETURNING path"

# Runs that are there

GET = "SELECT * FROM runs WHERE run_id = :run_id"

PENDING = "SELECT * FROM runs WHERE completed_at IS NULL AND status = 'pending' ORDER BY seq"

OPEN_BEFORE = """
    SELECT * FROM runs INDEXED BY runs_open_in
    WHERE completed_at IS NULL AND conversation = :conversation AND seq < :seq
    ORDER BY seq
"""

UNPUBLISHED = "SELECT * FROM runs WHERE published = 0 AND completed_at IS NOT NULL ORDER BY completed_at, seq"

RECENT = "SELECT * FROM runs ORDER BY seq DESC LIMIT :limit"

RECENT_IN = "SELECT * FROM runs WHERE conversation = :conversation ORDER BY seq DESC LIMIT :limit"

COUNT = "SELECT status, runs FROM tally"

# Runs that come and move

ADMIT = """
    INSERT INTO runs (run_id, path, kind, conversation, digest, predecessor, status,
                      created_at, completed_at, result, options, prompt)
    VALUES (:run_id, :path, :kind, :conversation, :digest, :predecessor, :status,
            :now, :completed_at, :result, :options, :prompt)
    ON CONFLICT (path, digest, predecessor) DO NOTHING
    RETURNING *
"""

CLAIM = """
    UPDATE runs SET status = 'running', attempt = attempt + 1, started_at = COALESCE(started_at, :now)
    WHERE run_id = :run_id AND status = 'pending'
    RETURNING *
"""

PIN = """
    UPDATE runs SET pinned = COALESCE(pinned, :pinned)
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING pinned
"""

HOLD = """
    UPDATE runs SET status = 'held', held_for = :reason
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING *
"""

RELEASE_HELD = """
    UPDATE runs SET status = 'pending', held_for = NULL
    WHERE completed_at IS NULL AND status = 'held'
    RETURNING *
"""

ADOPT = """
    UPDATE runs SET status = 'pending'
    WHERE completed_at IS NULL AND status = 'running'
    RETURNING *
"""

FINISH = """
    UPDATE runs SET status = :status, completed_at = :now, result = :result
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING *
"""

SUPERSEDE = """
    UPDATE runs SET status = 'failed', completed_at = :now, result = :result, held_for = NULL
    WHERE run_id = :run_id AND status = 'held'
    RETURNING *
"""

CANCEL = """
    UPDATE runs SET status = 'cancelled', completed_at = :now, result = :result, held_for = NULL
    WHERE run_id = :run_id AND status IN ('pending', 'held')
    RETURNING *
"""

PUBLISHED = "UPDATE runs SET published = 1 WHERE run_id = :run_id AND completed_at IS NOT NULL"

# Calls

ENTRIES = "SELECT * FROM calls WHERE run_id = :run_id ORDER BY id"

DONE = "SELECT * FROM calls WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'done'"

LOSE_EARLIER = """
    UPDATE calls SET state = 'lost', ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
"""

INTEND = """
    INSERT INTO calls (run_id, key, what, model, state, attempt, day, spent_nano,
                       reserved_tokens, reserved_usd, started_at, request)
    SELECT :run_id, :key, :what, :model, 'intent', :attempt, :day, :nano,
           :reserved_tokens, :reserved_usd, :now, :request
    FROM runs
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
        AND NOT EXISTS (SELECT 1 FROM calls
                        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done'))
        AND (:per_day IS NULL OR :per_day >= :nano
            + (SELECT COALESCE(SUM(nano), 0) FROM spending WHERE day = :day))
        AND (:per_month IS NULL OR :per_month >= :nano
            + (SELECT COALESCE(SUM(nano), 0) FROM spending WHERE day BETWEEN :month AND :month || '~'))
    RETURNING *
"""

RECORD = """
    UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                     spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
    RETURNING id
"""

RECORD_LATE = """
    UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                     spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE id = (SELECT MAX(id) FROM calls WHERE run_id = :run_id AND key = :key AND state = 'lost')
        AND NOT EXISTS (SELECT 1 FROM calls
                        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done'))
"""

RELEASE = """
    UPDATE calls SET state = 'released', spent_nano = 0, ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
"""

LOSE = """
    UPDATE calls SET state = 'lost', usage = :usage, spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
"""

SPENT = """
    SELECT COALESCE(SUM(CASE WHEN day = :day THEN nano END), 0) AS day_nano, COALESCE(SUM(nano), 0) AS month_nano
    FROM spending
    WHERE day BETWEEN :month AND :month || '~'
"""

# The trajectory

STEP = """
    INSERT INTO steps (run_id, path, step, record) VALUES (:run_id, :path, :step, :record)
    ON CONFLICT (run_id, path, step) DO UPDATE SET record = excluded.record
"""

STEPS = "SELECT path, step, record FROM steps INDEXED BY steps_of WHERE run_id = :run_id ORDER BY id"
