"""runs/costs.py and runs/ceilings.py: sums by what people ask for, and when a ceiling is near."""

from __future__ import annotations

import pytest

from rlmwatch.runs.ceilings import uses
from rlmwatch.runs.costs import CallCost, CostsBy, summed, total
from rlmwatch.runs.journal import Ceilings

CALLS = [
    CallCost("2026-11-28", "chat", "large", "garden/beans", "r1", 0.02, 1, 0, 800, 100),
    CallCost("2026-11-28", "job", "small", "plan", "r2", 0.001, 1, 0, 50, 10, workspace="/a"),
    CallCost("2026-11-28", "job", "exa", "plan", "r2", 0.007, 0, 1, workspace="/a"),
    CallCost("2026-11-22", "chat", "small", "garden/beans", "r3", 0.003, 1, 0, 60, 20),
    CallCost("2025-12-31", "chat", "small", "old", "r4", 0.5, 1, 0, 60, 20),
]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (CostsBy.DAY, ["2026-11-28", "2026-11-22", "2025-12-31"]),
        (CostsBy.WEEK, ["2026-W48", "2026-W47", "2026-W01"]),
        (CostsBy.MONTH, ["2026-11", "2025-12"]),
        (CostsBy.KIND, ["chat", "job"]),
        (CostsBy.MODEL, ["small", "large", "exa"]),
        (CostsBy.CONVERSATION, ["old", "garden/beans", "plan"]),
        (CostsBy.WORKSPACE, ["", "/a"]),
    ],
)
def test_sums_are_by_what_was_asked_for(by, groups):
    """Periods come newest first, everything else dearest first, and nothing is lost or counted twice."""
    found = summed(CALLS, by)
    assert [each.group for each in found] == groups
    assert round(sum(each.usd for each in found), 9) == total(CALLS).usd == 0.531


def test_a_sum_says_what_it_is_of():
    """Runs count once, however many calls they made; searches and calls of models apart."""
    job = summed(CALLS, CostsBy.KIND)[1]
    assert (job.runs, job.llm_calls, job.searches, job.input_tokens, job.output_tokens) == (1, 1, 1, 50, 10)


@pytest.mark.parametrize(
    ("spent", "near", "reached"), [(0.79, False, False), (0.8, True, False), (1.0, True, True), (1.2, True, True)]
)
def test_a_ceiling_is_near_from_four_fifths_on(spent, near, reached):
    """The person is told at 80 %, and again when nothing is left."""
    (day,) = uses(Ceilings(per_day_usd=1.0), (spent, 9.0))
    assert (day.near, day.reached) == (near, reached)
    assert day.left_usd == max(0.0, round(1 - spent, 9))


def test_only_ceilings_that_there_are_are_told():
    """Without one there is nothing to be near of; the day's comes first."""
    assert uses(Ceilings(None, None), (5.0, 5.0)) == ()
    both = uses(Ceilings(1.0, 10.0), (0.1, 9.0))
    assert [(each.period, each.near) for each in both] == [("day", False), ("month", True)]
