"""Jobs by files, with the real daemon: plain or with the engine, material, trajectories, limits, and a kill -9."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from system.harness import KEY, Daemon, Home
from system.researching import Body, Coder, is_root, is_sub, is_synthesis, roots

BATCH = 8
WHOLE = "found = llm_batch([f'upper part {n}' for n in range(8)])\nprint(len(found))"
NESTED = "half = rlm_query('the nested half', context)\nprint(half)"
ENDS = "answer('+'.join(found) + ' | ' + half)"
INNER = "below = llm_batch([f'lower part {n}' for n in range(8)])\nprint(len(below))"
INNER_ENDS = "answer('+'.join(below) + f' of {len(context)}')"
WANTED = "+".join(f"U{n}" for n in range(BATCH)) + " | " + "+".join(f"L{n}" for n in range(BATCH)) + " of 5000"


class Talker(Coder):
    """A coder that is also asked plainly: it answers `re: <question>`."""

    def __call__(self, body: Body) -> Answer:
        engine = is_root(body) or is_sub(body) or is_synthesis(body)
        return super().__call__(body) if engine else f"re: {body['messages'][-1]['content'][:60]}"


@dataclass
class Office:
    """A home in which a daemon works on jobs."""

    home: Home
    coder: Talker
    provider: OpenAIServer
    daemon: Daemon

    def job(self, name: str, text: str) -> str:
        """Save a job, wait for its answer, and return that."""
        self.home.save(f"{name}_job_input.txt", text)
        self.daemon.answered(f"{name}_job_output.txt")
        return self.home.read(f"{name}_job_output.txt")

    def bodies(self, word: str) -> list[Body]:
        """The requests so far that speak of *word*."""
        return [call.body for call in self.provider.calls if word in str(call.body["messages"])]

    def status(self, name: str) -> dict[str, Any]:
        return self.home.status_of(f"{name}_job_input.txt")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One daemon for all tests that need none of their own."""
    coder = Talker()
    with OpenAIServer(coder) as provider:
        home = Home(tmp_path_factory.mktemp("office") / "home", provider)
        home.set("workers = 8\n")
        with home.daemon() as daemon:
            yield Office(home, coder, provider, daemon)


@pytest.fixture
def coder() -> Talker:
    """What the model writes, where a test has a daemon of its own."""
    return Talker()


@pytest.fixture
def provider(coder: Talker) -> Iterator[OpenAIServer]:
    """A provider whose model is *coder*."""
    with OpenAIServer(coder) as server:
        yield server


# Plain or engine


def test_a_job_alone_is_one_plain_call(office: Office):
    """`job_input.txt` with nothing to work on is one request, answered in `job_output.txt`."""
    office.home.save("job_input.txt", "Translate hello")
    office.daemon.answered("job_output.txt")
    assert office.home.read("job_output.txt") == "re: Translate hello\n"
    status = office.home.status_of("job_input.txt")
    assert (status["kind"], status["status"], status["outcome"]) == ("job", "complete", "success")
    assert status["usage"]["llm_calls"] == len(office.bodies("Translate hello")) == 1


def test_a_data_file_is_worked_on_by_code_and_stays_out_of_the_prompt(office: Office):
    """`<name>_job_data.txt` becomes `context`: the answer is counted by code, the text is in no request."""
    office.home.save("sums_job_data.txt", "7\n" * 50_000 + "needle\n")
    office.coder.on("add up", "print(len(context))", "answer(sum(int(x) for x in context.split() if x != 'needle'))")
    assert office.job("sums", "Please add up the numbers") == "350000\n"
    assert max(len(str(body)) for body in office.bodies("add up the numbers")) < 5_000
    status = office.status("sums")
    assert (status["progress"]["step"], status["progress"]["max_steps"], status["partial"]) == (2, 8, False)


def test_a_folder_is_a_mapping_of_path_to_text(office: Office):
    """`<name>_job_data/` becomes a mapping of each file's path in the workspace to its text; secrets are left out."""
    for path, text in {"a.txt": "one", "deep/b.md": "two", ".env": "SECRET=1"}.items():
        office.home.save(f"minutes_job_data/{path}", text)
    office.coder.on("list them", "answer(sorted(context.items()))")
    answer = json.loads(office.job("minutes", "list them, please"))
    assert answer == [["minutes_job_data/a.txt", "one"], ["minutes_job_data/deep/b.md", "two"]]


