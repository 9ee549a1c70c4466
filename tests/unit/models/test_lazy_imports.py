"""Heavy packages load on first use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("openai", "httpx", "aiohttp", "genai_prices", "xllamacpp")


def test_the_modules_of_models_load_nothing_heavy():
    """A command that asks no model pays for none: openai takes half a second to load."""
    program = (
        "import sys\n"
        "from rlmwatch.models import discover, embedded, openai_api, prices, scripted, select, weights\n"
        "model = openai_api.OpenAIModel(openai_api.Endpoint('x', 'https://x.example/v1'))\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
