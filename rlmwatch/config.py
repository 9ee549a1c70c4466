"""
The settings: where they come from, in which order, and what each may say.

Laid over each other, the later wins:

1. the defaults below
2. `config.toml` in the user's configuration folder
3. `rlmwatch.toml` in the workspace: it may arrive by sync, so it may set only
   what `WORKSPACE_KEYS` lists, and caps only up to the user's ceilings
4. the environment, `RLMWATCH_…`, nested by `__` (`RLMWATCH_CHAT__TOKENS=500`)
5. flags of the command line

Front matter comes over all of them, per run (`options_for`), under the ceilings.
"""

from __future__ import annotations

import base64
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import Money, PositiveInt, RunOptions
from rlmwatch.errors import ConfigError

USER_FILE = "config.toml"
WORKSPACE_FILE = "rlmwatch.toml"
ENV_PREFIX = "RLMWATCH_"
WORKSPACE_KEYS = frozenset({"host", "ready_marker", "on_new_save", "keep_jobs_days", *Kind})
"""What the workspace's own file may set (file contract, section 6)."""
ENV_OUTSIDE = frozenset({"RLMWATCH_WORKSPACE", "RLMWATCH_STATE_DIR"})
"""Variables that say where things are; no settings."""

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


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    The settings that hold, and where each one came from.

    Attributes:
        origins: Dotted key → the file, variable or flag that set it; defaults are not listed.
    """

    settings: Settings
    origins: Mapping[str, str]


def load(
    *, user_dir: Path, workspace: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Loaded:
    """
    Read all sources and return the settings that hold.

    Raises:
        ConfigError: A file cannot be read or a value is wrong; names the file (or variable) and the key.
    """
    layers = [(str(user_dir / USER_FILE), _toml(user_dir / USER_FILE))]
    if workspace is not None:
        file = workspace / WORKSPACE_FILE
        layers.append((str(file), _only_workspace_keys(file, _toml(file))))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, table in layers:
        _lay_over(merged, table, origins, name)
    for variable, keys, value in _environment(environ):
        _lay_over(merged, _nested(keys, value), origins, variable)
    _lay_over(merged, {k: v for k, v in (flags or {}).items() if v is not None}, origins, "the command line")
    try:
        return Loaded(Settings.model_validate(merged), origins)
    except ValidationError as wrong:
        raise ConfigError(_in_words(wrong, origins)) from None


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: no valid TOML: {error}") from None


def _only_workspace_keys(file: Path, table: dict[str, Any]) -> dict[str, Any]:
    for key in table:
        if key in WORKSPACE_KEYS:
            continue
        if key in Settings.model_fields:
            raise ConfigError(
                f"{file}: {key}: a workspace may not set this, since its files may come from elsewhere; "
                f"put it into {USER_FILE} in your configuration folder"
            )
        raise ConfigError(f"{file}: {key}: no such setting{_did_you_mean(key, WORKSPACE_KEYS)}")
    return table


def _environment(environ: Mapping[str, str]) -> list[tuple[str, list[str], Any]]:
    """Return (variable, key path, value) of every setting in the environment; JSON values are taken as such."""
    found = []
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and variable not in ENV_OUTSIDE:
            keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
            found.append((variable, keys, _value(environ[variable])))
    return found


def _value(text: str) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nested(keys: list[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    for key in reversed(keys):
        value = {key: value}
    table: dict[str, Any] = value
    return table


def _lay_over(
    below: dict[str, Any], table: Mapping[str, Any], origins: dict[str, str], name: str, at: str = ""
) -> None:
    for key, value in table.items():
        dotted = f"{at}{key}"
        if isinstance(value, dict) and isinstance(below.setdefault(key, {}), dict):
            _lay_over(below[key], value, origins, name, f"{dotted}.")
        else:
            below[key] = value
        origins[dotted] = name


def _in_words(wrong: ValidationError, origins: Mapping[str, str]) -> str:
    """Say each error as file or variable, key, and what is expected."""
    lines = []
    for error in wrong.errors(include_url=False):
        dotted = ".".join(str(part) for part in error["loc"])
        origin = next((origins[k] for k in _up(dotted) if k in origins), "the settings")
        if error["type"] == "extra_forbidden":
            names = _names_beside([str(part) for part in error["loc"]])
            what = f"no such setting{_did_you_mean(dotted.rpartition('.')[2], names)}"
        else:
            what = error["msg"].removeprefix("Value error, ")
        lines.append(f"{origin}: {dotted}: {what}" if dotted else f"{origin}: {what}")
    return "\n".join(lines)


def _up(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _names_beside(loc: list[str]) -> list[str]:
    """Return the settings that stand beside a wrong one, to suggest from."""
    table: type[BaseModel] = Settings
    for part in loc[:-1]:
        inner = table.model_fields[part].annotation if part in table.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            table = inner
    return list(table.model_fields)


def _did_you_mean(word: str, names: frozenset[str] | list[str]) -> str:
    close = get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(sorted(names))}"


def own_name(user_dir: Path, environ: Mapping[str, str], hostname: str) -> str:
    """
    Return the name by which this machine answers: `RLMWATCH_HOST`, else `host` of the user's own file, else *hostname*.

    In `rlmwatch.toml`, which travels with the folder, `host` says who answers; in what belongs to this machine alone
    it says who we are.

    Raises:
        ConfigError: The user's file cannot be read.
    """
    named = environ.get(f"{ENV_PREFIX}HOST") or _toml(user_dir / USER_FILE).get("host")
    return str(named) if named else hostname


def user_config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's configuration folder for rlmwatch."""
    from platformdirs import user_config_path

    home = environ.get("XDG_CONFIG_HOME")
    return Path(home) / "rlmwatch" if home else user_config_path("rlmwatch")


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of rlmwatch's private state, over all workspaces."""
    from platformdirs import user_state_path

    moved = environ.get("RLMWATCH_STATE_DIR")
    home = environ.get("XDG_STATE_HOME")
    return Path(moved) if moved else Path(home) / "rlmwatch" if home else user_state_path("rlmwatch")
