"""Research sessions with the real daemon: exchanges, material, spending that survives, and budgets that end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import MODEL, Home
from system.researching import Coder, is_synthesis, opening, padded, py, roots

from rlmwatch.api import Session
from rlmwatch.errors import SessionBudgetExceeded, WorkspaceBusy

CRASH_CHILD = Path(__file__).with_name("crash_child.py")


@pytest.fixture
def coder() -> Coder:
    """What the model writes."""
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    """A provider whose model is *coder*."""
    with OpenAIServer(coder) as server:
        yield server


def ask(home: Home, daemon, text: str, n: int = 1, name: str = "research") -> None:
    """Save *text* as the question, and wait for the *n*-th answer."""
    home.save(f"{name}_prompt.txt", text)
    daemon.answered(f"{name}_output.txt", n)


FOUND = ("Found: a clue. " * 80).strip()
"""300 tokens: all that is kept for a synthesis under a cap of 1,200."""


def spends_all(coder: Coder, word: str) -> None:
    """Have the model use up the session at the question that holds *word*."""
    coder.on(word, padded("print('a clue')", 400))
    coder.synthesis = FOUND


def test_a_follow_up_sees_the_earlier_exchanges(home: Home, coder: Coder, provider: OpenAIServer):
    """A second question has the first exchange in short in its prompt, and all exchanges whole as `history`."""
    long = "The lighthouse was built in 1811. " * 40
    coder.on("When", f"answer({long!r})")
    coder.on("By whom", "answer(str(history.count('1811')) + ' ' + history[:30])")
    with home.daemon() as daemon:
        ask(home, daemon, "When was it built?")
        ask(home, daemon, "By whom was it built?", 2)
    assert home.read("research_output.txt") == "40 Question: When was it built?\nA\n"
    asked = opening(roots(provider)[1])
    assert "Q: When was it built?\nA: The lighthouse was built in 1811." in asked
    assert "Now: By whom was it built?" in asked
    assert asked.index("1811") < asked.index("Now:")
    assert asked.split("Now:")[0].count("1811") < 15, "the answer stands whole in the prompt"
    assert home.turns("research_session.json") == ["When was it built?", "By whom was it built?"]


@pytest.mark.parametrize(
    ("files", "head", "code", "wanted"),
    [
        ({"research_data.txt": "gold"}, "", "answer(context)", "gold"),
        ({"research_data.md": "# gold"}, "", "answer(context)", "# gold"),
        (
            {"research_data/a.txt": "1", "research_data/deep/b.md": "2"},
            "",
            "answer(','.join(f'{k}={v}' for k, v in sorted(context.items())))",
            "research_data/a.txt=1,research_data/deep/b.md=2",
        ),
        ({"notes/x.txt": "from notes"}, "---\ncontext: notes/x.txt\n---\n", "answer(context)", "from notes"),
    ],
    ids=["txt", "md", "folder", "front matter"],
)
def test_the_material_is_the_variable_context(
    home: Home, coder: Coder, files: dict[str, str], head: str, code: str, wanted: str
):
    """A data file, a Markdown file, a folder (path → text) or `context:` is what the code finds as `context`."""
    for path, text in files.items():
        home.save(path, text)
    coder.on("Read it", code)
    with home.daemon() as daemon:
        ask(home, daemon, f"{head}Read it.")
    assert home.read("research_output.txt") == f"{wanted}\n"


def test_the_founding_numbers_hold(home: Home, coder: Coder, provider: OpenAIServer):
    """Without any setting: 400 tokens a call, 4 steps, and what was found so far where they do not do, as partial."""
    coder.on("Long", "print('clue', budget())")
    coder.synthesis = "Four clues."
    with home.daemon() as daemon:
        ask(home, daemon, "Long search")
    asked = roots(provider)
    assert len(asked) == 4
    assert asked[0]["max_completion_tokens" if "max_completion_tokens" in asked[0] else "max_tokens"] == 400
    assert home.cut_short("research_output.txt", "step limit") == "Four clues."
    status = home.status_of("research_prompt.txt")
    assert (status["status"], status["outcome"], status["partial"]) == ("complete", "step_limit", True)
    assert status["budget"] == {"max_cost_usd": 0.05, "max_tokens": 1200}
    (turn,) = home.state("research_session.json")["turns"]
    assert (turn["partial"], turn["reason"]) == (True, "step_limit")


def test_a_budget_that_runs_out_ends_in_a_synthesis_and_the_next_question_in_words(
    home: Home, coder: Coder, provider: OpenAIServer
):
    """1,200 tokens: the run that uses them up still answers; the next one makes no call and says how to go on."""
    spends_all(coder, "First")
    with home.daemon() as daemon:
        ask(home, daemon, "First question")
        status = home.status_of("research_prompt.txt")
        assert (status["outcome"], status["partial"]) == ("token_limit", True)
        assert home.cut_short("research_output.txt", "token limit") == FOUND
        spent = home.state("research_session.json")["spent"]["output_tokens"]
        assert 1200 - 16 < spent <= 1200
        calls = provider.count

        home.save("research_prompt.txt", "Second question")
        daemon.wait("run.failed", path="research_prompt.txt")
        said = home.appears("research_error.txt", "max_tokens")
        assert f"max_tokens is 1200, {spent} used" in said
        assert f"    max_tokens: {spent + 1200}\n" in said
        assert f"    max_tokens = {spent + 1200}\n" in said
        assert home.status_of("research_prompt.txt")["outcome"] == "budget_exceeded"
        assert provider.count == calls, "a spent session made a call"
        assert home.cut_short("research_output.txt", "token limit") == FOUND, "the last good output stays"

        # The very line that the error names, where it says.
        line = next(line.strip() for line in said.splitlines() if line.startswith("    max_tokens:"))
        coder.on("Second", "answer('and on')")
        ask(home, daemon, f"---\n{line}\n---\nSecond question", 2)
    assert home.read("research_output.txt") == "and on\n"
    assert not home.exists("research_error.txt")


def test_a_cap_raised_in_the_workspaces_settings_lets_a_spent_session_go_on(home: Home, coder: Coder):
    """The line that the error names, under [research] in rlmwatch.toml, and a reload: the session goes on."""
    spends_all(coder, "First")
    with home.daemon() as daemon:
        ask(home, daemon, "First question")
        home.save("research_prompt.txt", "Second question")
        daemon.wait("run.failed", path="research_prompt.txt")
        said = home.appears("research_error.txt", "[research]")
        line = next(line.strip() for line in said.splitlines() if line.startswith("    max_tokens ="))
        kept = home.read("rlmwatch.toml")
        home.save("rlmwatch.toml", f"{kept}\n[research]\n{line}\n")
        daemon.hup()
        coder.on("Second", "answer('twice')")
        assert home.cli("again", str(home.workspace / "research_prompt.txt")).returncode == 0
        daemon.answered("research_output.txt", 2)
    assert home.read("research_output.txt") == "twice\n"


def test_a_cap_in_money_ends_a_session_too(home: Home, coder: Coder, provider: OpenAIServer):
    """0.05 USD spent: no call, and the error names used, cap and the line to write."""
    home.set(f'[prices."{MODEL}"]\ninput = 0.4\noutput = 1.6\n')
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20, "cost": 0.0499999}
    coder.on("First", Reply(py("answer('dear')"), usage=usage))
    with home.daemon() as daemon:
        ask(home, daemon, "First question")
        home.save("research_prompt.txt", "Second question")
        daemon.wait("run.failed", path="research_prompt.txt")
        said = home.appears("research_error.txt", "max_cost_usd is 0.05")
        assert "    max_cost_usd: 0.1\n" in said
        assert provider.count == 1
        coder.on("Second", "answer('paid')")
        ask(home, daemon, "---\nmax_cost_usd: 0.1\n---\nSecond question", 2)


def test_spending_survives_restarts_and_kills(home: Home, coder: Coder, provider: OpenAIServer):
    """Killed after a reply was stored, stopped, started: the session knows every token, and pays none twice."""
    coder.on("Killed", padded("print('one')", 100), padded("answer('two')", 50))
    home.save("research_prompt.txt", "Killed question")
    with home.daemon(program=[str(CRASH_CHILD), str(home.workspace), "call.recorded"]) as daemon:
        assert daemon.ended() == -signal.SIGKILL, daemon.tail
    assert provider.count == 1
    with home.daemon() as daemon:
        daemon.answered("research_output.txt")
    assert provider.count == 2, "the stored reply was asked for again"
    session = home.state("research_session.json")
    assert session["spent"]["output_tokens"] == 150
    assert home.status_of("research_prompt.txt")["attempt"] == 2
    with home.daemon() as daemon:
        coder.on("Later", padded("answer('three')", 25))
        ask(home, daemon, "Later question")
    assert home.state("research_session.json")["spent"]["output_tokens"] == 175


def test_a_kill_in_the_middle_of_a_call_counts_it_as_spent(home: Home, coder: Coder, provider: OpenAIServer):
    """A call that was in flight at the kill keeps its reservation in the session's sum: a crash loses no spending."""
    coder.on("Killed", padded("answer('done')", 50))
    home.save("research_prompt.txt", "Killed question")
    with home.daemon(program=[str(CRASH_CHILD), str(home.workspace), "call.replied"]) as daemon:
        assert daemon.ended() == -signal.SIGKILL, daemon.tail
    with home.daemon() as daemon:
        daemon.answered("research_output.txt")
    assert provider.count == 2
    assert home.state("research_session.json")["spent"]["output_tokens"] == 400 + 50


