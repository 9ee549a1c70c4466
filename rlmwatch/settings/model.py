"""
The settings: what each may say, and what holds for a run.

Where they come from, and in which order, stands in `sources.py`. Front matter
comes over all of them, per run (`options_for`), under the ceilings.
"""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from rlmwatch.addresses import is_http
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import Duration, Money, PositiveInt, PresetName, ProviderName, RunOptions
from rlmwatch.settings.providers import EMBEDDED, LOCAL, NAME, SHIPPED, is_variable_name, names, no_such

WORKSPACE_KEYS = frozenset({"host", "ready_marker", "on_new_save", "keep_jobs_days", "name_notes", "preset", *Kind})
"""What the workspace's own file may set (file contract, section 6); `provider` beside, see `sources.py`."""
DEFAULTS: dict[Kind, RunOptions] = {
    Kind.CHAT: RunOptions(tokens=300, max_seconds=300),
    Kind.RESEARCH: RunOptions(
        tokens=400, max_steps=4, max_cost_usd=0.05, max_tokens=1200, max_seconds=600, max_searches=12
    ),
    Kind.JOB: RunOptions(max_seconds=600, max_searches=12),
    Kind.EXA: RunOptions(tokens=1200, max_steps=8, max_cost_usd=0.50, max_searches=12, max_seconds=900),
}
"""
The founding examples' numbers (design, section 11); time limits are ours: a slow provider still answers in them. The
`tokens` of a job depend on what it turns out to be: `tokens_of_job`.
"""
JOB_TOKENS = 200
"""Of a job that is one plain call: the founding examples' number."""
ENGINE_TOKENS = 800
"""Of each call of a job that the engine carries: a cell with its reasons fits."""
ENGINE_CALLS = 4
"""So many calls at least hold in a `max_tokens` that was set, when `tokens` was not."""


def tokens_of_job(options: RunOptions, *, plain: bool) -> int:
    """Return the output tokens of one call of a job, for options where `tokens` may be unset."""
    if options.tokens is not None:
        return options.tokens
    if plain:
        return JOB_TOKENS
    if options.max_tokens is None:
        return ENGINE_TOKENS
    return min(ENGINE_TOKENS, max(JOB_TOKENS, options.max_tokens // ENGINE_CALLS))


class _Table(BaseModel):
    """A TOML table that a person writes: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CeilingSettings(_Table):
    """
    What no run, and no file of the workspace, may exceed. US dollars.

    Attributes:
        per: Whose those of day and month are: the user's, over all workspaces on this machine, or each workspace's.
    """

    max_cost_usd_per_run: Money | None = None
    max_cost_usd_per_day: Money | None = 1.00
    max_cost_usd_per_month: Money | None = None
    per: Literal["user", "workspace"] = "user"


class Price(_Table):
    """What a model costs, in US dollars per million tokens."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class UnknownPrices(_Table):
    """
    What holds for a model whose price nobody knows, where the user's own configuration chose it.

    Attributes:
        input: US dollars per million input tokens that are reserved and booked.
        output: The same for output tokens. Both are above the price of 98 in 100 models that genai-prices lists.
        refuse: Make no call instead.
    """

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 25
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 115
    refuse: bool = False


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"it cannot be parted into words as in a shell: {error}") from None
    if not words:
        raise ValueError("write a program, or take it out")
    return text


def _address(text: str) -> str:
    if not is_http(text):
        raise ValueError(
            "write a whole address, https?://host:port/path, such as http://127.0.0.1:8080/v1 (yours is not shown)"
        )
    return text


def _database(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"postgres(ql)?://\S+", text):
        raise ValueError("write a PostgreSQL address, such as postgresql://user@host/database (yours is not shown)")
    return text


Address = Annotated[str, AfterValidator(_address)]


def _key_name(text: str) -> str:
    if not is_variable_name(text):
        raise ValueError(
            "write the name of the variable, credential or keyring entry that holds the key, such as MY_API_KEY, and "
            "never the key itself (what stands here looks like one, and is not shown)"
        )
    return text


def _own_machine(text: str) -> str:
    found = re.fullmatch(r"(?:127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})", text)
    if found is None or int(found[1]) >= 1 << 16:
        raise ValueError(
            "write 127.0.0.1:PORT, localhost:PORT or [::1]:PORT. The page is for this machine alone; to see it from "
            "another one, forward the port: ssh -L PORT:127.0.0.1:PORT HOST"
        )
    return text


OwnAddress = Annotated[str, AfterValidator(_own_machine)]
"""A loopback address with its port."""

KeyName = Annotated[str, AfterValidator(_key_name)]
"""The name under which a key is found, see `credentials.py`."""


def _whole_path(path: Path) -> Path:
    try:
        whole = path.expanduser()
    except RuntimeError:  # no such user
        whole = path
    if not whole.is_absolute():
        raise ValueError("write the whole path of each folder, such as ~/questions or /srv/questions")
    return whole


def _headers(given: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in given.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in OUR_HEADERS:
            raise ValueError(f"{name} is set by rlmwatch; a key's name belongs into `key`")
        if not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", value.get_secret_value()):
            raise ValueError(f"the value of {name} must be plain ASCII on one line (it is not shown)")
    return given


OUR_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "content-type", "cookie", "host", "proxy-authorization"}
    | {"transfer-encoding"}
)
"""Headers that nobody else may set: what they say is what is sent, and to whom."""


