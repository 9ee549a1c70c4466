"""Which provider, search, sandbox and handlers a program gets. The only file that names vendors."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.credentials import Key
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.handlers.base import Handler
from rlmwatch.handlers.chat import chat
from rlmwatch.handlers.exa import exa
from rlmwatch.handlers.job import job
from rlmwatch.handlers.research import research
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice, Facts, choose
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox
from rlmwatch.search.base import Search
from rlmwatch.settings.sources import Loaded


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
    from rlmwatch.models import discover
    from rlmwatch.models.llamacpp import weights

    settings = loaded.settings
    named = settings.provider or settings.base_url or keys.keys() & {"OPENROUTER_API_KEY", "OPENAI_API_KEY"}
    look = settings.models.detect_local and (not named or settings.provider == "local")
    path = settings.models.path or weights.where()
    choice = choose(
        Facts(
            provider=settings.provider,
            base_url=settings.base_url,
            model=settings.model,
            keys=frozenset(keys),
            openrouter_base_url=environ.get("OPENROUTER_BASE_URL"),
            openai_base_url=environ.get("OPENAI_BASE_URL"),
            local=await discover.find() if look else (),
            embedded_installed=importlib.util.find_spec("xllamacpp") is not None,
            embedded_path=str(path) if path else None,
        )
    )
    return build_model(choice, loaded, keys), choice


def build_model(choice: Choice, loaded: Loaded, keys: Mapping[str, Key]) -> Model:
    """Return the provider that was chosen. Nothing is imported or connected before its first call."""
    settings = loaded.settings.models
    if choice.base_url is None:
        from rlmwatch.models.llamacpp.model import EmbeddedModel

        return EmbeddedModel(Path(choice.embedded_path or ""), model=choice.model, idle_s=settings.idle_minutes * 60)
    from rlmwatch.models.openai.dialect import Endpoint
    from rlmwatch.models.openai.model import OpenAIModel, Timeouts
    from rlmwatch.models.prices import Prices
    from rlmwatch.models.rate_limit import LimitedModel, Limits

    key = keys.get(choice.key_name or "")
    overrides = {name: (price.input, price.output) for name, price in loaded.settings.prices.items()}
    limits = Limits(
        clock.monotonic,
        clock.utc,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )
    asked = OpenAIModel(
        Endpoint(choice.provider, choice.base_url, key.secret if key else None, choice.key_name),
        prices=Prices(choice.provider, choice.base_url, overrides),
        timeouts=Timeouts(idle_s=settings.idle_timeout_s),
        on_headers=limits.received,
    )
    return LimitedModel(asked, limits)


async def load_client(choice: Choice | None) -> None:
    """Load what the first call of a network provider needs, in a thread. Other providers load nothing."""
    if choice is not None and choice.base_url is not None:
        from rlmwatch.models.openai.model import load

        await load()


def find_search(keys: Mapping[str, Key], environ: Mapping[str, str]) -> Search | None:
    """Return what searches the web; None where there is no key for it. Nothing is connected before its first search."""
    key = keys.get("EXA_API_KEY")
    if key is None:
        return None
    from rlmwatch.search.exa import ExaSearch

    return ExaSearch(key.secret, environ.get("EXA_BASE_URL"))


def build_documents(loaded: Loaded) -> DocumentReader:
    """Return what turns documents into text. Nothing is started before the first document."""
    return DocumentReader(Policy(landlock=_landlock(loaded)))


def build_sandbox(loaded: Loaded) -> Sandbox:
    """Return where a model's code runs. Nothing is started before the first run that needs it."""
    return ProcessSandbox(Policy(landlock=_landlock(loaded)))


def _landlock(loaded: Loaded) -> str:
    return "try" if loaded.settings.sandbox.allow_degraded else "need"
