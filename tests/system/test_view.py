"""
The real daemon on a terminal: what a person sees of it (cli/view).

The screen is read as a terminal draws it: each frame begins at the top left, and is whole.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import Brain, Home
from system.researching import Coder, py
from system.terminal import DEADLINE_S, Terminal, resize, terminal

from rlmwatch import clock

HOME, LEFT = "\x1b[H", "\x1b[?1049l"
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")
POLL_S = 0.02


@pytest.fixture
def coder() -> Coder:
    return Coder()


@pytest.fixture
def writing_code(tmp_path: Path, coder: Coder) -> Iterator[Home]:
    """A home whose model writes code, with Exa."""
    with OpenAIServer(coder) as server, ExaServer([[result("https://a.example/", "A page")]]) as exa:
        yield Home(tmp_path / "coding", server, variables={"EXA_API_KEY": "made-up-exa-key", "EXA_BASE_URL": exa.url})


@contextmanager
def view(home: Home, *arguments: str, dumb: bool = False) -> Iterator[Terminal]:
    """Run a verb on a terminal of 100 columns and 24 lines."""
    command = (sys.executable, "-m", "rlmwatch", *arguments)
    if dumb:
        command = ("env", "TERM=dumb", *command)
    with terminal(*command, cwd=home.root, env=home.environ()) as shown:
        yield shown


@contextmanager
def daemon(home: Home, *options: str, dumb: bool = False) -> Iterator[Terminal]:
    """Run the daemon with its view, and wait until it answers."""
    with view(home, "run", str(home.workspace), *options, dumb=dumb) as shown:
        shown.see("any <name>_input.txt")
        yield shown


def screen(shown: Terminal) -> list[str]:
    """Return the lines of the last whole frame."""
    frames = shown._raw.decode(errors="replace").split(LEFT)[0].split(HOME)
    whole = frames[-1] if frames[-1].count("\n") or len(frames) == 1 else frames[-2]
    return [CONTROL.sub("", line).rstrip() for line in whole.split("\n")]


def until(shown: Terminal, holds: Callable[[list[str]], bool]) -> list[str]:
    """Wait until the screen is as it should be, and return its lines."""
    give_up = clock.monotonic() + DEADLINE_S
    while clock.monotonic() < give_up:
        shown._read(POLL_S)
        if holds(lines := screen(shown)):
            return lines
    raise AssertionError("\n".join(screen(shown)))


def line_of(lines: list[str], name: str) -> str:
    return next((line for line in lines if name in line and not line.startswith(("Save", "!", " "))), "")


def fits(lines: list[str], rows: int, columns: int) -> bool:
    return len(lines) == rows and max(map(len, lines)) <= columns


def stop(shown: Terminal) -> str:
    """Press Ctrl+C; return what stands on the terminal after the view."""
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 0
    return CONTROL.sub("", shown._raw.decode(errors="replace").split(LEFT)[-1])


def test_a_question_changes_in_place_from_waiting_to_its_answer(home: Home, brain: Brain):
    """Row 1: header, one line a question that says what goes on, then the answer's first words, seconds and price."""
    go_on = threading.Event()
    brain.on("capital", Reply("Paris, the capital of France.", until=go_on, cost=0.0123))
    with daemon(home) as shown:
        lines = until(shown, lambda lines: "nothing asked yet" in "".join(lines))
        assert lines[0].startswith(f"rlmwatch  ~/{home.workspace.name}")
        assert lines[0].endswith("gpt-4.1-mini (openai)")
        assert lines[1].startswith("$0.00 of $1.00 today")
        home.save("chat_input.txt", "What is the capital?")
        lines = until(shown, lambda lines: "asking the model" in line_of(lines, "chat_input.txt"))
        place = lines.index(line_of(lines, "chat_input.txt"))
        go_on.set()
        lines = until(shown, lambda lines: "✓" in line_of(lines, "chat_input.txt"))
        answered = line_of(lines, "chat_input.txt")
        assert lines.index(answered) == place
        assert re.search(
            r"✓ chat_input\.txt +Paris, the capital of France\. +\d\d:\d\d  \d+(\.\d)? s  \$0\.01$", answered
        )
        run = home.status_of("chat_input.txt")["job_id"]
        everything = shown.shown
        assert not any(each in everything for each in (run, "sha256", "None", "cost_usd=", "path="))
        left = stop(shown)
    assert "Paris, the capital of France." in left
    assert ("Stopped" in left, "Ctrl+C" in left) == (True, False)