class ProviderSettings(_Table):
    """
    `[providers.NAME]`: a provider of the user's own, or what is different about a shipped one.

    Attributes:
        base_url: Where it is.
        key: The name of the variable, credential or keyring entry that holds its key, never the key.
        model: Model of runs that name none.
        headers: Sent with every call to it. Their values are never shown.
        workspaces: Whether a workspace's files may choose it.
        deployment: Azure: the deployment's name.
        api_version: Azure: the version of its API, where the deployment is asked by its own address.
        replies: A file of replies in place of a server, see the guide.
    """

    base_url: Address | None = None
    key: KeyName | None = None
    model: str | None = None
    headers: Annotated[dict[str, SecretStr], AfterValidator(_headers)] = {}
    workspaces: bool = False
    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    api_version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]+$")] | None = None
    replies: Path | None = None

    @model_validator(mode="after")
    def _relations(self) -> ProviderSettings:
        """Check what holds between them."""
        if self.replies is not None and (self.base_url or self.key):
            raise ValueError("`replies` is in place of a server: take `base_url` and `key` out")
        return self


class ModelsSettings(_Table):
    """
    How models are found and asked.

    Attributes:
        path: A GGUF file to answer with when there is no key; default is the fetched small model.
        detect_local: Whether an Ollama or llama.cpp server on its default loopback port is looked for.
        idle_minutes: After this long without a question the embedded model gives its memory back.
        idle_timeout_s: Seconds without a byte from a provider after which a call counts as dead.
        requests_per_minute: Calls to the provider, at most, across all runs of this machine; default is what it tells.
        tokens_per_minute: Tokens sent and asked for, likewise.
    """

    path: Path | None = None
    detect_local: bool = True
    idle_minutes: Duration = 10
    idle_timeout_s: Duration = 120
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None


