"""
What a person may set for one run: one vocabulary for TOML, environment, front matter and job files.

Every field is optional: None means "not said here". Layers are merged by
`over`; the user's ceilings come last and only lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlmwatch.contract.kinds import Kind

MOST_COUNTED = 10**9
"""No count of tokens, steps or seconds is larger; sums of such numbers fit 64 bits, and a float."""
MOST_USD = 1e6
"""No amount of money is as large; a year of such days fits the ledger's 64 bits of nanodollars."""

PositiveInt = Annotated[int, Field(gt=0, le=MOST_COUNTED)]
Money = Annotated[float, Field(gt=0, lt=MOST_USD, allow_inf_nan=False)]
Duration = Annotated[float, Field(gt=0, le=MOST_COUNTED, allow_inf_nan=False)]

ProviderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

ToolName = Literal["research", "files"]


class RunOptions(BaseModel):
    """
    The settings of one run.

    Attributes:
        model: Model name as the provider spells it.
        sub_model: Model for sub-calls of an RLM run; default is `model`.
        provider: Who answers, among the providers that the user opened to workspaces.
        tokens: Output tokens of one call, at most.
        max_steps: Steps of an RLM run, at most.
        max_tokens: Output tokens (reasoning included) of the whole run or session, at most.
        max_cost_usd: Money for the whole run or session, at most, in US dollars.
        max_seconds: Time limit of the run, in seconds.
        max_searches: Searches of the run, at most.
        temperature: Sampling temperature, 0 to 2.
        system: System prompt, in place of the default one.
        handler: Kind that answers, where it is not the one that the file's name says.
        context: Paths inside the workspace that become the variable `context`.
        tools: Tools that the run may use beside those of its kind.
        mode: `chat` for one plain call, `rlm` for the engine; default follows the task.
        stream: Whether `…_output.partial.txt` shows the answer so far.
        marks: Whether the answer's file ends with a line where the answer is not whole, and the error's with its times;
            not set, it does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    sub_model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    provider: ProviderName | None = None
    tokens: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    max_tokens: PositiveInt | None = None
    max_cost_usd: Money | None = None
    max_seconds: Duration | None = None
    max_searches: Annotated[int, Field(ge=0, le=MOST_COUNTED)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    system: str | None = None
    handler: Annotated[Kind, Field(strict=False)] | None = None
    context: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    tools: Annotated[tuple[ToolName, ...], Field(strict=False)] | None = None
    mode: Literal["chat", "rlm"] | None = None
    stream: bool | None = None
    marks: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_path_is_a_list(cls, given: object) -> object:
        """`context: notes.txt` and `tools: research` mean a list of one."""
        if isinstance(given, dict):
            given = {k: [v] if k in ("context", "tools") and isinstance(v, str) else v for k, v in given.items()}
        return given

    def over(self, below: RunOptions) -> Self:
        """
        Return these options laid over *below*: what is said here wins, the rest is taken from below.

        Whoever names another provider is not asked for the models of the one below.
        """
        if self.provider is not None and self.provider != below.provider:
            below = below.model_copy(update={"model": None, "sub_model": None})
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return self.model_copy(update={**dict(below), **said})


class Keywords(TypedDict, total=False):
    """What Python callers may set of `RunOptions` as keyword arguments, whatever they ask for; None says nothing."""

    provider: str | None
    model: str | None
    sub_model: str | None
    tokens: int | None
    max_steps: int | None
    max_tokens: int | None
    max_cost_usd: float | None
    max_seconds: float | None
    max_searches: int | None
    temperature: float | None
    system: str | None
    tools: str | Sequence[str] | None
    mode: str | None
