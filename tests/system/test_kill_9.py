"""The daemon is killed with SIGKILL, at every named point and at random moments: nothing lost, nothing paid twice."""

from __future__ import annotations

import random
import re
import signal
import sqlite3
import threading
from pathlib import Path

from servers.openai_server import OpenAIServer, Reply
from system.harness import PROGRAM, Brain, Daemon, Home, asked

POINTS = (
    "run.admitted",
    "run.claimed",
    "call.intended",
    "call.replied",
    "call.recorded",
    "run.finished",
    "run.written",
    "run.published",
)
"""In the order in which one run comes to them."""
ELSEWHERE = {"run.dispatched"}
"""Only where workers on other machines answer: see `test_cluster.py`."""
CRASH_CHILD = Path(__file__).with_name("crash_child.py")
SEED = 20261124
KILLS = 8
WORKERS = 8
CONVERSATIONS = 30


def points_in_the_program() -> set[str]:
    """Return the names of all points that the program has."""
    sources = "".join(file.read_text("utf-8") for file in (PROGRAM / "rlmwatch").rglob("*.py"))
    return set(re.findall(r'crash_at\("([^"]+)"\)', sources))


def journal(home: Home) -> list[tuple[str, str, str]]:
    """Return (path, key, state) of every paid call in the ledger, in the order of the intents."""
    with sqlite3.connect(home.ledger) as db:
        found = db.execute(
            "SELECT runs.path, calls.key, calls.state FROM calls JOIN runs USING (run_id) ORDER BY calls.id"
        ).fetchall()
    db.close()
    return found


def test_every_point_is_tried():
    """No named point is left out here; those of other kinds of run have tests of their own."""
    here = {point for point in points_in_the_program() if point.split(".")[0] in ("run", "call")}
    assert here - ELSEWHERE == set(POINTS)


def crash(home: Home, point: str) -> Daemon:
    """Run the daemon until it kills itself at *point*."""
    with home.daemon(program=[str(CRASH_CHILD), str(home.workspace), point]) as daemon:
        assert daemon.ended() == -signal.SIGKILL, daemon.tail
    return daemon


def test_one_save_killed_at_each_point_on_its_way_is_answered_once(home: Home, provider: OpenAIServer):
    """Killed at each point in turn, one save makes one run, one turn, and no call after its reply was recorded."""
    home.save("rlmwatch.toml", "[chat]\ntranscript = true\n")
    home.save("a_input.txt", "never twice")
    seen = []
    calls = {}
    for point in POINTS:
        crash(home, point)
        seen += [status["status"] for status in home.statuses()]
        calls[point] = provider.count
    with home.daemon() as daemon:
        home.save("b_input.txt", "and on it goes")
        daemon.answered("b_output.txt")
    # The request goes out after `call.intended`; the kill at `call.replied` loses its reply; after that it is kept.
    assert [calls[point] for point in POINTS] == [0, 0, 0, 1, 2, 2, 2, 2]
    assert len(asked(provider, "never twice")) == 2
    assert home.read("a_output.txt") == "re: never twice\n"
    assert home.turns("a_state.json") == ["never twice"]
    assert home.read("a_transcript.md").count("never twice") == 2  # question and answer
    order = ["pending", "running", "complete"]
    assert seen == sorted(seen, key=order.index)
    (status,) = (status for status in home.statuses() if status["input"] == "a_input.txt")
    assert (status["status"], status["usage"]["llm_calls"]) == ("complete", 3)
    assert [state for path, _, state in journal(home) if path == "a_input.txt"] == ["lost", "lost", "done"]


def test_an_answer_that_was_paid_for_is_written_after_the_kill_whatever_the_provider_does(
    home: Home, provider: OpenAIServer, brain: Brain
):
    """Killed between the end of a run and its last file, the answer lands at the next start without any call."""
    brain.on("paid for", "the answer")
    home.save("a_input.txt", "paid for")
    crash(home, "run.finished")
    home.key = None
    home.provider = None
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert home.read("a_output.txt") == "the answer\n"
    assert provider.count == 1


def save_some(home: Home, rng: random.Random, rounds: dict[str, int]) -> None:
    """Save a few conversations anew, some of them for the second time."""
    for name in rng.sample(sorted(rounds), 8):
        if rounds[name] < 2:
            rounds[name] += 1
            home.save(f"{name}/chat_input.txt", f"{name} asks {rounds[name]}.")


def test_random_kills_under_load_lose_nothing_and_repeat_nothing(home: Home, provider: OpenAIServer, brain: Brain):
    """Killed 8 times at random moments over 30 conversations: each save is answered once, no finished call repeated."""
    rng = random.Random(SEED)  # noqa: S311 (moments, no secrets)
    pause = threading.Event()
    home.set(f"workers = {WORKERS}\n")
    brain.on(" asks ", Reply("one two three four", gap_s=0.03))
    rounds = {f"c{number:02}": 0 for number in range(CONVERSATIONS)}
    admitted: set[str] = set()
    for _ in range(KILLS):
        save_some(home, rng, rounds)
        with home.daemon() as daemon:
            save_some(home, rng, rounds)
            daemon.wait_for_lines(len(daemon.log) + rng.randint(1, 30), timeout=0.5)
            pause.wait(rng.random() * 0.1)
            daemon.kill()
        admitted |= {line["run"] for line in daemon.seen("save.admitted")}
    for name in rounds:
        home.save(f"{name}/chat_input.txt", f"{name} asks at last.")
    with home.daemon() as daemon:
        for name in rounds:
            daemon.wait("answer.written", path=f"{name}/chat_output.txt")
            home.appears(f"{name}/chat_state.json", f"{name} asks at last.")
    for name in rounds:
        turns = home.turns(f"{name}/chat_state.json")
        assert turns[-1] == f"{name} asks at last."
        assert len(turns) == len(set(turns))
    assert admitted <= {status["job_id"] for status in home.statuses()}
    assert len(admitted) > CONVERSATIONS / 3, "nothing was going on when it was killed"
    check_statuses(home)
    check_calls(home, provider)


def check_statuses(home: Home) -> None:
    """Every run has ended, with one answer each; every admitted save is a turn."""
    statuses = home.statuses()
    assert {status["status"] for status in statuses} == {"complete"}
    turns = sum(len(home.turns(f"c{number:02}/chat_state.json")) for number in range(CONVERSATIONS))
    assert len(statuses) == turns
    for status in statuses:
        state = home.state(status["output"].replace("output.txt", "state.json"))
        assert [turn["run_id"] for turn in state["turns"]].count(status["job_id"]) == 1


def check_calls(home: Home, provider: OpenAIServer) -> None:
    """Each run has one recorded reply, no call follows it, and the provider saw no call that is not in the journal."""
    by_run: dict[tuple[str, str], list[str]] = {}
    for path, key, state in journal(home):
        by_run.setdefault((path, key), []).append(state)
    for states in by_run.values():
        assert states[-1] == "done"
        assert set(states[:-1]) <= {"lost"}
    intents = sum(map(len, by_run.values()))
    assert len(by_run) <= provider.count <= intents
    assert intents - len(by_run) <= KILLS * WORKERS, "more calls in flight than workers"
