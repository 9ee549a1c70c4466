"""
Scenarios that are begun at once, since each of them mostly waits for its daemon.

    SCENARIOS = (unmounted, mounted_over)

    @pytest.fixture(scope="module")
    def begun(tmp_path_factory):
        with begin(SCENARIOS, tmp_path_factory.mktemp("faults")) as futures:
            yield futures

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
    def test_a_fault(begun, scenario):
        begun[scenario].result()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from servers.openai_server import OpenAIServer
from system.harness import Brain, Home

Scenario = Callable[[Home, OpenAIServer, Brain], None]


@contextmanager
def begin(scenarios: Sequence[Scenario], place: Path) -> Iterator[dict[Scenario, Future[None]]]:
    """Begin all *scenarios*, each with a home and a provider of its own below *place*; wait for all at the end."""
    with ThreadPoolExecutor(len(scenarios)) as threads:
        yield {scenario: threads.submit(_alone, scenario, place / name(scenario)) for scenario in scenarios}


def name(scenario: Scenario) -> str:
    """Return what a scenario is called."""
    return scenario.__name__


def _alone(scenario: Scenario, root: Path) -> None:
    brain = Brain()
    with OpenAIServer(brain) as provider:
        scenario(Home(root, provider), provider, brain)
