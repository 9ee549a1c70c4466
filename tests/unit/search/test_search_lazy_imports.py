"""Heavy packages load on first use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("exa_py", "openai", "httpx", "requests")


def test_the_modules_of_search_load_nothing_heavy():
    """A command that searches nothing pays for no search: exa_py takes a second to load."""
    program = (
        "import sys\n"
        "from pydantic import SecretStr\n"
        "from rlmwatch.search import base, exa, scripted\n"
        "exa.ExaSearch(SecretStr('k')).max_usd(base.SearchQuery('q'))\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
