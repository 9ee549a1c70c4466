"""The providers of a running program: the default one, and those that its runs name beside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import find_search, gather
from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import ConfigError, NoProvider
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice, named
from rlmwatch.settings.sources import Loaded

log = structlog.get_logger()


class OtherProviders:
    """
    The providers that runs name beside the default one: each is made when the first run names it, and kept.

    Each has its own connections, its own rate limits, and its own key; two names of the same one share them.
    """

    def __init__(
        self,
        loaded: Loaded,
        keys: Mapping[str, Key],
        environ: Mapping[str, str],
        shared: SharedParts,
    ) -> None:
        """
        Prepare; nothing is made.

        Args:
            loaded: The settings.
            keys: The keys that are there.
            environ: Where variables are looked up.
            shared: Makes the providers, and closes them.
        """
        self._shared = shared
        self._loaded = loaded
        self._keys = keys
        self._environ = environ
        self._made: dict[str, tuple[Model, Choice]] = {}
        self._making = asyncio.Lock()

    async def named(self, provider: str) -> tuple[Model, Choice]:
        """
        Return the provider *provider*, and how it was chosen.

        Raises:
            NoProvider: It is not there: its key has no value, its server does not answer, what is said of it is wrong.
        """
        async with self._making:
            if provider not in self._made:
                facts = await gather(self._loaded, self._keys, self._environ, provider)
                try:
                    choice = named(facts, provider)
                    self._made[provider] = self._make(choice)
                except ConfigError as error:  # the program goes on; this run is held until it is put right
                    raise NoProvider(str(error)) from error
            return self._made[provider]

    def _make(self, choice: Choice) -> tuple[Model, Choice]:
        log.info("model.chosen", provider=choice.provider, model=choice.model, why=choice.why)
        return self._shared.build_model(choice, self._loaded, self._keys, self._environ), choice


def runtime_config(  # noqa: PLR0913 (its parts by name)
    loaded: Loaded,
    keys: Mapping[str, Key],
    environ: Mapping[str, str],
    default: tuple[Model, Choice] | None = None,
    *,
    documents: DocumentReader,
    no_model_reason: str = "",
    users_options: bool = False,
    shared: SharedParts,
) -> RuntimeConfig:
    """
    Return what holds for new runs.

    Args:
        loaded: The settings.
        keys: The keys that are there.
        environ: Where variables are looked up.
        default: The provider of runs that name none; None where there is none, and *no_model_reason* says why.
        documents: Turns pages that were found into text.
        no_model_reason: For the person.
        users_options: Whether what a run itself says is the user's own word.
        shared: Makes the providers that runs name.
    """
    model, choice = default or (None, None)
    search, no_search_reason = find_search(loaded, keys, environ, documents, choice)
    return RuntimeConfig(
        loaded=loaded,
        model=model,
        default_model=choice.model if choice is not None else None,
        no_model_reason=no_model_reason,
        search=search,
        no_search_reason=no_search_reason,
        choice=choice,
        providers=OtherProviders(loaded, keys, environ, shared),
        users_options=users_options,
    )
