"""Heavy packages load on first use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("openai", "httpx", "aiohttp", "genai_prices", "xllamacpp")


def test_the_modules_of_models_load_nothing_heavy():
    """A command that asks no model pays for none: openai takes half a second to load."""
    program = (
        "import sys\n"
        "from rlmwatch.models import discover, prices, scripted, select\n"
        "from rlmwatch.models.llamacpp import model as llamacpp, weights\n"
        "from rlmwatch.models.openai.dialect import Endpoint\n"
        "from rlmwatch.models.openai.model import OpenAIModel\n"
        "model = OpenAIModel(Endpoint('x', 'https://x.example/v1'))\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
