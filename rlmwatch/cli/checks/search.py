"""What `doctor` says of who searches the web."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rlmwatch.cli.report import Line
from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import build_searxng, who_searches
from rlmwatch.errors import ProviderError
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import SEARCH_KEY


async def search_line(settings: Settings, keys: Mapping[str, Key]) -> Line:
    """Return who searches the web; a SearXNG is asked whether it would answer, without a search."""
    who = who_searches(settings, keys, os.environ)
    if SEARCH_KEY in keys or settings.searxng_url is None:
        return Line("ok", "web search", who)
    searxng = build_searxng(settings.searxng_url)
    try:
        await searxng.probe()
    except ProviderError as error:
        return Line("wrong", "web search", who, str(error))
    finally:
        await searxng.aclose()
    return Line("ok", "web search", f"{who}; it answers in JSON")
