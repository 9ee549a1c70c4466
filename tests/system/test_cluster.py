"""Many machines: a daemon that has the folder, workers that have not, and Postgres between them."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from behaviour.embedded_weights import path_or_skip
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from servers.postgres_server import PostgresServer, postgres, why_not  # noqa: F401 (a fixture)
from system.harness import Daemon, Home, question
from system.researching import ASKED

from rlmwatch import clock

WORKER = ["-m", "rlmwatch", "worker", "--log-format", "json"]
CHATS = [f"talk{n:02}_input.txt" for n in range(14)]
JOBS = [f"task{n:02}_job_input.txt" for n in range(6)]
STOPPED_S = 20.0
AT_ONCE = 4
"""Runs that a worker answers at the same time."""
EASY = 5
"""Calls that are answered before the trouble begins."""
CALLS_OF_A_JOB = 3
"""Two by the engine and one by its code."""


def think(body: dict[str, Any]) -> Reply:
    """Answer as a model that takes its time: chats in words, jobs in code that asks a sub-call, then answers."""
    last = question(body)
    if last.startswith("sub "):
        return Reply(f"seen {last} well", gap_s=0.05)
    text = "\n".join(message["content"] for message in body["messages"])
    if "writing Python" not in text:
        return Reply(f"re: {last} and that is all", gap_s=0.1)
    mark = re.findall(r"mark-\d+-\d+", text)[-1]
    if not any(message["role"] == "assistant" for message in body["messages"][ASKED:]):
        return Reply(f'```python\nsaid = llm_query("sub {mark}")\nprint(said)\n```', gap_s=0.05)
    return Reply(f'```python\nanswer("done {mark}: " + said)\n```', gap_s=0.05)


def text_of(path: str, turn: int) -> str:
    number = path[4:6]
    if path in CHATS:
        return f"question {number} {turn}"
    return f"---\nmax_steps: 4\n---\nwork on mark-{number}-{turn}"


@contextmanager
def cluster(
    folder: Path, provider: OpenAIServer, url: str, workers: int
) -> Iterator[tuple[Home, Daemon, list[Daemon]]]:
    """Run a daemon that answers nothing itself, and workers whose machines have no folder."""
    home = Home(folder / "home", provider)
    home.set(f'ledger = "{url}"\nworkers = 0\n')
    with ExitStack() as stack:
        daemon = stack.enter_context(home.daemon())
        others = []
        for n in range(workers):
            machine = Home(folder / f"machine{n}", provider)
            machine.set(f'ledger = "{url}"\nworkers = {AT_ONCE}\n')
            machine.workspace.rmdir()
            others.append(stack.enter_context(machine.daemon(program=WORKER)))
        yield home, daemon, others


def save_all(home: Home, daemon: Daemon, turn: int) -> None:
    """Save every conversation's question number *turn*, and wait until each is a run."""
    for path in CHATS + JOBS:
        home.save(path, text_of(path, turn))
    for path in CHATS + JOBS:
        daemon.wait("save.admitted", turn, path=path)


class Held:
    """A model that answers the first calls at once, and keeps every later one waiting until `go_on` is set."""

    def __init__(self, first: int) -> None:
        self.go_on = threading.Event()
        self._left = first
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Answer:
        answer = think(body)
        with self._lock:
            self._left -= 1
            return answer if self._left >= 0 else replace(answer, until=self.go_on)


def entries(url: str) -> list[dict[str, Any]]:
    from rlmwatch.ledger.postgres.connection import connect

    with connect(url) as connection:
        return connection.execute(
            "SELECT run_id, runs.attempt AS last, calls.attempt, key, state, path, published, runs.status"
            " FROM calls JOIN runs USING (run_id) ORDER BY id"
        ).fetchall()


