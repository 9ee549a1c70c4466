"""The port to a language model, in the terms of the OpenAI chat protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rlmwatch.runs.attached import Image
from rlmwatch.runs.model import Usage

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "filter", "interrupted"]


class Restart(str):
    """Among the pieces of a text as it comes, this empty one says that all before it was thought, not text."""

    __slots__ = ()


RESTART = Restart()


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message of a request.

    Attributes:
        images: What a model that sees is shown beside the text.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request.

    Attributes:
        max_tokens: Output tokens, at most; always set, so that a reservation holds.
        temperature: None leaves the provider's default.
        seed: For providers that take one.
        answer_format: The reply is to be JSON that fits its `schema` (None: any), which the messages say too; None for
            plain text. For providers that can be held to it.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    answer_format: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    One reply.

    Attributes:
        text: The whole text, without the model's thoughts; `""` where it holds nothing that can be seen.
        finish_reason: `stop` where the text is whole; `length` where it reached a limit (of the request, or of the
            model's window); `filter` where the provider withheld the rest; `interrupted` where it gave up.
        usage: With `llm_calls` 1. `cost_usd` is what the provider reports, else by the price table, else None.
        model: The model that answered, as the provider says.
        estimated: Whether the provider reported no usage and the tokens are our estimate.
        provider_reason: The provider's own word for `finish_reason`, where that is another.
        notes: What a person should know of this reply: a word for its end that we do not know, or that the server
            read only part of what was sent.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str
    estimated: bool = False
    provider_reason: str = ""
    notes: tuple[str, ...] = ()
    reasoning_tokens: int = 0

    @property
    def cut(self) -> bool:
        """Whether the text is not whole: partial as an answer, and half a program is not run."""
        return self.finish_reason != "stop"


class Model(Protocol):
    """A provider of one or more models."""

    provider: str
    """Short name for people: `openrouter`, `openai`, `local`, or the host of a base URL."""

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Wait until *request* may be sent, where the provider is asked no faster than it allows; nothing is sent."""
        ...

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        Make one call, within its `turn`.

        *on_text* is given each new piece of text as it comes, `RESTART` where what came is void. Cancelling the task
        closes the connection at once, which stops the generation. Nothing is retried here.

        Raises:
            WrongKey, UnknownModel, ProviderUnreachable, ContextTooLong, ProviderRefused: It will not, however often it
                is asked.
            ProviderUnavailable: It may work later.
            ProviderCutOff: The text stopped in the middle.
        """
        ...

    def price(self, model: str) -> tuple[float, float] | None:
        """Return US dollars per (input token, output token) of *model*; None where unknown."""
        ...

    def sees(self, model: str) -> bool | None:
        """Return whether *model* can be shown images; None where nobody knows before it is asked."""
        ...

    async def aclose(self) -> None:
        """Give back connections and child processes. Idempotent."""
        ...
