"""
The queue's verbs, as functions of a connection inside a transaction.

What a caller may rely on stands in the port, `runs/queue.py`; which moves are
legal stands in `tests/fakes`; here stands how they are kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from typing import Any

from rlmwatch.contract.names import JOBS
from rlmwatch.errors import Fenced
from rlmwatch.ledger import calls, deliveries, statements
from rlmwatch.ledger.calls import first
from rlmwatch.ledger.rows import json_value, known_of, result_json, run_of, signature_json, to_json
from rlmwatch.ledger.statement import Db
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import Admission, Known, OnNewSave
from rlmwatch.runs.transitions import identity
from rlmwatch.runs.transitions import run_id as name_of

_JOB_FILE_BEFORE = f"{JOBS}/"
_JOB_FILE_AFTER = ".json"


def known(db: Db) -> dict[str, Known]:
    """See `Queue.known`."""
    return {row["path"]: known_of(row) for row in db.execute(statements.KNOWN)}


def note(db: Db, path: str, seen: Known) -> None:
    """See `Queue.note`. The path's last run stays the predecessor of its next."""
    _note(db, path, seen, last_run=None)


def find(db: Db, job_id: str) -> Run | None:
    """See `Queue.find`."""
    path = f"{_JOB_FILE_BEFORE}{job_id}{_JOB_FILE_AFTER}"
    return _moved(db, statements.GET_OURS, {"run_id": job_id}) or _moved(db, statements.OF_JOB_FILE, {"path": path})


def unknown(db: Db, job_ids: Collection[str]) -> set[str]:
    """See `Queue.unknown`."""
    values = {"job_ids": json.dumps(list(job_ids)), "before": _JOB_FILE_BEFORE, "after": _JOB_FILE_AFTER}
    return {row["job_id"] for row in db.execute(statements.UNKNOWN, values)}


def open_in(db: Db, conversation: str) -> list[Run]:
    """See `Queue.open_in`."""
    return _runs(db, statements.OPEN_IN, {"conversation": conversation})


def again(db: Db, path: str) -> bool:
    """See `Queue.again`. The signature goes too, so that the next look at the folder reads the file."""
    return first(db, statements.AGAIN, {"path": path}) is not None


def admit(db: Db, save: Save, *, on_new_save: OnNewSave, now: str) -> Admission:
    """
    See `Queue.admit`.

    1. The digest that the path had last: its signature is refreshed, nothing else happens.
    2. An identity that there was before (the table of inputs was lost): it is known again, nothing else happens.
    3. Otherwise the run is made, and what *on_new_save* says happens to the earlier ones of its conversation.

    A job file is no input path: its run alone says that it is known.
    """
    if save.path.startswith(_JOB_FILE_BEFORE):
        return Admission(_insert(db, save, predecessor="", now=now))
    path = {"path": save.path}
    same = {**path, "digest": save.digest, "signature": signature_json(save.signature)}
    if first(db, statements.SAME_BYTES, same) is not None:
        return Admission(None)
    last = first(db, statements.LAST_RUN, path)
    run = _insert(db, save, predecessor="" if last is None else last["last_run"], now=now)
    _note(db, save.path, Known(save.digest, save.signature), last_run=None if run is None else run.run_id)
    if run is None or on_new_save is OnNewSave.QUEUE:
        return Admission(run)
    return _set_aside_earlier(db, run, also_started=on_new_save is OnNewSave.CANCEL, now=now)


def pending(db: Db) -> list[Run]:
    """See `Queue.pending`."""
    return _runs(db, statements.PENDING)


def claim(db: Db, run_id: str, *, now: str) -> Run | None:
    """See `Queue.claim`."""
    return _moved(db, statements.CLAIM, {"run_id": run_id, "now": now})


def pin(db: Db, run_id: str, attempt: int, pinned: Mapping[str, Any]) -> Mapping[str, Any]:
    """See `Queue.pin`."""
    row = first(db, statements.PIN, {"run_id": run_id, "attempt": attempt, "pinned": to_json(pinned)})
    if row is None:
        raise Fenced(f"run {run_id} is no longer attempt {attempt}'s: another has taken over, or it has ended")
    return json_value(row["pinned"])


def hold(db: Db, run_id: str, attempt: int, reason: str) -> Run | None:
    """See `Queue.hold`."""
    return _moved(db, statements.HOLD, {"run_id": run_id, "attempt": attempt, "reason": reason})


def release_held(db: Db) -> list[Run]:
    """See `Queue.release_held`; in order of admission."""
    return sorted(_runs(db, statements.RELEASE_HELD), key=lambda run: run.seq)


def adopt(db: Db) -> list[Run]:
    """See `Queue.adopt`; in order of admission."""
    return sorted(_runs(db, statements.ADOPT), key=lambda run: run.seq)


def finish(db: Db, run_id: str, attempt: int, result: Result, *, now: str) -> Run | None:
    """See `Queue.finish`."""
    if not result.status.ended:
        raise ValueError(f"a run cannot end as {result.status}")
    values = {
        "run_id": run_id,
        "attempt": attempt,
        "status": result.status,
        "result": result_json(result),
        "now": now,
    }
    run = _moved(db, statements.FINISH, values)
    if run is not None and result.status is RunStatus.COMPLETE:
        for held in _open_before(db, run):
            if held.status is RunStatus.HELD:
                _supersede(db, held, now=now)
    return run


