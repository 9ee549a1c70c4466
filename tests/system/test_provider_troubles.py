"""Providers that refuse, fail, stall or talk nonsense: retried, failed in their words, or held (file contract, 4)."""

from __future__ import annotations

import pytest
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from system.conftest import Shared
from system.harness import KEY, Brain, Home, asked

BUSY = Fault.status(503)

RETRIED: dict[str, tuple[Answer, ...]] = {
    "rate-limit": (Fault.status(429, headers={"Retry-After": "1"}), "ok"),
    "server-errors": (Fault.status(500), BUSY, "ok"),
    "cut-stream": (Fault.cut_off("half an ans"), "ok"),
    "hang-up": (Fault.hang_up(), "ok"),
    "garbage": (Fault.garbage(), "ok"),
    "garbage-in-stream": (Fault.garbage_in_stream("some"), "ok"),
}
"""What may work later, and then does."""

FAILS: dict[str, tuple[Answer, str, str]] = {
    "always-down": (Fault.status(500, {"error": {"message": "the kitchen is on fire"}}), "timeout", "kitchen"),
    "bad-request": (Fault.status(400, {"error": {"message": "no such parameter"}}), "provider_error", "no such param"),
    "silent": (Fault.stall(), "timeout", "3 seconds"),
    "long-wait": (Fault.status(429, headers={"Retry-After": "600"}), "provider_error", "429"),
    "empty": (Reply(""), "provider_error", "empty answer"),
}
"""What fails for good within its run's limit of 3 seconds."""


@pytest.fixture(scope="module")
def troubled(shared: Shared) -> Shared:
    """
    All troubles at once, side by side, so that each test only waits for its own.

    Each has a model of its own: a model that refuses for its rate limit is asked less often, by all runs.
    """
    for name, answers in RETRIED.items():
        shared.brain.on(f"please {name}.", *answers)
        shared.home.save(f"{name}_input.txt", f"---\nmodel: {name}\n---\nplease {name}.")
    for name, (answer, _, _) in FAILS.items():
        shared.brain.on(f"please {name}.", answer)
        shared.home.save(f"{name}_input.txt", f"---\nmodel: {name}\nmax_seconds: 3\n---\nplease {name}.")
    shared.brain.on("half and silence", Fault.stall("Half an answer"))
    shared.home.save("half_input.txt", "---\nmax_seconds: 3\n---\nhalf and silence")
    return shared


@pytest.mark.parametrize("name", RETRIED)
def test_what_may_work_later_is_tried_again(troubled: Shared, name: str):
    """A rate limit, a server error, a cut stream and nonsense are tried again inside the run, without a word."""
    troubled.daemon.answered(f"{name}_output.txt")
    calls = troubled.asked(f"please {name}.")
    assert len(calls) == len(RETRIED[name])
    assert troubled.home.read(f"{name}_output.txt") == "ok\n"
    assert not troubled.home.exists(f"{name}_error.txt")
    if name == "rate-limit":
        assert calls[1].at - calls[0].at >= 0.95


@pytest.mark.parametrize("name", FAILS)
def test_what_does_not_work_within_the_time_limit_fails_in_the_providers_words(troubled: Shared, name: str):
    """A provider that is down, refuses or says nothing ends the run as failed, with its words in the error file."""
    _, outcome, word = FAILS[name]
    troubled.daemon.wait("run.failed", path=f"{name}_input.txt")
    status = troubled.home.status_of(f"{name}_input.txt")
    assert (status["status"], status["outcome"]) == ("failed", outcome)
    assert word in troubled.home.read(f"{name}_error.txt")
    assert not troubled.home.exists(f"{name}_output.txt")


def test_half_an_answer_at_the_time_limit_is_delivered_as_partial(troubled: Shared):
    """What came before the run's time limit is the answer, and says that it is partial."""
    troubled.daemon.answered("half_output.txt")
    status = troubled.home.status_of("half_input.txt")
    assert troubled.home.cut_short("half_output.txt", "time limit") == "Half an answer"
    assert (status["status"], status["partial"], status["outcome"]) == ("complete", True, "timeout")


