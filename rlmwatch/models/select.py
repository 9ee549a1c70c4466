"""
Which provider answers.

Pure: the facts are gathered elsewhere (configuration, names of the variables that are set, `discover`, `weights`).
In this order, the first that is there:

1. `provider` or `base_url` in the user's configuration;
2. `OPENROUTER_API_KEY`;
3. `OPENAI_API_KEY`;
4. a local Ollama or llama.cpp server that has a model;
5. the usual variable of another provider that is known by name, in the order of `SHIPPED`;
6. the embedded model, when the extra `local` is installed and the weights are fetched.

A run may ask for another provider by its name (`named`); nothing of the default one goes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import urlsplit

from pydantic import SecretStr

from rlmwatch.addresses import is_http, is_loopback, shown
from rlmwatch.errors import ConfigError, NoProvider
from rlmwatch.settings.model import ProviderSettings
from rlmwatch.settings.providers import (
    EMBEDDED,
    LOCAL,
    OPENAI_KEY,
    OPENROUTER_KEY,
    SCRIPTED,
    SHIPPED,
    names,
    no_such,
    shipped_at,
)

EMBEDDED_MODEL = "smollm2-135m-instruct"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
"""The file of that model's weights, as they are published; any other GGUF file may be used in its place."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """
    A server on loopback that was asked and answered.

    Attributes:
        name: The shipped provider that it is (`ollama`, `llama.cpp`).
        base_url: Up to and with `/v1`.
        models: Models that can chat, in the server's own order.
    """

    name: str
    base_url: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What the choice depends on.

    Attributes:
        provider: `provider` of the user's configuration.
        base_url: `base_url` of the user's configuration.
        key: `key` of the user's configuration: the name of the variable that holds the key of these two.
        model: `model` of the configuration.
        providers: `[providers.NAME]` of the user's configuration.
        keys: Names of the key variables that have a value, wherever they came from.
        openrouter_base_url: `OPENROUTER_BASE_URL`.
        openai_base_url: `OPENAI_BASE_URL`.
        azure_base_url: `AZURE_OPENAI_ENDPOINT`.
        local: Local servers that were found.
        embedded_installed: Whether the extra `local` is installed.
        embedded_path: The fetched GGUF file; None where there is none.
        embedded_writes_code: Whether its model may be given the engine's work (see `weights.writes_code`).
    """

    provider: str | None = None
    base_url: str | None = None
    key: str | None = None
    model: str | None = None
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    openrouter_base_url: str | None = None
    openai_base_url: str | None = None
    azure_base_url: str | None = None
    local: tuple[LocalServer, ...] = ()
    embedded_installed: bool = False
    embedded_path: str | None = None
    embedded_writes_code: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """
    What answers.

    Attributes:
        provider: Short name for people: a provider's own, `local`, `embedded`, `scripted`, or a host.
        model: The model of runs that name none.
        why: A sentence for the log.
        base_url: None for the embedded model and for a file of replies.
        key_name: The variable that holds the key (never the key); None where none is sent.
        embedded_path: The GGUF file of the embedded model.
        headers: Sent beside.
        key_header: The header that carries the key.
        replies: The file of replies.
        one_model: Whether the address answers as one model, whatever is asked for: an Azure deployment's own.
        writes_code: False where the model is known to be unable to, so that no run of the engine is given to it.
    """

    provider: str
    model: str
    why: str
    base_url: str | None = None
    key_name: str | None = None
    embedded_path: str | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    key_header: str = "Authorization"
    replies: str | None = None
    one_model: bool = False
    writes_code: bool = True


def choose(facts: Facts) -> Choice:
    """
    Return what answers, in the order at the top of this module.

    Raises:
        NoProvider: Nothing is there, or not what the configuration asks for; the text names the ways out.
        ConfigError: `provider` says something that it cannot.
    """
    if facts.base_url is not None:
        return _at_base_url(facts, facts.base_url)
    if facts.provider is not None:
        why = f"provider = {facts.provider} in the configuration comes first"
        return _named(facts, facts.provider, why, model=facts.model, key=facts.key)
    order = "the first that is there of: configuration, " + ORDER
    for name in ("openrouter", "openai", LOCAL, *SHIPPED, EMBEDDED):
        choice = _found(facts, name, order)
        if choice is not None:
            return choice
    raise NoProvider(f"There is nothing to answer with: no key, no local server, no embedded model. {ways_out()}")


def named(facts: Facts, provider: str) -> Choice:
    """
    Return the provider that a run names, with its own model and key.

    Raises:
        NoProvider: It is not there: its key has no value, or its server does not answer.
        ConfigError: There is no such provider.
    """
    if provider == facts.provider and facts.base_url is None:
        return choose(facts)
    return _named(facts, provider, f"provider = {provider} in the run", model=None, key=None)


ORDER = f"{OPENROUTER_KEY}, {OPENAI_KEY}, a local Ollama or llama.cpp server, the embedded model"
"""The order of detection, in words."""


