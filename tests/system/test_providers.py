"""More than one provider, their prices, and replies from a file (settings, "Which provider")."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.harness import KEY, Home
from system.test_trust import files_with

GATE_KEY = "made-up-gate-key-5d20b7"


@pytest.fixture
def gate():
    """A second provider, with prices in its list as OpenRouter's has them."""
    priced = {"id": "brand/new", "pricing": {"prompt": "0.000001", "completion": "0.01"}}
    with OpenAIServer(lambda _: "from the gate", models=["plain", priced]) as server:
        yield server


def opened(gate: OpenAIServer, more: str = "workspaces = true") -> str:
    return (
        f'[providers.gate]\nbase_url = "{gate.url}"\nkey = "GATE_KEY"\nmodel = "plain"\n'
        f'headers = {{ "X-Team" = "team-7" }}\n{more}\n'
    )


def test_one_run_is_answered_by_another_provider(home: Home, provider: OpenAIServer, gate: OpenAIServer):
    """`provider:` in front matter goes to the opened provider's address with its own key and headers, and only that."""
    home.variables["GATE_KEY"] = f" {GATE_KEY}\n"
    home.set(opened(gate))
    home.save("a_input.txt", "hello")
    home.save("b_input.txt", "---\nprovider: gate\n---\nhello gate")
    home.save("c_input.txt", "---\nprovider: gate\nmodel: other\n---\nhello again")
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 0, done.stderr
    assert home.read("b_output.txt") == "from the gate\n"
    assert home.status_of("b_input.txt")["model"] == "plain"
    assert {call.body["model"] for call in gate.calls} == {"plain", "other"}
    assert {call.headers["authorization"] for call in gate.calls} == {f"Bearer {GATE_KEY}"}
    assert {call.headers["x-team"] for call in gate.calls} == {"team-7"}
    (call,) = provider.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert "x-team" not in call.headers
    for key in (KEY, GATE_KEY):
        assert key not in done.stderr
        assert files_with(key.encode(), home.workspace, home.states) == []


def test_a_provider_that_is_not_opened_is_not_asked(home: Home, provider: OpenAIServer, gate: OpenAIServer):
    """A file of the workspace that names a closed provider fails with the lines that would open it."""
    home.variables["GATE_KEY"] = GATE_KEY
    home.set(opened(gate, ""))
    home.save("a_input.txt", "---\nprovider: gate\n---\nhello")
    assert home.cli("run", "--once", str(home.workspace)).returncode == 1
    said = home.read("a_error.txt")
    assert "[providers.gate]" in said
    assert "workspaces = true" in said
    assert home.status_of("a_input.txt")["outcome"] == "bad_input"
    assert (provider.count, gate.count) == (0, 0)
    home.save("rlmwatch.toml", 'provider = "gate"\n')
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.returncode, "workspaces = true" in done.stderr) == (2, True)


def test_a_workspace_may_choose_an_opened_provider_for_all_its_runs(
    home: Home, provider: OpenAIServer, gate: OpenAIServer
):
    """`provider` in rlmwatch.toml holds for every kind, over the user's own default."""
    home.variables["GATE_KEY"] = GATE_KEY
    home.set('model = "default"\n' + opened(gate))
    home.save("rlmwatch.toml", 'provider = "gate"\n')
    home.save("a_input.txt", "hello")
    home.save("b_job_input.txt", "hello")
    assert home.cli("run", "--once", str(home.workspace)).returncode == 0
    assert [call.body["model"] for call in gate.calls] == ["plain", "plain"]
    assert provider.count == 0


@pytest.mark.parametrize("value", ["first-half\nsecond-half", "first-half second-half"])
def test_a_key_that_cannot_be_sent_holds_the_save_and_says_which(home: Home, provider: OpenAIServer, value: str):
    """A key with a line break in it is not retried as no connection: the error names the variable and the fault."""
    home.key = value
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        said = home.appears("a_error.txt", "OPENAI_API_KEY (environment) cannot be a key")
        assert "half" not in said
        assert "second-half" not in daemon.said
    assert provider.count == 0