def cancel(db: Db, run_id: str, reason: str, *, now: str) -> Run | None:
    """See `Queue.cancel`. The result tells what earlier attempts used."""
    return _end_waiting(db, run_id, Outcome.CANCELLED, error=reason, now=now)


def unpublished(db: Db) -> list[Run]:
    """See `Queue.unpublished`."""
    return _runs(db, statements.UNPUBLISHED)


def published(db: Db, run_id: str) -> None:
    """See `Queue.published`."""
    db.execute(statements.PUBLISHED, {"run_id": run_id})


def get(db: Db, run_id: str) -> Run | None:
    """See `Queue.get`."""
    return _moved(db, statements.GET, {"run_id": run_id})


def count(db: Db) -> dict[RunStatus, int]:
    """See `Queue.count`; every status is named."""
    return dict.fromkeys(RunStatus, 0) | {RunStatus(row["status"]): row["runs"] for row in db.execute(statements.COUNT)}


def recent(db: Db, limit: int, conversation: str | None) -> list[Run]:
    """See `Verbs.recent`."""
    statement = statements.RECENT if conversation is None else statements.RECENT_IN
    return _runs(db, statement, {"limit": limit, "conversation": conversation})


def _insert(db: Db, save: Save, *, predecessor: str, now: str) -> Run | None:
    """
    Make the run of *save*, ended at once where it has a problem; None if its identity is there already.

    Times rise within a conversation, also where the wall clock was set back: the workspace tells by them which answer
    is the newer one.
    """
    newest = first(db, statements.NEWEST_IN, {"conversation": save.conversation})
    now = now if newest is None else max(now, newest["created_at"])
    bad = save.problem is not None
    result = Result(RunStatus.FAILED, Outcome.BAD_INPUT, error=save.problem) if bad else None
    values = {
        "run_id": _free_run_id(db, save, predecessor, now),
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
    }
    run = _moved(db, statements.ADMIT, values)
    if run is not None and (webhook := save.enclosed.get("webhook")):
        deliveries.deliver(db, run.run_id, webhook, now=now)
    return run


def _free_run_id(db: Db, save: Save, predecessor: str, now: str) -> str:
    """Return the id of the new run, salted until no other run has it."""
    whole = identity(save.path, save.digest, predecessor)
    names = (name_of(now, save.kind, whole, salt=salt) for salt in itertools.count())
    return next(name for name in names if first(db, statements.GET, {"run_id": name}) is None)


def _set_aside_earlier(db: Db, run: Run, *, also_started: bool, now: str) -> Admission:
    """
    End the earlier runs of the conversation that wait; name those that run.

    A run that was adopted is pending, but has started: a crash in its middle does not let `replace` end it. One
    that is held waits for a person, and the person has gone on.
    """
    replaced = []
    to_cancel = []
    for earlier in _open_before(db, run):
        if earlier.status is RunStatus.RUNNING:
            to_cancel.append(earlier.run_id)
        elif also_started or earlier.status is RunStatus.HELD or earlier.started_at is None:
            replaced.append(_end_waiting(db, earlier.run_id, Outcome.REPLACED, error=None, now=now))
    return Admission(
        run, tuple(ended for ended in replaced if ended is not None), tuple(to_cancel) if also_started else ()
    )


def _end_waiting(db: Db, run_id: str, outcome: Outcome, *, error: str | None, now: str) -> Run | None:
    """End a PENDING or HELD run as CANCELLED; None if it is in no such state."""
    result = Result(RunStatus.CANCELLED, outcome, error=error, usage=calls.usage(db, run_id))
    return _moved(db, statements.CANCEL, {"run_id": run_id, "result": result_json(result), "now": now})


def _supersede(db: Db, held: Run, *, now: str) -> None:
    """End a HELD run after a later success: what it waited for becomes a note, no error of today."""
    result = Result(
        RunStatus.FAILED,
        Outcome.PROVIDER_ERROR,
        usage=calls.usage(db, held.run_id),
        notes=() if held.held_for is None else (held.held_for,),
    )
    first(db, statements.SUPERSEDE, {"run_id": held.run_id, "result": result_json(result), "now": now})


def _open_before(db: Db, run: Run) -> list[Run]:
    """Return the unfinished runs of the conversation that were admitted before *run*, oldest first."""
    return _runs(db, statements.OPEN_BEFORE, {"conversation": run.conversation, "seq": run.seq})


def _note(db: Db, path: str, seen: Known, *, last_run: str | None) -> None:
    values = {
        "path": path,
        "digest": seen.digest,
        "signature": signature_json(seen.signature),
        "last_run": last_run,
    }
    db.execute(statements.NOTE, values)


def _moved(db: Db, statement: str, values: Mapping[str, Any]) -> Run | None:
    """Return the run that *statement* moved; None if it moved none."""
    row = first(db, statement, values)
    return None if row is None else run_of(row)


def _runs(db: Db, statement: str, values: Mapping[str, Any] | None = None) -> list[Run]:
    return [run_of(row) for row in db.execute(statement, values or {}).fetchall()]
