"""Two machines, one folder: one answers, the other waits for its turn (file contract, 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from servers.openai_server import Fault, OpenAIServer
from system.daemon import Daemon
from system.harness import Brain, Home, question
from system.together import Scenario, begin, name


def laptop_of(home: Home) -> Home:
    """Return another machine's home, whose workspace is the same folder; private state of its own."""
    root = home.root / "laptop"
    root.mkdir()
    (root / "workspace").symlink_to(home.workspace)
    return Home(root, home.provider)


def as_host(home: Home, host: str, *flags: str) -> list[str]:
    return [str(Path(__file__).with_name("host_child.py")), str(home.workspace), host, *flags]


def move(home: Home, host: str) -> None:
    """Name *host* in the workspace's settings, as a person does."""
    home.save("rlmwatch.toml", re.sub(r'host = "[^"]+"', f'host = "{host}"', home.read("rlmwatch.toml")))


def hosts(home: Home) -> dict[str, str]:
    """Return which machine answered each input."""
    return {status["input"]: status["host"] for status in home.statuses()}


def saves(home: Home, daemon: Daemon, *names: str) -> None:
    """Save some inputs, and wait until *daemon* has answered them."""
    for each in names:
        home.save(f"{each}_input.txt", f"question {each}")
    for each in names:
        daemon.answered(f"{each}_output.txt")


def the_host_that_is_named_answers_and_the_other_waits(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    Of two machines on one folder the one that `rlmwatch.toml` names answers; the other says so and is idle.

    It begins by itself when the host moves, also when it moves back, and no save is ever asked by both.
    """
    laptop = laptop_of(home)
    with (
        home.daemon(program=as_host(home, "desk")) as desk,
        laptop.daemon(program=as_host(laptop, "laptop")) as other,
    ):
        assert other.wait("host.standby")["answers"] == "desk"
        saves(home, desk, "a1", "a2")
        move(home, "laptop")
        home.save("between_input.txt", "saved while it moves")
        assert desk.wait("host.handover")["answers"] == "laptop"
        other.wait("ready")
        saves(home, other, "b1", "b2")
        desk.wait("host.standby", answers="laptop")
        move(home, "desk")
        other.wait("host.standby", answers="desk")
        desk.wait("ready", 2)
        saves(home, desk, "c1", "c2")
        assert other.seen("save.admitted", path="c1_input.txt") == []
    names = ("a1", "a2", "b1", "b2", "c1", "c2")
    expected = sorted(["saved while it moves", *(f"question {name}" for name in names)])
    assert sorted(question(call.body) for call in provider.calls) == expected
    answered = hosts(home)
    assert answered.pop("between_input.txt") in ("desk", "laptop")
    assert answered == {f"{name}_input.txt": {"a": "desk", "b": "laptop", "c": "desk"}[name[0]] for name in names}


def take_over_makes_the_other_go_idle(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """`--take-over` on one machine moves the folder there; the other goes idle by itself, and says who answers."""
    laptop = laptop_of(home)
    with home.daemon(program=as_host(home, "desk")) as desk:
        saves(home, desk, "a1")
        with laptop.daemon(program=as_host(laptop, "laptop", "--take-over")) as other:
            assert other.wait("host.taken_over")["before"] == "desk"
            assert desk.wait("host.standby")["answers"] == "laptop"
            saves(home, other, "b1")
    assert provider.count == 2
    assert hosts(home) == {"a1_input.txt": "desk", "b1_input.txt": "laptop"}


def the_lock_says_who_holds_it(home: Home, _provider: OpenAIServer, _brain: Brain) -> None:
    """A second daemon on the same machine ends with status 2 and names process, host and since when."""
    with home.daemon() as daemon:
        (lock,) = home.states.glob("rlmwatch/*/lock")
        held = json.loads(lock.read_text())
        assert held["pid"] == daemon.pid
        done = home.cli("run", str(home.workspace))
        assert done.returncode == 2
        assert f"process {daemon.pid} on {held['host']}, since {held['since']}" in done.stderr


def a_run_under_way_while_the_host_moves_is_answered_once(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """What the new host has answered is not asked again by the old one when the host moves back."""
    brain.on("question slow", Fault.stall(), "the answer", "a second answer")
    brain.on("question next", "the next answer")
    laptop = laptop_of(home)
    with (
        home.daemon(program=as_host(home, "desk")) as desk,
        laptop.daemon(program=as_host(laptop, "laptop")) as other,
    ):
        other.wait("host.standby")
        home.save("slow_input.txt", "question slow")
        provider.wait_for_calls(1)
        move(home, "laptop")
        other.answered("slow_output.txt")
        home.save("slow_input.txt", "question next")  # the newest that the folder shows is another one then
        other.answered("slow_output.txt", 2)
        desk.wait("host.standby", answers="laptop")
        move(home, "desk")
        desk.wait("run.answered_elsewhere", path="slow_input.txt")
        desk.wait("ready", 2)
        saves(home, desk, "after")
    assert [question(call.body) for call in provider.calls].count("question slow") == 2
    assert home.read("slow_output.txt") == "the next answer\n"
    assert sorted(status["status"] for status in home.statuses() if status["input"] == "slow_input.txt") == [
        "cancelled",
        "complete",
        "complete",
    ]


SCENARIOS = (
    a_run_under_way_while_the_host_moves_is_answered_once,
    the_host_that_is_named_answers_and_the_other_waits,
    take_over_makes_the_other_go_idle,
    the_lock_says_who_holds_it,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[None]]]:
    """All of them at once: they mostly wait."""
    with begin(SCENARIOS, tmp_path_factory.mktemp("machines")) as futures:
        yield futures


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_one_machine_answers(begun: dict[Scenario, Future[None]], scenario: Scenario):
    """Of all daemons that share a folder one answers, and the others say who."""
    begun[scenario].result()
