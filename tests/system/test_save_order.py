"""Which of two saves is the later one, on whatever machine and clock; what the folder answers is not asked again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.daemon import Daemon
from system.harness import Brain, Home, question
from system.together import Scenario, begin, name

YEAR_S = 365 * 86_400
HERE = Path(__file__).parent
FILES = ("a_input.txt", "a_output.txt", "a_state.json")
LATE_S = 1.0
"""How much later than the input its state file comes, where somebody renames file by file."""


def machine(home: Home, name: str) -> Home:
    """Return another machine's home, whose workspace is the same folder; private state of its own."""
    root = home.root / name
    root.mkdir()
    (root / "workspace").symlink_to(home.workspace)
    return Home(root, home.provider)


def by_clock(home: Home, seconds: int) -> list[str]:
    """Return the program of a daemon whose wall clock is *seconds* ahead."""
    (home.root / "clock").write_text(str(seconds))
    return [str(HERE / "clock_child.py"), str(home.workspace), str(home.root / "clock")]


def take_over(home: Home) -> None:
    """Let whatever machine begins next answer here."""
    (home.workspace / "rlmwatch.toml").unlink(missing_ok=True)


def ask(home: Home, daemon: Daemon, text: str, path: str = "a_input.txt") -> None:
    """Save *text*, and wait for its answer."""
    count = len(daemon.seen("answer.written"))
    home.save(path, text)
    daemon.wait("answer.written", count + 1)


def asked(provider: OpenAIServer) -> list[str]:
    return [question(call.body) for call in provider.calls]


def settled(home: Home, daemon: Daemon) -> None:
    """Wait until everything that was there before a new save of another conversation was taken care of."""
    ask(home, daemon, "the last", "z_input.txt")


