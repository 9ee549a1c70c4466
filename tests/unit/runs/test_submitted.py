"""runs/submitted.py: the numbered rules at `to_submission`."""

import json

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import Submission
from rlmwatch.contract.text import digest
from rlmwatch.runs.model import Save
from rlmwatch.runs.submitted import Incomplete, NotASubmission, to_submission

NAME = Submission("jobs/a-job.json", "a-job")


def read(raw, *, name=NAME, size=None, max_bytes=1_000):
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return to_submission(name, raw, size=len(raw) if size is None else size, max_bytes=max_bytes)


def test_1_a_job_file_that_is_too_large_says_what_to_do():
    """A job file above the limit has failed, and says where long material belongs."""
    for found in (read({"status": "pending", "task": "x" * 2_000}), read(b"{", size=5_000)):
        assert isinstance(found, Save)
        assert "larger than 0.001 MB" in found.problem
        assert "data_path" in found.problem


@pytest.mark.parametrize(
    ("raw", "says"), [(b"[" * 100_000, "more than 100 deep"), (b"[" + b"{}," * 200_000, "more than 500,000 items")]
)
def test_1_a_job_file_that_is_all_structure_says_what_to_do(raw, says):
    """A job file whose values would take much more than its length is not parsed, and says where material belongs."""
    found = read(raw, max_bytes=1_000_000)
    assert isinstance(found, Save)
    assert says in found.problem
    assert "data_path" in found.problem


@pytest.mark.parametrize("cut", range(1, 42))
def test_2_half_a_submission_is_never_taken_for_a_whole_one(cut):
    """Whatever part of a job file is there, it is seen that the rest is missing."""
    whole = '{"status": "pending", "task": "Grüße 😀"}'.encode()
    assert isinstance(read(whole), Save)
    assert isinstance(read(whole[: cut % len(whole)]), Incomplete)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"\0\0\0", "empty"),
        (b'{"task": "x" "data": "y"}', "line 1, column 14"),
        (b"[1, 2]", "must begin with {"),
        (b'"pending"', "must begin with {"),
        ('{"task": "Grüße'.encode("latin-1"), "not UTF-8"),
        (b'{"task": NaN}', "NaN is not JSON"),
    ],
)
def test_2_what_never_becomes_json_says_why(raw, says):
    """If nobody goes on writing, the person is told what is wrong, and where."""
    found = read(raw, max_bytes=1_000_000)
    assert isinstance(found, Incomplete)
    assert says in found.save.problem
    assert found.save.digest == digest(raw)


def test_3_the_status_of_a_run_asks_for_nothing():
    """What a daemon wrote is no submission, whatever its status."""
    for status in ("pending", "running", "complete"):
        found = read({"job_id": "a-job", "kind": "job", "status": status, "input_digest": "sha256:x", "answer": "y"})
        assert found == NotASubmission("the status of a run")


def test_4_a_copy_of_another_jobs_file_is_passed_over():
    """A second version that a sync tool keeps under a longer name is not answered again."""
    found = read(
        {"status": "pending", "task": "x", "job_id": "a-job"}, name=Submission("jobs/a-job-PC.json", "a-job-PC")
    )
    assert found == NotASubmission("a copy of the file of job a-job", copy=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"status": "pending", "task": "x", "tokenz": 5}, "`tokenz`: no such key"),
        ({"status": "pending", "task": "x", "tokens": "5"}, "`tokens`: "),
        ({"status": "pending", "task": "x", "max_cost_usd": -1}, "`max_cost_usd`: "),
        ({"status": "pending", "task": "  "}, "`task`: is empty"),
        ({"status": "pending"}, "`task`: is missing"),
        ({"task": "x"}, '`status` must be "pending"'),
        ({"status": "pendign", "task": "x"}, '`status` must be "pending"'),
        ({"status": "pending", "task": "x", "data": "y", "data_path": "z"}, "not both"),
        ({"status": "pending", "task": "x", "job_id": "other"}, "leave it out"),
        ({"status": "pending", "task": "x", "handler": "research"}, "research_prompt.txt"),
        ({"stat": "pending", "tsk": "x"}, '"status": "pending" and a "task"'),
        ({"status": "pending", "task": "a\0b"}, "NUL"),
    ],
)
def test_5_a_mistyped_key_is_an_error_and_not_a_missing_cap(values, says):
    """A job file that cannot mean what it says has failed, and names the key."""
    found = read(values)
    assert isinstance(found, Save)
    assert says in found.problem
    assert (found.prompt, found.kind) == ("", Kind.JOB)


def test_6_a_submission_is_a_save_with_all_that_it_brings():
    """Task, options, data and webhook are captured; each job has a conversation of its own."""
    raw = json.dumps(
        {
            "status": "pending",
            "task": "Sum it up",
            "data": {"a": [1, None]},
            "tokens": 200,
            "webhook": "https://e.org/h",
        }
    ).encode()
    assert read(b"\xef\xbb\xbf" + raw) == Save(
        path="jobs/a-job.json",
        kind=Kind.JOB,
        conversation="jobs/a-job",
        prompt="Sum it up",
        options={"tokens": 200},
        digest=digest(b"\xef\xbb\xbf" + raw),
        enclosed={"data": {"a": [1, None]}, "webhook": "https://e.org/h"},
    )


def test_6_a_windows_shell_may_write_utf_16():
    """PowerShell's `>` writes UTF-16 with a byte order mark, which is read too."""
    found = read('{"status": "pending", "task": "Grüße"}'.encode("utf-16"))
    assert isinstance(found, Save)
    assert found.prompt == "Grüße"


def test_6_handler_says_the_kind():
    """A job may ask for another kind that needs no file beside it."""
    assert read({"status": "pending", "task": "x", "handler": "exa"}).kind is Kind.EXA


def test_6_half_of_a_surrogate_pair_is_replaced():
    """What JSON can say and no file can hold, the half of an emoji, does not stop anything."""
    found = read(rb'{"status": "pending", "task": "a\ud83d b \ud83d\ude00", "data": {"\ude00": "\ud83d"}}')
    assert found.prompt == "a\ufffd b \U0001f600"
    assert found.enclosed == {"data": {"\ufffd": "\ufffd"}}


def test_5_what_is_said_of_a_bad_file_is_not_endless():
    """Data that is nested too deep is an error whose text can be read."""
    raw = b'{"status": "pending", "task": "x", "data": ' + b"[" * 300 + b"]" * 300 + b"}"
    assert 0 < len(read(raw).problem) < 3_000