def test_sixty_runs_outlive_a_killed_and_a_stopped_worker(tmp_path, postgres: PostgresServer):  # noqa: F811
    """
    Sixty runs on three workers, one killed, one stopped for 20 s: all are answered once, in order, none paid twice.

    A call that was in flight at the kill is made again, and only such a one.
    """
    url = postgres.database()
    think = Held(EASY)
    with OpenAIServer(think) as provider, cluster(tmp_path, provider, url, 3) as (home, daemon, workers):
        killed, stopped, steady = workers
        save_all(home, daemon, 1)
        save_all(home, daemon, 2)
        provider.wait_for_calls(EASY + 3 * AT_ONCE)  # each worker has as many calls in flight as it may
        killed.kill()
        stopped.process.send_signal(signal.SIGSTOP)
        think.go_on.set()
        since = clock.monotonic()
        daemon.wait("answer.written", 40, timeout=60)  # the third one does all that is left
        sleep(max(0.0, since + STOPPED_S - clock.monotonic()))  # what is tested is this time itself
        stopped.process.send_signal(signal.SIGCONT)
        before = len(stopped.seen("run.started"))
        save_all(home, daemon, 3)
        stopped.wait("run.started", before + 1)  # it is back
        daemon.wait("answer.written", 60, timeout=60)
        check_all(home, daemon, [killed, stopped, steady])
        check_journal(provider, url)


def check_all(home: Home, daemon: Daemon, workers: list[Daemon]) -> None:
    statuses = home.statuses()
    assert Counter(status["status"] for status in statuses) == {"complete": 60}
    assert Counter(status["input"] for status in statuses) == dict.fromkeys(CHATS + JOBS, 3)
    for path in CHATS:
        assert home.turns(path.replace("_input.txt", "_state.json")) == [text_of(path, turn) for turn in (1, 2, 3)]
        assert home.read(path.replace("_input", "_output")) == f"re: {text_of(path, 3)} and that is all\n"
    for path in JOBS:
        mark = f"mark-{path[4:6]}-3"
        assert home.read(path.replace("_input", "_output")) == f"done {mark}: seen sub {mark} well\n"
    assert len(daemon.seen("answer.written")) == 60
    answered = Counter(line["run"] for worker in workers for line in worker.seen("run.answered"))
    assert set(answered.values()) == {1}


def check_journal(provider: OpenAIServer, url: str) -> None:
    kept = entries(url)
    by_key: dict[tuple[str, str], list[str]] = {}
    for entry in kept:
        by_key.setdefault((entry["run_id"], entry["key"]), []).append(entry["state"])
    assert len(by_key) == len(CHATS) * 3 + len(JOBS) * 3 * CALLS_OF_A_JOB
    for states in by_key.values():  # one reply each; before it only what was in flight when a worker died
        assert states == ["lost"] * (len(states) - 1) + ["done"]
    lost = [entry for entry in kept if entry["state"] == "lost"]
    assert lost
    assert all(entry["attempt"] < entry["last"] for entry in lost)
    assert provider.count == len(kept)
    assert all(entry["published"] and entry["status"] == "complete" for entry in kept)


def test_a_daemon_alone_answers_over_a_shared_ledger(tmp_path, postgres: PostgresServer):  # noqa: F811
    """With a shared ledger and no other worker, the daemon answers itself; nothing is kept in a file on its machine."""
    with OpenAIServer(["fine"]) as provider:
        home = Home(tmp_path / "home", provider)
        home.set(f'ledger = "{postgres.database()}"\n')
        home.save("chat_input.txt", "how are you?")
        with home.daemon() as daemon:
            daemon.answered("chat_output.txt")
            home.save("chat_input.txt", "and now?")
            daemon.answered("chat_output.txt", 2)
        assert home.turns("chat_state.json") == ["how are you?", "and now?"]
        assert list(home.states.glob("rlmwatch/*/ledger*")) == []
        with home.daemon():
            pass
        assert provider.count == 2


def test_what_a_worker_needs_of_the_folder_travels(tmp_path, postgres: PostgresServer):  # noqa: F811
    """A worker without the folder knows the chat's memory, the material, and what the workspace's settings say."""
    url = postgres.database()

    def answer(body: dict[str, Any]) -> Answer:
        if "writing Python" in body["messages"][0]["content"]:
            return "```python\nanswer(context.upper() + str(budget()))\n```"
        return f"{len(body['messages'])} messages, {body['max_tokens']} tokens"

    with OpenAIServer(answer) as provider, cluster(tmp_path, provider, url, 1) as (home, daemon, _):
        home.save("rlmwatch.toml", "[chat]\ntokens = 77\n[job]\nmax_tokens = 555\n")
        daemon.hup()
        for turn in (1, 2):
            home.save("chat_input.txt", f"question {turn}")
            daemon.answered("chat_output.txt", turn)
        assert home.read("chat_output.txt") == "4 messages, 77 tokens\n"
        home.save("big_job_data.txt", "the needle")
        home.save("big_job_input.txt", "find it")
        daemon.answered("big_job_output.txt")
        assert "THE NEEDLE" in home.read("big_job_output.txt")
        status = home.status_of("big_job_input.txt")
        assert (status["status"], status["attempt"], status["usage"]["llm_calls"]) == ("complete", 1, 1)
        assert status["budget"]["max_tokens"] == 555
        home.save("old_research_prompt.txt", "what is it?")
        daemon.answered("old_research_output.txt")
        session = home.state("old_research_session.json")
        assert [turn["input"] for turn in session["turns"]] == ["what is it?"]
        assert session["spent"]["output_tokens"] > 0
        home.save("ask_job_input.txt", "---\ncontext: [../outside.txt]\n---\nread it")
        daemon.wait("run.failed", path="ask_job_input.txt")
        assert "no such file" in home.read("ask_job_error.txt")


