"""On which line a setting stands."""

from __future__ import annotations

import pytest

from rlmwatch.settings.lines import in_line, line_of

TEXT = """\
# workers = 9
workers = 2

[chat]   # tokens = 1
tokens = 77
system = '''
model = "no"
'''
[providers."my.own"]
base_url = "x"
[prices.'a/b']
input = 1
ceilings.max_cost_usd_per_day = 3
"""


@pytest.mark.parametrize(
    ("dotted", "line"),
    [
        ("workers", 2),
        ("chat.tokens", 5),
        ("chat.model", 7),
        ("chat.steps", 4),
        ("chat", 4),
        ("providers.my.own.base_url", 10),
        ("prices.a/b.input", 12),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_line_of_a_setting_is_found(dotted: str, line: int | None):
    """A setting is found in its table, quoted or not; where it is not there, its table is; else nothing."""
    assert line_of(TEXT, dotted) == line


def test_nothing_is_said_of_what_is_not_there():
    """A message about a setting that is in no file names no line."""
    assert in_line("", "workers") == ""
    assert in_line("a = 1\nworkers = 2\n", "workers") == " (line 2)"
