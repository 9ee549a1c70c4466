"""One whole chat with the embedded model: no key, no network, a real model."""

from __future__ import annotations

from behaviour.embedded_weights import on_one_core, path_or_skip
from servers.openai_server import OpenAIServer
from system.harness import Home


def test_a_save_is_answered_by_the_embedded_model(home: Home, provider: OpenAIServer):
    """With no key but the small local model, a save is answered on this machine, for nothing, and remembered."""
    weights = path_or_skip()
    home.fresh = True
    home.key = None
    home.provider = None
    home.set(f'[models]\npath = "{weights}"\n')
    home.save("chat_input.txt", "---\ntokens: 40\ntemperature: 0\n---\nWhat is the capital of France?\n")
    with on_one_core(), home.daemon() as daemon:
        chosen = daemon.wait("model.chosen")
        daemon.wait("answer.written", path="chat_output.txt", timeout=120)
        home.save("chat_input.txt", "---\ntokens: 20\n---\nAnd of Italy?\n")
        daemon.wait("answer.written", 2, path="chat_output.txt", timeout=120)
        assert daemon.stop() == 0
    assert chosen["provider"] == "embedded"
    first, second = home.statuses()
    assert "Paris" in first["answer"]
    assert first["usage"]["cost_usd"] == 0
    assert 0 < first["usage"]["output_tokens"] <= 40
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"], "the history was sent"
    assert home.turns("chat_state.json") == ["What is the capital of France?\n", "And of Italy?\n"]
    assert home.read("chat_output.txt") == second["answer"] + "\n"
    assert provider.count == 0