def test_a_provider_that_falls_silent_counts_as_dead_after_the_idle_timeout(home: Home, brain: Brain):
    """After `models.idle_timeout_s` without a byte a call is given up and made again."""
    home.set("[models]\nidle_timeout_s = 0.5\n")
    brain.on("hello", Fault.stall("He"), "Hello.")
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert home.read("a_output.txt") == "Hello.\n"


WRONG_KEY = Fault.status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
NO_MODEL = Fault.status(404, {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}})


def test_a_wrong_key_or_model_holds_the_save_until_the_restart(home: Home, provider: OpenAIServer, brain: Brain):
    """A wrong key or an unknown model is named in the error file; the saves run after a restart, not saved again."""
    words = {"wrong key": "OPENAI_API_KEY", "unknown model": "gpt-9"}
    brain.on("wrong key", WRONG_KEY, "at last")
    brain.on("unknown model", NO_MODEL, "at last")
    for name in words:
        home.save(f"{name}_input.txt", f"held: {name}")
    with home.daemon() as daemon:
        for name, word in words.items():
            daemon.wait("run.held", path=f"{name}_input.txt")
            assert word in home.appears(f"{name}_error.txt", "save is kept")
            status = home.status_of(f"{name}_input.txt")
            assert status["status"] == "held"
            assert word in status["error"]
        home.save("b_input.txt", "another one")
        daemon.answered("b_output.txt")
    with home.daemon() as daemon:
        for name in words:
            daemon.answered(f"{name}_output.txt")
    for name in words:
        assert home.read(f"{name}_output.txt") == "at last\n"
        assert not home.exists(f"{name}_error.txt")
    assert len(asked(provider, "held: ")) == 4


def test_a_key_that_is_mended_takes_effect_with_a_reload(home: Home, provider: OpenAIServer, brain: Brain):
    """A key in the user's own `.env` is fixed there; SIGHUP reads it, and the held saves run."""
    home.key = None
    dotenv = home.config / ".env"
    dotenv.write_text("OPENAI_API_KEY=wrong-key-1234\n")
    brain.on("held question", WRONG_KEY, "at last")
    home.save("a_input.txt", "held question")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        dotenv.write_text(f"OPENAI_API_KEY={KEY}\n")
        daemon.hup()
        daemon.answered("a_output.txt")
    assert [call.headers["authorization"] for call in provider.calls] == ["Bearer wrong-key-1234", f"Bearer {KEY}"]
    assert not home.exists("a_error.txt")


def test_a_later_success_ends_a_held_save_of_its_conversation(home: Home, brain: Brain):
    """A save that waits for a person does not hold up later ones, and is not asked any more once one is answered."""
    brain.on("held question", WRONG_KEY)
    home.save("a_input.txt", "held question")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        home.save("a_input.txt", "another question")
        daemon.answered("a_output.txt")
    assert home.turns("a_state.json") == ["another question"]
    assert not home.exists("a_error.txt")
    with home.daemon() as daemon:
        home.save("b_input.txt", "after the restart")
        daemon.answered("b_output.txt")
        assert daemon.seen("run.started", path="a_input.txt") == []
    assert [status["status"] for status in home.statuses() if status["input"] == "a_input.txt"] == [
        "failed",
        "complete",
    ]


def test_with_no_key_and_no_model_the_ways_out_are_named(home: Home, provider: OpenAIServer):
    """With no key and no model the save is kept and the ways out are named; a later provider answers it."""
    home.key = None
    home.save("a_input.txt", "who answers?")
    with home.daemon() as daemon:
        daemon.wait("model.none")
        daemon.wait("run.held", path="a_input.txt")
        said = home.appears("a_error.txt")
        for way in ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "rlmwatch model fetch", "Ollama", "base_url"):
            assert way in said
        assert provider.count == 0
        home.set(f'base_url = "{provider.url}"\nmodel = "test-model"\n')
        daemon.hup()
        daemon.answered("a_output.txt")
    assert not home.exists("a_error.txt")
    assert provider.calls[0].body["model"] == "test-model"


def test_the_order_in_which_a_provider_was_chosen_is_in_the_log(shared: Shared):
    """The log says which provider answers and why it is that one."""
    chosen = shared.daemon.wait("model.chosen")
    assert chosen["provider"] == "openai"
    assert "OPENAI_API_KEY" in chosen["why"]
    assert "OPENROUTER_API_KEY" in chosen["why"]
