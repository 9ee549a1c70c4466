"""The ledger's statements, held against the table of legal moves and against SQLite's plans."""

import re
from pathlib import Path

import pytest
from fakes.moves import MOVES, Event
from unit.ledger.verbs import ALL

from rlmwatch.ledger.sqlite.connection import connect
from rlmwatch.runs.model import CallState, RunStatus

EVENTS = {
    "CLAIM": [Event.CLAIM],
    "HOLD": [Event.HOLD],
    "RELEASE_HELD": [Event.RELEASE],
    "RECLAIM": [Event.RECLAIM],
    "FINISH": [Event.FINISH_COMPLETE, Event.FINISH_FAILED, Event.FINISH_CANCELLED],
    "CANCEL": [Event.CANCEL],
    "SUPERSEDE": [Event.SUPERSEDE],
}
"""Which events each statement carries out. `refuse` is part of the insert: a refused run is never seen pending."""


def moves(sql: str, column: str) -> tuple[set[str], str]:
    """Return the states that *sql* names as left, and the one that it sets."""
    head, where = sql.split("WHERE", 1)
    left = re.search(rf"{column} (?:= '(\w+)'|IN \(([^)]*)\))(?!.*{column} )", where, re.DOTALL)
    entered = re.search(rf"SET {column} = (\S+?)[,\s]", head)
    assert left is not None
    assert entered is not None
    return set(re.findall(r"\w+", left[1] or left[2])), entered[1].strip("'")


def test_every_statement_that_moves_a_run_is_named_here():
    """No statement sets a run's status without being held against the table of legal moves."""
    assert {name for name, sql in ALL.items() if "UPDATE runs SET status" in sql} == set(EVENTS)
    assert {event for events in EVENTS.values() for event in events} == set(Event) - {Event.REFUSE}


@pytest.mark.parametrize("name", EVENTS)
def test_runs_leave_and_enter_the_states_of_the_table(name):
    """Each statement leaves exactly the states that the table allows, and enters the one that it names."""
    left, entered = moves(ALL[name], "status")
    table = [MOVES[event] for event in EVENTS[name]]
    assert all(left == set(move) for move in table)
    if entered != ":status":
        assert {entered} == {to for move in table for to in move.values()}


@pytest.mark.parametrize("name", [name for name, sql in ALL.items() if "UPDATE calls SET state" in sql])
def test_calls_move_only_from_what_is_open(name):
    """A call ends only from INTENT; only a late reply may still come to one that was given up."""
    left, entered = moves(ALL[name].replace("state IN ('intent', 'done') AND ", "").split("AND NOT EXISTS")[0], "state")
    assert left == {CallState.LOST if name == "RECORD_LATE" else CallState.INTENT}
    assert CallState(entered) is not CallState.INTENT


@pytest.mark.parametrize("name", ALL)
def test_no_statement_reads_a_whole_table(tmp_path: Path, name):
    """With 100,000 finished runs every statement costs the same: it searches an index, or reads a few rows."""
    small = {
        "KNOWN": "SCAN inputs",  # is asked for every input
        "OPEN": "SCAN runs USING INDEX runs_open_in",  # those that have not ended, alone
        "COUNT": "SCAN tally",  # one row per status
        "LOOKED_AT_COUNT": "SCAN tally",
        "RECENT": "SCAN runs",  # backwards, to its limit
        "LOOKED_AT_NEWEST": "SCAN runs",  # likewise
        "STANDING": "SCAN asked VIRTUAL TABLE INDEX 1:",  # likewise
        "UNKNOWN": "SCAN json_each VIRTUAL TABLE INDEX 1:",  # the ids that it is asked about
    }
    db = connect(tmp_path / "ledger.db", create=True)
    values = dict.fromkeys(re.findall(r":(\w+)", ALL[name]))
    plan = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {ALL[name]}", values)]
    db.close()
    assert [step for step in plan if step.startswith("SCAN")] == ([small[name]] if name in small else [])
    assert not any("TEMP B-TREE" in step for step in plan)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("PENDING", "runs_open "),
        ("RECLAIM", "runs_open "),
        ("RELEASE_HELD", "runs_open "),
        ("OPEN_BEFORE", "runs_open_in "),
        ("OPEN_IN", "runs_open_in "),
        ("UNPUBLISHED", "runs_unpublished "),
        ("DELIVERIES", "deliveries_open "),
    ],
)
def test_what_is_unfinished_is_found_without_what_is_finished(tmp_path: Path, name, index):
    """What waits, works or is to be published is found through an index that holds nothing else."""
    db = connect(tmp_path / "ledger.db", create=True)
    values = dict.fromkeys(re.findall(r":(\w+)", ALL[name]))
    plan = " ".join(row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {ALL[name]}", values))
    db.close()
    assert f"USING INDEX {index}" in plan


def test_every_state_in_a_statement_is_one_of_ours():
    """No statement names a state that the model does not have."""
    known = {*RunStatus, *CallState, "~"}
    named = {word for sql in ALL.values() for word in re.findall(r"'([^']*)'", sql)} - {""}
    assert named <= known
