"""One text, two dialects."""

import re

import pytest
from unit.ledger.verbs import ALL

from rlmwatch.ledger.statement import Statement

LISTED = re.compile(r"(?:FROM|UPDATE|INTO|JOIN) (runs|inputs|tally)\b")


def test_marks_become_nothing_or_a_condition():
    """In a ledger of one workspace the marks vanish; in a shared one they ask for the workspace's own rows."""
    made = Statement("INSERT INTO t ({whose}a) VALUES ({me}:a); SELECT * FROM t INDEXED BY i WHERE {mine}a = :a")
    assert made == "INSERT INTO t (a) VALUES (:a); SELECT * FROM t INDEXED BY i WHERE a = :a"
    assert made.shared == (
        "INSERT INTO t (workspace, a) VALUES (%(workspace)s, %(a)s); "
        "SELECT * FROM t WHERE workspace = %(workspace)s AND a = %(a)s"
    )
    assert Statement("SELECT 1 FROM t{ours}").shared == "SELECT 1 FROM t WHERE workspace = %(workspace)s"
    assert Statement("a", postgres="b{ours}").shared == "b WHERE workspace = %(workspace)s"


@pytest.mark.parametrize("name", ALL)
def test_no_statement_reaches_another_workspaces_rows(name):
    """In a shared ledger each statement asks for its workspace, or for one run by its id, which no other run has."""
    shared = ALL[name].shared
    if LISTED.search(shared):
        assert "workspace" in shared or "run_id = %(run_id)s" in shared
    assert "{" not in shared
    assert not re.search(r"(?<!:):\w", shared), "a parameter that Postgres does not understand"