def test_a_later_save_cancels_a_run_on_another_machine(tmp_path, postgres: PostgresServer):  # noqa: F811
    """With `on_new_save = "cancel"` the worker's connection closes, wherever it is, and the new save is answered."""
    url = postgres.database()
    with (
        OpenAIServer([Fault.stall("so far"), "new"]) as provider,
        cluster(tmp_path, provider, url, 1) as (home, daemon, _),
    ):
        home.save("rlmwatch.toml", 'on_new_save = "cancel"\n')
        daemon.hup()
        home.save("chat_input.txt", "old question")
        provider.wait_for_calls(1)
        home.save("chat_input.txt", "new question")
        [cut] = provider.wait_for_hang_ups()
        daemon.answered("chat_output.txt", 2)
        assert cut.hung_up_at is not None
        assert home.read("chat_output.txt") == "new\n"
        assert sorted(status["status"] for status in home.statuses()) == ["cancelled", "complete"]
        assert {entry["state"] for entry in entries(url)} == {"lost", "done"}


def test_a_run_goes_on_while_its_daemon_is_down(tmp_path, postgres: PostgresServer):  # noqa: F811
    """A run that is out when its daemon is killed is answered once, and published by the next start."""
    url = postgres.database()
    go_on = threading.Event()
    with OpenAIServer([Reply("late", until=go_on)]) as provider, ExitStack() as stack:
        home, machine = Home(tmp_path / "home", provider), Home(tmp_path / "machine", provider)
        home.set(f'ledger = "{url}"\nworkers = 0\n')
        machine.set(f'ledger = "{url}"\n')
        worker = stack.enter_context(machine.daemon(program=WORKER))
        with home.daemon() as first:
            home.save("chat_input.txt", "slow question")
            provider.wait_for_calls(1)
            first.kill()
        with home.daemon() as second:
            second.wait("ready")
            go_on.set()
            worker.wait("run.answered")
            second.answered("chat_output.txt")
        assert (provider.count, home.turns("chat_state.json")) == (1, ["slow question"])
        home.save("chat_input.txt", "another")
        with home.daemon() as third:
            third.answered("chat_output.txt")
            third.kill()
        with home.daemon():
            assert provider.count == 2


def test_a_database_that_restarts_in_the_middle_loses_nothing(tmp_path):
    """While the database is down nothing ends in an error; once it is back all goes on, and nothing is paid twice."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    go_on = threading.Event()
    with PostgresServer() as server:
        url = server.database()
        answers = [Reply("one", until=go_on), "two"]
        with OpenAIServer(answers) as provider, cluster(tmp_path, provider, url, 1) as (home, daemon, [worker]):
            home.save("a_input.txt", "first")
            provider.wait_for_calls(1)
            server.stop()
            home.save("b_input.txt", "second")
            go_on.set()
            worker.wait("ledger.unavailable")
            server.start()
            daemon.answered("a_output.txt")
            daemon.answered("b_output.txt")
            assert (home.read("a_output.txt"), provider.count) == ("one\n", 2)
            assert {status["status"] for status in home.statuses()} == {"complete"}


def test_a_worker_that_was_only_slow_writes_nothing(tmp_path, postgres: PostgresServer):  # noqa: F811
    """A worker that was stopped for longer than its lease comes back to another's run, and leaves it alone."""
    url = postgres.database()
    first, second = threading.Event(), threading.Event()
    answers = [Reply("old", until=first), Reply("new", until=second)]
    with OpenAIServer(answers) as provider, cluster(tmp_path, provider, url, 1) as (home, daemon, [slow]):
        home.save("chat_input.txt", "a question")
        provider.wait_for_calls(1)
        slow.process.send_signal(signal.SIGSTOP)
        machine = Home(tmp_path / "another", provider)
        machine.set(f'ledger = "{url}"\n')
        with machine.daemon(program=WORKER) as other:
            other.wait("run.started")  # whoever swept first had reclaimed it
            provider.wait_for_calls(2)
            first.set()
            slow.process.send_signal(signal.SIGCONT)
            slow.wait("run.fenced")
            second.set()
            other.wait("run.answered")
            daemon.answered("chat_output.txt")
        assert home.read("chat_output.txt") == "new\n"
        assert [(entry["state"], entry["attempt"]) for entry in entries(url)] == [("lost", 1), ("done", 2)]
        assert home.status_of("chat_input.txt")["attempt"] == 2


