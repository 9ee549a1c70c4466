"""Jobs from anywhere, with the real daemon: scripts, shells and other processes, by files alone (file contract, 5)."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading

import pytest
from servers.hook_server import HookServer
from servers.openai_server import OpenAIServer, Reply
from system.conftest import Shared
from system.forkserver import Process
from system.harness import DEADLINE_S, Brain, Home, asked

from rlmwatch import Client, JobStatus, clock

CLIENTS = 50
CANCELLED_WITHIN_S = 0.5
"""What the file contract promises from the request to the closed connection."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

FOUNDING_LOOP = """
import sys, time
from rlmwatch import Client, JobStatus

workspace, task = sys.argv[1:]
client = Client(workspace)
job = client.submit(task, tokens=200)
while job.status in (JobStatus.PENDING, JobStatus.RUNNING):
    time.sleep(0.5)
    job = client.status(job.job_id)
print(job.answer)
"""


def start(home: Home, task: str) -> Process:
    """Start the founding loop in a process of its own."""
    return home.start("-c", FOUNDING_LOOP, str(home.workspace), task)


def job_status(home: Home, job_id: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(home.read(f"jobs/{job_id}.json"))
    return found


def shell(home: Home, script: str) -> None:
    """Run a shell script in the workspace."""
    subprocess.run(["/bin/sh", "-ec", script], cwd=home.workspace, check=True, timeout=60)


def test_the_founding_loop_from_fifty_processes_with_the_daemon_down_up_and_killed(
    home: Home, provider: OpenAIServer, brain: Brain
):
    """Fifty processes submit and poll; the daemon comes late, is killed and comes back: each has its answer."""
    home.set("workers = 8\n")
    brain.on("task", Reply("the answer", gap_s=0.05))
    clients = [start(home, f"task {n} of many") for n in range(CLIENTS)]
    try:
        with home.daemon() as daemon:
            daemon.wait("answer.written", CLIENTS // 4)
            daemon.kill()
        before = len(daemon.seen("answer.written"))
        with home.daemon():
            ends = [client.communicate(timeout=120) for client in clients]
    finally:
        for client in clients:
            if client.poll() is None:
                client.kill()
                client.communicate()
    assert [client.returncode for client in clients] == [0] * CLIENTS, ends
    assert {out for out, _ in ends} == {"the answer\n"}
    assert CLIENTS // 4 <= before < CLIENTS
    calls = [call.body["messages"][-1]["content"] for call in provider.calls]
    assert set(calls) == {f"task {n} of many" for n in range(CLIENTS)}
    assert len(calls) <= CLIENTS + 8  # none but those in flight at the kill was asked twice
    assert len(home.statuses()) == CLIENTS


def test_a_shell_redirect_is_a_submission(shared: Shared):
    """`printf … > jobs/<id>.json` is answered in that file."""
    shell(shared.home, """mkdir -p jobs; printf '{"status": "pending", "task": "by printf"}' > jobs/by-printf.json""")
    shared.daemon.answered("jobs/by-printf.json")
    found = job_status(shared.home, "by-printf")
    assert (found["job_id"], found["status"], found["answer"]) == ("by-printf", "complete", "re: by printf")
    assert (found["input"], found["output"], found["kind"]) == ("jobs/by-printf.json", None, "job")


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_submits_polls_and_reads(shared: Shared):
    """A shell script with jq can do what the client does."""
    shell(shared.home, "jq -n --arg t 'by jq' '{status: \"pending\", task: $t, tokens: 9}' > jobs/by-jq.json")
    shell(shared.home, "until jq -e '.status == \"complete\"' jobs/by-jq.json; do sleep 0.2; done")
    out = subprocess.check_output(["jq", "-r", ".answer", "jobs/by-jq.json"], cwd=shared.home.workspace, text=True)
    assert out == "re: by jq\n"


SLOW_SCRIPTS = {
    "held": """{ printf '{"status": "pending", '; sleep 1; printf '"task": "half by held"}'; } > jobs/held.json""",
    "appended": """
        printf '{"status": "pend' > jobs/appended.json
        sleep 1
        printf 'ing", "task": "half by appended"}' >> jobs/appended.json
    """,
}


@pytest.mark.parametrize("name", SLOW_SCRIPTS)
def test_half_a_file_is_never_taken_for_a_job(shared: Shared, name: str):
    """A slow script that pauses in the middle of its file submits one job, and nothing fails."""
    shell(shared.home, "mkdir -p jobs\n" + SLOW_SCRIPTS[name])
    shared.daemon.answered(f"jobs/{name}.json")
    assert job_status(shared.home, name)["answer"] == f"re: half by {name}"
    assert len(shared.asked(f"half by {name}")) == 1
    assert not shared.home.exists(f"jobs/{name}.json.rejected")


def test_a_mistyped_job_file_fails_in_words_and_is_kept(shared: Shared):
    """A wrong key fails at once, with its name; what was written is kept beside the status."""
    written = '{"status": "pending", "task": "mistyped", "max_cost": 0.5}'
    shared.home.save("jobs/mistyped.json", written)
    shared.daemon.wait("run.failed", path="jobs/mistyped.json")
    found = Client(shared.home.workspace).wait("mistyped", timeout=DEADLINE_S)
    assert (found.status, found.outcome) == (JobStatus.FAILED, "bad_input")
    assert "`max_cost`: no such key" in (found.error or "")
    assert shared.home.read("jobs/mistyped.json.rejected") == written
    assert shared.asked("mistyped") == []


def test_what_never_becomes_json_fails_in_words(shared: Shared):
    """Half a file that nobody goes on with fails after a while, and says where it breaks off."""
    shared.home.save("jobs/broken.json", '{"status": "pending", "task": "never')
    assert Client(shared.home.workspace).status("broken").status is JobStatus.PENDING
    shared.daemon.wait("run.failed", path="jobs/broken.json")
    found = Client(shared.home.workspace).wait("broken", timeout=DEADLINE_S)
    assert "line 1, column" in (found.error or "")
    assert shared.home.read("jobs/broken.json.rejected") == '{"status": "pending", "task": "never'


def test_data_is_the_variable_of_a_run_of_the_engine(shared: Shared):
    """A job with data, a text or any JSON value, or the path of a file, works on it with code, in the sandbox."""
    client = Client(shared.home.workspace)
    shared.brain.on("how many rows", "```python\nanswer(len(context['rows']))\n```")
    shared.brain.on("how many characters", "```python\nanswer(len(context))\n```")
    shared.home.save("material/long.txt", "x" * 12_345)
    jobs = [
        client.submit("how many rows?", {"rows": [1, 2, 3]}),
        client.submit("how many characters?", "äöü"),
        client.submit("how many characters?", data_path="material/long.txt"),
        client.submit("how many characters?", data_path="../outside.txt"),
    ]
    ended = [client.wait(job.job_id, timeout=DEADLINE_S) for job in jobs]
    assert [job.answer for job in ended] == ["3", "3", "12345", None], ended
    assert (ended[3].status, ended[3].outcome) == (JobStatus.FAILED, "bad_input")


WAYS = ("request", "client", "command line", "deleted job file", "deleted input")


def ask_slowly(shared: Shared, way: str, word: str) -> tuple[str, str]:
    """Ask what is answered a word each 50 ms; return its path and the id of its status, once text comes."""
    home = shared.home
    shared.brain.on(word, Reply(" ".join(["word"] * 1_200), gap_s=0.05))
    if way == "deleted input":
        path = f"{word.replace(' ', '_')}_input.txt"
        home.save(path, f"---\ntokens: 4000\n---\n{word}")
        job_id = shared.daemon.wait("run.started", path=path)["run"]
    else:
        job_id = Client(home.workspace).submit(word, tokens=4_000).job_id
        path = f"jobs/{job_id}.json"
        shared.daemon.wait("run.started", path=path)
    until = clock.monotonic() + DEADLINE_S
    while not shared.asked(word) and clock.monotonic() < until:
        shared.provider.wait_for_calls(shared.provider.count + (0 if shared.asked(word) else 1))
    threading.Event().wait(0.3)  # what has come of a call is nowhere to be seen: some words
    return path, job_id


def cancel_by(home: Home, way: str, path: str, job_id: str) -> None:
    if way == "request":
        (home.workspace / f"jobs/{job_id}.cancel").touch()
    elif way == "client":
        Client(home.workspace).cancel(job_id)
    elif way == "command line":
        assert home.cli("cancel", job_id, "-w", str(home.workspace)).returncode == 0
    else:
        (home.workspace / path).unlink()


def closed_after(shared: Shared, word: str, began: float) -> float:
    """Return the seconds from *began* until the connection of the question *word* was closed."""
    (call,) = shared.asked(word)
    hung_up = sum(each.hung_up_at is not None for each in shared.provider.calls)
    while call.hung_up_at is None:
        hung_up += 1
        shared.provider.wait_for_hang_ups(hung_up)
    return call.hung_up_at - began


@pytest.mark.parametrize("way", WAYS)
def test_a_cancel_closes_the_connection_keeps_the_text_and_books_what_was_spent(shared: Shared, way: str):
    """However a run is cancelled: the connection closes at once, the text so far is kept, its cost is booked."""
    took: list[float] = []
    while not took or (min(took) > CANCELLED_WITHIN_S and len(took) < 3):  # a busy machine may be slow once
        word = f"cancelled by {way} {len(took)}"
        path, job_id = ask_slowly(shared, way, word)
        began = clock.monotonic()
        cancel_by(shared.home, way, path, job_id)
        took.append(closed_after(shared, word, began))
        ended = Client(shared.home.workspace).wait(job_id, timeout=DEADLINE_S)
        assert (ended.status, ended.outcome, ended.partial) == (JobStatus.CANCELLED, "cancelled", True)
        assert set((ended.answer or "").split()) == {"word"}
        assert ended.usage.output_tokens > 0
        assert ended.usage.llm_calls == 1
        if not way.startswith("deleted"):
            shared.daemon.wait("cancel.removed", job=job_id)
            assert not shared.home.exists(f"jobs/{job_id}.cancel")
    starting = 1.5 if way == "command line" else 0.0  # of a Python process
    assert min(took) < CANCELLED_WITHIN_S + starting, took


def test_a_cancel_that_lies_there_before_the_daemon_costs_nothing(home: Home, provider: OpenAIServer):
    """What was submitted and cancelled while the daemon was down is cancelled, and never asked."""
    client = Client(home.workspace)
    gone, stays = client.submit("never asked"), client.submit("asked")
    client.cancel(gone.job_id)
    with home.daemon() as daemon:
        daemon.answered(f"jobs/{stays.job_id}.json")
        assert client.wait(gone.job_id, timeout=DEADLINE_S).status is JobStatus.CANCELLED
        daemon.wait("cancel.removed", job=gone.job_id)
    assert asked(provider, "never asked") == []
    assert not home.exists(f"jobs/{gone.job_id}.cancel")


def test_a_cancel_survives_a_kill_in_the_middle(home: Home, provider: OpenAIServer, brain: Brain):
    """A job that is cancelled after a kill ends at the next start, and nothing is asked again."""
    brain.on("killed", Reply(" ".join(["word"] * 1_200), gap_s=0.05))
    client = Client(home.workspace)
    job = client.submit("killed", tokens=4_000)
    with home.daemon() as daemon:
        provider.wait_for_calls(1)
        daemon.kill()
    client.cancel(job.job_id)
    with home.daemon() as daemon:
        daemon.wait("cancel.removed", job=job.job_id)
        ended = client.status(job.job_id)
    assert ended.status is JobStatus.CANCELLED
    assert ended.usage.output_tokens > 0  # what was in flight counts as spent
    assert len(provider.calls) == 1


def hooks(home: Home, place: str, more: str = "") -> None:
    home.set(f'[webhooks]\nallow = ["{place}"]\nsecret = "{SECRET}"\n{more}')


def test_a_webhook_is_told_once_after_failures_and_a_restart(home: Home):
    """The end of a job is told, signed, until somebody hears it, also after a restart; then never again."""
    with HookServer([500, 204]) as receiver:
        hooks(home, receiver.place)
        client = Client(home.workspace)
        with home.daemon() as daemon:
            job = client.submit("the secret question", webhook=receiver.url)
            first = receiver.wait(1)[0]
            daemon.wait("webhook.failed")
            daemon.kill()
        with home.daemon() as daemon:
            second = receiver.wait(2)[1]
            daemon.wait("webhook.delivered")
        with home.daemon() as daemon:
            other = client.submit("another", webhook=receiver.url)
            told = receiver.wait(3)
            daemon.wait("webhook.delivered")
    assert first.values == second.values
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert all(each.is_signed(SECRET) for each in told)
    assert not first.is_signed("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    assert (second.values["type"], second.values["data"]["job_id"]) == ("job.complete", job.job_id)
    assert [each.values["data"]["job_id"] for each in told] == [job.job_id, job.job_id, other.job_id]
    assert all(b"secret question" not in each.body for each in told)  # neither the question, nor its answer


def test_a_webhook_holds_the_answer_only_where_the_user_says_so(home: Home):
    """With `include_answer` the report holds the answer's text."""
    with HookServer() as receiver:
        hooks(home, receiver.place, "include_answer = true\n")
        with home.daemon():
            Client(home.workspace).submit("a question", webhook=receiver.url)
            (told,) = receiver.wait(1)
    assert told.values["data"]["answer"] == "re: a question"


def test_a_redirect_is_not_followed(home: Home):
    """A receiver that sends us elsewhere is not heard, and nobody is told there."""
    with HookServer() as elsewhere, HookServer([302, 307, 204], location=elsewhere.url) as receiver:
        hooks(home, receiver.place)
        with home.daemon() as daemon:
            Client(home.workspace).submit("a question", webhook=receiver.url)
            daemon.wait("webhook.failed", why="HTTP 302")
            receiver.wait(2)
            daemon.stop()
        assert elsewhere.told == []


def test_a_webhook_that_is_not_allowed_is_refused_and_the_job_runs(home: Home):
    """The job is answered; its status says that the webhook was refused; the receiver hears nothing."""
    with HookServer() as receiver:
        hooks(home, "hooks.example.org")
        client = Client(home.workspace)
        with home.daemon():
            job = client.submit("a question", webhook=receiver.url)
            ended = client.wait(job.job_id, timeout=DEADLINE_S)
        assert receiver.told == []
    assert ended.answer == "re: a question"
    assert "the webhook was refused" in ended.notes[0]
    assert receiver.place in ended.notes[0]


def test_submit_prints_an_id_and_says_that_nobody_answers(home: Home):
    """Without a daemon `submit` hands in and says so; `run --once` answers what lies there."""
    done = home.cli("submit", "-w", str(home.workspace), "what", "is", "this?")
    assert done.returncode == 0
    assert "no daemon runs here now" in done.stderr
    job_id = done.stdout.strip()
    assert home.cli("run", str(home.workspace), "--once").returncode == 0
    assert job_status(home, job_id)["answer"] == "re: what is this?"


def test_submit_wait_answers_here_where_no_daemon_runs(home: Home):
    """`submit --wait` prints the answer, and the answer alone, on standard output."""
    (home.root / "notes.txt").write_text("a task in a file\n")
    done = home.cli("submit", "-w", str(home.workspace), "--file", str(home.root / "notes.txt"), "--wait")
    assert (done.returncode, done.stdout) == (0, "re: a task in a file\n"), done.stderr
    assert "It is answered here" in done.stderr


def test_submit_wait_waits_for_the_daemon_that_runs(shared: Shared):
    """Where a daemon runs, it answers; as JSON the whole job is printed, and a failure is exit status 1."""
    home = shared.home
    done = home.cli("submit", "-w", str(home.workspace), "by the daemon", "--wait", "--json", "--tokens", "50")
    assert json.loads(done.stdout)["answer"] == "re: by the daemon"
    failed = home.cli("submit", "-w", str(home.workspace), "--data", str(home.workspace / "none.txt"), "x")
    assert failed.returncode == 2
    shared.daemon.wait("answer.written", path=lambda path: path.startswith("jobs/"))


def test_retry_asks_once_more_with_all_that_the_job_had(home: Home, provider: OpenAIServer, brain: Brain):
    """A cancelled job is retried under a new id with its task, data and options; one that was answered is not."""
    brain.on("how long", "```python\nanswer(len(context))\n```")
    client = Client(home.workspace)
    job = client.submit("how long?", "12345", tokens=77)
    client.cancel(job.job_id)
    assert home.cli("run", str(home.workspace), "--once").returncode == 1
    done = home.cli("retry", job.job_id, "-w", str(home.workspace), "--wait")
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    (call,) = provider.calls
    assert call.body.get("max_completion_tokens", call.body.get("max_tokens")) == 77
    answered = next(client.jobs())
    again = home.cli("retry", answered.job_id, "-w", str(home.workspace))
    assert again.returncode == 2
    assert "has its answer" in again.stderr


def test_jobs_are_listed_by_what_one_looks_for(home: Home):
    """`jobs` filters by status, kind, input and time, newest first."""
    home.save("notes/pets_input.txt", "about pets")
    client = Client(home.workspace)
    job = client.submit("a job")
    assert home.cli("run", str(home.workspace), "--once").returncode == 0
    pending = client.submit("later")

    def listed(*options: str) -> list[str]:
        out = home.cli("jobs", str(home.workspace), "--json", *options)
        return [each["job_id"] for each in json.loads(out.stdout)]

    everything = listed()
    assert everything[0] == pending.job_id
    assert len(everything) == 3
    assert listed("--status", "pending") == [pending.job_id]
    assert listed("--kind", "job", "--status", "complete") == [job.job_id]
    assert len(listed("--input", "notes/*")) == 1
    assert listed("--since", "2999-01-01") == []


def test_a_job_of_a_file_that_lies_in_a_synced_conflict_is_not_answered_twice(shared: Shared):
    """Copies that sync tools make of a submission are no jobs."""
    home = shared.home
    home.save("jobs/synced.json", '{"status": "pending", "task": "synced once", "job_id": "synced"}')
    shared.daemon.answered("jobs/synced.json")
    whole = '{"status": "pending", "task": "synced once", "job_id": "synced"}'
    for copy in ("synced.sync-conflict-20261124-091502-ABCDEFG", "synced-DESKTOP-1AB2C", "synced (1)"):
        home.save(f"jobs/{copy}.json", whole)
    home.save("jobs/after.json", '{"status": "pending", "task": "after the copies"}')
    shared.daemon.answered("jobs/after.json")
    shared.daemon.wait("job.passed_over", path="jobs/synced-DESKTOP-1AB2C.json")
    assert len(shared.asked("synced once")) == 1


def test_a_job_is_answered_though_its_folder_was_made_with_it(home: Home):
    """A `jobs/` that appears with submissions in it, as by a sync tool, is seen at once."""
    with home.daemon() as daemon:
        aside = home.root / "aside"
        aside.mkdir()
        (aside / "moved-in.json").write_text('{"status": "pending", "task": "moved in"}')
        aside.rename(home.workspace / "jobs")
        daemon.answered("jobs/moved-in.json")
