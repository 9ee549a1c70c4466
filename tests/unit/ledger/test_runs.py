"""What `admit` does where two names meet, and where its memory of the inputs is gone."""

import sqlite3
from collections.abc import Iterator

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger import runs
from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import Admission, Known, OnNewSave
from rlmwatch.runs.transitions import identity, run_id

NOW = "2026-11-24T10:00:00.000Z"
SAVE = Save("a_input.txt", Kind.CHAT, "a", "q", {}, "sha256:q")


@pytest.fixture
def db(tmp_path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "ledger.db", create=True)
    yield connection
    connection.close()


def admit(db: sqlite3.Connection, save: Save = SAVE) -> Admission:
    return runs.admit(db, save, on_new_save=OnNewSave.QUEUE, now=NOW)


def test_a_run_whose_name_is_taken_gets_another(db):
    """Two runs of one second whose names are the same both happen, under two names."""
    whole = identity(SAVE.path, SAVE.digest, "")
    taken = [run_id(NOW, Kind.CHAT, whole, salt=salt) for salt in range(2)]
    for name in taken:
        other = admit(db, Save(f"{name}_input.txt", Kind.CHAT, "b", "q", {}, "sha256:q")).run
        db.execute("UPDATE runs SET run_id = ? WHERE run_id = ?", (name, other.run_id))
    run = admit(db).run
    assert run.run_id == run_id(NOW, Kind.CHAT, whole, salt=2)
    assert runs.get(db, run.run_id) == run


def test_a_lost_memory_of_the_inputs_repeats_nothing(db):
    """Where the digests of the inputs are gone, the identity of the run still keeps a save from a second run."""
    assert admit(db).run is not None
    db.execute("DELETE FROM inputs")
    assert admit(db).run is None
    assert runs.known(db) == {"a_input.txt": Known("sha256:q", None)}
    assert len(runs.recent(db, 9, None)) == 1