def test_steps_material_and_searches_of_a_run(writing_code: Home, coder: Coder):
    """Row 1: step 2 of 8, reading so many characters, one search."""
    go_on = threading.Event()
    coder.on("Find", "research('the lighthouse')", Reply(py("answer('found')"), until=go_on))
    home = writing_code
    home.save("exa_data.txt", "x" * 41_200)
    with daemon(home) as shown:
        home.save("exa_input.txt", "Find it")
        until(shown, lambda lines: "step 2 of 8, reading 41,200 characters, 1 search" in line_of(lines, "exa_input"))
        go_on.set()
        until(shown, lambda lines: "✓" in line_of(lines, "exa_input.txt"))
        stop(shown)


def test_an_error_is_red_with_its_cure_below_and_a_held_question_stays_at_the_bottom(home: Home, brain: Brain):
    """Row 1: what failed says what to do in the next line; what is held stands last until it goes on."""
    brain.on("key", Fault.status(401, {"error": {"message": "Incorrect API key provided"}}), "now it works")
    with daemon(home) as shown:
        home.save("held_input.txt", "key")
        until(shown, lambda lines: "‖" in line_of(lines, "held_input.txt"))
        home.save("typo_input.txt", "---\nmodle: x\n---\nhello")
        home.save("fine_input.txt", "hello")
        lines = until(shown, lambda lines: "✓" in line_of(lines, "fine_") and "✗" in line_of(lines, "typo_"))
        below = lines[lines.index(line_of(lines, "typo_")) + 1]
        assert below.startswith("    Change the file and save it, or: rlmwatch again typo_input.txt")
        assert b"\x1b[31mtypo_input.txt" in shown._raw
        held = lines.index(line_of(lines, "held_input.txt"))
        assert held > max(lines.index(line_of(lines, name)) for name in ("fine_", "typo_"))
        assert "1 answered, 1 failed, 1 held" in lines[1]
        shown.process.send_signal(signal.SIGUSR1)  # `rlmwatch reload`
        lines = until(shown, lambda lines: "✓" in line_of(lines, "held_input.txt"))
        assert "now it works" in line_of(lines, "held_input.txt")
        stop(shown)


def test_another_size_is_another_frame(home: Home, brain: Brain):
    """Row 1: after SIGWINCH no line is wider or lower than the terminal is now."""
    brain.on("long", "long " * 100)
    with daemon(home) as shown:
        home.save("chat_input.txt", "long")
        until(shown, lambda lines: "✓" in line_of(lines, "chat_input.txt"))
        for rows, columns in ((24, 50), (8, 30), (40, 120)):
            resize(shown, rows, columns)
            lines = until(shown, partial(fits, rows=rows, columns=columns))
            assert "long" in line_of(lines, "chat_in")
        stop(shown)


def test_a_terminal_that_is_stopped_stops_nobody_and_shows_the_newest_afterwards(home: Home, brain: Brain):
    """Row 9 of issue 13: while nobody reads the terminal, saves are answered; then the newest frame is drawn."""
    with daemon(home) as shown:
        for number in range(30):  # each makes frames; nothing reads them
            home.save("chat_input.txt", f"question {number}")
            home.appears("chat_output.txt", f"question {number}")
        until(shown, lambda lines: "question 29" in "".join(lines))
        stop(shown)


