"""
What a person may set for one run: one vocabulary for TOML, environment, front matter and job files.

Every field is optional: None means "not said here". Layers are merged by
`over`; the user's ceilings come last and only lower.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

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

PresetName = Annotated[str, Field(pattern=r"^[^\W_][\w .-]{0,62}$")]
"""A preset's name: its file's without `.md`. It begins with a letter or digit and holds no slash."""
NO_PRESET = "none"
"""In the place of a preset's name: none, also where the folder has one."""

GIVEN_VARIABLES = ("question", "date", "file", "folder")
"""What the text of every preset may name in `{{…}}`; `vars` gives others."""


def _own_name(name: str) -> str:
    if name in GIVEN_VARIABLES:
        raise ValueError(f"{', '.join(GIVEN_VARIABLES)} are given: take another name")
    return name


VariableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"), AfterValidator(_own_name)]

# `schema` and `json` are pydantic's old names of methods, which nobody calls here; a head has these words.
warnings.filterwarnings("ignore", r'Field name "(schema|json)" in "RunOptions" shadows', UserWarning)


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
        photos: Images inside the workspace that go along with the question.
        tools: Tools that the run may use beside those of its kind.
        mode: `chat` for one plain call, `rlm` for the engine; default follows the task.
        stream: Whether `…_output.partial.txt` shows the answer so far.
        marks: Whether the answer's file ends with a line where the answer is not whole, and the error's with its times;
            not set, it does.
        preset: A file of `presets/`, whose options and text hold beside these; `NO_PRESET` for none.
        vars: What the preset's text calls `{{name}}`.
        schema: Path of a JSON Schema that the answer is to fit.
        json: Whether the answer is to be JSON; false also where a `schema` is named.
        transcript: Whether every question and answer goes into `…_transcript.md`, too.
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
    photos: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    tools: Annotated[tuple[ToolName, ...], Field(strict=False)] | None = None
    mode: Literal["chat", "rlm"] | None = None
    stream: bool | None = None
    marks: bool | None = None
    preset: PresetName | None = None
    vars: Annotated[dict[VariableName, str], Field(max_length=100)] | None = None
    schema: Annotated[str, Field(min_length=1, max_length=1000)] | None = None  # type: ignore[assignment]
    json: bool | None = None  # type: ignore[assignment]
    transcript: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_path_is_a_list(cls, given: object) -> object:
        """`context: notes.txt`, `photos: a.jpg` and `tools: research` mean a list of one."""
        if isinstance(given, dict):
            given = {
                k: [v] if k in ("context", "photos", "tools") and isinstance(v, str) else v for k, v in given.items()
            }
        return given

    def over(self, below: RunOptions) -> Self:
        """
        Return these options laid over *below*: what is said here wins, the rest is taken from below.

        Whoever names another provider is not asked for the models of the one below. `vars` are laid over each other
        name by name.
        """
        if self.provider is not None and self.provider != below.provider:
            below = below.model_copy(update={"model": None, "sub_model": None})
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if self.vars is not None and below.vars is not None:
            said["vars"] = {**below.vars, **self.vars}
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
