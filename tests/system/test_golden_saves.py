"""A dozen golden saves, one of each family, as real operations of real savers against the real daemon, all at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from saves.replay import Replayer, load
from servers.openai_server import OpenAIServer
from system.household import Brain, Daemon, Home, question

TRACES = Path(__file__).parent.parent / "saves" / "traces"
CHOSEN = (
    "shell-redirect-existing",  # in-place
    "replica-vscode-save",  # in-place, as VS Code does
    "joe-new",  # create-new
    "vim-wq-existing",  # backup-rename-rewrite
    "syncthing-change",  # temp-rename
    "pluma-existing",  # temp-rename-probed
    "sed-i-bak",  # swap-two-renames
    "git-checkout-branch",  # unlink-create
    "rsync-delay-updates",  # rename-in
    "shell-ln-hard",  # link-in
    "py-mmap",  # mapped-write
    "py-chunks-sleep",  # slow-in-place
    "py-two-saves-1s",  # several-saves
    "cp-r-dir-in",  # folder-arrives
    "trash-restore",  # goes-away
    "shell-rewrite-same",  # no-change
    "syncthing-conflict",  # conflict-copy
)
MAX_GAP_S = 3.0
"""Idle times of the recording are cut to this: none of the chosen savers pauses longer in the middle of a save."""


@dataclass
class Replayed:
    """
    What became of the golden saves.

    Attributes:
        runs: (path in the trace's folder, text) of each run that started after the save began, by trace.
        sent: Every text that the provider was asked.
        admitted: Every text that the ledger admitted.
    """

    replayers: dict[str, Replayer]
    runs: dict[str, list[tuple[str, bytes]]]
    sent: list[str]
    admitted: list[str]


def runs(home: Home) -> list[tuple[str, str]]:
    """Return (path, text) of every run, in the order of their admission."""
    with closing(sqlite3.connect(home.ledger)) as db:
        found: list[tuple[str, str]] = db.execute("SELECT path, prompt FROM runs ORDER BY seq").fetchall()
    return found


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """Every chosen saver at work at the same time, each in its own folder of one workspace."""
    with OpenAIServer(Brain()) as provider:
        home = Home(tmp_path_factory.mktemp("golden") / "home", provider)
        home.set("workers = 16\n")
        home.save("rlmwatch.toml", "")
        replayers = {}
        for name in CHOSEN:
            replayer = Replayer(load(TRACES / f"{name}.json"), home.workspace / name)
            replayer.elsewhere = home.root / "elsewhere" / name
            replayer.prepare()
            replayers[name] = replayer
        with home.daemon() as daemon:
            daemon.wait("watch.walked", reason="start")
            was_there = len(list(home.workspace.rglob("*_input.txt")))
            daemon.wait("answer.written", was_there)
            with ThreadPoolExecutor(len(CHOSEN)) as savers:
                for saver in [savers.submit(each.run, max_gap=MAX_GAP_S) for each in replayers.values()]:
                    saver.result()
            wait_until_quiet(home, daemon)
        all_runs = runs(home)
        by_trace: dict[str, list[tuple[str, bytes]]] = {name: [] for name in CHOSEN}
        for path, text in all_runs[was_there:]:
            trace, _, rest = path.partition("/")
            by_trace.setdefault(trace, []).append((rest, text.encode()))
        sent = [question(call.body) for call in provider.calls]
        yield Replayed(replayers, by_trace, sent, [text for _, text in all_runs])


def wait_until_quiet(home: Home, daemon: Daemon) -> None:
    """
    Wait until all that was saved has been read.

    A second save of one path is read later after its event than any other that has an event: the daemon waits 0.5 s
    with it. A third is there for a busy machine.
    """
    for number in (1, 2, 3):
        home.save("the_end_input.txt", f"the end {number}")
        daemon.answered("the_end_output.txt", number)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_real_savers_save_makes_the_right_runs(replayed: Replayed, name: str):
    """What a real saver does starts as many runs as a person expects, of whole contents alone, the last one included."""
    replayer = replayed.replayers[name]
    ran = replayed.runs[name]
    least, most = replayer.trace["accept_runs"]
    assert set(ran) <= replayer.admissible(), "half a file was asked"
    assert least <= len(ran) <= most
    if least:
        assert set(replayer.expected()) <= set(ran)
    assert sorted(replayed.sent) == sorted(replayed.admitted)


def test_the_chosen_dozen_is_a_mixture():
    """The chosen saves are of at least a dozen families, some of which must start nothing."""
    traces = [load(TRACES / f"{name}.json") for name in CHOSEN]
    assert len({trace["family"] for trace in traces}) >= 15
    assert any(trace["accept_runs"][1] == 0 for trace in traces)
