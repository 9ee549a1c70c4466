"""How often a folder is walked."""

from __future__ import annotations

import pytest

from rlmwatch.watch.walk import Walk


@pytest.mark.parametrize(
    ("seconds", "at_least", "polling", "pause_s"),
    [
        (0.001, 60.0, False, 60.0),
        (0.03, 60.0, False, 60.0),
        (0.3, 60.0, False, 600.0),
        (0.03, 5.0, True, 5.0),
        (2.0, 5.0, True, 40.0),
    ],
)
def test_a_long_walk_is_made_less_often(seconds: float, at_least: float, polling: bool, pause_s: float):
    """A large folder is walked so seldom that walking costs 0.05 % of a core, or 5 % where there are no events."""
    assert Walk(seconds=seconds).pause_s(at_least, polling=polling) == pytest.approx(pause_s)