def test_keys_in_a_utf_16_env_file_are_found(home: Home, provider: OpenAIServer):
    """`.env` as PowerShell writes it works; one that is not text holds the save with a line that names it."""
    home.key = None
    (home.config / ".env").write_bytes(f"OPENAI_API_KEY={KEY}\r\n".encode("utf-16"))
    home.save("a_input.txt", "hello")
    assert home.cli("run", "--once", str(home.workspace)).returncode == 0
    assert provider.calls[0].headers["authorization"] == f"Bearer {KEY}"
    (home.config / ".env").write_bytes(b"OPENAI_API_KEY=\xff\xfa\xfb")
    home.save("b_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="b_input.txt")
        home.appears("b_error.txt", f"{home.config / '.env'}: cannot be read")


def test_a_dead_keyring_holds_no_start_up(home: Home, provider: OpenAIServer):
    """With the key in the environment the daemon answers although the system keyring never does."""
    lib = home.root / "lib"
    lib.mkdir()
    (lib / "keyring.py").write_text("import threading\ndef get_password(s, n):\n    threading.Event().wait()\n")
    home.variables["PYTHONPATH"] = f"{lib}:{Path(__file__).parents[2]}"
    home.fresh = True
    home.save("a_input.txt", "hello")
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 0, done.stderr
    assert provider.count == 1


def test_models_lists_what_a_provider_offers_with_prices(home: Home, provider: OpenAIServer, gate: OpenAIServer):
    """`rlmwatch models` lists names and known prices; `--json` has the same; the key is in no output."""
    home.variables |= {"GATE_KEY": GATE_KEY, "OPENROUTER_API_KEY": GATE_KEY, "OPENROUTER_BASE_URL": gate.url}
    home.set(opened(gate) + "[prices]\nplain = { input = 3, output = 4 }\n")
    plain, asked, unknown = home.cli_side_by_side(
        ("models", "openrouter", "--json"), ("models", "gate"), ("models", "grok")
    )
    row = {"model": "brand/new", "input_usd_per_million": 1.0, "output_usd_per_million": 10_000.0}
    assert row in json.loads(plain.stdout)
    assert "plain" in asked.stdout
    assert (unknown.returncode, "did you mean groq?" in unknown.stderr) == (2, True)
    assert all(GATE_KEY not in done.stdout + done.stderr for done in (plain, asked, unknown))


def test_doctor_says_where_each_key_would_go(home: Home, provider: OpenAIServer, gate: OpenAIServer):
    """`doctor` lists the keys with their places and addresses, asks the chosen provider's list, and shows no key."""
    home.variables |= {"GATE_KEY": GATE_KEY, "GROQ_API_KEY": GATE_KEY}
    home.set(opened(gate))
    done = home.cli("doctor", "--json", str(home.workspace))
    lines = {line["what"]: line for line in json.loads(done.stdout)}
    assert lines["GATE_KEY"]["found"] == f"set (environment); would go to {gate.url} (gate)"
    assert "would go to https://api.groq.com/openai/v1 (groq)" in lines["GROQ_API_KEY"]["found"]
    assert f"would go to {provider.url} (openai)" in lines["OPENAI_API_KEY"]["found"]
    assert lines["XAI_API_KEY"]["found"] == "not set"
    assert "gpt-4.1-mini" in lines["models"]["found"]
    assert all(key not in done.stdout + done.stderr for key in (KEY, GATE_KEY))
    assert provider.count == 0
    home.variables["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    failed = home.cli("doctor", "--json", str(home.workspace))
    assert failed.returncode == 1
    assert {line["what"]: line for line in json.loads(failed.stdout)}["reachable"]["mark"] == "wrong"


def test_a_published_price_is_believed_and_kept(home: Home, gate: OpenAIServer):
    """A model that only the provider's own list knows has its price: ceilings hold, and the list is kept."""
    home.key = None
    home.variables |= {"OPENROUTER_API_KEY": GATE_KEY, "OPENROUTER_BASE_URL": gate.url}
    home.set('model = "brand/new"\n')
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        home.appears("a_error.txt", "max_cost_usd_per_day")
    assert gate.count == 0
    (kept,) = home.states.glob("rlmwatch/prices/openrouter.json")
    assert json.loads(kept.read_text())["prices"] == {"brand/new": [1e-06, 0.01]}


def test_a_model_of_unknown_price_that_a_workspace_chose_is_refused_under_the_default_ceiling(home: Home):
    """No call is made although nobody set a ceiling; the error has the line to write under [prices]."""
    home.set('base_url = "http://localhost.invalid/v1"\nmodel = "my-own-unknown"\n')
    home.save("a_input.txt", "---\nmodel: nobody-knows-this-model\n---\nhello")
    home.save("b_job_data.txt", "material")
    home.save("b_job_input.txt", "---\nsub_model: nobody-knows-this-model\n---\nhello")
    with home.daemon() as daemon:
        for name in ("a", "b_job"):
            daemon.wait("run.failed", path=f"{name}_input.txt", outcome="budget_exceeded")
            home.appears(f"{name}_error.txt", '[prices]\n    "nobody-knows-this-model" = { input = ')
        assert daemon.seen("price.assumed") == []
        home.save("c_input.txt", "---\nmax_seconds: 1\n---\nhello")
        (said,) = [daemon.wait("price.assumed")]
        assert "25 and 115 US dollars" in said["why"]


def test_no_file_of_the_workspace_raises_a_run_above_the_users_ceiling(home: Home, provider: OpenAIServer):
    """Session file, front matter, job file and rlmwatch.toml that ask for 1,000 US dollars get the ceiling's 0.10."""
    home.set('[prices."gpt-4.1-mini"]\ninput = 0\noutput = 10_000\n[ceilings]\nmax_cost_usd_per_run = 0.1\n')
    dear = {"turns": [], "spent": {"output_tokens": 0, "cost_usd": 0.0}, "max_cost_usd": 1000, "max_tokens": 100_000}
    home.save("research_session.json", json.dumps(dear))
    home.save("nan_research_session.json", json.dumps(dear | {"max_cost_usd": float("nan")}))
    for path in ("research_prompt.txt", "nan_research_prompt.txt"):
        home.save(path, "---\nmax_tokens: 100000\n---\nA dear question")
    home.save("a_input.txt", "---\nmax_cost_usd: 1000\n---\nA dear question")
    home.save("rlmwatch.toml", "[job]\nmax_cost_usd = 1000\n")
    home.save("b_job_input.txt", "A dear question")
    home.save("jobs/c.json", json.dumps({"status": "pending", "task": "A dear question", "max_cost_usd": 1000}))
    with home.daemon() as daemon:
        daemon.wait_for_any(("answer.written", "run.failed"), 5)
    assert sum(status["usage"]["cost_usd"] or 0 for status in home.statuses()) <= 0.5
    assert all((status["usage"]["cost_usd"] or 0) <= 0.1 for status in home.statuses())
    assert all(call.body.get("max_completion_tokens", call.body.get("max_tokens")) <= 10 for call in provider.calls)


SCRIPT = '''
[[replies]]
when = "capital of France"
text = "Paris."

[[replies]]
when = "first exoplanet"
text = """```python
pages = research("first exoplanet")
answer("51 Pegasi b [1]")
```"""

[[replies]]
text = "ok"
repeat = true

[[pages]]
url = "https://example.org/51-pegasi-b"
title = "51 Pegasi b"
text = "The first exoplanet around a Sun-like star."
'''


def test_a_workflow_is_tried_with_replies_from_a_file(home: Home, provider: OpenAIServer):
    """With `provider = "scripted"` chats and web research are answered from a file: no key, no network, no cost."""
    home.key = None
    file = home.root / "replies.toml"
    file.write_text(SCRIPT)
    home.set(f'provider = "scripted"\n[providers.scripted]\nreplies = "{file}"\n')
    home.save("a_input.txt", "What is the capital of France?")
    home.save("exa_input.txt", "Which was the first exoplanet?")
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 0, done.stderr
    assert home.read("a_output.txt") == "Paris.\n"
    assert home.read("exa_output.txt").startswith("51 Pegasi b")
    assert json.loads(home.read("exa_sources.json"))["pages"][0]["url"] == "https://example.org/51-pegasi-b"
    assert provider.count == 0
