"""page/chart.py: spending by day."""

from __future__ import annotations

import re

import pytest

from rlmwatch.page.chart import spending
from rlmwatch.page.markup import render


@pytest.mark.parametrize(
    ("ceiling", "at"),
    [
        (2.0, 0.5),  # above the highest day, which is half of it: the chart's top
        (1.0, 4.76),  # reached by that day, whose bar ends there
        (0.5, 52.38),  # passed by it
        (10.0, None),  # far above: a line at the top would be taken for it
        (None, None),
    ],
)
def test_the_ceiling_is_a_line_where_it_can_be_seen(ceiling: float | None, at: float | None):
    """A ceiling is drawn and named at its height, also below the highest day; one far above is neither."""
    drawn = render(
        spending({"2026-11-28": 1.0}, today="2026-11-28T09:00:00Z", count=7, ceiling_usd=ceiling), lambda text: text
    )
    line = re.search(r'<line[^>]* y1="([\d.]+)"[^>]* class="ceiling"', drawn)
    assert (None if line is None else float(line[1])) == (at if at is None else pytest.approx(at, abs=0.01))
    assert ("ceiling $" in drawn) == (at is not None)
