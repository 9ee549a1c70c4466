"""What the small embedded model cannot do is held until a model that can is there (issue 14, point 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from behaviour.embedded_weights import path_or_skip
from servers.exa_server import ExaServer
from servers.openai_server import OpenAIServer
from system.harness import KEY, Home
from system.researching import Coder, newest_question

NEEDS = "needs a model that can write code"
WAYS = ("OPENAI_API_KEY", "base_url", "under [models]")
JOB = "---\nmax_steps: 3\n---\nCount the lines\n"


@pytest.fixture
def coder() -> Coder:
    """What the larger model writes, once there is one."""
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    """The larger model."""
    with OpenAIServer(coder) as server:
        yield server


@pytest.fixture
def home(home: Home) -> Home:
    """A person with the shipped weights and no key for a model."""
    home.key = None
    home.fresh = True
    home.set(f'[models]\npath = "{path_or_skip()}"\n')
    return home


def test_the_engines_work_is_held_and_goes_on_by_itself(home: Home, coder: Coder, provider: OpenAIServer):
    """
    Job with material, job file, research and exa are held with the ways to a model, and run after a key and a reload.

    The embedded model once answered such runs with our own notice, "Your code is cut at its token limit…".
    """
    coder.on("Count", "answer('3 lines')")
    inputs = {"job": "job_input.txt", "research": "research_prompt.txt", "exa": "exa_input.txt"}
    with ExaServer([[]]) as exa:
        home.variables |= {"EXA_API_KEY": "made-up", "EXA_BASE_URL": exa.url}
        home.save("job_data.txt", "a\nb\nc\n")
        for path in inputs.values():
            home.save(path, "Count the lines\n")
        home.save("jobs/mine.json", json.dumps({"status": "pending", "task": "Count the lines", "data": "a\nb\nc"}))
        with home.daemon() as daemon:
            daemon.wait("run.held", 4, timeout=60)
            for kind, path in inputs.items():
                error, status = home.appears(f"{kind}_error.txt", NEEDS), home.status_of(path)
                assert all(word in error for word in (NEEDS, *WAYS)), error
                assert (status["status"], status["answer"], NEEDS in status["error"]) == ("held", None, True)
                assert not home.exists(f"{kind}_output.txt")
            assert home.state("jobs/mine.json")["status"] == "held"
            asked = home.cli_side_by_side(
                ("answer", str(home.workspace / "job_input.txt")),
                ("jobs", str(home.workspace), "--json"),
                ("status", "--workspace", str(home.workspace)),
            )
            assert (asked[0].returncode, asked[0].stdout, NEEDS in asked[0].stderr) == (1, "", True)
            assert {row["status"] for row in json.loads(asked[1].stdout)} == {"held"}
            assert NEEDS in asked[2].stdout
            assert provider.count == 0
            (home.config / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
            daemon.hup()
            for kind in inputs:
                daemon.answered(f"{kind}_output.txt")
                assert home.read(f"{kind}_output.txt") == "3 lines\n"
                assert not home.exists(f"{kind}_error.txt")
            assert home.appears("jobs/mine.json", '"complete"', "3 lines")
    assert {newest_question(call.body) for call in provider.calls} == {"Count the lines"}


def test_commands_say_that_it_is_held_and_end(home: Home, provider: OpenAIServer):
    """`run --once`, `answer` and `submit --wait` without a daemon end with status 1 and the reason; nothing is lost."""
    home.save("job_input.txt", JOB)
    workspace = str(home.workspace)
    dry = home.cli("run", "--dry-run", workspace)
    assert NEEDS in dry.stdout, dry.stdout + dry.stderr
    once = home.cli("run", "--once", workspace)
    assert (once.returncode, "1 waiting" in once.stderr) == (1, True), once.stderr
    assert NEEDS in home.read("job_error.txt")
    answer = home.cli("answer", str(home.workspace / "job_input.txt"))
    assert (answer.returncode, answer.stdout, NEEDS in answer.stderr) == (1, "", True)
    submit = home.cli("submit", "Count", "--data", "-", "--max-steps", "3", "--wait", "--workspace", workspace)
    assert (submit.returncode, submit.stdout, NEEDS in submit.stderr) == (1, "", True), submit.stderr
    assert {status["status"] for status in home.statuses()} == {"held"}
    assert not home.exists("job_output.txt")
    assert provider.count == 0


def test_in_python_it_is_an_error(home: Home):
    """`run()` and `Session.run` with material raise, with the ways to a model; there is no later for them."""
    program = (
        "import rlmwatch\nfrom rlmwatch.errors import NoCodingModel\n"
        "for call in (rlmwatch.run, rlmwatch.Session('s_session.json').run):\n"
        "    try:\n        call('Count the lines', 'a\\nb\\nc')\n"
        "    except NoCodingModel as error:\n        print('held', 'needs a model that can write code' in str(error))\n"
    )
    process = home.start("-c", program)
    said, errors = process.communicate(timeout=60)
    assert (said, process.wait()) == ("held True\nheld True\n", 0), errors


def test_a_plain_job_is_answered(home: Home):
    """A job that is one plain call is what the embedded model is there for."""
    home.save("job_input.txt", "---\ntokens: 12\ntemperature: 0\n---\nWhat is the capital of France?\n")
    done = home.cli("answer", str(home.workspace / "job_input.txt"), deadline_s=120)
    assert (done.returncode, done.stderr.count(NEEDS)) == (0, 0), done.stderr
    assert home.read("job_output.txt").strip()


def test_the_exam_says_that_it_cannot(home: Home, coder: Coder, provider: OpenAIServer):
    """`doctor --exam` asks the embedded model nothing; a model with a price is asked once somebody said yes."""
    done = home.cli("doctor", "--exam")
    assert (done.returncode, NEEDS in done.stdout) == (1, True), done.stderr
    home.key = KEY
    home.set('[prices]\n"gpt-4.1" = { input = 2.0, output = 8.0 }\n')
    done = home.cli("doctor", "--exam", "gpt-4.1")
    assert (done.returncode, "$" in done.stderr, "--yes" in done.stderr) == (2, True, True)
    assert provider.count == 0
    coder.on("safe", "import re\nanswer(re.search(r'safe is (\\d+)', context)[1])")
    done = home.cli("doctor", "--exam", "gpt-4.1", "--yes", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["model"], found["right"], found["of"]) == (1, "gpt-4.1", 1, 5)


def test_submit_beside_a_daemon_says_why_it_waits(home: Home, coder: Coder, provider: OpenAIServer):
    """`submit --wait` says once, on standard error, what the job is held for, and prints the answer when it came."""
    coder.on("Count", "answer('3 lines')")
    with home.daemon() as daemon:
        submit = ("submit", "Count", "--max-steps", "3", "--wait", "--workspace", str(home.workspace))
        process = home.start("-m", "rlmwatch", *submit)
        daemon.wait("run.held", timeout=60)
        assert process.stderr is not None
        assert NEEDS in process.stderr.readline()
        (home.config / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
        daemon.hup()
        said, errors = process.communicate(timeout=60)
        assert (process.wait(), said, errors.count(NEEDS)) == (0, "3 lines\n", 0), errors
