"""The verbs are even: ids, numbers and times mean the same in each, and what cannot be meant is said in words."""

import json

import pytest
from cyclopts import CycloptsError

from rlmwatch.cli.ids import whole_id
from rlmwatch.cli.main import build
from rlmwatch.cli.runs import runs
from rlmwatch.cli.status import status
from rlmwatch.errors import UsageError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "jobs").mkdir()
    for name, at in (("20261124T090000Z-chat-aa", "09:00:00"), ("20261124T100000Z-chat-bb", "10:00:00")):
        values = {"kind": "chat", "status": "complete", "input_digest": "x", "created_at": f"2026-11-24T{at}Z"}
        (tmp_path / f"jobs/{name}.json").write_text(json.dumps(values), encoding="utf-8")
    return tmp_path


def test_the_beginning_of_an_id_is_enough_where_only_one_run_has_it(root):
    """Several, or nothing, is an error that names them; an unknown one is for the verb to say."""
    assert whole_id(root, "20261124T09") == "20261124T090000Z-chat-aa"
    assert whole_id(root, "unknown") == "unknown"
    with pytest.raises(UsageError, match=r"2 runs have an id .*-aa, .*-bb"):
        whole_id(root, "2026")
    for nothing in ("", " "):
        with pytest.raises(UsageError, match="which run"):
            whole_id(root, nothing)
    with pytest.raises(UsageError, match="which run"):
        status("", workspace=root)


@pytest.mark.parametrize("text", ["../a", "\udcc3\udca9", "é", ".", "x" * 200, "a\nb"])
def test_what_cannot_be_an_id_is_no_run(root, text):
    """Whatever a terminal passes on, in whatever encoding, is refused in words before the ledger is asked."""
    with pytest.raises(UsageError, match="no such run"):
        whole_id(root, text)


@pytest.mark.parametrize(("options", "says"), [({"limit": -1}, "--limit -1"), ({"since": "nonsense"}, "2026-11-24T09")])
def test_a_limit_or_a_time_that_is_none_is_said(root, options, says):
    """No traceback, and no silent nothing."""
    with pytest.raises(UsageError, match=says):
        runs(root, **options)


@pytest.mark.parametrize("number", ["1.5", "1e3", "many", ""])
@pytest.mark.parametrize(
    "words",
    [
        ("runs", "--limit"),
        ("run", "--workers"),
        ("worker", "--workers"),
        ("submit", "task", "--tokens"),
        ("submit", "task", "--max-steps"),
        ("submit", "task", "--max-tokens"),
    ],
)
def test_what_is_no_whole_number_is_refused(words, number, capsys):
    """A count that is given as a fraction is not cut to a whole number in silence."""
    with pytest.raises(CycloptsError):
        build()([*words, number], exit_on_error=False)
    assert "whole number" in capsys.readouterr().err


def test_a_limit_beyond_all_numbers_is_all(root, capsys):
    """A number that no list is as long as is no error."""
    runs(root, limit=10**30, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("since", ["2026-11-24T09:30", "2026-11-24T09:30Z", "2026-11-24T11:30+02:00"])
def test_since_is_a_time_of_utc_or_of_the_zone_that_it_names(root, since, capsys):
    """The same moment, however it is written."""
    runs(root, since=since, as_json=True)
    assert [each["job_id"] for each in json.loads(capsys.readouterr().out)] == ["20261124T100000Z-chat-bb"]
