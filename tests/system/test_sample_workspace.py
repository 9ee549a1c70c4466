"""sample_workspace as it is shipped: nothing in it becomes an error without keys, and its examples can be answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import OpenAIServer
from system.harness import Home
from system.researching import Coder, is_root, is_sub, is_synthesis

from rlmwatch.contract.names import InputName, classify

SAMPLE = Path(__file__).resolve().parents[2] / "sample_workspace"
LOOK = """
rights = next(text for path, text in context.items() if path.endswith("bill_of_rights.txt"))
speech = next(text for path, text in context.items() if path.endswith("gettysburg_address.txt"))
parts = dict(part.split("\\n", 1) for part in rights.strip().split("\\n\\n"))
print(len(parts), [name for name, text in parts.items() if "speedy" in text])
print(speech[:60])
"""
ANSWER = """
jury = [name for name, text in parts.items() if "jury" in text.lower()]
speedy = [name for name, text in parts.items() if "speedy" in text]
answer(f"{speedy[0]}; {len(jury)} of {len(parts)}; {1863 - 87}: \\"{speech[:30]}\\"")
"""


@pytest.fixture
def sample(tmp_path: Path) -> Home:
    """A home whose workspace is a copy of the sample, without what running it here left in it."""
    home = Home(tmp_path / "home")
    ours = shutil.ignore_patterns(
        "*_output.*", "*_state.json", "*_session.json", "*_sources.json", "*_error.txt", "jobs"
    )
    shutil.copytree(SAMPLE, home.workspace, dirs_exist_ok=True, ignore=ours)
    (home.workspace / "rlmwatch.toml").unlink(missing_ok=True)
    return home


def take_up(home: Home, name: str) -> None:
    """Take off the ending `.example`, as its README says."""
    example = home.workspace / "examples" / f"{name}.example"
    shutil.copy(example, example.with_suffix(""))


def test_only_chats_are_asked_as_it_is_shipped(sample: Home):
    """Without any key for research or the web, the sample gives answers and no error file."""
    inputs = [
        name
        for file in sample.workspace.rglob("*")
        if isinstance(name := classify(file.relative_to(sample.workspace).as_posix()), InputName)
    ]
    assert {name.kind.value for name in inputs} == {"chat"}
    with OpenAIServer(["Hello."]) as server:
        sample.provider = server
        done = sample.cli("run", "--once", str(sample.workspace))
    assert done.returncode == 0, done.stderr
    assert list(sample.workspace.rglob("*_error.txt")) == []


def test_the_research_example_can_be_answered(sample: Home):
    """The material of the research example is what its question is about, and code finds the answer in it."""
    coder = Coder()
    coder.on("speedy trial", LOOK, ANSWER)
    take_up(sample, "liberty_research_prompt.txt")
    with OpenAIServer(lambda body: coder(body) if is_root(body) or is_sub(body) else "Hello.") as server:
        sample.provider = server
        done = sample.cli("answer", str(sample.workspace / "examples" / "liberty_research_prompt.txt"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'Amendment VI; 3 of 10; 1776: "Four score and seven years ago"\n'


def test_the_web_example_can_be_answered(sample: Home):
    """The web example becomes an answer with its sources once both keys are there."""
    coder = Coder()
    coder.on(
        "exoplanet",
        "p = research('first exoplanet around a Sun-like star')\nanswer(f'51 Pegasi b, in 1995 [{p[0].n}].')",
    )
    take_up(sample, "exa_input.txt")
    pages = [result("https://stars.example/51peg", "51 Pegasi b", "Found in 1995 by Mayor and Queloz.")]
    with (
        OpenAIServer(lambda body: coder(body) if is_root(body) or is_synthesis(body) else "Hello.") as server,
        ExaServer([pages]) as exa,
    ):
        sample.provider = server
        sample.variables |= {"EXA_API_KEY": "made-up-exa-key-3c", "EXA_BASE_URL": exa.url}
        done = sample.cli("answer", str(sample.workspace / "examples" / "exa_input.txt"))
    assert done.returncode == 0, done.stderr
    assert sample.read("examples/exa_output.txt").startswith("51 Pegasi b, in 1995 [1].")
    assert sample.exists("examples/exa_sources.json")