def test_what_a_person_must_know_is_said_in_plain_words(home: Home):
    """A wrong settings file stands in the view, in words, until it is right."""
    with daemon(home) as shown:
        home.save("rlmwatch.toml", "tokns = 3\n")
        lines = until(shown, lambda lines: any(line.startswith("!") for line in lines))
        assert "tokns: no such setting" in " ".join(" ".join(lines).split())
        assert "settings.wrong" not in shown.shown
        (home.workspace / "rlmwatch.toml").unlink()
        until(shown, lambda lines: not any(line.startswith("!") for line in lines))
        stop(shown)


def test_what_waits_from_an_earlier_daemon_is_there(home: Home, brain: Brain):
    """Questions that a daemon left are rows of the next one, before it comes to them."""
    go_on = threading.Event()
    brain.on("first", Reply("done", until=go_on))
    home.set("workers = 1\n")
    with home.daemon() as before:
        for name in ("a", "b", "c"):
            home.save(f"{name}_input.txt", "first")
            before.wait("save.admitted", path=f"{name}_input.txt")
        before.kill()
    with daemon(home) as shown:
        lines = until(shown, lambda lines: sum("waiting" in line_of(lines, f"{each}_input") for each in "abc") == 2)
        assert "1 running, 2 waiting" in lines[1]
        go_on.set()
        until(shown, lambda lines: all("✓" in line_of(lines, f"{each}_input") for each in "abc"))
        stop(shown)


def test_a_terminal_without_a_cursor_gets_a_line_for_each_change(home: Home, brain: Brain):
    """TERM=dumb: plain lines, no control sequence, one for each state of a question."""
    brain.on("capital", "Paris.")
    with daemon(home, dumb=True) as shown:
        home.save("chat_input.txt", "capital")
        shown.see("Paris.")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 0
        written = shown._raw.decode()
    assert "\x1b" not in written
    signs = [line[0] for line in written.splitlines() if "chat_input.txt " in line and not line.startswith("Save")]
    assert signs in (["○", "▸", "✓"], ["▸", "✓"], ["○", "✓"], ["✓"])
    assert "Stopped" in written


def test_no_color_means_no_colour(home: Home, brain: Brain):
    """NO_COLOR: the same frames, and no colour in them."""
    home.variables["NO_COLOR"] = "1"
    brain.on("capital", Fault.status(400))
    with daemon(home) as shown:
        home.save("chat_input.txt", "capital")
        until(shown, lambda lines: "✗" in line_of(lines, "chat_input.txt"))
        stop(shown)
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", shown._raw)


def test_the_log_is_there_for_who_asks_for_it(home: Home):
    """--log-format text on a terminal, and with --once, gets the log with its events."""
    with view(home, "run", str(home.workspace), "--log-format", "text") as shown:
        shown.see("ready")
        shown.see("workspace=")
        assert LEFT.replace("l", "h") not in shown._raw.decode()
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 0
    process = home.start("-m", "rlmwatch", "run", "--once", str(home.workspace), "--log-format", "text")
    assert "model.chosen" in process.communicate(timeout=DEADLINE_S)[1]


def test_once_at_a_terminal_is_the_view_and_then_the_tally(home: Home, brain: Brain):
    """`run --once`: the last frame with what was answered, and the tally below it."""
    brain.on("capital", "Paris.")
    home.save("chat_input.txt", "capital")
    with view(home, "run", "--once", str(home.workspace)) as shown:
        assert shown.end() == 0
        left = CONTROL.sub("", shown._raw.decode().split(LEFT)[-1])
    assert "✓ chat_input.txt" in left
    assert left.rstrip().endswith("1 answered, 0 failed, 0 waiting")


def test_a_start_that_fails_says_why_alone(home: Home):
    """Where the daemon cannot begin, no frame is left: its error is the last word."""
    with home.daemon(), view(home, "run", str(home.workspace)) as shown:
        assert shown.end() == 2
        left = CONTROL.sub("", shown._raw.decode().split(LEFT)[-1])
        assert left.strip().startswith("rlmwatch: another rlmwatch")


