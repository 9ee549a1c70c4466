"""Many saves at once, and editors that save while one types (file contract, 1 and 2)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from servers.openai_server import OpenAIServer, Reply
from system.harness import Brain, Home, question
from system.together import Scenario, begin, name

MANY = 300
"""Conversations; benchmarks/scale.py does 1,000."""
TYPED = ("I", "I type", "I type and", "I type and save")


def test_many_conversations_at_once(home: Home, provider: OpenAIServer):
    """A script that saves in hundreds of conversations within a second gets as many runs, each asked once."""
    home.set("workers = 16\n")
    home.save("rlmwatch.toml", "")
    with home.daemon() as daemon:
        for number in range(MANY):
            home.save(f"{number % 20}/{number}_input.txt", f"question {number}")
        daemon.wait("answer.written", MANY, timeout=60)
    assert Counter(question(call.body) for call in provider.calls) == Counter(f"question {n}" for n in range(MANY))
    assert {status["status"] for status in home.statuses()} == {"complete"}
    assert len(home.statuses()) == MANY


def type_and_save(policy: str, home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """
    Each save is admitted once, and each run ends in one way, which its status says.

    By `on_new_save`: all are answered in order (`queue`); those that had not started are replaced (`replace`); also
    the one that runs is cancelled, and its connection closed (`cancel`). The last one is answered in any case.
    """
    go_on = threading.Event()
    brain.on("I", Reply("answer", until=go_on))
    home.save("rlmwatch.toml", f'on_new_save = "{policy}"\n')
    with home.daemon() as daemon:
        for number, text in enumerate(TYPED, 1):
            home.save("note_input.txt", text)
            daemon.wait("save.admitted", number, path="note_input.txt")
            provider.wait_for_calls(number if policy == "cancel" else 1)
        if policy == "cancel":
            provider.wait_for_hang_ups(len(TYPED) - 1)
        go_on.set()
        answers = {"queue": 4, "replace": 2, "cancel": 1}[policy]
        daemon.answered("note_output.txt", answers)
    with home.daemon() as daemon:
        home.save("other_input.txt", "nothing is left over")
        daemon.answered("other_output.txt")
    ends = [(status["status"], status["outcome"]) for status in home.statuses() if status["input"] == "note_input.txt"]
    complete, replaced, cancelled = ("complete", "success"), ("cancelled", "replaced"), ("cancelled", "cancelled")
    assert (
        Counter(ends)
        == {
            "queue": Counter({complete: 4}),
            "replace": Counter({complete: 2, replaced: 2}),
            "cancel": Counter({complete: 1, cancelled: 3}),
        }[policy]
    )
    expected = {"queue": TYPED, "replace": (TYPED[0], TYPED[-1]), "cancel": (TYPED[-1],)}[policy]
    assert home.turns("note_state.json") == list(expected)
    asked = [question(call.body) for call in provider.calls if call.body["messages"][-1]["content"] in TYPED]
    assert asked == list(TYPED if policy == "cancel" else expected)
    assert home.read("note_output.txt") == "answer\n"
    assert not home.exists("note_error.txt")


def queue(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """All saves are answered, in order."""
    type_and_save("queue", home, provider, brain)


def replace(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """The saves that have not started are replaced."""
    type_and_save("replace", home, provider, brain)


def cancel(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """Also the run that goes on is cancelled."""
    type_and_save("cancel", home, provider, brain)


POLICIES = (queue, replace, cancel)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[None]]]:
    """All of them at once: they mostly wait."""
    with begin(POLICIES, tmp_path_factory.mktemp("policies")) as futures:
        yield futures


@pytest.mark.parametrize("policy", POLICIES, ids=name)
def test_an_editor_that_saves_while_one_types(begun: dict[Scenario, Future[None]], policy: Scenario):
    """Whatever `on_new_save` says, each save is admitted once, each run ends in one way, and its status says which."""
    begun[policy].result()


def test_typing_with_a_ready_marker_is_answered_when_it_is_ready(home: Home, provider: OpenAIServer):
    """With `ready_marker` a text that is saved over and over is asked once, when its last line is the marker."""
    home.save("rlmwatch.toml", 'ready_marker = "//send"\n')
    with home.daemon() as daemon:
        for number, text in enumerate(TYPED, 1):
            home.save("note_input.txt", text)
            daemon.wait("save.skipped", number, path="note_input.txt")
        home.save("note_input.txt", f"{TYPED[-1]} //send")  # no line of its own
        daemon.wait("save.skipped", len(TYPED) + 1, path="note_input.txt")
        home.save("note_input.txt", f"{TYPED[-1]}\n//send\n")
        daemon.answered("note_output.txt")
        home.save("note_input.txt", f"{TYPED[-1]}\n//send\n\nmore")
        daemon.wait("save.skipped", len(TYPED) + 2, path="note_input.txt")
    assert [question(call.body) for call in provider.calls] == [f"{TYPED[-1]}\n"]
