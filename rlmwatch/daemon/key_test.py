"""Proves that a provider answers, and takes a key: by its list of models, and one token of its default one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import build_model, endpoint_of, gather
from rlmwatch.daemon.logging import Redactor
from rlmwatch.errors import ProviderError, WrongKey
from rlmwatch.models.base import Message, Request
from rlmwatch.models.listing import offered
from rlmwatch.models.select import Choice, named
from rlmwatch.settings.sources import Loaded

ANSWER_TIMEOUT_S = 30.0
"""For one answer of one token: a local server may have to load its model first."""


def prove(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> str:
    """
    Return what to tell of *provider*, which answers with one of *keys*.

    Raises:
        ProviderError: It refuses the key (`WrongKey`), or does not answer.
        NoProvider, ConfigError: It cannot be asked.
    """
    redactor = Redactor(key.secret.get_secret_value() for key in keys.values())
    try:
        return asyncio.run(_asked(loaded, provider, keys))
    except WrongKey as error:
        raise WrongKey(redactor.text(f"the key was refused: {error}")) from None
    except ProviderError as error:
        raise ProviderError(redactor.text(f"{provider} did not answer: {error}"), status=error.status) from None


async def _asked(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> str:
    """Ask for the list of models, where there is one, and for one token; return what to tell of that."""
    choice = named(await gather(loaded, keys, os.environ, provider), provider)
    listed = await _listed(choice, keys)
    model = build_model(choice, loaded, keys)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await model.complete(Request(choice.model, (Message("user", "Say yes."),), max_tokens=1))
    except TimeoutError:
        raise ProviderError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from None
    finally:
        await model.aclose()
    return f"{choice.model} ({provider}) answers{listed}."


async def _listed(choice: Choice, keys: Mapping[str, Key]) -> str:
    if choice.base_url is None:
        return ""
    try:
        count = len(await offered(endpoint_of(choice, keys)))
    except WrongKey:
        raise
    except ProviderError as error:
        if error.status is None:  # it cannot be reached at all
            raise
        return ""
    return f"; it offers {count} model{'' if count == 1 else 's'}"
