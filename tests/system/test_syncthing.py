"""A workspace that Syncthing shares between two machines, one of which answers (file contract, 2, 3 and 7)."""

from __future__ import annotations

from pathlib import Path

from servers.openai_server import OpenAIServer
from system.harness import Home, asked
from system.syncthing import Node, nodes

ROUNDS = 2
"""Saves on A before the conflict; each takes Syncthing 2 s."""


def device(node: Node, verb: str, other: Node) -> None:
    """Pause or resume the connection of *node* to *other*, and wait until it is so."""
    before = len(node.seen("DeviceConnected", id=other.device))
    node.rest("POST", f"system/{verb}", device=other.device)
    if verb == "pause":
        node.wait("DevicePaused", device=other.device)
    else:
        node.wait("DeviceConnected", before + 1, id=other.device)


def has_input(names: list[str]) -> bool:
    return "trip_input.txt" in names


def test_a_save_on_one_node_is_answered_by_the_daemon_on_the_other(home: Home, provider: OpenAIServer, tmp_path: Path):
    """
    A save on node A is answered by the daemon on node B, and the answer arrives on A.

    A conflict copy starts nothing, and no temporary file of the daemon is ever put into an index or fetched.
    """
    there = tmp_path / "a"
    with nodes(tmp_path, {"a": there, "b": home.workspace}) as (a, b), home.daemon() as daemon:
        a.wait("FolderCompletion")
        for number in range(ROUNDS):
            (there / "trip_input.txt").write_text(f"question {number} from A\n")
            daemon.answered("trip_output.txt", number + 1)
            wanted = f"re: question {number} from A\n"
            n = 0
            while not (there / "trip_output.txt").exists() or (there / "trip_output.txt").read_text() != wanted:
                n += 1
                a.wait("ItemFinished", n, item="trip_output.txt", error=None)
        a.wait("ItemFinished", item="trip_state.json")

        device(a, "pause", b)
        scanned = {node.name: len(node.seen("LocalIndexUpdated", filenames=has_input)) for node in (a, b)}
        home.save("trip_input.txt", "written on B\n")
        daemon.answered("trip_output.txt", ROUNDS + 1)
        b.wait("LocalIndexUpdated", scanned[b.name] + 1, filenames=has_input)
        (there / "trip_input.txt").write_text("written on A meanwhile, later\n")
        a.wait("LocalIndexUpdated", scanned[a.name] + 1, filenames=has_input)
        device(a, "resume", b)
        daemon.answered("trip_output.txt", ROUNDS + 2)
        a.wait("ItemFinished", item=lambda name: name and "sync-conflict" in name, error=None)
        for number, text in enumerate(("later", "later still"), 1):  # nothing before the second waits any longer
            home.save("last_input.txt", text)
            daemon.answered("last_output.txt", number)

        copies = [path.read_text() for path in home.workspace.glob("trip_input.sync-conflict-*.txt")]
        assert copies == ["written on B\n"]
        (tmp_path / "transcript").write_text("\n".join(sorted([*a.told().splitlines(), *b.told().splitlines()])))
        names = a.items() | b.items()
    assert len(asked(provider, "written on B")) == 1
    assert len(asked(provider, "written on A")) == 1
    assert provider.count == ROUNDS + 2 + 2
    ours = [name for name in names if Path(name).name.startswith((".syncthing.", "#", "."))]
    assert ours == []
    assert {"trip_input.txt", "trip_output.txt", "trip_state.json"} <= names
