"""Heavy packages load on first use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


BEGIN = """
import asyncio, os, sys
from pathlib import Path
from rlmwatch.daemon.composition import App, DirectRunner, Role
from rlmwatch.daemon.paths import WorkspacePaths, locate

def loaded():
    return "openai" in sys.modules
"""


def begun(program: str, tmp_path: Path, **environ: str) -> list[str]:
    places = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "workspace").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "workspace",
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **places, **environ},
    )
    return ran.stdout.split()


KEYED = {"OPENAI_API_KEY": "made-up", "RLMWATCH_MODELS__DETECT_LOCAL": "false"}


def test_the_python_api_has_loaded_the_client_before_a_run_begins(tmp_path):
    """The client's 0.35 s are in no run's time limit."""
    program = """
async def main():
    print(loaded())
    async with DirectRunner(os.environ) as runner:
        await runner._builder.client_loaded()
        print(loaded())
asyncio.run(main())
"""
    assert begun(program, tmp_path, **KEYED)[-1] == "True"


ROLES = """
async def main():
    async with App(locate(Path.cwd(), os.environ), role=Role.{role}) as app:
        print(loaded())
        await app.client_loaded()
        print(loaded())
asyncio.run(main())
"""


def test_a_program_that_answers_loads_the_client_beside_its_start(tmp_path):
    """The start does not wait for it, and it is there before the first run."""
    assert begun(ROLES.format(role="ONE_SHOT"), tmp_path, **KEYED)[-1] == "True"


def test_a_program_that_only_looks_loads_nothing(tmp_path):
    """A dry run asks nobody, and does not pay for the client."""
    assert begun(ROLES.format(role="DRY_RUN"), tmp_path, **KEYED)[-1] == "False"
