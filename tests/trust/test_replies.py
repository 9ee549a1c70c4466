"""What a provider sends costs the daemon little to read, whatever it is made of: others are answered meanwhile."""

from __future__ import annotations

import pytest
from servers.openai_server import Frames, OpenAIServer
from system.harness import Brain, Home

MARKS = 120_000
"""A megabyte of them: read in steps that grow with what came before, it takes minutes."""


def of(content: str, **more: str) -> dict[str, object]:
    """Return a chunk of a stream."""
    return {"choices": [{"delta": {"content": content}, **more}]}


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((of("'<think>" * MARKS),), id="quoted marks in one line"),
        pytest.param((of("`<think>`" * MARKS),), id="marks between backticks"),
        pytest.param((of("a </think> b" * MARKS),), id="closing marks"),
    ],
)
def test_an_answer_made_to_be_slow_to_read_holds_nobody_up(
    home: Home, provider: OpenAIServer, brain: Brain, frames: tuple[object, ...]
):
    """A chat is answered while such an answer is read, and the answer itself comes to its end."""
    brain.on("slow", Frames((*frames, of("", finish_reason="stop"), "[DONE]")))
    with home.daemon() as daemon:
        home.save("slow_chat_input.txt", "slow")
        provider.wait_for_calls(1)
        home.save("chat_input.txt", "anybody")
        daemon.answered("chat_output.txt")
        daemon.answered("slow_chat_output.txt")
