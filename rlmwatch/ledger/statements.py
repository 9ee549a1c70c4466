"""
Every statement that the ledger makes, each once.

A statement that moves a run or a call names the state that it leaves, and
returns the row that it moved: it happens once, however many ask. The states
stand in the text, not in parameters, so that a test can hold them against its
table of legal moves; *finish* alone is told where it
goes, since a run may end in three ways.

They are written for the embedded ledger, in one file per workspace. What
their marks become in a database that several workspaces share stands in `statement.py`.

`completed_at IS NULL` and `state IN ('intent', 'done')` look idle beside a
condition on the status; they are what lets SQLite use the partial indexes.
`INDEXED BY` stands where it would rather read a conversation's whole history.
"""

from __future__ import annotations

from rlmwatch.ledger.statement import Statement

# Inputs

KNOWN = Statement("SELECT path, digest, signature FROM inputs{ours}")

LAST_RUN = Statement("SELECT last_run FROM inputs WHERE {mine}path = :path")

SAME_BYTES = Statement("""
    UPDATE inputs SET signature = COALESCE(:signature, signature)
    WHERE {mine}path = :path AND digest = :digest
    RETURNING path
""")

NOTE = Statement("""
    INSERT INTO inputs ({whose}path, digest, signature, last_run)
    VALUES ({me}:path, :digest, :signature, COALESCE(:last_run, ''))
    ON CONFLICT ({whose}path) DO UPDATE SET
        digest = excluded.digest, signature = excluded.signature, last_run = COALESCE(:last_run, inputs.last_run)
""")

AGAIN = Statement("UPDATE inputs SET digest = '', signature = NULL WHERE {mine}path = :path RETURNING path")

# Runs that are there

GET = Statement("SELECT * FROM runs WHERE run_id = :run_id")

GET_OURS = Statement("SELECT * FROM runs WHERE {mine}run_id = :run_id")

PENDING = Statement("SELECT * FROM runs WHERE {mine}completed_at IS NULL AND status = 'pending' ORDER BY seq")

OPEN_BEFORE = Statement("""
    SELECT * FROM runs INDEXED BY runs_open_in
    WHERE {mine}completed_at IS NULL AND conversation = :conversation AND seq < :seq
    ORDER BY seq
""")

OPEN_IN = Statement("""
    SELECT * FROM runs INDEXED BY runs_open_in
    WHERE {mine}completed_at IS NULL AND conversation = :conversation
    ORDER BY seq
""")

OF_JOB_FILE = Statement("SELECT * FROM runs WHERE seq = (SELECT MAX(seq) FROM runs WHERE {mine}path = :path)")

UNKNOWN = Statement(
    """
    SELECT value AS job_id FROM json_each(:job_ids)
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE run_id = value)
        AND NOT EXISTS (SELECT 1 FROM runs WHERE path = :before || value || :after)
    """,
    postgres="""
    SELECT value AS job_id FROM json_array_elements_text(:job_ids) AS asked (value)
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE {mine}run_id = value)
        AND NOT EXISTS (SELECT 1 FROM runs WHERE {mine}path = :before || value || :after)
    """,
)

UNPUBLISHED = Statement(
    "SELECT * FROM runs WHERE {mine}published = 0 AND completed_at IS NOT NULL ORDER BY completed_at, seq"
)

RECENT = Statement("SELECT * FROM runs{ours} ORDER BY seq DESC LIMIT :limit")

RECENT_IN = Statement("SELECT * FROM runs WHERE {mine}conversation = :conversation ORDER BY seq DESC LIMIT :limit")

NEWEST_IN = Statement("SELECT created_at FROM runs WHERE {mine}conversation = :conversation ORDER BY seq DESC LIMIT 1")

COUNT = Statement("SELECT status, runs FROM tally{ours}")

# Runs that come and move

ADMIT = Statement("""
    INSERT INTO runs ({whose}run_id, path, kind, conversation, digest, predecessor, status,
                      created_at, completed_at, result, options, prompt, enclosed)
    VALUES ({me}:run_id, :path, :kind, :conversation, :digest, :predecessor, :status,
            :now, :completed_at, :result, :options, :prompt, :enclosed)
    ON CONFLICT ({whose}path, digest, predecessor) DO NOTHING
    RETURNING *
""")

