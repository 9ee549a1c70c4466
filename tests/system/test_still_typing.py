"""An editor that saves while one types, with the settings as they are (file contract, 2): the real daemon."""

from __future__ import annotations

import threading

from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import Brain, Home, question

TYPED = ("What is", "What is the capital", "What is the capital of France?")


def test_half_sentences_leave_one_question(home: Home, provider: OpenAIServer, brain: Brain):
    """A text that grows while its first half is answered is one turn; saves that waited are never asked."""
    go_on = threading.Event()
    brain.on(TYPED[0], Reply("half", until=go_on), "Paris")
    home.save("rlmwatch.toml", "")
    with home.daemon() as daemon:
        home.save("note_input.txt", TYPED[0])
        provider.wait_for_calls(1)
        home.save("note_input.txt", TYPED[1])
        daemon.wait("save.admitted", 2, path="note_input.txt")
        home.save("note_input.txt", TYPED[2])
        daemon.wait("save.admitted", 3, path="note_input.txt")
        go_on.set()
        daemon.answered("note_output.txt", 2)
    assert [question(call.body) for call in provider.calls] == [TYPED[0], TYPED[2]]
    last = provider.calls[-1].body["messages"]
    assert [message["content"] for message in last if message["role"] != "system"] == [TYPED[2]]
    assert home.turns("note_state.json") == [TYPED[2]]
    assert home.read("note_output.txt") == "Paris\n"
    ends = sorted(status["outcome"] for status in home.statuses())
    assert ends == ["replaced", "success", "success"]


def test_who_writes_below_an_answer_asks_the_next_question(home: Home, provider: OpenAIServer, brain: Brain):
    """In one file, question below question: each is a turn of its own, asked at once, and knows the answer before."""
    brain.on("Tell me", "Once upon a time.", "The end.")
    home.save("rlmwatch.toml", "")
    with home.daemon() as daemon:
        home.save("note_input.txt", "Tell me a story.\n")
        daemon.answered("note_output.txt")
        home.save("note_input.txt", "Tell me a story.\ngo on\n")
        daemon.answered("note_output.txt", 2)
    assert home.turns("note_state.json") == ["Tell me a story.\n", "Tell me a story.\ngo on\n"]
    assert "Once upon a time." in [message["content"] for message in provider.calls[-1].body["messages"]]


def test_a_run_that_waits_for_the_provider_ends_for_the_text_that_went_on(
    home: Home, provider: OpenAIServer, brain: Brain
):
    """A half question whose call was refused is not tried again once its text went on; nothing is paid for it."""
    brain.on("of France", "Paris")
    brain.on(TYPED[0], Fault.status(503, headers={"Retry-After": "120"}))
    home.save("rlmwatch.toml", "")
    with home.daemon() as daemon:
        home.save("note_input.txt", TYPED[0])
        provider.wait_for_calls(1)
        home.save("note_input.txt", TYPED[2])
        daemon.answered("note_output.txt")
    assert home.turns("note_state.json") == [TYPED[2]]
    assert [status["outcome"] for status in home.statuses()] == ["cancelled", "success"]
