"""Which provider, search, sandbox and handlers a program gets. The only file that names vendors."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlmwatch import clock
from rlmwatch.addresses import is_loopback, shown
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.credentials import Key
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import NoProvider
from rlmwatch.execution.runtime_config import NO_SEARCH
from rlmwatch.handlers.base import Handler
from rlmwatch.handlers.chat import chat
from rlmwatch.handlers.exa import exa
from rlmwatch.handlers.job import job
from rlmwatch.handlers.research import research
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice, Facts, LocalServer, address_of, choose
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox
from rlmwatch.search.base import Search
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import LOCAL, OPENAI_KEY, OPENROUTER_KEY, SEARCH_KEY
from rlmwatch.settings.sources import Loaded, state_dir

if TYPE_CHECKING:
    from rlmwatch.models.openai.dialect import Endpoint
    from rlmwatch.search.searxng import ReadPage, SearxngSearch

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
    own = settings.models.path
    path = own or weights.where()
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
        embedded_writes_code=own is not None and await asyncio.to_thread(weights.writes_code, own),
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
    from rlmwatch.models.openai.model import OpenAIModel, Timeouts
    from rlmwatch.models.prices import Prices
    from rlmwatch.models.rate_limit import LimitedModel, Limits

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
        return LimitedModel(OpenAIModel(endpoint, prices=prices, timeouts=timeouts, on_headers=limits.received), limits)

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


async def load_client(choice: Choice | None) -> None:
    """Load what the first call of a network provider needs, in a thread. Other providers load nothing."""
    if choice is not None and choice.base_url is not None:
        from rlmwatch.models.openai.model import load

        await load()


def find_search(
    loaded: Loaded,
    keys: Mapping[str, Key],
    environ: Mapping[str, str],
    documents: DocumentReader,
    choice: Choice | None = None,
) -> tuple[Search | None, str]:
    """
    Return what searches the web, or None and why there is nothing; nothing is connected before its first search.

    Exa where its key is there, else the user's SearXNG. Where a file of replies answers, what it holds is found as
    well: a test of a workflow pays nobody.
    """
    if choice is not None and choice.replies is not None:
        from rlmwatch.daemon.script_file import read_script, scripted_search

        script = read_script(Path(choice.replies))
        if script.pages:
            return scripted_search(script), ""
        return None, f"{choice.replies} has no [[pages]], so that nothing can be searched"
    key = keys.get(SEARCH_KEY)
    if key is None:
        if loaded.settings.searxng_url is None:
            return None, NO_SEARCH
        return build_searxng(loaded.settings.searxng_url, _page_reader(loaded, documents)), ""
    if key.problem is not None:
        return None, key.problem
    from rlmwatch.search.exa import ExaSearch

    return ExaSearch(key.secret, environ.get("EXA_BASE_URL")), ""


def build_searxng(url: str, read_page: ReadPage | None = None) -> SearxngSearch:
    """Return the SearXNG at *url*, whose pages *read_page* reads; None leaves it at the excerpts."""
    from rlmwatch.search.searxng import SearxngSearch

    return SearxngSearch(url, read_page=read_page)


def _page_reader(loaded: Loaded, documents: DocumentReader) -> ReadPage | None:
    """Return what reads a page that was found; None where the user does not allow web pages (`web.pages`)."""
    if not loaded.settings.web.pages:
        return None
    from rlmwatch.execution.page_text import page_reader
    from rlmwatch.search.fetch import fetch

    return page_reader(fetch, documents)


def who_searches(settings: Settings, keys: Mapping[str, Key], environ: Mapping[str, str]) -> str:
    """Return, in a few words, who searches the web: for doctor, setup and status."""
    if SEARCH_KEY in keys:
        return f"Exa, {shown(environ.get('EXA_BASE_URL') or 'https://api.exa.ai')} ({SEARCH_KEY})"
    if settings.searxng_url is not None:
        return f"SearXNG, {shown(settings.searxng_url)} (searxng_url)"
    return f"nobody: set {SEARCH_KEY}, or searxng_url in your own config.toml"


def build_documents(loaded: Loaded) -> DocumentReader:
    """Return what turns documents into text. Nothing is started before the first document."""
    return DocumentReader(Policy(landlock=_landlock(loaded)))


def build_images(loaded: Loaded, documents: DocumentReader) -> ImageReader:
    """Return what scales images, in turn with *documents*. Nothing is started before the first image."""
    return ImageReader(Policy(landlock=_landlock(loaded)), slots=documents.slots)


def build_sandbox(loaded: Loaded) -> Sandbox:
    """Return where a model's code runs. Nothing is started before the first run that needs it."""
    return ProcessSandbox(Policy(landlock=_landlock(loaded)))


def _landlock(loaded: Loaded) -> str:
    return "try" if loaded.settings.sandbox.allow_degraded else "need"
