"""`undo`, `branch` and `again` beside a daemon, and the transcript: the real programs (file contract, 3)."""

from __future__ import annotations

import threading

from servers.openai_server import OpenAIServer, Reply
from system.harness import Brain, Home, question

SETTINGS = "[chat]\ntranscript = true\n"


def said(provider: OpenAIServer) -> list[str]:
    """Return what the last request tells of the conversation."""
    messages = provider.calls[-1].body["messages"]
    return [message["content"] for message in messages if message["role"] != "system"]


def test_what_is_taken_back_is_not_told_to_the_model(home: Home, provider: OpenAIServer):
    """After `undo` the next question is asked as if the last one had not been; the transcript keeps both."""
    home.save("rlmwatch.toml", SETTINGS)
    with home.daemon() as daemon:
        for number, text in enumerate(("first", "second"), 1):
            home.save("note_input.txt", text)
            daemon.answered("note_output.txt", number)
        done = home.cli("undo", str(home.workspace / "note_input.txt"))
        assert done.returncode == 0, done.stderr
        assert "second" in done.stdout + done.stderr
        assert home.read("note_output.txt") == "re: first\n"
        home.save("note_input.txt", "third")
        daemon.answered("note_output.txt", 3)
    assert said(provider) == ["first", "re: first", "third"]
    assert home.turns("note_state.json") == ["first", "third"]
    transcript = home.read("note_transcript.md")
    assert [transcript.count(f"\n> {text}\n") for text in ("first", "second", "third")] == [1, 1, 1]
    assert transcript.count("Taken back") == 1
    assert provider.count == 3


def test_a_branch_asks_nothing_and_goes_on_from_there(home: Home, provider: OpenAIServer):
    """`branch` copies the memory and the question; each conversation then goes its own way."""
    home.save("rlmwatch.toml", SETTINGS)
    with home.daemon() as daemon:
        home.save("note_input.txt", "first")
        daemon.answered("note_output.txt")
        done = home.cli("branch", str(home.workspace / "note_input.txt"), "idea")
        assert done.returncode == 0, done.stderr
        assert home.read("idea_input.txt") == "first"
        home.save("idea_input.txt", "another way")
        daemon.answered("idea_output.txt")
        assert said(provider) == ["first", "re: first", "another way"]
        home.save("note_input.txt", "second")
        daemon.answered("note_output.txt", 2)
        assert said(provider) == ["first", "re: first", "second"]
    assert [question(call.body) for call in provider.calls] == ["first", "another way", "second"]
    assert home.turns("idea_state.json") == ["first", "another way"]


def test_a_second_try_keeps_the_first_answer(home: Home, provider: OpenAIServer, brain: Brain):
    """`again` pays for another answer, which the model is told from then on; the one before stays in the state."""
    brain.on("first", "one", "two")
    home.save("rlmwatch.toml", SETTINGS)
    with home.daemon() as daemon:
        home.save("note_input.txt", "first")
        daemon.answered("note_output.txt")
        done = home.cli("again", str(home.workspace / "note_input.txt"))
        assert "paid" in done.stdout + done.stderr
        daemon.answered("note_output.txt", 2)
        assert said(provider) == ["first"]
        home.save("note_input.txt", "second")
        daemon.answered("note_output.txt", 3)
    assert said(provider) == ["first", "two", "second"]
    first = home.state("note_state.json")["turns"][0]
    assert (first["answer"], [each["answer"] for each in first["alternatives"]]) == ("two", ["one"])
    assert home.read("note_transcript.md").count("\n> first\n") == 2


def test_nothing_is_changed_while_a_question_is_answered(home: Home, provider: OpenAIServer, brain: Brain):
    """`undo` and `branch` refuse while a run of the conversation is under way, and say what to do."""
    go_on = threading.Event()
    home.save("rlmwatch.toml", "")
    brain.on("second", Reply("two", until=go_on))
    with home.daemon() as daemon:
        home.save("note_input.txt", "first")
        daemon.answered("note_output.txt")
        home.save("note_input.txt", "second")
        provider.wait_for_calls(2)
        file = str(home.workspace / "note_input.txt")
        for verb in (("undo", file), ("branch", file, "idea")):
            done = home.cli(*verb)
            assert done.returncode == 2
            assert "rlmwatch cancel" in done.stdout + done.stderr
        assert home.turns("note_state.json") == ["first"]
        assert not home.exists("idea_state.json")
        go_on.set()
        daemon.answered("note_output.txt", 2)
    assert home.turns("note_state.json") == ["first", "second"]
