"""Every model call of a run, kept and written as a text to read: a trajectory."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import perf_counter

from rlmwatch.models.base import Message, Model, Reply, Request


@dataclass(frozen=True)
class Made:
    """One call, as it was made."""

    request: Request
    reply: Reply
    seconds: float


@dataclass
class Recording:
    """
    A model that keeps every call to *model*.

    Attributes:
        seed: Sent with every request, for providers that take one.
    """

    model: Model
    seed: int | None = None
    made: list[Made] = field(default_factory=list)

    @property
    def provider(self) -> str:
        """See `Model.provider`."""
        return self.model.provider

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:
        """See `Model.turn`."""
        return self.model.turn(request)

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """See `Model.complete`."""
        begun = perf_counter()
        reply = await self.model.complete(request, on_text=on_text)
        self.made.append(Made(request, reply, perf_counter() - begun))
        return reply

    def price(self, model: str) -> tuple[float, float] | None:
        """See `Model.price`."""
        return self.model.price(model)

    def sees(self, model: str) -> bool | None:
        """See `Model.sees`."""
        return self.model.sees(model)

    async def aclose(self) -> None:
        """See `Model.aclose`."""
        await self.model.aclose()

    def text(self) -> str:
        """Return the calls in their order: of each request what the one before it had not, then the reply."""
        parts: list[str] = []
        before: tuple[Message, ...] = ()
        for n, made in enumerate(self.made, 1):
            request, reply, messages = made.request, made.reply, made.request.messages
            same = 0
            while same < min(len(messages), len(before)) and messages[same].content[:200] == before[same].content[:200]:
                same += 1
            before = messages
            usage = f"{reply.usage.input_tokens} in, {reply.usage.output_tokens} out, {made.seconds:.1f} s"
            parts.append(
                f"==== call {n}: {usage}, at most {request.max_tokens}, temperature {request.temperature}, "
                f"{same} messages as before"
            )
            parts += [f"---- {message.role}\n{message.content}" for message in messages[same:]]
            parts.append(f"---- reply ({reply.finish_reason})\n{reply.text}")
        return "\n".join(parts) + "\n"