def ways_out() -> str:
    """Return what a person without a provider can do."""
    return (
        f"Do one of these, then restart or reload: (1) set {OPENROUTER_KEY}, {OPENAI_KEY} or another provider's "
        "variable (`rlmwatch doctor` lists them) in the environment, or in a file .env in rlmwatch's folder of your "
        "configuration (never in the workspace); (2) install rlmwatch[local] "
        "and run `rlmwatch model fetch` for the small embedded model, which needs no key; (3) start Ollama or a "
        "llama.cpp server on this machine; (4) write `base_url` and `model` of any OpenAI-compatible server into your "
        "own config.toml."
    )


def why_no_engine(choice: Choice, *, named: bool) -> str | None:
    """
    Return why a run of the engine is not given to *choice*, and the ways to a model that can do it; None where it is.

    Args:
        choice: What answers.
        named: Whether `provider` asks for it, in the run or in the settings.
    """
    if choice.writes_code:
        return None
    instead = f"Take `provider: {choice.provider}` out where it is set, and do" if named else "Do"
    return (
        f"needs a model that can write code: {choice.model} is too small for that, it only chats. {instead} one of "
        f"these: (1) set {OPENROUTER_KEY}, {OPENAI_KEY} or another provider's variable (`rlmwatch doctor` lists them) "
        "in the environment, or in a file .env in rlmwatch's folder of your configuration (never in the workspace); "
        "(2) start Ollama or a llama.cpp server with a larger model on this machine, or write `base_url` and `model` "
        "of any OpenAI-compatible server into your own config.toml; (3) write the path of a better model file (GGUF) "
        "into your own config.toml: `path` under [models]. `rlmwatch doctor --exam` says what a model can do."
    )


def address_of(facts: Facts, provider: str) -> str | None:
    """
    Return where *provider* is; None for one that has no address, or none yet (`azure`).

    Raises:
        ConfigError: What a variable says is no address.
    """
    table = facts.providers.get(provider)
    variable, moved = {
        "azure": ("AZURE_OPENAI_ENDPOINT", facts.azure_base_url),
        "openai": ("OPENAI_BASE_URL", facts.openai_base_url),
        "openrouter": ("OPENROUTER_BASE_URL", facts.openrouter_base_url),
    }.get(provider, ("", None))
    if table is not None and table.base_url is not None:
        given: str | None = table.base_url
    elif moved:
        if not is_http(moved):
            raise ConfigError(f"{variable} = {shown(moved)} is not an http or https address. Correct it, or unset it")
        given = moved
    else:
        shipped = SHIPPED.get(provider)
        given = shipped.base_url if shipped is not None else None
    if provider == "azure" and given is not None:
        return _azure(given, table or ProviderSettings())
    return given


def key_of(facts: Facts, provider: str) -> str | None:
    """Return the name of the variable that holds the key of *provider*; None where it has none."""
    table, shipped = facts.providers.get(provider), SHIPPED.get(provider)
    return (table.key if table is not None else None) or (shipped.key if shipped is not None else None)


def _azure(endpoint: str, table: ProviderSettings) -> str:
    """Return the address of Azure's resource at *endpoint*: of its one deployment by version, else of its `/v1`."""
    at = endpoint.rstrip("/")
    if urlsplit(at).path not in ("", "/openai"):
        return at  # a person wrote the whole of it
    at = at.removesuffix("/openai")
    if table.deployment is not None and table.api_version is not None:
        return f"{at}/openai/deployments/{table.deployment}?api-version={table.api_version}"
    return f"{at}/openai/v1"


def _at_base_url(facts: Facts, base_url: str) -> Choice:
    """Choose the server at `base_url`, with the key that `key` names, else that of the provider that it belongs to."""
    host = urlsplit(base_url).hostname if is_http(base_url) else None
    if host is None:
        raise ConfigError(
            f"base_url = {shown(base_url)!r} is not an http or https address. Write, say, http://127.0.0.1:8080/v1"
        )
    if facts.provider in (EMBEDDED, SCRIPTED):
        raise ConfigError(f"provider = {facts.provider!r} takes no base_url. Remove one of the two from config.toml")
    provider = facts.provider or shipped_at(base_url) or (LOCAL if is_loopback(base_url) else host)
    table, shipped = facts.providers.get(provider, ProviderSettings()), SHIPPED.get(provider)
    key_name = facts.key or key_of(facts, provider)
    known = provider in SHIPPED or provider in facts.providers
    if key_name is None and not known and not (provider == LOCAL and facts.provider is None):
        key_name = OPENAI_KEY  # a key goes to this machine's own servers only where somebody says whose it is
    if facts.key is not None and facts.key not in facts.keys:
        raise NoProvider(
            f"base_url = {shown(base_url)} in the configuration, but its key {facts.key} has no value. {WHERE}"
        )
    here = [server.models[0] for server in facts.local if server.base_url == base_url and server.models]
    default = table.model or (shipped.model if shipped is not None else None) or SHIPPED["openai"].model or ""
    return Choice(
        provider,
        facts.model or (here[0] if here else default),
        f"base_url = {shown(base_url)} in the configuration comes first",
        base_url,
        key_name if key_name in facts.keys else None,
        headers=table.headers,
        key_header=shipped.key_header if shipped is not None else "Authorization",
    )