def test_a_damaged_session_is_set_aside_and_the_person_told(home: Home, coder: Coder):
    """A session file that cannot be read is moved aside, never overwritten; the question is answered afresh."""
    home.save("research_session.json", '{"turns": [')
    with home.daemon() as daemon:
        ask(home, daemon, "Anything")
        daemon.wait("session.moved_aside")
    (aside,) = home.workspace.glob("research_session.json.corrupt-*")
    assert aside.read_text() == '{"turns": ['


def python(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be a script of the same person."""
    for name in list(os.environ):
        if name.startswith(("RLMWATCH_", "OPENAI_", "OPENROUTER_", "EXA_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)


def test_a_script_and_the_daemon_share_a_session(home: Home, coder: Coder, monkeypatch: pytest.MonkeyPatch):
    """What a script asked is history to the daemon and the other way round, and both pay from the same budget."""
    python(home, monkeypatch)
    coder.on("script", padded("answer('from the script')", 30))
    coder.on("daemon", padded("answer(history.count('script') and 'knows')", 20))
    coder.on("again", padded("answer(str(history.count('Question:')))", 20))
    session = Session(home.workspace / "research_session.json")
    assert session.run("The script asks").answer == "from the script"
    assert session.remaining_tokens == 1170
    with home.daemon() as daemon:
        ask(home, daemon, "The daemon asks")
    assert home.read("research_output.txt") == "knows\n"
    assert session.remaining_tokens == 1150
    assert session.run("And again").answer == "2"
    assert [turn["input"] for turn in home.state("research_session.json")["turns"]] == [
        "The script asks",
        "The daemon asks",
        "And again",
    ]
    assert session.remaining_tokens == 1130


def test_whoever_comes_second_to_a_session_waits(home: Home, coder: Coder, monkeypatch: pytest.MonkeyPatch):
    """While the daemon answers in a session, a script that uses it waits, and then sees what the daemon found."""
    python(home, monkeypatch)
    go_on = threading.Event()
    coder.on("daemon", Reply(py("answer('slow answer')"), until=go_on))
    coder.on("script", "answer(str('slow answer' in history))")
    answers: list[str] = []
    session = Session(home.workspace / "research_session.json")
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "The daemon asks")
        assert home.provider is not None
        home.provider.wait_for_calls(1)
        asking = threading.Thread(target=lambda: answers.append(session.run("The script asks").answer))
        asking.start()
        monkeypatch.setattr("rlmwatch.api.BUSY_S", 0.2)
        with pytest.raises(WorkspaceBusy, match="another run uses the session"):
            session.raise_caps(max_tokens=5000)
        assert home.provider.count == 1, "the script did not wait"
        go_on.set()
        daemon.answered("research_output.txt")
        asking.join(30)
    assert answers == ["True"]
    assert home.turns("research_session.json") == ["The daemon asks", "The script asks"]


def test_a_script_raises_the_caps_for_the_daemon_too(home: Home, coder: Coder, monkeypatch: pytest.MonkeyPatch):
    """A session with nothing left raises SessionBudgetExceeded in Python; `raise_caps` holds for the daemon as well."""
    python(home, monkeypatch)
    spends_all(coder, "all")
    session = Session(home.workspace / "research_session.json")
    assert session.run("Use it all").partial
    with pytest.raises(SessionBudgetExceeded, match=r"max_tokens is 1200, 1\d+ used"):
        session.run("One more")
    assert home.provider is not None
    calls = home.provider.count
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "The daemon asks")
        daemon.wait("run.failed", path="research_prompt.txt")
        assert home.provider.count == calls
        session.raise_caps(max_tokens=3000)
        ask(home, daemon, "The daemon goes on")
        assert home.read("research_output.txt") == "re\n"
        session.clear()
        assert (session.remaining_tokens, session.max_tokens) == (3000, 3000)


SEARCHING = """
n = 0
for q in range(3):
    try:
        research(f'q{q}')
        n += 1
    except Exception as error:
        last = type(error).__name__
answer(f'{n} {last} {budget()["searches"]}')
"""


def test_searches_are_counted_for_each_question_of_a_session(home: Home, coder: Coder):
    """`max_searches` holds for one question; tokens and money for the whole session."""
    coder.on("search", SEARCHING)
    head = "---\ntools: research\nmax_searches: 2\n---\n"
    with ExaServer([[result("https://a.example/")]]) as exa:
        home.variables |= {"EXA_API_KEY": "exa-key-51d27f3a9c", "EXA_BASE_URL": exa.url}
        with home.daemon() as daemon:
            ask(home, daemon, f"{head}Now search")
            assert home.read("research_output.txt") == "2 BudgetExceeded 0\n"
            ask(home, daemon, f"{head}Now search again", 2)
        assert home.read("research_output.txt") == "2 BudgetExceeded 0\n"
        assert exa.count == 4
    session = home.state("research_session.json")
    assert session["spent"]["cost_usd"] >= 4 * 0.007, "what searches cost is the session's too"
    assert home.status_of("research_prompt.txt")["usage"]["searches"] == 2


def test_answer_without_the_prompt_file_exits_2(home: Home):
    """`rlmwatch answer research_prompt.txt` where there is none: exit status 2, and it says which file is missing."""
    done = home.cli("answer", str(home.workspace / "research_prompt.txt"))
    assert done.returncode == 2
    assert "research_prompt.txt: no such file" in done.stderr
    assert home.provider is not None
    assert home.provider.count == 0


def test_the_daemon_waits_for_a_prompt_that_is_not_there(home: Home, coder: Coder):
    """With material and no prompt nothing is asked; the prompt, when it comes, is."""
    home.save("research_data.txt", "gold")
    coder.on("Read", "answer(context)")
    with home.daemon() as daemon:
        assert home.provider is not None
        assert home.provider.count == 0
        ask(home, daemon, "Read it")
    assert home.read("research_output.txt") == "gold\n"


def test_a_model_that_is_mended_in_the_settings_is_asked_in_place_of_the_unknown_one(
    home: Home, coder: Coder, provider: OpenAIServer
):
    """A run held for an unknown model runs with the one that the settings name after the reload, not saved again."""
    gone = Fault.status(404, {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}})
    provider._answer = lambda body: gone if body["model"] == "gpt-9" else coder(body)
    home.set('model = "gpt-9"\n')
    coder.on("Held", "answer('at last')")
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "Held question")
        daemon.wait("run.held", path="research_prompt.txt")
        home.set(f'model = "{MODEL}"\n')
        daemon.hup()
        daemon.answered("research_output.txt")
    assert home.read("research_output.txt") == "at last\n"


def test_progress_names_step_and_spending(home: Home, coder: Coder, provider: OpenAIServer):
    """While a run goes on, its status file says at which step it is, what is being done, and what was spent."""
    go_on = threading.Event()
    coder.on("Slow", padded("print('one')", 40), Reply(py("answer('two')"), until=go_on))
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "Slow question")
        provider.wait_for_calls(2)
        (file,) = (home.workspace / "jobs").glob("*.json")
        home.appears(f"jobs/{file.name}", '"step": 2', '"asking the model"', '"output_tokens": 40')
        assert home.state("research_session.json")["spent"]["output_tokens"] == 40
        go_on.set()
        daemon.answered("research_output.txt")
    assert not any(is_synthesis(body) for body in roots(provider))