def test_material_that_cannot_be_used_costs_nothing(office: Office):
    """A table as .xlsx, an empty folder, a data file beside a chat: an error that names the file, and no request."""
    office.home.save("table_job_data.xlsx", "PK\0")
    office.home.save("table_job_input.txt", "Question about a table")
    (office.home.workspace / "hollow_job_data").mkdir()
    office.home.save("hollow_job_input.txt", "Question about a hollow folder")
    office.home.save("talk_data.csv", "1,2")
    office.home.save("talk_input.txt", "Question about a csv")
    office.home.appears("table_job_error.txt", "table_job_data.xlsx")
    office.home.appears("hollow_job_error.txt", "hollow_job_data")
    office.home.appears("talk_error.txt", "talk_data.csv")
    assert office.bodies("Question about a ") == []


def test_a_csv_is_used_and_the_folder_says_what_was_passed_over(office: Office):
    """`…_data.csv` is material like `.txt`; of a folder, state and status say what was passed over."""
    office.home.save("cells_job_data.csv", "7,8")
    office.coder.on("the cells", "answer(context)")
    assert office.job("cells", "the cells, please") == "7,8\n"
    office.home.save("mix_job_data/a.txt", "one")
    office.home.save("mix_job_data/p.png", "\0")
    office.coder.on("the mix", "answer(context)")
    office.job("mix", "the mix, please")
    for notes in (
        office.status("mix")["notes"],
        json.loads(office.home.read("mix_job_state.json"))["turns"][0]["notes"],
    ):
        assert any("mix_job_data/p.png (it is not text" in note for note in notes)


def test_a_question_belongs_to_its_material(office: Office):
    """
    Where the data changed, the same bytes saved again, and `answer`, ask anew; the change alone starts nothing.

    `status` names it. Where nothing changed, `answer` says when it was answered and asks nothing.
    """
    office.coder.on("what is in it", "answer(context)")
    office.home.save("own_job_data.txt", "old")
    office.home.save("own_job_input.txt", "what is in it?")
    office.daemon.answered("own_job_output.txt")
    asked = len(office.bodies("what is in it"))
    office.home.save("own_job_input.txt", "what is in it?")
    office.daemon.wait("save.same_bytes", path="own_job_input.txt")
    again = office.home.cli("answer", str(office.home.workspace / "own_job_input.txt"))
    assert (again.returncode, again.stdout) == (0, "old\n")
    assert "unchanged; `rlmwatch again" in again.stderr
    office.home.save("own_job_data.txt", "new")
    told = json.loads(office.home.cli("status", "-w", str(office.home.workspace), "--json").stdout)
    assert any(each.startswith("own_job_input.txt: save it again") for each in told["material_changed"])
    assert len(office.bodies("what is in it")) == asked
    office.home.save("own_job_input.txt", "what is in it?")
    office.daemon.answered("own_job_output.txt", 2)
    assert office.home.read("own_job_output.txt") == "new\n"
    office.home.save("own_job_data.txt", "newest")
    newest = office.home.cli("answer", str(office.home.workspace / "own_job_input.txt"))
    assert (newest.returncode, newest.stdout) == (0, "newest\n")
    assert "unchanged" not in newest.stderr


def test_the_front_matter_names_the_material(office: Office):
    """`context:` takes any paths of the workspace, and what lies outside is refused in words."""
    office.home.save("notes/n.txt", "from the notes")
    office.coder.on("what notes", "answer(context)")
    assert office.job("named", "---\ncontext: notes/n.txt\n---\nwhat notes?") == "from the notes\n"
    office.home.save("outside_job_input.txt", "---\ncontext: ../../secret.txt\n---\nwhat notes?")
    office.home.appears("outside_job_error.txt", "secret.txt")


