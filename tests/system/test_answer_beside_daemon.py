"""`rlmwatch answer FILE` beside a daemon, where no answer can come: it says why, and ends (issue 13, row 14)."""

from __future__ import annotations

from pathlib import Path

from servers.openai_server import OpenAIServer
from system.harness import MODEL, Brain, Home
from system.researching import Coder, padded

DEAR = f'[prices."{MODEL}"]\ninput = 0.0\noutput = 10_000\n[ceilings]\nmax_cost_usd_per_day = 4\n'
"""300 tokens cost up to 3 US dollars; 125 cost 1.25, after which no second call fits under the day's ceiling."""


def answered(home: Home, name: str) -> tuple[int, str, str]:
    """Run `answer` on an input of the workspace; return status, output and errors."""
    done = home.cli("answer", str(home.workspace / name))
    return done.returncode, done.stdout, done.stderr


def test_a_spent_ceiling_of_the_day_is_said(home: Home, brain: Brain):
    """Both where the daemon holds the run already, and where it takes it up while `answer` waits."""
    home.set(DEAR)
    brain.on("spend much", "word " * 100)
    with home.daemon() as daemon:
        home.save("a_input.txt", "spend much")
        daemon.answered("a_output.txt")
        home.save("b_input.txt", "one more")
        for _ in range(2):
            status, said, errors = answered(home, "b_input.txt")
            assert (status, said, "max_cost_usd_per_day" in errors) == (1, "", True), errors


def test_a_spent_budget_of_a_session_is_said(tmp_path: Path):
    """It names the cap, as the error file does."""
    coder = Coder()
    coder.on("First", padded("print('a clue')", 400))
    coder.synthesis = ("Found: a clue. " * 80).strip()
    with OpenAIServer(coder) as provider:
        home = Home(tmp_path / "home", provider)
        with home.daemon() as daemon:
            home.save("research_prompt.txt", "---\nmax_tokens: 1200\n---\nFirst question")
            daemon.answered("research_output.txt")
            calls = provider.count
            home.save("research_prompt.txt", "---\nmax_tokens: 1200\n---\nSecond question")
            status, said, errors = answered(home, "research_prompt.txt")
        assert (status, said, "max_tokens is 1200" in errors) == (1, "", True), errors
        assert provider.count == calls


def test_wrong_settings_of_the_workspace_are_said(home: Home, provider: OpenAIServer):
    """A daemon that was started with a wrong `rlmwatch.toml` answers nothing; `answer` says why, with status 2."""
    home.save("rlmwatch.toml", "[chat]\ntoken = 5\n")
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("settings.wrong")
        status, said, errors = answered(home, "a_input.txt")
        assert (status, said, "tokens" in errors) == (2, "", True), errors
    assert provider.count == 0