CLAIM = Statement("""
    UPDATE runs SET status = 'running', attempt = attempt + 1, started_at = COALESCE(started_at, :now)
    WHERE run_id = :run_id AND status = 'pending'
    RETURNING *
""")

PIN = Statement("""
    UPDATE runs SET pinned = COALESCE(pinned, :pinned)
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING pinned
""")

HOLD = Statement("""
    UPDATE runs SET status = 'held', held_for = :reason
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING *
""")

RELEASE_HELD = Statement("""
    UPDATE runs SET status = 'pending', held_for = NULL,
        pinned = CASE WHEN EXISTS (SELECT 1 FROM calls WHERE calls.run_id = runs.run_id AND calls.state = 'done')
                      THEN pinned END
    WHERE {mine}completed_at IS NULL AND status = 'held'
    RETURNING *
""")
"""What was pinned goes where nothing was paid for yet: it may hold the very model's name that the person has mended."""

ADOPT = Statement("""
    UPDATE runs SET status = 'pending'
    WHERE {mine}completed_at IS NULL AND status = 'running'
    RETURNING *
""")

FINISH = Statement("""
    UPDATE runs SET status = :status, completed_at = :now, result = :result
    WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
    RETURNING *
""")

SUPERSEDE = Statement("""
    UPDATE runs SET status = 'failed', completed_at = :now, result = :result, held_for = NULL
    WHERE run_id = :run_id AND status = 'held'
    RETURNING *
""")

CANCEL = Statement("""
    UPDATE runs SET status = 'cancelled', completed_at = :now, result = :result, held_for = NULL
    WHERE run_id = :run_id AND status IN ('pending', 'held')
    RETURNING *
""")

PUBLISHED = Statement("UPDATE runs SET published = 1 WHERE run_id = :run_id AND completed_at IS NOT NULL")

# Webhooks

DELIVER = Statement("INSERT INTO deliveries (run_id, url, due_at) VALUES (:run_id, :url, :now)")

DELIVERIES = Statement("""
    SELECT deliveries.* FROM deliveries INDEXED BY deliveries_open JOIN runs USING (run_id)
    WHERE {mine}ended_at IS NULL AND due_at >= '' AND published = 1
    ORDER BY due_at
""")

TRIED = Statement("""
    UPDATE deliveries SET attempts = attempts + 1, due_at = COALESCE(:due_at, due_at), said = :said,
                          ended_at = CASE WHEN :due_at IS NULL THEN :now END
    WHERE run_id = :run_id AND ended_at IS NULL
""")

# Calls

ENTRIES = Statement("SELECT * FROM calls WHERE run_id = :run_id ORDER BY id")

DONE = Statement(
    "SELECT * FROM calls WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'done'"
)

LOSE_EARLIER = Statement("""
    UPDATE calls SET state = 'lost', ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
    RETURNING id
""")

INTEND = Statement("""
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
""")

RECORD = Statement("""
    UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                     spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
    RETURNING id
""")

RECORD_LATE = Statement("""
    UPDATE calls SET state = 'done', reply = :reply, usage = :usage,
                     spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE id = (SELECT MAX(id) FROM calls WHERE run_id = :run_id AND key = :key AND state = 'lost')
        AND NOT EXISTS (SELECT 1 FROM calls
                        WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done'))
""")

RELEASE = Statement("""
    UPDATE calls SET state = 'released', spent_nano = 0, ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
""")

LOSE = Statement("""
    UPDATE calls SET state = 'lost', usage = :usage, spent_nano = COALESCE(:nano, spent_nano), ended_at = :now
    WHERE run_id = :run_id AND key = :key AND state IN ('intent', 'done') AND state = 'intent'
""")

SPENT = Statement("""
    SELECT COALESCE(SUM(CASE WHEN day = :day THEN nano END), 0) AS day_nano, COALESCE(SUM(nano), 0) AS month_nano
    FROM spending
    WHERE day BETWEEN :month AND :month || '~'
""")

# The trajectory

STEP = Statement("""
    INSERT INTO steps (run_id, path, step, record) VALUES (:run_id, :path, :step, :record)
    ON CONFLICT (run_id, path, step) DO UPDATE SET record = excluded.record
""")

STEPS = Statement("SELECT path, step, record FROM steps INDEXED BY steps_of WHERE run_id = :run_id ORDER BY id")