def test_the_mode_says_otherwise(office: Office):
    """`mode: rlm` runs code without material; `mode: chat` with material is an error before any call."""
    office.coder.on("six times", "answer(6 * 7)")
    assert office.job("calc", "---\nmode: rlm\n---\nsix times seven?") == "42\n"
    office.home.save("plain_job_data.txt", "material")
    office.home.save("plain_job_input.txt", "---\nmode: chat\n---\nQuestion of a plain kind")
    office.home.appears("plain_job_error.txt", "mode: chat")
    assert office.bodies("Question of a plain kind") == []


# Trajectory


def test_show_prints_the_trajectory(office: Office):
    """`rlmwatch show RUN` tells question, code, output, sub-engines, answer and what it used; `--json` all of it."""
    office.home.save("tour_job_data.txt", "abc" * 100)
    office.coder.on(
        "grand tour", "print(len(context))", "x = rlm_query('small tour', 'hi')\nprint(x)", "answer(x + '!')"
    )
    office.coder.on("small tour", "answer(context.upper())")
    assert office.job("tour", "the grand tour") == "HI!\n"
    run = office.status("tour")["job_id"]
    shown = office.home.cli("show", run, "-w", str(office.home.workspace))
    assert (shown.returncode, shown.stderr) == (0, "")
    places = [
        shown.stdout.index(text) for text in ("answered", "the grand tour", "step 1", "print(len(context))", "300")
    ]
    assert places == sorted(places)
    assert "sub-engine" in shown.stdout
    assert "answer:\n  HI!" in shown.stdout
    told = json.loads(office.home.cli("show", run, "--json", "-w", str(office.home.workspace)).stdout)
    assert [(bool(step["path"]), step["step"], step["ended"]) for step in told["steps"]] == [
        (False, 1, "ok"),
        (True, 1, "answered"),
        (False, 2, "ok"),
        (False, 3, "answered"),
    ]
    assert told["steps"][0]["shown"] == "300"
    assert {call["state"] for call in told["calls"]} == {"done"}
    assert len(told["calls"]) == 4
    assert told["run"]["result"]["answer"] == "HI!"


# Limits


def test_code_that_never_ends_does_not_pass_the_time_limit(office: Office):
    """A cell of `while True` is stopped, again and again, and the run ends at its own limit with what was found."""
    office.home.save("spin_job_data.txt", "material")
    office.coder.on("spin", "print('a first clue')", "while True: pass")
    office.coder.synthesis = "what was found so far"
    office.job("spin", "---\nmax_seconds: 4\nmax_steps: 100\n---\nspin")
    assert office.home.cut_short("spin_job_output.txt", "time limit") == "what was found so far"
    status = office.status("spin")
    assert (status["outcome"], status["partial"]) == ("timeout", True)


def test_a_sub_call_that_says_nothing_does_not_pass_the_time_limit(office: Office):
    """A provider that falls silent in a sub-call is left at the run's limit, and the connection is closed."""
    office.home.save("mute_job_data.txt", "material")
    office.coder.on("mute", "llm_batch(['are you there? ' + str(n) for n in range(3)])")
    office.coder.sub = lambda _body: Fault.stall()
    try:
        office.job("mute", "---\nmax_seconds: 4\n---\nmute")
        assert office.home.cut_short("mute_job_output.txt", "time limit") == "what was found so far"
    finally:
        office.coder.sub = lambda _body: "sub reply"
    assert office.status("mute")["outcome"] == "timeout"
    left = [call for call in office.provider.wait_for_hang_ups(3) if "are you there" in str(call.body)]
    assert len(left) == 3


def test_a_cap_holds_in_a_batch_and_the_answer_is_partial(office: Office):
    """A hundred sub-calls of 1,000 tokens under `max_tokens: 5000` use at most that; the status says what ended it."""
    office.home.save("cap_job_data.txt", "material")
    office.coder.on("cap it", "found = llm_batch([f'full {n}' for n in range(100)])\nprint(found[0])")
    office.coder.sub = lambda _body: "word " * 2_000
    try:
        office.job("cap", "---\nmax_tokens: 5000\ntokens: 1000\n---\ncap it")
    finally:
        office.coder.sub = lambda _body: "sub reply"
    assert office.home.cut_short("cap_job_output.txt", "token limit") == "what was found so far"
    status = office.status("cap")
    assert (status["outcome"], status["partial"]) == ("token_limit", True)
    assert 4_000 < status["usage"]["output_tokens"] <= 5_000


