"""client.py: what the Python client writes and reads; no daemon is needed for that."""

import json
import threading

import pytest

import rlmwatch
from rlmwatch import Client, JobStatus
from rlmwatch.contract.documents import read_submission
from rlmwatch.errors import InputError, UsageError


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path)


def raw(client, job):
    return (client.root / "jobs" / f"{job.job_id}.json").read_bytes()


def put(client, job_id, **status):
    values = {"job_id": job_id, "kind": "job", "input_digest": "sha256:x", **status}
    (client.root / "jobs").mkdir(exist_ok=True)
    (client.root / "jobs" / f"{job_id}.json").write_text(json.dumps(values))


def test_a_job_that_is_handed_in_is_pending_and_whole(client):
    """`submit` returns at once with an id; the file holds what was said and nothing else."""
    job = client.submit("Sum up", {"a": [1, "ü"]}, tokens=200, webhook="https://example.org/h", context="notes.txt")
    assert job.status is JobStatus.PENDING
    asked = read_submission(raw(client, job), job_id=job.job_id)
    assert (asked.task, asked.data, asked.tokens, asked.webhook) == (
        "Sum up",
        {"a": [1, "ü"]},
        200,
        "https://example.org/h",
    )
    assert set(json.loads(raw(client, job))) == {
        "context", "created_at", "data", "job_id", "schema_version", "status", "task", "tokens", "webhook",
    }  # fmt: skip
    assert client.status(job.job_id).status is JobStatus.PENDING


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        ("x", {"tokens": "200"}, "tokens"),
        ("x", {"tokenz": 200}, "tokenz"),
        ("", {}, "task"),
        ("x", {"webhook": "file:///etc/passwd"}, "webhook"),
        ("x", {"data": object()}, "data"),
        ("x", {"data": "y", "data_path": "z"}, "not both"),
    ],
)
def test_a_mistyped_option_is_an_error_here_and_now(client, task, options, says):
    """What would fail later is refused at once, and nothing is written."""
    with pytest.raises(InputError, match=says):
        client.submit(task, **options)
    assert not (client.root / "jobs").exists()


def test_many_threads_submit_without_one_id_twice(client):
    """Ids are made here, at random: many clients at once never meet."""
    jobs = []
    threads = [threading.Thread(target=lambda: jobs.extend(client.submit("x") for _ in range(20))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.job_id for job in jobs}) == 200
    assert len(list((client.root / "jobs").iterdir())) == 200


def test_a_status_tells_all_that_the_file_says(client):
    """A job says how it went, with usage and progress."""
    put(
        client,
        "a",
        status="complete",
        outcome="token_limit",
        partial=True,
        answer="so far",
        usage={"output_tokens": 7, "cost_usd": 0.5},
        progress={"step": 2, "max_steps": 4, "note": "searching"},
        notes=["price unknown"],
        a_field_of_a_later_version=1,
    )
    job = client.status("a")
    assert (job.status, job.outcome, job.partial, job.answer) == (JobStatus.COMPLETE, "token_limit", True, "so far")
    assert (job.usage.output_tokens, job.usage.cost_usd, job.progress.step) == (7, 0.5, 2)
    assert job.notes == ("price unknown",)
    assert job.ended


def test_a_file_that_others_are_just_writing_is_pending(client):
    """Half a submission of somebody else is a job that was not taken up yet."""
    (client.root / "jobs").mkdir()
    (client.root / "jobs" / "slow.json").write_text('{"status": "pend')
    assert client.status("slow").status is JobStatus.PENDING


@pytest.mark.parametrize("job_id", ["none", "../chat_input", "", "a/b", "a.json\0"])
def test_an_unknown_job_is_an_error_and_never_a_path(client, job_id):
    """An id that no job has is said to be none; it leads nowhere else."""
    with pytest.raises(UsageError, match="no such job"):
        client.status(job_id)
    with pytest.raises(UsageError, match="no such job"):
        client.cancel(job_id)


def test_a_cancel_is_a_request_unless_the_job_has_ended(client):
    """`cancel` writes the request for a job that goes on, and nothing for one that has ended."""
    job = client.submit("x")
    put(client, "ended", status="failed")
    assert client.cancel(job.job_id).status is JobStatus.PENDING
    assert client.cancel("ended").status is JobStatus.FAILED
    assert [file.name for file in (client.root / "jobs").glob("*.cancel")] == [f"{job.job_id}.cancel"]


def test_wait_returns_when_the_job_has_ended_or_the_time_is_up(client):
    """`wait` returns the ended job, or the job as it is after *timeout* seconds."""
    put(client, "a", status="running")
    assert client.wait("a", timeout=0).status is JobStatus.RUNNING
    ending = threading.Timer(0.1, lambda: put(client, "a", status="complete", answer="42"))
    ending.start()
    assert client.wait("a", timeout=20).answer == "42"


def test_jobs_are_listed_newest_first(client):
    """`jobs` yields every run that has a status, the newest id first; what is no status is passed over."""
    for job_id in ("20261124T100000Z-job-1", "20261124T100002Z-chat-2", "20261124T100001Z-job-3"):
        put(client, job_id, status="complete")
    (client.root / "jobs" / "half.json").write_text("{")
    assert [job.job_id[-1] for job in client.jobs()] == ["2", "3", "1"]


def test_the_workspace_is_found_as_the_command_line_finds_it(tmp_path, monkeypatch):
    """Without a folder, `RLMWATCH_WORKSPACE` or the current folder is meant; else it is an error that says so."""
    monkeypatch.delenv("RLMWATCH_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="which workspace"):
        Client()
    (tmp_path / "rlmwatch.toml").touch()
    assert Client().root == tmp_path.resolve()
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("RLMWATCH_WORKSPACE", str(tmp_path / "other"))
    assert Client().root == tmp_path.resolve() / "other"


def test_the_package_offers_the_client():
    """`from rlmwatch import Client, Job, JobStatus` is all that a script needs."""
    assert {"Client", "Job", "JobStatus"} <= set(rlmwatch.__all__)
    assert rlmwatch.Job.__module__ == "rlmwatch.client"
