"""All 102 golden saves against the file contract and the settle rule, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from saves.replay import Trace, load_all
from saves.virtual import Run, Virtual

TRACES = load_all(Path(__file__).parent / "traces")
WITHOUT_EVENTS = ("symlink", "remote-silent")
LOCAL = [trace for trace in TRACES if trace["family"] not in WITHOUT_EVENTS]


def assert_right(trace: Trace, runs: list[Run]) -> None:
    least, most = trace["accept_runs"]
    admissible = {(path, content) for _, path, content in trace["saves"]}
    assert all(run.whole for run in runs), "half a file"
    assert {(run.path, run.content) for run in runs} <= admissible
    assert least <= len(runs) <= most
    last = {run.path: run.content for run in runs}
    for path, content in trace["last_content"]:
        assert last.get(path, trace["before"].get(path, {}).get("content")) == content or not content


def test_every_golden_save_is_here():
    """None of the 102 recorded saves is left out."""
    assert len(TRACES) == 102
    assert len(LOCAL) == 100


@pytest.mark.parametrize("trace", LOCAL, ids=lambda trace: trace["name"])
def test_a_recorded_save_makes_the_right_runs(trace: Trace):
    """What a real saver does starts as many runs as a person expects, of whole contents, the last one included."""
    assert_right(trace, Virtual(trace).play())


@pytest.mark.parametrize("trace", LOCAL, ids=lambda trace: trace["name"])
def test_without_leases_no_half_file_runs(trace: Trace):
    """Where nobody can say who has a file open, the right runs start all the same, later."""
    assert_right(trace, Virtual(trace, leases=False).play())


@pytest.mark.parametrize(
    "trace", [trace for trace in TRACES if trace["family"] == "remote-silent"], ids=lambda trace: trace["name"]
)
def test_a_save_without_any_event_is_found_by_walking(trace: Trace):
    """A file that changed on a server, with no event here, is answered once."""
    assert_right(trace, Virtual(trace, leases=False, rescan_s=5.0).play())


@pytest.mark.parametrize(
    "trace", [trace for trace in TRACES if trace["family"] == "symlink"], ids=lambda trace: trace["name"]
)
def test_a_link_with_an_inputs_name_is_refused(trace: Trace):
    """A link that has an input's name starts nothing: what it shows may lie outside the workspace."""
    virtual = Virtual(trace, rescan_s=5.0)
    assert virtual.play() == []
    assert virtual.refused == [trace["target"]]
