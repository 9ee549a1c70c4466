"""The verbs of the command line, as a person calls them."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from servers.openai_server import Fault, OpenAIServer
from system.harness import MODEL, Brain, Home, question

VERBS = ("init", "run", "answer", "status", "runs", "again", "doctor", "model")


def printed(home: Home, *arguments: str) -> Any:
    """Return what a verb prints with `--json`."""
    done = home.cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_verb_has_help(home: Home):
    """`--help` of the program and of each verb says what it does, and ends with status 0."""
    whole, *each = home.cli_side_by_side(("--help",), *((verb, "--help") for verb in VERBS))
    assert whole.returncode == 0
    assert all(verb in whole.stdout for verb in VERBS)
    for verb, done in zip(VERBS, each, strict=True):
        assert (done.returncode, f"Usage: rlmwatch {verb}" in done.stdout) == (0, True), done.stdout


def test_a_verb_that_is_called_wrongly_ends_with_status_2(home: Home):
    """An unknown verb, an unknown flag and a folder that is no workspace are told apart from failures by status 2."""
    wrong = (("frobnicate",), ("run", "--frobnicate"), ("runs", "--limit", "many"), ("runs",))
    for arguments, done in zip(wrong, home.cli_side_by_side(*wrong), strict=True):
        assert done.returncode == 2, arguments
        assert done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_init_makes_a_workspace_that_answers(home: Home, provider: OpenAIServer):
    """`rlmwatch init` makes a folder with an example and says what to do next; called again it changes nothing."""
    folder = home.root / "new" / "place"
    done = home.cli("init", str(folder))
    assert done.returncode == 0
    assert f"rlmwatch run {folder}" in done.stderr
    assert f'host = "{socket.gethostname()}#{home.host_id}"' in (folder / "rlmwatch.toml").read_text()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert home.cli("init", str(folder)).returncode == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    done = home.cli("run", "--once", str(folder))
    assert done.returncode == 0
    assert (folder / "chat_output.txt").read_text().startswith("re: What can a folder")
    assert provider.count == 1


def test_run_once_answers_what_is_there_and_says_how_it_went(home: Home, provider: OpenAIServer, brain: Brain):
    """`run --once` ends with 0 when all were answered, with 1 when some failed or wait; what is answered stays so."""
    home.save("a_input.txt", "one")
    home.save("sub/b_input.md", "two")
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.returncode, "2 answered, 0 failed, 0 waiting" in done.stderr) == (0, True)
    assert home.read("sub/b_output.md") == "re: two\n"
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.returncode, "0 answered" in done.stderr) == (0, True)
    assert provider.count == 2
    brain.on("refuse", Fault.status(401))
    home.save("c_input.txt", "---\ntokns: 1\n---\nx")
    home.save("d_input.txt", "refuse this")
    home.save("e_input.txt", "three")
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.returncode, "1 answered, 1 failed, 1 waiting" in done.stderr) == (1, True)
    home.key = None
    assert home.cli("run", "--once", str(home.workspace)).returncode == 2


def test_run_once_removes_what_a_killed_writer_left(home: Home, provider: OpenAIServer):
    """A temporary file of a writer that was killed is gone after `run --once`, and nobody else's is."""
    home.save("sub/.syncthing.rlmwatch-0123abcd.tmp", "half an ans")
    home.save("sub/.syncthing.theirs.tmp", "half a file")
    home.save("a_input.txt", "one")
    assert home.cli("run", "--once", str(home.workspace)).returncode == 0
    assert not home.exists("sub/.syncthing.rlmwatch-0123abcd.tmp")
    assert home.exists("sub/.syncthing.theirs.tmp")
    assert home.exists("a_output.txt")
    assert provider.count == 1


