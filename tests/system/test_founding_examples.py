"""
The four examples that the project was founded on, by their file names, numbers and failure modes.

    file researcher     research_prompt.txt → research_output.txt, research_session.json
    file chatbot        chat_input.txt → chat_output.txt, chat_state.json
    job delegation      submit, poll every 0.5 s, answer
    research with Exa   exa_input.txt → exa_output.txt
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import Home
from system.researching import Coder, is_root, opening, padded, roots

from rlmwatch import Client, JobStatus, Session, SessionBudgetExceeded
from rlmwatch.errors import ProviderError

POLL_S = 0.5
"""Between two looks at a job, in the founding example."""
SEARCH_AND_CITE = """
pages = research("deep sea vents", max_results=3)
answer(f"Vents were first seen in 1977 [{pages[0].n}].")
"""


@pytest.fixture(autouse=True)
def fresh(home: Home) -> None:
    """The programs are started as a person starts them."""
    home.fresh = True


@pytest.fixture
def coder() -> Coder:
    """What the model writes and says."""
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    """A provider whose model is *coder*; a plain question gets `re: <question>`."""

    def script(body: dict[str, Any]) -> Any:
        return coder(body) if len(body["messages"]) > 1 and is_engine(body) else plain(body)

    def is_engine(body: dict[str, Any]) -> bool:
        system = body["messages"][0]["content"]
        return is_root(body) or system.startswith(("Do what", "A run has"))

    def plain(body: dict[str, Any]) -> str:
        return f"re: {body['messages'][-1]['content'][:60]}"

    with OpenAIServer(script) as server:
        yield server


@pytest.fixture
def script(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be a script of the same person, in their workspace."""
    for name in list(os.environ):
        if name.startswith(("RLMWATCH_", "OPENAI_", "OPENROUTER_", "EXA_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.workspace)


def limit(body: dict[str, Any]) -> int:
    """The output tokens that a request allows."""
    found: int = body.get("max_completion_tokens", body.get("max_tokens"))
    return found


# The file researcher


def test_file_researcher(home: Home, coder: Coder, provider: OpenAIServer):
    """A saved research_prompt.txt is answered in research_output.txt, at most 4 steps of 400 tokens, one session."""
    home.save("research_data.txt", "The mill burned down in 1798. It was rebuilt in 1803.")
    coder.on("burn", "import re\nprint(re.findall(r'\\d{4}', context))", "answer('In 1798.')")
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "When did the mill burn down?")
        daemon.answered("research_output.txt")
        coder.on("rebuilt", "answer('In 1803; it burned down ' + history[history.index('In 1798'):][:8].lower())")
        home.save("research_prompt.txt", "And when was it rebuilt?")
        daemon.answered("research_output.txt", 2)
    assert home.read("research_output.txt") == "In 1803; it burned down in 1798.\n"
    assert home.turns("research_session.json") == ["When did the mill burn down?", "And when was it rebuilt?"]
    assert {limit(body) for body in roots(provider)} == {400}
    assert "burned down in 1798" in opening(roots(provider)[0]), "a short context shows whole in its metadata"
    assert home.status_of("research_prompt.txt")["budget"] == {"max_cost_usd": 0.05, "max_tokens": 1200}


@pytest.mark.usefixtures("script")
def test_file_researcher_as_a_script(home: Home, coder: Coder, provider: OpenAIServer):
    """The example's own lines: a session of 0.05 USD and 1,200 tokens, runs of 400 tokens and 4 steps."""
    prompt = home.workspace / "research_prompt.txt"
    prompt.write_text("What is in it?")
    coder.on("What is in it", "answer(f'{len(context)} characters')")
    session = Session("research_session.json", max_cost_usd=0.05, max_tokens=1200)
    answered = session.run(prompt.read_text(), data="twelve chars", tokens=400, max_steps=4)
    (home.workspace / "research_output.txt").write_text(answered.answer)
    assert home.read("research_output.txt") == "12 characters"
    assert (answered.partial, answered.usage.llm_calls, len(answered.steps)) == (False, 1, 1)
    assert home.exists("research_session.json")
    assert session.remaining_tokens == 1200 - answered.usage.output_tokens
    assert limit(roots(provider)[0]) == 400


@pytest.mark.usefixtures("script")
def test_file_researcher_spends_its_session(coder: Coder, provider: OpenAIServer):
    """Where nothing is left the example's `SessionBudgetExceeded` is raised, before any call; before that, partial."""
    coder.on("Go on", padded("print('a clue')", 400))
    coder.synthesis = ("Found: a clue. " * 80).strip()
    session = Session("research_session.json", max_cost_usd=0.05, max_tokens=1200)
    assert session.run("Go on", tokens=400, max_steps=4).partial
    calls = provider.count
    with pytest.raises(SessionBudgetExceeded) as spent:
        session.run("Go on and on", tokens=400, max_steps=4)
    assert provider.count == calls
    assert (spent.value.cap, spent.value.limit) == ("max_tokens", 1200)
    assert f"session.raise_caps(max_tokens={spent.value.used + 1200:.0f})" in str(spent.value)
    session.raise_caps(max_tokens=int(spent.value.used) + 1200)
    coder.on("at last", "answer('there')")
    assert session.run("Arrive at last").answer == "there"


def test_file_researcher_hits_its_step_limit(home: Home, coder: Coder):
    """Four steps without an answer: the best result so far, marked as partial with `step_limit`."""
    coder.on("Endless", "print('still looking')")
    with home.daemon() as daemon:
        home.save("research_prompt.txt", "Endless search")
        daemon.answered("research_output.txt")
    status = home.status_of("research_prompt.txt")
    assert (status["outcome"], status["partial"], status["progress"]["max_steps"]) == ("step_limit", True, 4)
    assert home.cut_short("research_output.txt", "step limit") == coder.synthesis


def test_file_researcher_without_its_prompt(home: Home):
    """No research_prompt.txt: exit status 2 and a clear error."""
    done = home.cli("answer", "research_prompt.txt")
    assert (done.returncode, "research_prompt.txt: no such file" in done.stderr) == (2, True)


# The file chatbot


def test_file_chatbot(home: Home, provider: OpenAIServer):
    """A saved chat_input.txt is answered in chat_output.txt, 300 tokens; what was said is in chat_state.json."""
    with home.daemon() as daemon:
        for number, text in enumerate(("Hello", "How are you?", "Goodbye"), 1):
            home.save("chat_input.txt", text)
            daemon.answered("chat_output.txt", number)
    assert home.read("chat_output.txt") == "re: Goodbye\n"
    assert home.turns("chat_state.json") == ["Hello", "How are you?", "Goodbye"]
    assert [limit(call.body) for call in provider.calls] == [300] * 3
    said = [(message["role"], message["content"]) for message in provider.calls[-1].body["messages"][1:]]
    assert said == [
        ("user", "Hello"),
        ("assistant", "re: Hello"),
        ("user", "How are you?"),
        ("assistant", "re: How are you?"),
        ("user", "Goodbye"),
    ]


def test_file_chatbot_sends_8000_characters_of_history(home: Home, provider: OpenAIServer):
    """Of a long conversation the newest turns go along, 8,000 characters in all; the state keeps every turn whole."""
    with home.daemon() as daemon:
        for number in range(1, 7):
            home.save("chat_input.txt", f"{number} " + "x" * 2_000)
            daemon.answered("chat_output.txt", number)
    sent = [message["content"] for message in provider.calls[-1].body["messages"][1:-1]]
    assert 6_000 < sum(map(len, sent)) <= 8_000
    assert sent[-2].startswith("5 ")
    assert not any(text.startswith("1 ") for text in sent)
    assert [len(text) for text in home.turns("chat_state.json")] == [2_002] * 6


def test_file_chatbot_when_the_provider_fails(home: Home, provider: OpenAIServer):
    """A failure is told in chat_error.txt in the provider's words; the last good answer and the memory stay."""
    with home.daemon() as daemon:
        home.save("chat_input.txt", "Hello")
        daemon.answered("chat_output.txt")
        provider._answer = lambda _body: Fault.status(400, {"error": {"message": "content refused by policy"}})
        home.save("chat_input.txt", "Something else")
        daemon.wait("run.failed", path="chat_input.txt")
    assert "content refused by policy" in home.read("chat_error.txt")
    assert home.read("chat_output.txt") == "re: Hello\n"
    assert home.turns("chat_state.json") == ["Hello"]


# Job delegation


@pytest.mark.usefixtures("script")
def test_job_delegation(home: Home, provider: OpenAIServer):
    """Submit returns at once; the job is polled every 0.5 s until its answer is there; 200 tokens."""
    client = Client(home.workspace)
    with home.daemon():
        job = client.submit("Say hello", tokens=200)
        assert job.status is JobStatus.PENDING
        seen = [job.status]
        while job.status in (JobStatus.PENDING, JobStatus.RUNNING):
            time.sleep(POLL_S)
            job = client.status(job.job_id)
            seen.append(job.status)
    assert (job.status, job.answer, job.error) == (JobStatus.COMPLETE, "re: Say hello", None)
    order = [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETE]
    assert seen == sorted(seen, key=order.index)
    assert limit(provider.calls[0].body) == 200


@pytest.mark.usefixtures("script")
def test_job_delegation_fails_in_words_and_is_cancelled(home: Home, provider: OpenAIServer):
    """A job that cannot be answered is FAILED and says why; one that is cancelled in the middle is CANCELLED."""
    client = Client(home.workspace)
    provider._answer = lambda _body: Fault.status(400, {"error": {"message": "no such thing"}})
    with home.daemon():
        failed = client.wait(client.submit("Do the impossible", tokens=200).job_id, timeout=30)
        assert failed.status is JobStatus.FAILED
        assert "no such thing" in (failed.error or "")
        provider._answer = lambda _body: Reply("never", until=threading.Event())
        job = client.submit("Take for ever", tokens=200)
        provider.wait_for_calls(2)
        client.cancel(job.job_id)
        assert client.wait(job.job_id, timeout=30).status is JobStatus.CANCELLED


# Research with Exa


@pytest.fixture
def exa(home: Home) -> Iterator[ExaServer]:
    """Exa, and the person's key for it."""
    pages = [result(f"https://sea.example/{n}", f"Vents {n}", "Vents were first seen in 1977.") for n in range(9)]
    with ExaServer([pages]) as server:
        home.variables |= {"EXA_API_KEY": "made-up-exa-key-9d2", "EXA_BASE_URL": server.url}
        yield server


def test_research_with_exa(home: Home, coder: Coder, provider: OpenAIServer, exa: ExaServer):
    """A saved exa_input.txt is answered from the web with its sources, 1,200 tokens a call."""
    coder.on("vents", SEARCH_AND_CITE)
    with home.daemon() as daemon:
        home.save("exa_input.txt", "When were deep sea vents first seen?")
        daemon.answered("exa_output.txt")
    assert home.read("exa_output.txt") == (
        "Vents were first seen in 1977 [1].\n\nSources:\n[1] Vents 0 \u2013 https://sea.example/0\n"
    )
    assert [page["url"] for page in home.state("exa_sources.json")["pages"]] == [
        f"https://sea.example/{n}" for n in range(3)
    ]
    assert limit(roots(provider)[0]) == 1200
    assert exa.calls[0].body["numResults"] == 3


@pytest.mark.usefixtures("script")
def test_research_with_exa_without_a_key(home: Home, exa: ExaServer):
    """No EXA_API_KEY: by files the question waits for one; in Python the error names it. Exa is not asked."""
    from rlmwatch import run
    from rlmwatch.errors import NoProvider

    with pytest.raises(NoProvider, match="EXA_API_KEY"):
        run("When were deep sea vents first seen?", tools=("research",))
    del home.variables["EXA_API_KEY"]
    with home.daemon() as daemon:
        home.save("exa_input.txt", "When were deep sea vents first seen?")
        daemon.wait("run.held", path="exa_input.txt")
        home.appears("exa_error.txt", "EXA_API_KEY")
    assert exa.count == 0


def test_research_with_exa_in_python(home: Home, coder: Coder, exa: ExaServer, monkeypatch: pytest.MonkeyPatch):
    """`run(..., tools=("research",))` searches too; what was fetched is in `sources`, what it cost in `usage`."""
    from rlmwatch import run

    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)
    coder.on("vents", SEARCH_AND_CITE)
    answered = run("When were deep sea vents first seen?", tools=("research",), tokens=1200)
    assert answered.answer.startswith("Vents were first seen in 1977 [1].")
    assert [page["n"] for page in answered.sources] == [1, 2, 3]
    assert (answered.usage.searches, answered.usage.cost_usd) == (1, pytest.approx(0.007))
    coder.on("nothing", "research('x')\nanswer('never')")
    exa._answer = lambda _body: Fault.status(402, {"error": "no credit left", "tag": "NO_MORE_CREDITS"})
    coder.synthesis = "made up"
    with pytest.raises(ProviderError, match="no credit left"):
        run("Find nothing", tools=("research",), tokens=1200, max_steps=2)
