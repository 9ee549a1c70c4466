"""
The address that chat requests go to, and the one that was probably meant.

Pure. A base URL may be written with or without `/chat/completions` at its end, and with a query, such as Azure's
`?api-version=`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from rlmwatch.addresses import shown
from rlmwatch.settings.providers import SHIPPED

_CHAT = "/chat/completions"
_OTHER_CALLS = re.compile(r"/(models|responses|completions|embeddings|messages|generate|api/chat)$")
_VERSIONED = re.compile(r"/v\d+\w*(/|$)|/openai(/|$)")
_KNOWN = {
    urlsplit(known.base_url).hostname: urlsplit(known.base_url).path
    for known in SHIPPED.values()
    if known.base_url is not None and known.needs_key
}


def chat_address(base_url: str) -> str:
    """Return where chat requests go."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_CHAT) else path + _CHAT, fragment=""))


def likely_base(base_url: str) -> str | None:
    """Return the base URL that was probably meant, as it may be shown; None where *base_url* looks right."""
    parts = urlsplit(shown(base_url))
    path = parts.path.rstrip("/").removesuffix(_CHAT)
    meant = _OTHER_CALLS.sub("", path)
    known = _KNOWN.get(parts.hostname)
    if known is not None:
        meant = known
    elif not _VERSIONED.search(meant):
        meant += "/v1"
    return None if meant == path else urlunsplit(parts._replace(path=meant))


def advice(base_url: str) -> str:
    """Return, for a person, what was asked and what may have been meant."""
    asked = f"asked {shown(chat_address(base_url))}"
    likely = likely_base(base_url)
    return f"{asked}; is base_url {likely}?" if likely else asked