def test_run_once_in_a_pipe_says_how_it_went_and_no_more(home: Home, provider: OpenAIServer):
    """Without a terminal only warnings are written, unless somebody asks for the log; `--json` has the same numbers."""
    home.save("a_input.txt", "one")
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "1 answered, 0 failed, 0 waiting")
    assert "run.started" not in done.stderr
    home.save("b_input.txt", "two")
    done = home.cli("run", "--once", "--json", str(home.workspace))
    assert json.loads(done.stdout) == {"answered": 1, "failed": 0, "waiting": 0, "held": 0}
    home.save("c_input.txt", "three")
    assert "run.started" in home.cli("run", "--once", "--log-format", "text", str(home.workspace)).stderr
    assert provider.count == 3


def test_answer_in_a_pipe_is_the_answer_and_one_line(home: Home, provider: OpenAIServer, brain: Brain):
    """Nothing stands between or under the answer; `--json` has it all; the log comes where it is asked for."""
    home.save("a_input.txt", "hello")
    file = str(home.workspace / "a_input.txt")
    done = home.cli("answer", file)
    assert (done.stdout, len(done.stderr.splitlines())) == ("re: hello\n", 1), done.stderr
    found = printed(home, "answer", file)
    assert (found["answer"], found["status"], found["asked"], found["output"]) == (
        "re: hello",
        "complete",
        False,
        "a_output.txt",
    )
    home.save("b_input.txt", "and you?")
    done = home.cli("answer", str(home.workspace / "b_input.txt"), "--log-format", "text")
    assert (done.stdout, "run.started" in done.stderr) == ("re: and you?\n", True)
    brain.on("refuse", Fault.status(401, {"error": {"message": "who are you?"}}))
    home.save("c_input.txt", "refuse this")
    done = home.cli("answer", str(home.workspace / "c_input.txt"), "--json")
    held = json.loads(done.stdout)
    assert (done.returncode, held["status"], held["answer"], held["asked"]) == (1, "held", None, True)
    assert "who are you?" in held["error"]
    with home.daemon():
        assert printed(home, "answer", file)["asked"] is False
        done = home.cli("answer", str(home.workspace / "c_input.txt"), "--json")
        assert (done.returncode, json.loads(done.stdout)["status"]) == (1, "held")


def test_a_dry_run_sends_and_writes_nothing(home: Home, provider: OpenAIServer):
    """`run --dry-run` shows each request and what it may cost, for people and as JSON; nothing is sent or written."""
    home.set(f'[prices."{MODEL}"]\ninput = 1\noutput = 1000\n')
    home.save("a_input.txt", "what would you send?")
    home.save("b_input.txt", "---\ntokns: 1\n---\nx")
    before = sorted(home.workspace.rglob("*"))
    done = home.cli("run", "--dry-run", str(home.workspace))
    assert done.returncode == 0
    assert "what would you send?" in done.stdout
    assert "not asked: line 2" in done.stdout
    assert "2 unanswered; at most $0.31" in done.stdout
    a, b = sorted(printed(home, "run", "--dry-run", str(home.workspace)), key=lambda sketch: sketch["path"])
    assert a["messages"][-1] == {"role": "user", "content": "what would you send?"}
    assert (a["model"], a["tokens"], a["problem"]) == (MODEL, 300, None)
    assert 0.3 < a["usd"] < 0.31
    assert "tokns" in b["problem"]
    assert provider.count == 0
    assert sorted(home.workspace.rglob("*")) == before
    done = home.cli("run", "--once", str(home.workspace))
    assert provider.count == 1
    assert provider.calls[0].body["messages"] == a["messages"], "the dry run showed something else"


def test_a_dry_run_beside_a_daemon(home: Home, provider: OpenAIServer):
    """A dry run may be made while a daemon answers; it takes nothing from it."""
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        daemon.answered("a_output.txt")
        assert home.cli("run", "--dry-run", str(home.workspace)).returncode == 0
        home.save("a_input.txt", "hello again")
        daemon.answered("a_output.txt", 2)
    assert provider.count == 2


