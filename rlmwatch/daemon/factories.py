"""Which provider, search, sandbox and handlers a program gets. The only file that names vendors."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlmwatch import clock
from rlmwatch.addresses import is_loopback
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.credentials import Key
from rlmwatch.errors import NoProvider
from rlmwatch.execution.run_context import NO_SEARCH, RuntimeConfig
from rlmwatch.handlers.base import Handler
from rlmwatch.handlers.chat import chat
from rlmwatch.handlers.exa import exa
from rlmwatch.handlers.job import job
from rlmwatch.handlers.research import research
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice, Facts, LocalServer, address_of, choose, named
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox
from rlmwatch.search.base import Search
from rlmwatch.settings.providers import LOCAL, OPENAI_KEY, OPENROUTER_KEY, SEARCH_KEY
from rlmwatch.settings.sources import Loaded, state_dir

if TYPE_CHECKING:
    from rlmwatch.models.openai.dialect import Endpoint

FIRST_KEYS = frozenset({OPENROUTER_KEY, OPENAI_KEY})
"""Where one of these is there, no server on this machine is looked for."""
PUBLISH_PRICES = frozenset({"openrouter"})
"""Providers whose list of models holds prices, in OpenRouter's way."""


def handlers() -> dict[Kind, Handler]:
    """Return what this version can answer."""
    return {Kind.CHAT: chat, Kind.JOB: job, Kind.RESEARCH: research, Kind.EXA: exa}


async def find_model(loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str]) -> tuple[Model, Choice]:
    """
    Return the provider that answers, and why it is that one.

    Raises:
        NoProvider: There is none; the text names the ways out.
        ConfigError: The settings ask for one that cannot be.
    """
    choice = choose(await gather(loaded, keys, environ, loaded.settings.provider))
    return build_model(choice, loaded, keys, environ), choice


async def gather(
    loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str], provider: str | None = None
) -> Facts:
    """Return what the choice depends on; this machine's servers are asked only where *provider* may be one of them."""
    from rlmwatch.models.llamacpp import weights

    settings = loaded.settings
    path = settings.models.path or weights.where()
    facts = Facts(
        provider=settings.provider,
        base_url=settings.base_url,
        key=settings.key,
        model=settings.model,
        providers=settings.providers,
        keys=frozenset(keys),
        openrouter_base_url=environ.get("OPENROUTER_BASE_URL"),
        openai_base_url=environ.get("OPENAI_BASE_URL"),
        azure_base_url=environ.get("AZURE_OPENAI_ENDPOINT"),
        embedded_installed=importlib.util.find_spec("xllamacpp") is not None,
        embedded_path=str(path) if path else None,
    )
    return replace(facts, local=await _local_servers(loaded, facts, provider))


async def _local_servers(loaded: Loaded, facts: Facts, provider: str | None) -> tuple[LocalServer, ...]:
    from rlmwatch.models import discover

    if provider == LOCAL or (provider is None and not facts.base_url and facts.keys.isdisjoint(FIRST_KEYS)):
        return await discover.find() if loaded.settings.models.detect_local or provider == LOCAL else ()
    address = address_of(facts, provider) if provider is not None else None
    if address is None or not is_loopback(address):
        return ()
    server = await discover.at(str(provider), address)
    return (server,) if server is not None else ()


def build_model(
    choice: Choice, loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str] = os.environ
) -> Model:
    """
    Return the provider that was chosen. Nothing is imported or connected before its first call.

    Raises:
        NoProvider: Its key cannot be sent.
        ConfigError: Its file of replies is wrong.
    """
    settings = loaded.settings.models
    if choice.replies is not None:
        from rlmwatch.daemon.script_file import read_script, scripted_model

        return scripted_model(read_script(Path(choice.replies)), Path(choice.replies))
    if choice.base_url is None:
        from rlmwatch.models.llamacpp.model import EmbeddedModel

        return EmbeddedModel(Path(choice.embedded_path or ""), model=choice.model, idle_s=settings.idle_minutes * 60)
    from rlmwatch.models.limiter import LimitedModel, Limits
    from rlmwatch.models.openai.model import OpenAIModel, Timeouts
    from rlmwatch.models.prices import Prices

    endpoint = endpoint_of(choice, keys)
    overrides = {name: (price.input, price.output) for name, price in loaded.settings.prices.items()}
    limits = Limits(
        clock.monotonic,
        clock.utc,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )

    def limited(prices: Prices) -> Model:
        timeouts = Timeouts(idle_s=settings.idle_timeout_s)
        return LimitedModel(OpenAIModel(endpoint, prices=prices, timeouts=timeouts, on_headers=limits.heard), limits)

    if choice.provider not in PUBLISH_PRICES:
        return limited(Prices(choice.provider, choice.base_url, overrides))
    from rlmwatch.models.published import Published, PublishingModel

    published = Published(endpoint, state_dir(environ) / "prices" / f"{choice.provider}.json")
    return PublishingModel(limited(Prices(choice.provider, choice.base_url, overrides, published)), published)


