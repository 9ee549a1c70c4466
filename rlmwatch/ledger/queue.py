"""
The verbs of the runs (port `Queue`).

A statement that moves a run names the status that it leaves, and returns the row that it moved: it happens once,
however many ask. The statuses stand in the text, not in parameters, so that a test can compare them with the table of
legal moves; *finish* alone takes the new status as a parameter, since a run may end in three
ways.

Statements are written for the embedded ledger, one file per workspace; `statement.py` says what their marks become in a
database that several workspaces share. `completed_at IS NULL` looks redundant beside a condition on the status; it is
what lets SQLite use the partial indexes. `INDEXED BY` stands where it would rather read a conversation's whole history.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from typing_extensions import override

from rlmwatch.contract.names import JOBS
from rlmwatch.errors import Fenced
from rlmwatch.ledger.journal import usage_of
from rlmwatch.ledger.rows import json_value, known_of, result_json, signature_json, to_json
from rlmwatch.ledger.statement import Db, Statement
from rlmwatch.ledger.transactions import D, Transactions, all_runs, first, one_run
from rlmwatch.runs import transitions
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import Admission, Known, OnNewSave, Precedent, Queue

_JOB_FILE_BEFORE = f"{JOBS}/"
_JOB_FILE_AFTER = ".json"


class QueueVerbs(Transactions[D], Queue):
    """What happens to inputs and runs."""

    # Inputs

    _KNOWN = Statement("SELECT path, digest, signature FROM inputs{ours}")

    @override
    async def known(self) -> dict[str, Known]:
        return await self._read(lambda db: {row["path"]: known_of(row) for row in db.execute(self._KNOWN)})

    _NOTE = Statement("""
        INSERT INTO inputs ({whose}path, digest, signature, last_run)
        VALUES ({me}:path, :digest, :signature, COALESCE(:last_run, ''))
        ON CONFLICT ({whose}path) DO UPDATE SET
            digest = excluded.digest, signature = excluded.signature, last_run = COALESCE(:last_run, inputs.last_run)
    """)

    @override
    async def note(self, path: str, known: Known) -> None:
        await self._write(lambda db: self._note(db, path, known, last_run=None))

    def _note(self, db: Db, path: str, known: Known, *, last_run: str | None) -> None:
        """Store what is known of *path*; without a *last_run*, the one before stays the predecessor of its next run."""
        signature = signature_json(known.signature)
        db.execute(self._NOTE, {"path": path, "digest": known.digest, "signature": signature, "last_run": last_run})

    _AGAIN = Statement("UPDATE inputs SET digest = '', signature = NULL WHERE {mine}path = :path RETURNING path")
    """The signature goes too, so that the next walk over the folder reads the file."""

    @override
    async def again(self, path: str) -> bool:
        return await self._write(lambda db: first(db, self._AGAIN, {"path": path}) is not None)

    # Admission

    _SAME_BYTES = Statement("""
        UPDATE inputs SET signature = COALESCE(:signature, signature)
        WHERE {mine}path = :path AND digest = :digest
        RETURNING path
    """)
    _LAST_RUN = Statement("SELECT last_run FROM inputs WHERE {mine}path = :path")

    @override
    async def admit(self, save: Save, *, on_new_save: OnNewSave, now: str) -> Admission:
        return await self._write(lambda db: self._admit(db, save, on_new_save, now))

    def _admit(self, db: Db, save: Save, on_new_save: OnNewSave, now: str) -> Admission:
        if save.path.startswith(_JOB_FILE_BEFORE):  # no input path: its run alone says that it is known
            return Admission(self._insert(db, save, predecessor="", now=now))
        path = {"path": save.path}
        same = {**path, "digest": save.digest, "signature": signature_json(save.signature)}
        if first(db, self._SAME_BYTES, same) is not None:
            return Admission(None)
        last = first(db, self._LAST_RUN, path)
        run = self._insert(db, save, predecessor="" if last is None else last["last_run"], now=now)
        # Where the identity was there already (the table of inputs was lost), the path is known again.
        self._note(db, save.path, Known(save.digest, save.signature), last_run=None if run is None else run.run_id)
        if run is None:
            return Admission(run)
        if on_new_save is OnNewSave.QUEUE:
            return Admission(run) if run.continues is None else self._outgrow(db, run, run.continues, now=now)
        return self._set_aside_earlier(db, run, also_started=on_new_save is OnNewSave.CANCEL, now=now)

    _NEWEST_IN = Statement("SELECT number FROM runs WHERE {mine}conversation = :conversation ORDER BY seq DESC LIMIT 1")
    _ADMIT = Statement("""
        INSERT INTO runs ({whose}run_id, path, kind, conversation, digest, predecessor, status,
                          created_at, completed_at, result, options, prompt, enclosed, number, number_before)
        VALUES ({me}:run_id, :path, :kind, :conversation, :digest, :predecessor, :status,
                :now, :completed_at, :result, :options, :prompt, :enclosed, :number, :number_before)
        ON CONFLICT ({whose}path, digest, predecessor) DO NOTHING
        RETURNING *
    """)
    _DELIVER = Statement("INSERT INTO deliveries (run_id, url, due_at) VALUES (:run_id, :url, :now)")

    def _insert(self, db: Db, save: Save, *, predecessor: str, now: str) -> Run | None:
        """Make the run of *save*, ended at once where it has a problem; None if its identity is there already."""
        newest = first(db, self._NEWEST_IN, {"conversation": save.conversation})
        bad = save.problem is not None
        result = Result(RunStatus.FAILED, Outcome.BAD_INPUT, error=save.problem) if bad else None
        values = {
            "run_id": self._free_run_id(db, save, predecessor, now),
            "path": save.path,
            "kind": save.kind,
            "conversation": save.conversation,
            "digest": save.digest,
            "predecessor": predecessor,
            "status": RunStatus.FAILED if bad else RunStatus.PENDING,
            "now": now,
            "completed_at": now if bad else None,
            "result": None if result is None else result_json(result),
            "options": to_json(save.options),
            "prompt": save.prompt,
            "enclosed": to_json(save.enclosed) if save.enclosed else None,
            "number_before": save.after,
            "number": max(save.after, 0 if newest is None else newest["number"]) + 1,
        }
        run = one_run(db, self._ADMIT, values)
        if run is not None and (webhook := save.enclosed.get("webhook")):
            db.execute(self._DELIVER, {"run_id": run.run_id, "url": webhook, "now": now})
        return run

    def _free_run_id(self, db: Db, save: Save, predecessor: str, now: str) -> str:
        """Return the id of the new run, salted until no other run has it."""
        whole = transitions.identity(save.path, save.digest, predecessor)
        ids = (transitions.run_id(now, save.kind, whole, salt=salt) for salt in itertools.count())
        return next(run_id for run_id in ids if first(db, self._GET, {"run_id": run_id}) is None)

    _OPEN_BEFORE = Statement("""
        SELECT * FROM runs INDEXED BY runs_open_in
        WHERE {mine}completed_at IS NULL AND conversation = :conversation AND seq < :seq
        ORDER BY seq
    """)

    def _set_aside_earlier(self, db: Db, run: Run, *, also_started: bool, now: str) -> Admission:
        """
        End the earlier runs of the conversation that wait; name those that run.

        A run that was reclaimed is pending, but has started: a crash in its middle does not let `replace` end it. One
        that is held waits for a person, and the person has gone on.
        """
        before = all_runs(db, self._OPEN_BEFORE, {"conversation": run.conversation, "seq": run.seq})
        replaced, running = self._replace(db, before, also_started=also_started, now=now)
        return Admission(run, replaced, running if also_started else ())

    def _outgrow(self, db: Db, run: Run, first: int, *, now: str) -> Admission:
        """Do so with the runs of the same question alone: of the same path, from the save number *first* on."""
        before = all_runs(db, self._OPEN_BEFORE, {"conversation": run.conversation, "seq": run.seq})
        mine = [each for each in before if each.path == run.path and each.number >= first]
        replaced, running = self._replace(db, mine, also_started=False, now=now)
        return Admission(run, replaced, outgrown=running)

    def _replace(
        self, db: Db, runs: Iterable[Run], *, also_started: bool, now: str
    ) -> tuple[tuple[Run, ...], tuple[str, ...]]:
        replaced = []
        running = []
        for earlier in runs:
            if earlier.status is RunStatus.RUNNING:
                running.append(earlier.run_id)
            elif also_started or earlier.status is RunStatus.HELD or earlier.started_at is None:
                replaced.append(self._end_waiting(db, earlier.run_id, Outcome.REPLACED, error=None, now=now))
        return tuple(ended for ended in replaced if ended is not None), tuple(running)

    _ASKED_BEFORE = Statement("SELECT run_id FROM runs WHERE {mine}digest = :digest LIMIT 1")
    _HIGHEST_OPEN = Statement("""
        SELECT COALESCE(MAX(number), 0) AS number FROM runs INDEXED BY runs_open_in
        WHERE {mine}completed_at IS NULL AND conversation = :conversation
    """)
    _HIGHEST_UNPUBLISHED = Statement("""
        SELECT COALESCE(MAX(number), 0) AS number FROM runs INDEXED BY runs_unpublished
        WHERE {mine}published = 0 AND completed_at >= '' AND conversation = :conversation
    """)

    @override
    async def precedent(self, save: Save) -> Precedent:
        def precedent(db: Db) -> Precedent:
            here = {"conversation": save.conversation}
            found = [first(db, statement, here) for statement in (self._HIGHEST_OPEN, self._HIGHEST_UNPUBLISHED)]
            asked_before = first(db, self._ASKED_BEFORE, {"digest": save.digest})
            return Precedent(max(row["number"] for row in found if row is not None), asked_before is not None)

        return await self._read(precedent)

    # Moves

    _CLAIM = Statement("""
        UPDATE runs SET status = 'running', attempt = attempt + 1, started_at = COALESCE(started_at, :now)
        WHERE run_id = :run_id AND status = 'pending'
        RETURNING *
    """)

    @override
    async def claim(self, run_id: str, *, now: str) -> Run | None:
        return await self._write(lambda db: one_run(db, self._CLAIM, {"run_id": run_id, "now": now}))

    _FREEZE = Statement("""
        UPDATE runs SET pinned = COALESCE(pinned, :frozen)
        WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
        RETURNING pinned
    """)

    @override
    async def freeze(self, run_id: str, attempt: int, values: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = {"run_id": run_id, "attempt": attempt, "frozen": to_json(values)}
        row = await self._within_run(lambda db: first(db, self._FREEZE, asked))
        if row is None:
            raise Fenced(f"run {run_id} is no longer attempt {attempt}'s: another has taken over, or it has ended")
        return json_value(row["pinned"])

    _HOLD = Statement("""
        UPDATE runs SET status = 'held', held_for = :reason
        WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
        RETURNING *
    """)

    @override
    async def hold(self, run_id: str, attempt: int, reason: str, *, now: str) -> Run | None:
        asked = {"run_id": run_id, "attempt": attempt, "reason": reason}
        return await self._insist(lambda db: one_run(db, self._HOLD, asked))

    _RELEASE_HELD = Statement("""
        UPDATE runs SET status = 'pending', held_for = NULL,
            pinned = CASE WHEN EXISTS (SELECT 1 FROM calls WHERE calls.run_id = runs.run_id AND calls.state = 'done')
                          THEN pinned END
        WHERE {mine}completed_at IS NULL AND status = 'held' AND conversation = COALESCE(:conversation, conversation)
        RETURNING *
    """)

    @override
    async def release_held(self, *, now: str, conversation: str | None = None) -> list[Run]:
        of = {"conversation": conversation}
        return await self._write(lambda db: _by_admission(all_runs(db, self._RELEASE_HELD, of)))

    _RECLAIM = Statement("""
        UPDATE runs SET status = 'pending'
        WHERE {mine}completed_at IS NULL AND status = 'running'
        RETURNING *
    """)

    @override
    async def reclaim(self, *, now: str) -> list[Run]:
        return await self._write(lambda db: _by_admission(all_runs(db, self._RECLAIM)))

    _FINISH = Statement("""
        UPDATE runs SET status = :status, completed_at = :now, result = :result
        WHERE run_id = :run_id AND status = 'running' AND attempt = :attempt
        RETURNING *
    """)
    _SUPERSEDE = Statement("""
        UPDATE runs SET status = 'failed', completed_at = :now, result = :result, held_for = NULL
        WHERE run_id = :run_id AND status = 'held'
        RETURNING *
    """)

    @override
    async def finish(self, run_id: str, attempt: int, result: Result, *, now: str) -> Run | None:
        if not result.status.ended:
            raise ValueError(f"a run cannot end as {result.status}")
        ended = {"status": result.status, "result": result_json(result), "now": now}

        def finish(db: Db) -> Run | None:
            run = one_run(db, self._FINISH, {"run_id": run_id, "attempt": attempt, **ended})
            if run is not None and result.status is RunStatus.COMPLETE:
                for earlier in all_runs(db, self._OPEN_BEFORE, {"conversation": run.conversation, "seq": run.seq}):
                    if earlier.status is RunStatus.HELD:
                        self._supersede(db, earlier, now=now)
            return run

        return await self._insist(finish)

    def _supersede(self, db: Db, held: Run, *, now: str) -> None:
        """End a HELD run after a later success: what it waited for becomes a note, no error of today."""
        result = Result(
            RunStatus.FAILED,
            Outcome.PROVIDER_ERROR,
            usage=usage_of(db, held.run_id),
            notes=() if held.held_for is None else (held.held_for,),
        )
        first(db, self._SUPERSEDE, {"run_id": held.run_id, "result": result_json(result), "now": now})

    _CANCEL = Statement("""
        UPDATE runs SET status = 'cancelled', completed_at = :now, result = :result, held_for = NULL
        WHERE run_id = :run_id AND status IN ('pending', 'held')
        RETURNING *
    """)

    @override
    async def cancel(self, run_id: str, reason: str, *, now: str) -> Run | None:
        return await self._write(lambda db: self._end_waiting(db, run_id, Outcome.CANCELLED, error=reason, now=now))

    def _end_waiting(self, db: Db, run_id: str, outcome: Outcome, *, error: str | None, now: str) -> Run | None:
        """End a PENDING or HELD run as CANCELLED, with what its attempts used; None if it is in no such state."""
        result = Result(RunStatus.CANCELLED, outcome, error=error, usage=usage_of(db, run_id))
        return one_run(db, self._CANCEL, {"run_id": run_id, "result": result_json(result), "now": now})

    _PUBLISHED = Statement("UPDATE runs SET published = 1 WHERE run_id = :run_id AND completed_at IS NOT NULL")

    @override
    async def published(self, run_id: str) -> None:
        await self._write(lambda db: db.execute(self._PUBLISHED, {"run_id": run_id}))

    # Questions

    _PENDING = Statement("SELECT * FROM runs WHERE {mine}completed_at IS NULL AND status = 'pending' ORDER BY seq")

    @override
    async def pending(self) -> list[Run]:
        return await self._read(lambda db: all_runs(db, self._PENDING))

    _UNPUBLISHED = Statement(
        "SELECT * FROM runs WHERE {mine}published = 0 AND completed_at IS NOT NULL ORDER BY completed_at, seq"
    )

    @override
    async def unpublished(self) -> list[Run]:
        return await self._read(lambda db: all_runs(db, self._UNPUBLISHED))

    _ENDED_AFTER = Statement("""
        SELECT * FROM runs INDEXED BY runs_of
        WHERE {mine}conversation = :conversation AND seq > :seq AND completed_at IS NOT NULL
        ORDER BY seq
    """)

    @override
    async def ended_after(self, run: Run) -> list[Run]:
        values = {"conversation": run.conversation, "seq": run.seq}
        return await self._read(lambda db: all_runs(db, self._ENDED_AFTER, values))

    _GET = Statement("SELECT * FROM runs WHERE run_id = :run_id")

    @override
    async def get(self, run_id: str) -> Run | None:
        return await self._read(lambda db: one_run(db, self._GET, {"run_id": run_id}))

    _GET_OURS = Statement("SELECT * FROM runs WHERE {mine}run_id = :run_id")
    _OF_JOB_FILE = Statement("SELECT * FROM runs WHERE seq = (SELECT MAX(seq) FROM runs WHERE {mine}path = :path)")

    @override
    async def find(self, job_id: str) -> Run | None:
        path = f"{_JOB_FILE_BEFORE}{job_id}{_JOB_FILE_AFTER}"
        return await self._read(
            lambda db: one_run(db, self._GET_OURS, {"run_id": job_id}) or one_run(db, self._OF_JOB_FILE, {"path": path})
        )

    _UNKNOWN = Statement(
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

    @override
    async def unknown(self, job_ids: Collection[str]) -> set[str]:
        asked = {"job_ids": json.dumps(list(job_ids)), "before": _JOB_FILE_BEFORE, "after": _JOB_FILE_AFTER}
        return await self._read(lambda db: {row["job_id"] for row in db.execute(self._UNKNOWN, asked)})

    _STANDING = Statement(
        """
        SELECT asked.value AS job_id, runs.run_id, runs.status
        FROM json_each(:job_ids) AS asked JOIN runs ON runs.seq = COALESCE(
            (SELECT seq FROM runs WHERE run_id = asked.value),
            (SELECT MAX(seq) FROM runs WHERE path = :before || asked.value || :after))
        """,
        postgres="""
        SELECT asked.value AS job_id, runs.run_id, runs.status
        FROM json_array_elements_text(:job_ids) AS asked (value) JOIN runs ON runs.seq = COALESCE(
            (SELECT seq FROM runs WHERE {mine}run_id = asked.value),
            (SELECT MAX(seq) FROM runs WHERE {mine}path = :before || asked.value || :after))
        """,
    )

    @override
    async def standing(self, job_ids: Collection[str]) -> dict[str, tuple[str, RunStatus]]:
        asked = {"job_ids": json.dumps(list(job_ids)), "before": _JOB_FILE_BEFORE, "after": _JOB_FILE_AFTER}
        rows = await self._read(lambda db: db.execute(self._STANDING, asked).fetchall())
        return {row["job_id"]: (row["run_id"], RunStatus(row["status"])) for row in rows}

    _OPEN_IN = Statement("""
        SELECT * FROM runs INDEXED BY runs_open_in
        WHERE {mine}completed_at IS NULL AND conversation = :conversation
        ORDER BY seq
    """)

    @override
    async def open_in(self, conversation: str) -> list[Run]:
        return await self._read(lambda db: all_runs(db, self._OPEN_IN, {"conversation": conversation}))

    _OPEN = Statement("SELECT * FROM runs INDEXED BY runs_open_in WHERE {mine}completed_at IS NULL")

    async def open_runs(self) -> list[Run]:
        """Return all runs that have not ended, in order of admission."""
        return _by_admission(await self._read(lambda db: all_runs(db, self._OPEN)))

    _COUNT = Statement("SELECT status, runs FROM tally{ours}")

    @override
    async def count(self) -> dict[RunStatus, int]:
        rows = await self._read(lambda db: db.execute(self._COUNT).fetchall())
        return dict.fromkeys(RunStatus, 0) | {RunStatus(row["status"]): row["runs"] for row in rows}

    _RECENT = Statement("SELECT * FROM runs{ours} ORDER BY seq DESC LIMIT :limit")
    _RECENT_IN = Statement("SELECT * FROM runs WHERE {mine}conversation = :conversation ORDER BY seq DESC LIMIT :limit")

    async def recent(self, limit: int, conversation: str | None = None) -> list[Run]:
        """Return the *limit* runs that were admitted last, newest first; of one *conversation* where it is given."""
        statement = self._RECENT if conversation is None else self._RECENT_IN
        return await self._read(lambda db: all_runs(db, statement, {"limit": limit, "conversation": conversation}))


def _by_admission(runs: list[Run]) -> list[Run]:
    """Return *runs* in order of admission: an UPDATE returns its rows in any."""
    return sorted(runs, key=lambda run: run.seq)
