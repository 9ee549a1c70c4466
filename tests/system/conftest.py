"""A home with a provider for each test, and one with a running daemon for those that can share it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers.openai_server import Call, OpenAIServer
from system.forkserver import closed_at_last
from system.harness import Brain, Daemon, Home, asked


@pytest.fixture(scope="session", autouse=True)
def closed_fork_server() -> Iterator[None]:
    """Nothing of the tests is left running."""
    with closed_at_last():
        yield


@pytest.fixture
def brain() -> Brain:
    """What the provider answers."""
    return Brain()


@pytest.fixture
def provider(brain: Brain) -> Iterator[OpenAIServer]:
    """A provider that answers as *brain* says."""
    with OpenAIServer(brain) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, provider: OpenAIServer) -> Home:
    """A person's home, with a key for the provider."""
    return Home(tmp_path / "home", provider)


@dataclass
class Shared:
    """One daemon that many tests use side by side, each with conversations of its own."""

    home: Home
    brain: Brain
    provider: OpenAIServer
    daemon: Daemon

    def asked(self, word: str) -> list[Call]:
        return asked(self.provider, word)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A home in which the daemon runs."""
    brain = Brain()
    with OpenAIServer(brain) as server:
        home = Home(tmp_path_factory.mktemp("shared") / "home", server)
        home.set("workers = 16\n")
        # The module-wide daemon must not see what the tests' own environment holds: Home makes a clean one.
        with home.daemon() as daemon:
            yield Shared(home, brain, server, daemon)
