"""All 102 golden saves as real operations on a real folder under the real daemon (file contract, 2)."""

from __future__ import annotations

from pathlib import Path

from saves.replay import load_all
from servers.openai_server import OpenAIServer
from system.household import Home
from system.recorded import digest_of, play_all

TRACES = load_all(Path(__file__).parent.parent / "saves" / "traces")


def test_what_real_savers_do_starts_the_right_runs(home: Home, provider: OpenAIServer):
    """Each of 102 recorded saves, all at once, starts the runs that a person expects, of whole contents, and no other."""
    played = play_all(home, TRACES)
    assert len(played) == 102
    wrong = []
    for each in played:
        linked = each.trace["family"] == "symlink"  # refused: what it shows may lie outside the workspace
        least, most = (0, 0) if linked else each.trace["accept_runs"]
        whole = {(path, digest_of(text)) for path, text in each.replayer.admissible()}
        if not least <= len(each.runs) <= most:
            wrong.append((each.name, "runs", len(each.runs), least, most))
        if not {(run.path, run.digest) for run in each.runs} <= whole:
            wrong.append((each.name, "half a file", each.runs, whole))
        if any(run.status != "complete" for run in each.runs):
            wrong.append((each.name, "not answered", each.runs))
        last = {run.path: run.digest for run in each.runs}
        for path, text in each.replayer.expected():
            if path in last and last[path] != digest_of(text):
                wrong.append((each.name, "the last save did not run last", each.runs))
            if path not in last and least > 0 and not linked:
                wrong.append((each.name, "the last save did not run", path))
    assert wrong == []
    asked = [run for each in played for run in each.runs]
    before = sum("content" in was for each in played for path, was in each.trace["before"].items())
    assert provider.count <= len(asked) + before + 2
