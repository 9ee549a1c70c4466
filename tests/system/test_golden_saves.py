"""All 102 golden saves as real operations on a real folder under the real daemon (file contract, 2)."""

from __future__ import annotations

from pathlib import Path

from saves.replay import load_all
from servers.openai_server import OpenAIServer
from system.harness import Home
from system.recorded import faults, play_all

TRACES = load_all(Path(__file__).parent.parent / "saves" / "traces")


def test_what_real_savers_do_starts_the_right_runs(home: Home, provider: OpenAIServer):
    """Each of 102 recorded saves, all at once, starts the runs that a person expects, of whole contents, no other."""
    played = play_all(home, TRACES)
    assert [fault for each in played for fault in faults(each)] == []
    assert len(played) == 102
    before = sum("content" in was for trace in TRACES for was in trace["before"].values())
    runs = sum(len(each.runs) for each in played)
    assert len(home.statuses()) <= before + runs + 3  # nothing else ran but the three that `play_all` saves itself
    assert provider.count <= before + runs + 2
