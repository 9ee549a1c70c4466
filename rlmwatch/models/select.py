"""
Which provider answers.

Pure: the facts are gathered elsewhere (configuration, names of the variables that are set, `discover`, `weights`).
In this order, the first that is there:

1. `provider` or `base_url` in the user's configuration;
2. `OPENROUTER_API_KEY`;
3. `OPENAI_API_KEY`;
4. a local Ollama or llama.cpp server that has a model;
5. the embedded model, when the extra `local` is installed and the weights are fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

from rlmwatch.addresses import is_http, is_loopback, shown
from rlmwatch.errors import ConfigError, NoProvider

OPENROUTER_KEY = "OPENROUTER_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"

OPENROUTER_URL = "https://openrouter.ai/api/v1"
OPENAI_URL = "https://api.openai.com/v1"

# Neither of them reasons: with 300 tokens a call, all of them must be answer.
OPENROUTER_MODEL = "openai/gpt-4.1-mini"
OPENAI_MODEL = "gpt-4.1-mini"
EMBEDDED_MODEL = "smollm2-135m-instruct"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
"""The file of that model's weights, as they are published; any other GGUF file may be used in its place."""

PROVIDERS = ("openrouter", "openai", "local", "embedded")
"""What `provider` may say where there is no `base_url`."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """
    A server on loopback that was asked and answered.

    Attributes:
        name: `ollama` or `llama.cpp`.
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
        model: `model` of the configuration.
        keys: Names of the key variables that have a value, wherever they came from.
        openrouter_base_url: `OPENROUTER_BASE_URL`.
        openai_base_url: `OPENAI_BASE_URL`.
        local: Local servers that were found.
        embedded_installed: Whether the extra `local` is installed.
        embedded_path: The fetched GGUF file; None where there is none.
    """

    provider: str | None = None
    base_url: str | None = None
    model: str | None = None
    keys: frozenset[str] = frozenset()
    openrouter_base_url: str | None = None
    openai_base_url: str | None = None
    local: tuple[LocalServer, ...] = ()
    embedded_installed: bool = False
    embedded_path: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """
    What answers.

    Attributes:
        provider: Short name for people: `openrouter`, `openai`, `local`, `embedded`, or a host.
        model: The model of runs that name none.
        why: A sentence for the log.
        base_url: None for the embedded model.
        key_name: The variable that holds the key (never the key); None where none is sent.
        embedded_path: The GGUF file of the embedded model.
    """

    provider: str
    model: str
    why: str
    base_url: str | None = None
    key_name: str | None = None
    embedded_path: str | None = None


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
        return _named(facts, facts.provider)
    for look in (_openrouter, _openai, _local, _embedded):
        choice = look(facts, "the first that is there of: configuration, " + ORDER)
        if choice is not None:
            return choice
    raise NoProvider(f"There is nothing to answer with: no key, no local server, no embedded model. {ways_out()}")


ORDER = f"{OPENROUTER_KEY}, {OPENAI_KEY}, a local Ollama or llama.cpp server, the embedded model"
"""The order of detection, in words."""


def ways_out() -> str:
    """Return what a person without a provider can do."""
    return (
        f"Do one of these, then restart or reload: (1) set {OPENROUTER_KEY} or {OPENAI_KEY} in the environment, or in "
        "a file .env in rlmwatch's folder of your configuration (never in the workspace); (2) install rlmwatch[local] "
        "and run `rlmwatch model fetch` for the small embedded model, which needs no key; (3) start Ollama or a "
        "llama.cpp server on this machine; (4) write `base_url` and `model` of any OpenAI-compatible server into your "
        "own config.toml."
    )


def _at_base_url(facts: Facts, base_url: str) -> Choice:
    """Choose the server at `base_url`, with the key of the provider that it belongs to."""
    host = urlsplit(base_url).hostname if is_http(base_url) else None
    if host is None:
        raise ConfigError(
            f"base_url = {shown(base_url)!r} is no http or https address. Write, say, http://127.0.0.1:8080/v1"
        )
    if facts.provider == "embedded":
        raise ConfigError("provider = 'embedded' takes no base_url. Remove one of the two from config.toml")
    provider = facts.provider or _provider_at(base_url, host)
    key_name: str | None = OPENROUTER_KEY if provider == "openrouter" else OPENAI_KEY
    if key_name not in facts.keys or (provider == "local" and facts.provider is None):
        key_name = None  # a key goes to this machine's own servers only where `provider` says whose it is
    here = [server.models[0] for server in facts.local if server.base_url == base_url and server.models]
    default = OPENROUTER_MODEL if provider == "openrouter" else OPENAI_MODEL
    return Choice(
        provider,
        facts.model or (here[0] if here else default),
        f"base_url = {shown(base_url)} in the configuration comes first",
        base_url,
        key_name,
    )


def _provider_at(base_url: str, host: str) -> str:
    if host == "openrouter.ai" or host.endswith(".openrouter.ai"):
        return "openrouter"
    if host == "openai.com" or host.endswith(".openai.com"):
        return "openai"
    return "local" if is_loopback(base_url) else host


_NEEDS = {
    "openrouter": f"{OPENROUTER_KEY} has no value",
    "openai": f"{OPENAI_KEY} has no value",
    "local": "no Ollama or llama.cpp server with a model answers on this machine",
    "embedded": "the extra is not installed (pip install 'rlmwatch[local]') or the weights are not fetched "
    "(rlmwatch model fetch)",
}


def _named(facts: Facts, provider: str) -> Choice:
    """Choose what `provider` names, and nothing else."""
    looks: dict[str, Callable[[Facts, str], Choice | None]] = {
        "openrouter": _openrouter,
        "openai": _openai,
        "local": _local,
        "embedded": _embedded,
    }
    if provider not in looks:
        raise ConfigError(f"provider = {provider!r}: write one of {', '.join(PROVIDERS)}, or add a base_url")
    choice = looks[provider](facts, f"provider = {provider} in the configuration comes first")
    if choice is None:
        raise NoProvider(f"provider = {provider} in the configuration, but {_NEEDS[provider]}. {ways_out()}")
    return choice


def _openrouter(facts: Facts, order: str) -> Choice | None:
    if OPENROUTER_KEY not in facts.keys:
        return None
    url = facts.openrouter_base_url or OPENROUTER_URL
    return Choice("openrouter", facts.model or OPENROUTER_MODEL, _why(OPENROUTER_KEY, order), url, OPENROUTER_KEY)


def _openai(facts: Facts, order: str) -> Choice | None:
    if OPENAI_KEY not in facts.keys:
        return None
    url = facts.openai_base_url or OPENAI_URL
    return Choice("openai", facts.model or OPENAI_MODEL, _why(OPENAI_KEY, order), url, OPENAI_KEY)


def _local(facts: Facts, order: str) -> Choice | None:
    for server in facts.local:
        if server.models:
            why = _why(f"{server.name} at {server.base_url}", order)
            return Choice("local", facts.model or server.models[0], why, server.base_url)
    return None


def _embedded(facts: Facts, order: str) -> Choice | None:
    """Choose the embedded model; a file of the person's own is called as `model` says, else by its name."""
    if not facts.embedded_installed or facts.embedded_path is None:
        return None
    file = PurePath(facts.embedded_path)
    ours = file.name == EMBEDDED_FILE
    if ours and facts.model not in (None, EMBEDDED_MODEL):
        raise NoProvider(
            f"model = {facts.model} in the configuration, but only the embedded {EMBEDDED_MODEL} is there, which is "
            f"much smaller. Take `model` out to be answered by it. {ways_out()}"
        )
    model = EMBEDDED_MODEL if ours else facts.model or file.stem
    return Choice("embedded", model, _why("the embedded model", order), embedded_path=facts.embedded_path)


def _why(taken: str, order: str) -> str:
    return f"{taken}: {order}"