def test_answer_prints_the_answer_and_asks_the_same_bytes_once(home: Home, provider: OpenAIServer, brain: Brain):
    """`answer FILE` needs no daemon, prints the answer alone, writes it too, and asks the same bytes only once."""
    file = home.workspace / "a_input.txt"
    home.save("a_input.txt", "hello")
    for last in (r"a_output\.txt · [\d.]+ s · \d+ \+ \d+ tokens · \$", r"a_output\.txt · nothing was asked"):
        done = home.cli("answer", str(file))
        assert (done.returncode, done.stdout) == (0, "re: hello\n")
        assert re.match(last, done.stderr.splitlines()[-1]), done.stderr
    assert home.read("a_output.txt") == "re: hello\n"
    assert provider.count == 1
    brain.on("refuse", Fault.status(401, {"error": {"message": "who are you?"}}))
    home.save("a_input.txt", "refuse this")
    done = home.cli("answer", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert "who are you?" in done.stderr
    assert "who are you?" in home.read("a_error.txt")
    assert "a_output.txt still holds the answer written 20" in home.read("a_error.txt")
    with home.daemon() as daemon:  # what was answered by hand is answered for the daemon too
        home.save("b_input.txt", "by the daemon")
        daemon.answered("b_output.txt")
        daemon.wait("run.held", path="a_input.txt")
    assert [question(call.body) for call in provider.calls] == ["hello", "refuse this", "refuse this", "by the daemon"]


def test_answer_of_what_is_no_input_ends_with_status_2(home: Home):
    """`answer` of a file that is missing or no input ends with status 2 and says which it is."""
    files = {"nowhere_input.txt": "no such file", "notes.txt": "not an input", ".hidden_input.txt": "not an input"}
    home.save("notes.txt", "hello")
    home.save(".hidden_input.txt", "hello")
    calls = [("answer", str(home.workspace / name)) for name in files]
    for words, done in zip(files.values(), home.cli_side_by_side(*calls), strict=True):
        assert done.returncode == 2
        assert words in done.stderr


def test_answer_beside_a_daemon_waits_for_its_answer(home: Home, provider: OpenAIServer):
    """Where a daemon answers, `answer FILE` prints the daemon's answer, and the question is asked once."""
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        done = home.cli("answer", str(home.workspace / "a_input.txt"))
        assert (done.returncode, done.stdout) == (0, "re: hello\n")
        daemon.answered("a_output.txt")
    assert provider.count == 1


def test_answers_at_the_same_time_come_one_after_the_other(home: Home, provider: OpenAIServer):
    """Two `answer` in one workspace both answer; of the same file the question is asked once."""
    for name in ("a", "b"):
        home.save(f"{name}_input.txt", f"hello {name}")
    calls = [("answer", str(home.workspace / f"{name}_input.txt")) for name in ("a", "b", "a")]
    done = home.cli_side_by_side(*calls)
    assert [(each.returncode, each.stdout) for each in done] == [(0, f"re: hello {name}\n") for name in "aba"]
    assert sorted(question(call.body) for call in provider.calls) == ["hello a", "hello b"]


def test_again_does_not_ask_twice_what_still_waits(home: Home, provider: OpenAIServer, brain: Brain):
    """A question that is held is not made a second one: it is asked once, when its cause is mended."""
    brain.on("hello", Fault.status(401), "Hi.")
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("run.held")
        done = home.cli("again", str(home.workspace / "a_input.txt"))
        assert (done.returncode, "is held" in done.stderr) == (0, True)
        assert home.cli("reload", str(home.workspace)).returncode == 0
        daemon.answered("a_output.txt")
    assert home.turns("a_state.json") == ["hello"]
    assert provider.count == 2


def test_again_asks_the_same_text_once_more(home: Home, provider: OpenAIServer):
    """`again FILE` asks the same text once more, now or at the next start; its answer takes the last one's place."""
    file = str(home.workspace / "a_input.txt")
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        done = home.cli("again", file)
        assert (done.returncode, "asked again" in done.stderr) == (0, True)
        daemon.answered("a_output.txt", 2)
    assert home.cli("again", file).returncode == 0
    assert provider.count == 2
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert provider.count == 3
    assert home.turns("a_state.json") == ["hello"]
    assert home.cli("again", str(home.workspace / "nowhere_input.txt")).returncode == 2


def test_status_and_jobs_say_what_is(home: Home):
    """`status` and `jobs` show daemon, runs and spending, for people and as JSON, from outside the daemon."""
    home.save("a_input.txt", "hello")
    home.save("b_input.txt", "---\ntokns: 1\n---\nx")
    where = ("--workspace", str(home.workspace))
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        daemon.wait("run.failed", path="b_input.txt")
        whole = printed(home, "status", *where)
        assert f"process {daemon.pid}" in whole["daemon"]
    assert whole["runs"] == {"complete": 1, "failed": 1}
    assert whole["spent_today_usd"] == 0
    assert whole["ceiling_per_day_usd"] == 1
    assert whole["host"] == socket.gethostname()
    one = home.status_of("b_input.txt")
    folder = str(home.workspace)
    down, jobs, failed, of_one, table, text, nobody = home.cli_side_by_side(
        ("status", *where, "--json"),
        ("runs", folder, "--json"),
        ("jobs", folder, "--status", "failed", "--json"),  # the earlier name of `runs`
        ("status", one["job_id"], *where, "--json"),
        ("runs", folder),
        ("status", *where),
        ("status", "no-such-run", *where),
    )
    assert json.loads(down.stdout)["daemon"] == "not running here"
    inputs = {job["input"]: job["status"] for job in json.loads(jobs.stdout)}
    assert inputs == {"a_input.txt": "complete", "b_input.txt": "failed"}
    assert json.loads(failed.stdout) == [one | {"question": None}]
    assert json.loads(of_one.stdout) == one
    assert all(status["job_id"] in table.stdout for status in home.statuses())
    assert "tokns" in table.stdout
    assert "1 answered, 1 failed" in text.stdout
    assert nobody.returncode == 2


def test_the_workspace_is_found_by_variable_and_by_the_current_folder(home: Home):
    """A verb without a folder takes `RLMWATCH_WORKSPACE`, else the current folder if it is a workspace."""
    home.variables["RLMWATCH_WORKSPACE"] = str(home.workspace)
    assert printed(home, "status")["workspace"] == str(home.workspace)
    del home.variables["RLMWATCH_WORKSPACE"]
    inside = Home(home.root)
    (home.root / "rlmwatch.toml").write_text("")
    assert printed(inside, "status")["workspace"] == str(home.root)


def test_doctor_finds_what_is_wrong_and_says_what_to_do(home: Home, provider: OpenAIServer):
    """`doctor` ends with 0 where all is well and with 1 where not; wrong lines say what to do; --ask proves the key."""
    folder = str(home.workspace)
    good, proved, lost = home.cli_side_by_side(
        ("doctor", folder, "--json"), ("doctor", folder, "--ask", "--json"), ("doctor", str(home.root / "nowhere"))
    )
    lines = {line["what"]: line for line in json.loads(good.stdout)}
    for what in ("workspace", "OPENAI_API_KEY", "provider", "reachable", "inotify", "local model", "daemon"):
        assert lines[what]["mark"] != "wrong", lines[what]
    assert good.returncode == 0
    assert "answers" not in lines
    assert json.loads(proved.stdout)[-1]["what"] == "answers"
    assert provider.count == 1
    assert lost.returncode == 1
    assert "rlmwatch init" in lost.stdout
    home.key = None
    home.save("rlmwatch.toml", "host = 5\n")
    done = home.cli("doctor", str(home.workspace))
    assert done.returncode == 1
    assert "wrong" in done.stdout
    assert "→" in done.stdout


def test_model_where_says_that_it_is_not_there(home: Home):
    """`model where` ends with status 1 in a home without the small model and says how to fetch it."""
    done = home.cli("model", "where")
    assert (done.returncode, done.stdout) == (1, "")
    assert "rlmwatch model fetch" in done.stderr
