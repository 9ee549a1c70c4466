"""`stream: true`: the answer so far in a file of its own; and how far a run is, live on a terminal."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import Brain, Home
from system.researching import Coder, py
from system.terminal import terminal

from rlmwatch import clock

WORDS = " ".join(f"word{number}" for number in range(16))
STREAM = "---\nstream: true\n---\n"


def test_the_answer_so_far_shows_and_goes_when_the_answer_lands(home: Home, brain: Brain):
    """The words so far are in …_output.partial.txt; the output appears whole, and the partial file is gone."""
    brain.on("slowly", Reply(WORDS, gap_s=0.2))
    versions: set[str] = set()
    with home.daemon() as daemon:
        home.save("chat_input.txt", f"{STREAM}slowly")
        home.appears("chat_output.partial.txt", "word1")
        began = clock.monotonic()
        while not home.exists("chat_output.txt"):
            assert clock.monotonic() - began < 30
            if home.exists("chat_output.partial.txt"):
                try:
                    versions.add(home.read("chat_output.partial.txt"))
                except FileNotFoundError:
                    break
        took = clock.monotonic() - began
        daemon.answered("chat_output.txt")
    assert home.read("chat_output.txt") == f"{WORDS}\n"
    assert not home.exists("chat_output.partial.txt")
    assert all(f"{WORDS} ".startswith(version.strip() + " ") for version in versions), "no half words, no other text"
    assert 1 < len(versions) <= took + 2, "more than once a second"


@pytest.mark.parametrize(("head", "file"), [("", "chat"), ("---\nstream: false\n---\n", "job")])
def test_nothing_is_shown_where_nobody_asked_for_it(home: Home, brain: Brain, head: str, file: str):
    """Without `stream: true` there is never a partial file."""
    go_on = threading.Event()
    brain.on("hidden", Reply("an answer", until=go_on))
    with home.daemon() as daemon:
        home.save(f"{file}_input.txt", f"{head}hidden")
        assert home.provider is not None
        home.provider.wait_for_calls(1)
        go_on.set()
        daemon.answered(f"{file}_output.txt")
        assert list(home.workspace.glob("*partial*")) == []


def test_a_plain_job_shows_its_answer_too_in_its_own_ending(home: Home, brain: Brain):
    """A job that is one plain call streams like a chat; an input in Markdown has a partial file in Markdown."""
    brain.on("slowly", Reply(WORDS, gap_s=0.1))
    with home.daemon() as daemon:
        home.save("a_job_input.md", f"{STREAM}slowly")
        home.appears("a_job_output.partial.md", "word1")
        daemon.answered("a_job_output.md")
    assert not home.exists("a_job_output.partial.md")


def test_what_is_shown_goes_however_the_run_ends(home: Home, brain: Brain):
    """Killed in the middle, the file stays until the next attempt has answered; cancelled, it goes too."""
    brain.on("killed", Fault.stall(f"{WORDS} "), "the whole answer")
    home.save("chat_input.txt", f"{STREAM}killed")
    with home.daemon() as daemon:
        home.appears("chat_output.partial.txt", "word15")
        daemon.kill()
    assert home.exists("chat_output.partial.txt")
    with home.daemon() as daemon:
        daemon.answered("chat_output.txt")
        assert home.read("chat_output.txt") == "the whole answer\n"
        assert not home.exists("chat_output.partial.txt")
        brain.on("cancelled", Fault.stall("half "))
        home.save("b_input.txt", f"{STREAM}cancelled")
        home.appears("b_output.partial.txt", "half")
        home.save(f"jobs/{home.status_of('b_input.txt')['job_id']}.cancel", "")
        home.appears("b_output.txt", "half")
        daemon.wait("cancel.removed")
    assert not home.exists("b_output.partial.txt")


def test_an_answer_that_broke_off_begins_anew(home: Home, brain: Brain):
    """After a cut connection the call is made again, and what is shown is the new text alone."""
    brain.on("broken", Fault.cut_off("A wrong beginning "), Reply(WORDS, gap_s=0.2))
    with home.daemon() as daemon:
        home.save("chat_input.txt", f"{STREAM}broken")
        shown = home.appears("chat_output.partial.txt", "word3")
        assert "wrong" not in shown
        daemon.answered("chat_output.txt")
    assert home.read("chat_output.txt") == f"{WORDS}\n"


def test_thoughts_that_only_their_end_gives_away_are_not_the_answer(home: Home, brain: Brain):
    """Where a model closes a thought that it never opened, what is shown begins anew, and the answer is without it."""
    brain.on("thinks", Reply(f"A draft to begin with.\n</think>\n\n{WORDS}", gap_s=0.2))
    with home.daemon() as daemon:
        home.save("chat_input.txt", f"{STREAM}thinks")
        shown = home.appears("chat_output.partial.txt", "word3")
        assert "draft" not in shown
        daemon.answered("chat_output.txt")
    assert home.read("chat_output.txt") == f"{WORDS}\n"
    assert "draft" not in home.read("chat_state.json")


@pytest.fixture
def coder() -> Coder:
    return Coder()


@pytest.fixture
def writing_code(tmp_path, coder: Coder) -> Iterator[Home]:
    """A home whose model writes code, with Exa."""
    with OpenAIServer(coder) as server, ExaServer([[result("https://a.example/", "A page")]]) as exa:
        yield Home(
            tmp_path / "coding", server, variables={"EXA_API_KEY": "made-up-exa-key-7d1", "EXA_BASE_URL": exa.url}
        )


def test_an_answer_of_the_engine_comes_in_one_piece_and_says_so(writing_code: Home, coder: Coder):
    """A run of the engine shows no partial answer, which nobody has checked yet; its status says that."""
    home = writing_code
    coder.on("Find", "research('x')", "answer('found')")
    seen: list[str] = []
    with home.daemon() as daemon:
        home.save("exa_input.txt", f"{STREAM}Find")
        while not daemon.seen("answer.written"):
            seen += [file.name for file in home.workspace.glob("*partial*")]
            daemon.wait_for_lines(len(daemon.log) + 1, timeout=0.05)
    assert seen == []
    assert "stream: the engine's answer comes in one piece" in json.dumps(home.status_of("exa_input.txt")["notes"])


def test_answer_says_on_a_terminal_how_far_it_is(writing_code: Home, coder: Coder):
    """`rlmwatch answer` shows step, what is searched and what was spent while the engine works, then the answer."""
    home = writing_code
    go_on = threading.Event()
    coder.on("Find", "research('the lighthouse')", Reply(py("answer('found on ' + '1811')"), until=go_on))
    home.save("exa_input.txt", "Find it")
    command = (sys.executable, "-m", "rlmwatch", "answer", str(home.workspace / "exa_input.txt"))
    with terminal(*command, cwd=home.root, env=home.environ()) as shown:
        shown.see("step 1 of 8")
        shown.see("searching: the lighthouse")
        shown.see("step 2 of 8")
        shown.see("1 search")
        shown.see("$0.007")
        go_on.set()
        shown.see("found on 1811")
        assert shown.end() == 0
    assert home.read("exa_output.txt") == "found on 1811\n"


def test_answer_piped_on_is_the_answer_alone(writing_code: Home, coder: Coder):
    """Where standard output and error are no terminal, one gets the answer alone, whole; the other what it took."""
    home = writing_code
    coder.on("Find", "answer('found')")
    home.save("exa_input.txt", "Find it")
    done = home.cli("answer", str(home.workspace / "exa_input.txt"))
    assert (done.returncode, done.stdout) == (0, "found\n")
    (took,) = done.stderr.splitlines()
    assert took.startswith("exa_output.txt · ")