# What must never be


def test_the_key_is_in_no_file(office: Office):
    """The key stands in no file of the home but where the person put it: no answer, status, ledger or log."""
    office.home.save("keys_job_data.txt", "material")
    office.coder.on("keys, please", "import os\nprint(dict(os.environ))", "answer(str(dict(os.environ)))")
    assert KEY not in office.job("keys", "keys, please")
    files = [file for file in office.home.root.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.name == "ledger.sqlite3" for file in files)
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []
    assert KEY not in office.daemon.said


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root's rights away")
def test_where_there_is_no_sandbox_the_job_is_held_and_says_why(home: Home, coder: Talker, provider: OpenAIServer):
    """No code runs outside the sandbox: the job waits, with layer and cure, no call is made, and chats go on."""
    setpriv = shutil.which("setpriv") or pytest.skip("there is no setpriv")
    bound = (setpriv, "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid")
    home.save("held_job_data.txt", "material")
    home.save("held_job_input.txt", "count it")
    coder.on("count it", "answer(len(context))")
    with home.daemon(before=bound) as daemon:
        told = home.appears("held_job_error.txt", "identity", "root")
        home.save("chat_input.txt", "Hello")
        daemon.answered("chat_output.txt")
    assert "held" in told or "kept" in told
    assert home.status_of("held_job_input.txt")["completed_at"] is None
    assert roots(provider) == []
    with home.daemon() as daemon:  # the cause is fixed: the same save runs
        daemon.answered("held_job_output.txt")
    assert home.read("held_job_output.txt") == "8\n"
    assert not home.exists("held_job_error.txt")


# Kill


@pytest.mark.parametrize("answered", [3, BATCH + 3], ids=["in a batch", "in a nested engine's batch"])
def test_after_a_kill_9_nothing_that_was_answered_is_paid_again(
    home: Home, coder: Talker, provider: OpenAIServer, answered: int
):
    """Killed with sub-calls in flight side by side, a run goes on: same answer, only what was in flight asked again."""
    go_on, waits = threading.Event(), threading.Semaphore(answered)

    def sub(body: Body) -> Answer:
        words = body["messages"][-1]["content"].split()
        text = words[0][0].upper() + words[-1]
        return Reply(text) if waits.acquire(blocking=False) else Reply(text, until=go_on)

    coder.sub = sub
    coder.on("everything", WHOLE, NESTED, ENDS)
    coder.on("nested half", INNER, INNER_ENDS)
    home.save("all_job_data.txt", "x" * 5000)
    home.save("all_job_input.txt", "everything")
    nested = answered > BATCH
    in_flight = (2 * BATCH if nested else BATCH) - answered
    before = answered + in_flight + (3 if nested else 1)
    with home.daemon() as daemon:
        provider.wait_for_calls(before)
        run = home.status_of("all_job_input.txt")["job_id"]
        journalled(home, run, before - in_flight)
        daemon.kill()
    done = journalled(home, run, before - in_flight)
    go_on.set()
    with home.daemon() as daemon:
        daemon.answered("all_job_output.txt")
    assert home.read("all_job_output.txt") == f"{WANTED}\n"
    again = [call.body["messages"] for call in provider.calls[before:]]
    assert [messages for messages in again if messages in done] == []
    assert provider.count == 2 * BATCH + 5 + in_flight
    status = home.status_of("all_job_input.txt")
    assert (status["attempt"], status["outcome"], status.get("notes", [])) == (2, "success", [])


def journalled(home: Home, run: str, wanted: int) -> list[Any]:
    """Wait until *wanted* replies of a run are in the journal, and return what they were asked."""
    for _ in range(100):
        told = home.cli("show", run, "--json", "-w", str(home.workspace))
        done = [call["call"]["request"]["messages"] for call in json.loads(told.stdout)["calls"] if call["reply"]]
        if len(done) >= wanted:
            return done
    raise AssertionError(f"{len(done)} replies of {wanted} in the journal")