def test_commands_that_end_by_themselves_use_the_shared_ledger(tmp_path, postgres: PostgresServer):  # noqa: F811
    """`answer` and `run --once` answer over the shared ledger as over the embedded one, and end."""
    with OpenAIServer(["fine"]) as provider:
        home = Home(tmp_path / "home", provider)
        home.set(f'ledger = "{postgres.database()}"\n')
        home.save("chat_input.txt", "one")
        home.save("b_input.txt", "two")
        one = home.cli("answer", str(home.workspace / "chat_input.txt"))
        assert (one.returncode, home.read("chat_output.txt")) == (0, "fine\n"), one.stderr
        rest = home.cli("run", str(home.workspace), "--once")
        assert (rest.returncode, home.read("b_output.txt")) == (0, "fine\n"), rest.stderr
        assert provider.count == 2


def test_a_ledger_is_moved_and_answered_on(tmp_path, postgres: PostgresServer):  # noqa: F811
    """`rlmwatch ledger move` carries all over; the daemon goes on with it, and nothing is answered a second time."""
    url = postgres.database()
    with OpenAIServer(["fine"]) as provider:
        home = Home(tmp_path / "home", provider)
        home.save("chat_input.txt", "one")
        with home.daemon() as daemon:
            daemon.answered("chat_output.txt")
            refused = home.cli("ledger", "move", str(home.workspace), "--to", url)
            assert refused.returncode == 2, "not while a daemon uses it"
        moved = home.cli("ledger", "move", str(home.workspace), "--to", url, "--json")
        facts = json.loads(moved.stdout)
        assert (facts["runs"], facts["calls"], facts["inputs"]) == (1, 1, 1)
        assert Path(facts["old"]).is_file()
        assert not list(home.states.glob("rlmwatch/*/ledger.sqlite3"))
        home.set(f'ledger = "{url}"\n')
        with home.daemon() as daemon:
            home.save("chat_input.txt", "two")
            daemon.answered("chat_output.txt")
        assert (provider.count, home.turns("chat_state.json")) == (2, ["one", "two"])
        status = json.loads(home.cli("status", "--workspace", str(home.workspace), "--json").stdout)
        assert status["runs"] == {"complete": 2}


def test_a_worker_with_the_embedded_model_alone_holds_the_engines_work(tmp_path, postgres: PostgresServer):  # noqa: F811
    """What such a worker cannot do is held, in words, and goes on with a worker that can, after a reload."""
    weights = path_or_skip()
    with ExitStack() as stack:
        provider = stack.enter_context(OpenAIServer(think))
        url = postgres.database()
        home = Home(tmp_path / "home", provider)
        home.set(f'ledger = "{url}"\nworkers = 0\n')
        small, large = Home(tmp_path / "small", None, None), Home(tmp_path / "large", provider)
        small.set(f'ledger = "{url}"\n[models]\npath = "{weights}"\n')
        large.set(f'ledger = "{url}"\n')
        daemon = stack.enter_context(home.daemon())
        with small.daemon(program=WORKER):
            home.save("a_job_input.txt", "---\nmax_steps: 4\n---\nwork on mark-1-1")
            assert "needs a model that can write code" in home.appears("a_job_error.txt", "base_url")
        assert provider.count == 0
        with large.daemon(program=WORKER):
            daemon.hup()
            daemon.answered("a_job_output.txt")
        assert home.read("a_job_output.txt").startswith("done mark-1-1")
