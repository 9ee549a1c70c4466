"""What `rlmwatch doctor` says of keys: which there are, where each was found, where it would go; never a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from rlmwatch.addresses import shown
from rlmwatch.cli.report import NOT_SET, Line
from rlmwatch.daemon.credentials import KEYS, Key
from rlmwatch.errors import RlmwatchError
from rlmwatch.models.select import Facts, address_of, choose, key_of
from rlmwatch.settings.providers import SEARCH_KEY, names


def key_lines(keys: Mapping[str, Key], facts: Facts) -> list[Line]:
    """Return which keys there are, where each was found, and to which address each would go; never a key."""
    lines = []
    for name in dict.fromkeys((*KEYS, *keys)):
        key = keys.get(name)
        if key is None:
            lines.append(Line("ok", name, NOT_SET))
        elif key.problem is not None:
            lines.append(Line("wrong", name, key.problem, "write it again, on one line"))
        else:
            lines.append(Line("ok", name, f"set ({key.origin}); {_goes_to(name, facts)}"))
    return lines


def _goes_to(name: str, facts: Facts) -> str:
    """Return to which addresses the key *name* would go."""
    if name == SEARCH_KEY:
        return f"would go to {shown(os.environ.get('EXA_BASE_URL') or 'https://api.exa.ai')} (search)"
    places = {
        f"{shown(address)} ({provider})": None
        for provider in names(facts.providers)
        if key_of(facts, provider) == name and (address := address_of(facts, provider)) is not None
    }
    with suppress(RlmwatchError):
        chosen = choose(facts)
        if chosen.key_name == name and chosen.base_url is not None:
            places[f"{shown(chosen.base_url)} ({chosen.provider})"] = None
    return f"would go to {', '.join(places)}" if places else "goes nowhere: no provider has this key and an address"