def a_machine_whose_clock_is_ahead_hides_no_later_answer(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """After a machine a year ahead and one in 1970, each later answer and error is written, and memory is in order."""
    ahead, pi = machine(home, "ahead"), machine(home, "pi")
    with ahead.daemon(program=by_clock(ahead, YEAR_S)) as daemon:
        ask(home, daemon, "one")
    take_over(home)
    with home.daemon() as daemon:
        ask(home, daemon, "two")
        assert home.read("a_output.txt") == "re: two\n"
        home.save("a_input.txt", "---\ntokens: many\n---\nthree")
        daemon.wait("run.failed")
        assert "tokens" in home.read("a_error.txt")
    take_over(home)
    with pi.daemon(program=by_clock(pi, -50 * YEAR_S)) as daemon:
        ask(home, daemon, "four")
        assert home.read("a_output.txt") == "re: four\n"
        assert not home.exists("a_error.txt")
    assert home.turns("a_state.json") == ["one", "two", "four"]
    assert [message["content"] for message in provider.calls[-1].body["messages"][1:]] == [
        "one", "re: one", "two", "re: two", "four",
    ]  # fmt: skip
    numbers = [turn["save_number"] for turn in home.state("a_state.json")["turns"]]
    assert numbers == sorted(set(numbers))


def an_answer_that_comes_late_covers_none_of_another_machine(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    What was answered here and not written before another machine took over does not cover what that one answered.

    Its clock is fifty years behind, so a time would say otherwise.
    """
    pi = machine(home, "pi")
    with home.daemon() as daemon:
        ask(home, daemon, "one")
    home.save("a_input.txt", "two")
    with home.daemon(program=[str(HERE / "crash_child.py"), str(home.workspace), "run.finished"]) as daemon:
        assert daemon.ended() == -signal.SIGKILL, daemon.tail
    take_over(home)
    home.save("a_input.txt", "three")
    with pi.daemon(program=by_clock(pi, -50 * YEAR_S)) as daemon:
        daemon.answered("a_output.txt")
    take_over(home)
    with home.daemon() as daemon:
        daemon.wait("publish.superseded")
        settled(home, daemon)
    assert home.read("a_output.txt") == "re: three\n"
    assert home.turns("a_state.json") == ["one", "two", "three"]
    assert asked(provider) == ["one", "two", "three", "the last"]


def the_daemon_of_a_lost_ledger_goes_on_after_a_future(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """A moved folder with a turn from the future, by hand or by an older version, hides nothing and asks nothing."""
    turn = '{"at": "2099-01-01T00:00:00Z", "input": "then", "answer": "x", "file": "a_input.txt"}'
    home.save("a_state.json", f'{{"turns": [{turn}]}}')
    with home.daemon() as daemon:
        ask(home, daemon, "now")
        assert home.read("a_output.txt") == "re: now\n"
    shutil.rmtree(home.states)
    with home.daemon() as daemon:
        settled(home, daemon)
    assert home.turns("a_state.json") == ["then", "now"]
    assert asked(provider) == ["now", "the last"]


def a_branch_that_is_switched_asks_nothing(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """Switching branches brings question, answer and memory of the other branch; going on there goes on from them."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", "-C", str(home.workspace), *who, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "first")
    home.save(".gitignore", "jobs/\n")
    with home.daemon() as daemon:
        ask(home, daemon, "one")
        git("add", "-A")
        git("commit", "-qm", "one")
        git("switch", "-qc", "second")
        ask(home, daemon, "two")
        git("commit", "-qam", "two")
        for number, branch in enumerate(("first", "second", "first"), 1):
            git("switch", "-q", branch)
            daemon.wait("save.already_answered", number)
        assert home.read("a_output.txt") == "re: one\n"
        ask(home, daemon, "three")
        assert home.read("a_output.txt") == "re: three\n"
    assert asked(provider) == ["one", "two", "three"]
    assert home.turns("a_state.json") == ["one", "three"]


def what_is_restored_asks_nothing(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """A backup of question, answer and memory that is put back, in any order, starts nothing; `again` asks it."""
    backup = home.root / "backup"
    backup.mkdir()
    with home.daemon() as daemon:
        ask(home, daemon, "one")
        for file in FILES:
            shutil.copy2(home.workspace / file, backup)
        ask(home, daemon, "two")
        for file in FILES:
            shutil.copy2(backup / file, home.workspace)
            time.sleep(LATE_S / 2)  # the state file comes after the question has settled
        daemon.wait("save.already_answered")
        settled(home, daemon)
        assert asked(provider) == ["one", "two", "the last"]
        assert home.cli("again", str(home.workspace / "a_input.txt")).returncode == 0
        daemon.answered("a_output.txt", 3)
    assert asked(provider)[3:] == ["one"]


def a_folder_that_is_renamed_file_by_file_asks_nothing(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    Where the state file follows its input a second later, nothing is asked: known or not where it came from.

    Meanwhile what is new is asked at once.
    """

    def rename(old: str, new: str) -> None:
        (home.workspace / new).mkdir()
        for file in FILES:
            (home.workspace / old / file).rename(home.workspace / new / file)
            time.sleep(LATE_S / 2)

    with home.daemon() as daemon:
        ask(home, daemon, "one", "old/a_input.txt")
        rename("old", "new")
        daemon.wait("save.already_answered", path="new/a_input.txt")
    shutil.rmtree(home.states)
    shutil.rmtree(home.workspace / "jobs")
    os.utime(home.workspace / "new" / "a_input.txt", (10**9, 10**9))
    (home.workspace / "new").rename(home.root / "away")
    with home.daemon() as daemon:
        (home.root / "away").rename(home.root / "workspace" / ".away")
        rename(".away", "newer")
        daemon.wait("save.already_answered", path="newer/a_input.txt")
        settled(home, daemon)
    assert asked(provider) == ["one", "the last"]


def a_copied_question_is_asked(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """A question that was copied without its answer is asked, a moment later."""
    with home.daemon() as daemon:
        ask(home, daemon, "one")
        shutil.copy2(home.workspace / "a_input.txt", home.workspace / "b_input.txt")
        daemon.answered("b_output.txt")
    assert asked(provider) == ["one", "one"]


def a_deleted_answer_comes_back_without_a_call(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """`answer FILE` writes an output that was deleted anew: beside a daemon, without one, and with a lost ledger."""
    file, output = home.workspace / "a_input.txt", home.workspace / "a_output.txt"

    def comes_back() -> None:
        output.unlink()
        done = home.cli("answer", str(file))
        assert (done.returncode, done.stdout) == (0, "re: one\n"), done.stderr
        assert output.read_text() == "re: one\n"

    with home.daemon() as daemon:
        ask(home, daemon, "one")
        comes_back()
    comes_back()
    shutil.rmtree(home.states)
    comes_back()
    shutil.rmtree(home.workspace / "jobs")
    comes_back()
    assert asked(provider) == ["one"]
    assert home.cli("again", str(file)).returncode == 0
    assert home.cli("answer", str(file)).returncode == 0
    assert asked(provider) == ["one", "one"]


def asked_again_the_model_does_not_read_its_first_answer(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """`again` in a chat replaces the last turn: neither the model nor the memory has the same question twice."""
    brain.on("two", "first", "second")
    with home.daemon() as daemon:
        ask(home, daemon, "one")
        ask(home, daemon, "two")
        assert home.cli("again", str(home.workspace / "a_input.txt")).returncode == 0
        daemon.answered("a_output.txt", 3)
        assert home.read("a_output.txt") == "second\n"
        messages = [call.body["messages"] for call in provider.calls]
        assert messages[2] == messages[1]
        assert home.turns("a_state.json") == ["one", "two"]
        assert home.state("a_state.json")["turns"][1]["answer"] == "second"
        ask(home, daemon, "three")
    assert home.turns("a_state.json") == ["one", "two", "three"]


SCENARIOS = (
    a_machine_whose_clock_is_ahead_hides_no_later_answer,
    an_answer_that_comes_late_covers_none_of_another_machine,
    the_daemon_of_a_lost_ledger_goes_on_after_a_future,
    a_branch_that_is_switched_asks_nothing,
    what_is_restored_asks_nothing,
    a_folder_that_is_renamed_file_by_file_asks_nothing,
    a_copied_question_is_asked,
    a_deleted_answer_comes_back_without_a_call,
    asked_again_the_model_does_not_read_its_first_answer,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[None]]]:
    """All of them at once: they mostly wait."""
    with begin(SCENARIOS, tmp_path_factory.mktemp("order")) as futures:
        yield futures


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_order(begun: dict[Scenario, Future[None]], scenario: Scenario):
    """The order of saves is that of their admission, and the folder's own answers count."""
    begun[scenario].result()
