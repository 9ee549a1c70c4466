"""
The settings: what each may say, and what holds for a run.

Where they come from, and in which order, stands in `sources.py`. Front matter
comes over all of them, per run (`options_for`), under the ceilings.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import Money, PositiveInt, RunOptions

WORKSPACE_KEYS = frozenset({"host", "ready_marker", "on_new_save", "keep_jobs_days", *Kind})
"""What the workspace's own file may set (file contract, section 6)."""
DEFAULTS: dict[Kind, RunOptions] = {
    Kind.CHAT: RunOptions(tokens=300, max_seconds=300),
    Kind.RESEARCH: RunOptions(
        tokens=400, max_steps=4, max_cost_usd=0.05, max_tokens=1200, max_seconds=600, max_searches=12
    ),
    Kind.JOB: RunOptions(tokens=200, max_seconds=600, max_searches=12),
    Kind.EXA: RunOptions(tokens=1200, max_steps=8, max_cost_usd=0.50, max_searches=12, max_seconds=900),
}
"""The founding examples' numbers (design, section 11); time limits are ours: a slow provider still answers in them."""


class _Table(BaseModel):
    """A TOML table that a person writes: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CeilingSettings(_Table):
    """What no run, and no file of the workspace, may exceed. US dollars."""

    max_cost_usd_per_run: Money | None = None
    max_cost_usd_per_day: Money | None = 1.00
    max_cost_usd_per_month: Money | None = None


class Price(_Table):
    """What a model costs, in US dollars per million tokens."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelsSettings(_Table):
    """
    How models are found and asked.

    Attributes:
        path: A GGUF file to answer with when there is no key; default is the fetched small model.
        detect_local: Whether an Ollama or llama.cpp server on its default loopback port is looked for.
        idle_minutes: After this long without a question the embedded model gives its memory back.
        idle_timeout_s: Seconds without a byte from a provider after which a call counts as dead.
        requests_per_minute: Calls to the provider, at most, over all runs of this machine; default is what it tells.
        tokens_per_minute: Tokens sent and asked for, likewise.
    """

    path: Path | None = None
    detect_local: bool = True
    idle_minutes: Money = 10
    idle_timeout_s: Money = 120
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None


class WebhookSettings(_Table):
    """
    Where a job may report its end.

    Attributes:
        allow: `host` (at the usual port of http or https) or `host:port`; nobody else is told anything.
        secret: Signs the reports, as Standard Webhooks spells it: `whsec_` and 24 to 64 random bytes in base64.
        include_answer: Whether a report holds the answer's text.
    """

    allow: tuple[Annotated[str, Field(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$")], ...] = ()
    secret: SecretStr | None = None
    include_answer: bool = False

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and webhook_key(secret) is None:
            raise ValueError(
                "write whsec_ and 24 to 64 random bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one"
            )
        return secret


def webhook_key(secret: SecretStr) -> bytes | None:
    """Return the bytes of a webhook's *secret*; None where it is none."""
    before, prefix, encoded = secret.get_secret_value().strip().partition("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    return key if prefix and not before and 24 <= len(key) <= 64 else None  # noqa: PLR2004 (Standard Webhooks' sizes)


class ContextSettings(_Table):
    """Folders outside the workspace whose files may be context."""

    outside_roots: tuple[Path, ...] = ()


class SandboxSettings(_Table):
    """Whether RLM runs may go on where the kernel has no Landlock."""

    allow_degraded: bool = False


class Settings(BaseModel):
    """All settings, as they hold. Frozen; see the module for where each comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str | None = None
    ready_marker: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    on_new_save: Literal["queue", "replace", "cancel"] = "queue"
    keep_jobs_days: PositiveInt = 30
    max_input_mb: Money = 10

    provider: Literal["openrouter", "openai", "local", "embedded"] | None = None
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    model: str | None = None
    sub_model: str | None = None
    workers: Annotated[int, Field(ge=0, le=256)] = 4
    ledger: Annotated[str | None, Field(pattern=r"^postgres(ql)?://\S+$", repr=False)] = None

    ceilings: CeilingSettings = CeilingSettings()
    prices: dict[str, Price] = {}
    models: ModelsSettings = ModelsSettings()
    webhooks: WebhookSettings = WebhookSettings()
    context: ContextSettings = ContextSettings()
    sandbox: SandboxSettings = SandboxSettings()

    chat: RunOptions = RunOptions()
    research: RunOptions = RunOptions()
    job: RunOptions = RunOptions()
    exa: RunOptions = RunOptions()

    @model_validator(mode="after")
    def _relations(self) -> Settings:
        """Check what holds between settings."""
        per_run, per_day = self.ceilings.max_cost_usd_per_run, self.ceilings.max_cost_usd_per_day
        if per_run and per_day and per_run > per_day:
            msg = f"ceilings.max_cost_usd_per_run ({per_run}) is above max_cost_usd_per_day ({per_day})"
            raise ValueError(msg)
        if self.workers == 0 and self.ledger is None:
            raise ValueError("workers: with 0, nothing is answered here; that needs a shared `ledger` and its workers")
        return self

    def said_for(self, kind: Kind, front_matter: RunOptions) -> RunOptions:
        """
        Return what was set for one run, without defaults: `options_for` of another machine makes the same of it.

        Where this user's ceiling lowers what would hold, the ceiling is in it.
        """
        table: RunOptions = getattr(self, kind)
        said = front_matter.over(table)
        said = said.model_copy(
            update={"model": said.model or self.model, "sub_model": said.sub_model or self.sub_model}
        )
        cap = self.options_for(kind, front_matter).max_cost_usd
        lowered = cap != said.over(DEFAULTS[kind]).max_cost_usd
        return said.model_copy(update={"max_cost_usd": cap}) if lowered else said

    def options_for(self, kind: Kind, front_matter: RunOptions) -> RunOptions:
        """Return what holds for one run: front matter over settings over defaults, under the ceilings."""
        table: RunOptions = getattr(self, kind)
        merged = front_matter.over(table.over(DEFAULTS[kind]))
        if merged.model is None:
            merged = merged.model_copy(update={"model": self.model})
        if merged.sub_model is None:
            merged = merged.model_copy(update={"sub_model": self.sub_model})
        ceiling = self.ceilings.max_cost_usd_per_run
        if ceiling is not None and (merged.max_cost_usd is None or merged.max_cost_usd > ceiling):
            merged = merged.model_copy(update={"max_cost_usd": ceiling})
        return merged

    def cost_cap_was_set(self, kind: Kind, front_matter: RunOptions) -> bool:
        """Whether a person set the cost cap of such a run, so that an unknown price must stop it."""
        table: RunOptions = getattr(self, kind)
        return (
            front_matter.max_cost_usd is not None
            or table.max_cost_usd is not None
            or self.ceilings.max_cost_usd_per_run is not None
        )