# status --watch


def test_status_watch_shows_a_daemon_that_runs_elsewhere(home: Home, brain: Brain):
    """Point 2: the same rows from the status files, who answers and spending; Ctrl+C ends the view alone, with 0."""
    go_on = threading.Event()
    brain.on("capital", Reply("Paris.", until=go_on, cost=0.02))
    with home.daemon() as running, view(home, "status", "--watch", "--workspace", str(home.workspace)) as shown:
        lines = until(shown, lambda lines: "answers here" in "".join(lines))
        assert f"process {running.pid}" in lines[2]
        home.save("chat_input.txt", "What is the capital?")
        until(shown, lambda lines: "asking the model" in line_of(lines, "chat_input.txt"))
        go_on.set()
        lines = until(shown, lambda lines: "✓" in line_of(lines, "chat_input.txt"))
        assert "Paris." in line_of(lines, "chat_input.txt")
        until(shown, lambda lines: lines[1].startswith("$0.02 of $1.00 today"))
        stop(shown)
        assert running.process.poll() is None


def test_status_watch_without_a_daemon_says_so(home: Home, brain: Brain):
    """With no daemon, and one that was killed: its run waits, and nobody answers here."""
    brain.on("slow", Fault.stall())
    with view(home, "status", "--watch", "--workspace", str(home.workspace)) as shown:
        until(shown, lambda lines: "rlmwatch does not run here now" in "".join(lines))
        with home.daemon() as running:
            home.save("chat_input.txt", "slow")
            until(shown, lambda lines: "▸" in line_of(lines, "chat_input.txt"))
            running.kill()
        lines = until(shown, lambda lines: "waiting" in line_of(lines, "chat_input.txt"))
        assert "rlmwatch does not run here now" in lines[2]
        stop(shown)


def test_status_watch_shows_the_files_of_another_machine(home: Home):
    """Status files that came by sync are rows, though their daemon is nowhere here, and nothing is written."""
    name = "20261128T120000Z-chat-0a1b2c"
    facts = '"kind": "chat", "status": "running", "input": "far_input.txt", "host": "desk", "pid": 1'
    home.save(f"jobs/{name}.json", f'{{"job_id": "{name}", "input_digest": "sha256:1", {facts}}}')
    before = sorted(home.root.rglob("*"))
    with view(home, "status", "--watch", "--workspace", str(home.workspace)) as shown:
        until(shown, lambda lines: "▸" in line_of(lines, "far_input.txt"))
        stop(shown)
    assert sorted(home.root.rglob("*")) == before


@pytest.mark.parametrize("more", [("--json",), ("20261128T120000Z-chat-0a1b2c",)])
def test_status_watch_is_for_people_and_the_whole_workspace(home: Home, more: tuple[str, ...]):
    """With a run's id or --json it is called wrongly."""
    done = home.cli("status", *more, "--watch", "--workspace", str(home.workspace))
    assert (done.returncode, "--watch shows the whole workspace" in done.stderr) == (2, True)


def test_several_folders_are_shown_in_one_view(home: Home, brain: Brain):
    """One view for all folders of a daemon: each question has its folder; one that is missing is said."""
    second, missing = home.root / "second", home.root / "missing"
    second.mkdir()
    brain.on("capital", Reply("Paris."))
    with view(home, "run", str(home.workspace), str(second), str(missing)) as shown:
        shown.see("any <name>_input.txt")
        until(shown, lambda lines: lines[0].startswith("rlmwatch  2 folders"))
        until(shown, lambda lines: "no such folder" in " ".join(" ".join(lines).split()))
        for folder in (home.workspace, second):
            (folder / "chat_input.txt").write_text("What is the capital?")
            until(shown, lambda lines, folder=folder: "✓" in line_of(lines, f"{folder.name}/chat_input.txt"))
        assert "chat_input.txt" in stop(shown)