WHERE = "Set it in the environment, or in a file .env in rlmwatch's folder of your configuration."

_NEEDS = {
    LOCAL: "no Ollama or llama.cpp server with a model answers on this machine",
    EMBEDDED: "the extra is not installed (pip install 'rlmwatch[local]') or the weights are not fetched "
    "(rlmwatch model fetch)",
}


def _named(facts: Facts, provider: str, why: str, *, model: str | None, key: str | None) -> Choice:
    """Choose *provider*, and nothing else; *model* and *key* go before its own."""
    if provider == LOCAL:
        choice = _local(facts, why, model)
    elif provider == EMBEDDED:
        choice = _embedded(facts, why, model)
    elif provider in facts.providers or provider in SHIPPED:
        return _by_table(facts, provider, why, model=model, key=key)
    elif provider == SCRIPTED:
        raise ConfigError(
            "provider = 'scripted': write the file of replies into config.toml: [providers.scripted] replies"
        )
    else:
        raise ConfigError(f"provider: {no_such(provider, names(facts.providers))}, or add a base_url")
    if choice is None:
        raise NoProvider(f"{why}, but {_NEEDS[provider]}. {ways_out()}")
    return choice


def _found(facts: Facts, provider: str, order: str) -> Choice | None:
    """Return *provider* where what it needs is there without anybody having named it."""
    if provider == LOCAL:
        return _local(facts, order, facts.model)
    if provider == EMBEDDED:
        return _embedded(facts, order, facts.model)
    key_name = key_of(facts, provider)
    if not SHIPPED[provider].needs_key or key_name not in facts.keys or address_of(facts, provider) is None:
        return None
    try:
        return _by_table(facts, provider, _why(str(key_name), order), model=facts.model, key=None)
    except NoProvider:  # Azure, of which nobody has said which deployment answers
        return None


def _by_table(facts: Facts, provider: str, why: str, *, model: str | None, key: str | None) -> Choice:
    """Choose *provider* as the shipped table and the user's own say."""
    table, shipped = facts.providers.get(provider, ProviderSettings()), SHIPPED.get(provider)
    if table.replies is not None:
        return Choice(provider, model or table.model or SCRIPTED, why, replies=str(table.replies))
    base_url = address_of(facts, provider)
    if base_url is None:
        raise NoProvider(
            f"{why}, but its address is not known: set AZURE_OPENAI_ENDPOINT, or `base_url` in {_head(provider)}"
        )
    key_name = key or key_of(facts, provider)
    needs_key = bool(key or table.key) or (shipped is not None and shipped.needs_key)
    if needs_key and key_name not in facts.keys:
        raise NoProvider(f"{why}, but {key_name} has no value. {WHERE}")
    here = [server.models[0] for server in facts.local if server.base_url == base_url and server.models]
    default = table.model or table.deployment or (shipped.model if shipped is not None else None)
    chosen = model or default or (here[0] if here else None)
    if chosen is None:
        unseen = f" and {shown(base_url)} lists none now" if is_loopback(base_url) else ""
        raise NoProvider(f"{why}, but no model is named{unseen}: set `model` in {_head(provider)} of your config.toml")
    return Choice(
        provider,
        chosen,
        why,
        base_url,
        key_name if key_name in facts.keys else None,
        headers=table.headers,
        key_header=shipped.key_header if shipped is not None else "Authorization",
        one_model=provider == "azure" and "/deployments/" in base_url,
    )


def _head(provider: str) -> str:
    return f"[providers.{provider}]"


def _local(facts: Facts, order: str, model: str | None) -> Choice | None:
    for server in facts.local:
        if server.models and server.name in ("ollama", "llama.cpp"):
            why = _why(f"{server.name} at {server.base_url}", order)
            return Choice(LOCAL, model or server.models[0], why, server.base_url)
    return None


def _embedded(facts: Facts, order: str, wanted: str | None) -> Choice | None:
    """Choose the embedded model; a file of the person's own is called as *wanted* says, else by its name."""
    if not facts.embedded_installed or facts.embedded_path is None:
        return None
    file = PurePath(facts.embedded_path)
    ours = file.name == EMBEDDED_FILE
    if ours and wanted not in (None, EMBEDDED_MODEL):
        raise NoProvider(
            f"model = {wanted} in the configuration, but only the embedded {EMBEDDED_MODEL} is there, which is "
            f"much smaller. Take `model` out to be answered by it. {ways_out()}"
        )
    model = EMBEDDED_MODEL if ours else wanted or file.stem
    return Choice(
        EMBEDDED,
        model,
        _why("the embedded model", order),
        embedded_path=facts.embedded_path,
        writes_code=facts.embedded_writes_code,
    )


def _why(taken: str, order: str) -> str:
    return f"{taken}: {order}"