class WebhookSettings(_Table):
    """
    Where a run may report its end.

    Attributes:
        url: Where runs of `kinds` report, unless a job file names another address.
        kinds: The kinds that report to `url`; None for all.
        allow: `host` (at the usual port of http or https) or `host:port`; nobody else is told anything.
        secret: Signs the reports, as Standard Webhooks spells it: `whsec_` and 24 to 64 random bytes in base64.
        include_answer: Whether a report holds the answer's text.
    """

    allow: tuple[Annotated[str, Field(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$")], ...] = ()
    secret: SecretStr | None = None
    include_answer: bool = False
    url: Address | None = None
    kinds: tuple[Kind, ...] | None = None

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and webhook_key(secret) is None:
            raise ValueError(
                "write whsec_ and 24 to 64 random bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one"
            )
        return secret

    @model_validator(mode="after")
    def _relations(self) -> WebhookSettings:
        """Check what holds between them."""
        if self.url is not None and self.secret is None:
            raise ValueError("url: write a `secret` too, which signs the reports")
        return self

    def url_for(self, kind: Kind) -> str | None:
        """Return where a run of *kind* reports that names no address of its own."""
        return self.url if self.kinds is None or kind in self.kinds else None


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


class WebSettings(_Table):
    """
    Web pages that questions mention.

    Attributes:
        pages: Whether `@https://…` in a question fetches that page, from the public internet.
    """

    pages: bool = False


class SandboxSettings(_Table):
    """Whether RLM runs may go on where the kernel has no Landlock."""

    allow_degraded: bool = False


class Settings(BaseModel):
    """All settings, as they hold. Frozen; see the module for where each comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str | None = None
    ready_marker: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    on_new_save: Literal["queue", "replace", "cancel"] = "queue"
    name_notes: bool = True
    keep_jobs_days: Annotated[int, Field(gt=0, le=36_500)] = 30
    keep_ledger_days: Annotated[int, Field(gt=0, le=36_500)] | None = None
    preset: PresetName | None = None
    max_input_mb: Money = 10
    page: OwnAddress | None = None
    metrics: OwnAddress | None = None
    traces: Address | None = None
    traces_content: bool = False

    provider: ProviderName | None = None
    base_url: Address | None = None
    key: KeyName | None = None
    model: str | None = None
    sub_model: str | None = None
    searxng_url: Address | None = None
    workspaces: tuple[Annotated[Path, AfterValidator(_whole_path)], ...] = ()
    notify: Literal["desktop"] | None = None
    notify_command: Annotated[str, AfterValidator(_command)] | tuple[str, ...] | None = None
    notify_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20
    workers: Annotated[int, Field(ge=0, le=256)] = 4
    ledger: Annotated[str | None, AfterValidator(_database), Field(repr=False)] = None

    ceilings: CeilingSettings = CeilingSettings()
    prices: dict[str, Price] = {}
    unknown_prices: UnknownPrices = UnknownPrices()
    providers: dict[Annotated[str, Field(pattern=NAME)], ProviderSettings] = {}
    models: ModelsSettings = ModelsSettings()
    webhooks: WebhookSettings = WebhookSettings()
    context: ContextSettings = ContextSettings()
    sandbox: SandboxSettings = SandboxSettings()
    web: WebSettings = WebSettings()

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
        for name, table in self.providers.items():
            found = name in (LOCAL, EMBEDDED)
            if found and table != ProviderSettings(workspaces=table.workspaces):
                raise ValueError(f"providers.{name}: only `workspaces` can be said of it; take another name")
            if not found and name not in SHIPPED and table.base_url is None and table.replies is None:
                raise ValueError(
                    f"providers.{name}: write its `base_url`; without one only the shipped names are known"
                )
        for kind in Kind:
            if getattr(self, kind).photos is not None:
                raise ValueError(f"{kind}.photos: images belong to one question: write them into its front matter")
        for where in ("", *(f"{kind}." for kind in Kind)):
            named = self.provider if not where else getattr(self, where[:-1]).provider
            if named is not None and named not in self.provider_names:
                raise ValueError(f"{where}provider: {no_such(named, self.provider_names)}")
        return self

    @property
    def provider_names(self) -> tuple[str, ...]:
        """What `provider` may say."""
        return names(self.providers)

    def opens(self, provider: str) -> bool:
        """Whether the user lets a workspace's files choose *provider*."""
        return provider in self.providers and self.providers[provider].workspaces

    def said_for(self, kind: Kind, front_matter: RunOptions) -> RunOptions:
        """
        Return what was set for one run, without defaults: `options_for` of another machine makes the same of it.

        Where this user's ceiling lowers what would hold, the ceiling is in it.
        """
        table: RunOptions = getattr(self, kind)
        said = self._with_models(front_matter.over(table))
        cap = self.options_for(kind, front_matter).max_cost_usd
        lowered = cap != said.over(DEFAULTS[kind]).max_cost_usd
        return said.model_copy(update={"max_cost_usd": cap}) if lowered else said

    def options_for(self, kind: Kind, front_matter: RunOptions) -> RunOptions:
        """Return what holds for one run: front matter over settings over defaults, under the ceilings."""
        table: RunOptions = getattr(self, kind)
        return self.under_ceilings(self._with_models(front_matter.over(table.over(DEFAULTS[kind]))))

    def under_ceilings(self, options: RunOptions) -> RunOptions:
        """Return *options* with no more than the user's ceilings allow, wherever they came from."""
        ceiling = self.ceilings.max_cost_usd_per_run
        if ceiling is not None and (options.max_cost_usd is None or options.max_cost_usd > ceiling):
            return options.model_copy(update={"max_cost_usd": ceiling})
        return options

    def _with_models(self, options: RunOptions) -> RunOptions:
        """Return *options* with `model` and `sub_model` of these settings, which are of their `provider` alone."""
        if options.provider not in (None, self.provider):
            return options
        return options.model_copy(
            update={"model": options.model or self.model, "sub_model": options.sub_model or self.sub_model}
        )
