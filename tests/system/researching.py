"""What the tests of the engine's kinds are made of: a model that writes the code that it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from servers.openai_server import CHARS_PER_TOKEN, Answer, OpenAIServer

from rlmwatch.engine.prompts import current_prompts

Body = dict[str, Any]

ASKED = 1 + len(current_prompts().example)
"""Where the question stands among an engine's messages: after the rules and the worked example."""

ROOT, SUB, SYNTHESIS = "You answer by writing Python", "Do what the instruction says", "A run has reached its limit"


def py(code: str) -> str:
    """A reply that is one block of code."""
    return f"```python\n{code.strip()}\n```"


def is_root(body: Body) -> bool:
    """Whether a request asks an engine's model for its next step."""
    return body["messages"][0]["content"].startswith(ROOT)


def is_sub(body: Body) -> bool:
    """Whether a request is a sub-call of a cell."""
    return body["messages"][0]["content"].startswith(SUB)


def is_synthesis(body: Body) -> bool:
    """Whether a request asks for an answer from what was found."""
    return body["messages"][0]["content"].startswith(SYNTHESIS)


def steps_done(body: Body) -> int:
    """How many replies the request's engine has had."""
    return sum(message["role"] == "assistant" for message in body["messages"][ASKED:])


def opening(body: Body) -> str:
    """The first user message of a request: question, and the variables in short."""
    text: str = body["messages"][min(ASKED, len(body["messages"]) - 1)]["content"]
    return text


def newest_question(body: Body) -> str:
    """The question of a request alone, without earlier ones and without what the variables hold."""
    before, now, after = opening(body).partition("\nNow: ")
    return (after if now else before.partition("Question:\n")[2]).partition("\n\n")[0]


class Coder:
    """
    A provider's script: which code the model writes, by the question; for `OpenAIServer`.

    The newest rule whose word is in the question holds; a question that no rule is about gets `answer('re')` at once.

    Attributes:
        sub: What sub-calls are answered.
        synthesis: What a run at its limit is answered.
    """

    def __init__(self) -> None:
        self._rules: list[tuple[str, Sequence[Answer]]] = []
        self.sub: Callable[[Body], Answer] = lambda _body: "sub reply"
        self.synthesis: Answer = "what was found so far"

    def on(self, word: str, *cells: Answer) -> None:
        """Write *cells*, one a step, for questions that hold *word*; the last one is repeated."""
        self._rules.insert(0, (word, cells))

    def __call__(self, body: Body) -> Answer:
        if is_synthesis(body):
            return self.synthesis
        if is_sub(body):
            return self.sub(body)
        asked = newest_question(body)
        for word, cells in self._rules:
            if word in asked:
                cell = cells[min(steps_done(body), len(cells) - 1)]
                return py(cell) if isinstance(cell, str) and not cell.startswith("```") else cell
        return py("answer('re')") if is_root(body) else "re"


def roots(server: OpenAIServer) -> list[Body]:
    """The requests so far that asked for a step."""
    return [call.body for call in server.calls if is_root(call.body)]


def padded(code: str, tokens: int) -> str:
    """A reply that runs *code* and takes so many output tokens, by the provider's count."""
    reply = py(code)
    return reply.replace("```python\n", "```python\n#" + "." * (tokens * CHARS_PER_TOKEN - len(reply) - 2) + "\n")