def endpoint_of(choice: Choice, keys: Mapping[str, Key]) -> Endpoint:
    """
    Return where the provider that was chosen is asked, and as whom.

    Raises:
        NoProvider: Its key cannot be sent.
    """
    from rlmwatch.models.openai.dialect import Endpoint

    key = keys.get(choice.key_name or "")
    if key is not None and key.problem is not None:
        raise NoProvider(key.problem)
    return Endpoint(
        choice.provider,
        choice.base_url or "",
        key.secret if key else None,
        choice.key_name,
        choice.key_header,
        choice.headers,
    )


class OtherProviders:
    """
    The providers that runs name beside the default one: each is made when the first run names it, and kept.

    Each has its own connections, its own rate limits, and its own key; where one is the default under another name,
    it is the default, so that both share their limits.
    """

    def __init__(
        self, loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str], default: tuple[Model, Choice] | None
    ) -> None:
        """
        Prepare; nothing is made.

        Args:
            loaded: The settings.
            keys: The keys that are there.
            environ: Where variables are looked up.
            default: The provider of runs that name none; None where there is none. It is not closed here.
        """
        self._loaded = loaded
        self._keys = keys
        self._environ = environ
        self._default = default
        self._made: dict[str, tuple[Model, Choice]] = {}

    async def named(self, provider: str) -> tuple[Model, Choice]:
        """
        Return the provider *provider*, and how it was chosen.

        Raises:
            NoProvider: It is not there: its key has no value, or its server does not answer.
            ConfigError: There is no such provider.
        """
        if provider not in self._made:
            choice = named(await gather(self._loaded, self._keys, self._environ, provider), provider)
            same = self._default is not None and _same_place(self._default[1], choice)
            model = self._default[0] if same and self._default else self._make(choice)
            self._made.setdefault(provider, (model, choice))
        return self._made[provider]

    async def aclose(self) -> None:
        """Close what was made here. Idempotent."""
        made, self._made = self._made, {}
        for model, _ in made.values():
            if self._default is None or model is not self._default[0]:
                await model.aclose()

    def _make(self, choice: Choice) -> Model:
        return build_model(choice, self._loaded, self._keys, self._environ)


def _same_place(one: Choice, other: Choice) -> bool:
    places = [(each.base_url, each.key_name, each.headers, each.embedded_path, each.replies) for each in (one, other)]
    return places[0] == places[1]


def find_search(
    keys: Mapping[str, Key], environ: Mapping[str, str], choice: Choice | None = None
) -> tuple[Search | None, str]:
    """
    Return what searches the web, or None and why there is nothing; nothing is connected before its first search.

    Where a file of replies answers, what it holds is found as well: a test of a workflow pays nobody.
    """
    if choice is not None and choice.replies is not None:
        from rlmwatch.daemon.script_file import read_script, scripted_search

        script = read_script(Path(choice.replies))
        if script.pages:
            return scripted_search(script), ""
        return None, f"{choice.replies} has no [[pages]], so that nothing can be searched"
    key = keys.get(SEARCH_KEY)
    if key is None:
        return None, NO_SEARCH
    if key.problem is not None:
        return None, key.problem
    from rlmwatch.search.exa import ExaSearch

    return ExaSearch(key.secret, environ.get("EXA_BASE_URL")), ""


def runtime_config(
    loaded: Loaded,
    keys: Mapping[str, Key],
    environ: Mapping[str, str],
    default: tuple[Model, Choice] | None = None,
    *,
    why_none: str = "",
    users_options: bool = False,
) -> RuntimeConfig:
    """
    Return what holds for new runs.

    Args:
        loaded: The settings.
        keys: The keys that are there.
        environ: Where variables are looked up.
        default: The provider of runs that name none; None where there is none, and *why_none* says why.
        why_none: For the person.
        users_options: Whether what a run itself says is the user's own word.
    """
    model, choice = default or (None, None)
    search, why_no_search = find_search(keys, environ, choice)
    return RuntimeConfig(
        loaded,
        model,
        choice.model if choice is not None else None,
        why_none,
        search,
        why_no_search,
        choice,
        OtherProviders(loaded, keys, environ, default),
        users_options,
    )


def build_sandbox(loaded: Loaded) -> Sandbox:
    """Return where a model's code runs. Nothing is started before the first run that needs it."""
    degraded = loaded.settings.sandbox.allow_degraded
    return ProcessSandbox(Policy(landlock="try" if degraded else "need"))
