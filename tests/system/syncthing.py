"""
Syncthing nodes on loopback: nothing but 127.0.0.1, no discovery, relays, NAT, reports or upgrades.

    with nodes(tmp_path, {"a": folder_a, "b": folder_b}) as (a, b):
        a.wait("ItemFinished", item="note_output.txt")

What a node does is known from its REST events: nothing here sleeps and hopes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from rlmwatch import clock

DEADLINE_S = 30.0
"""Seconds after which a wait gives up: the thing did not happen."""
ASK_S = 5
"""Seconds that one request for events may stay open."""
WATCH_DELAY_S = 1
"""Syncthing gathers changes for 10 s by default; 1 is the least that it takes."""
KEY = "made-up-key"
FOLDER = "workspace"

TOLD = ("ItemFinished", "LocalIndexUpdated", "DevicePaused", "DeviceResumed", "DeviceConnected", "DeviceDisconnected")

CONFIG = """<configuration version="36">
  <folder id="{folder}" path={path} type="sendreceive" rescanIntervalS="3600" fsWatcherEnabled="true"
      fsWatcherDelayS="{delay}" autoNormalize="true">
    <maxConflicts>10</maxConflicts>
    {members}
  </folder>
  {devices}
  <gui enabled="true" tls="false"><address>127.0.0.1:{gui}</address><apikey>{key}</apikey></gui>
  <options>
    <listenAddress>tcp://127.0.0.1:{port}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled>
    <localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled>
    <natEnabled>false</natEnabled>
    <stunServer></stunServer>
    <reconnectionIntervalS>1</reconnectionIntervalS>
    <startBrowser>false</startBrowser>
    <urAccepted>-1</urAccepted>
    <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
    <crashReportingEnabled>false</crashReportingEnabled>
    <setLowPriority>false</setLowPriority>
  </options>
</configuration>
"""


Fact = object | Callable[[Any], bool]


def _has(data: object, facts: Mapping[str, Fact]) -> bool:
    if not isinstance(data, dict):
        return not facts
    return all(fact(data.get(name)) if callable(fact) else data.get(name) == fact for name, fact in facts.items())


@dataclass
class Node:
    """
    One Syncthing.

    Attributes:
        port: Where other nodes reach it.
        gui: Where it answers REST.
    """

    name: str
    home: Path
    folder: Path
    port: int
    gui: int
    device: str = ""
    _events: list[dict[str, Any]] = field(default_factory=list)

    def rest(self, method: str, path: str, **query: object) -> Any:
        """Ask its REST interface; return the JSON values that it answers."""
        url = f"http://127.0.0.1:{self.gui}/rest/{path}?{urllib.parse.urlencode(query)}"
        asked = urllib.request.Request(url, method=method, headers={"X-API-Key": KEY})
        with urllib.request.urlopen(asked, timeout=DEADLINE_S) as answer:  # noqa: S310 (loopback)
            raw = answer.read()
        return json.loads(raw) if raw.strip() else None

    def events(self, seconds: int = 0) -> list[dict[str, Any]]:
        """Return all events so far; where there is no new one, wait up to *seconds* for it."""
        since = self._events[-1]["id"] if self._events else 0
        self._events += self.rest("GET", "events", since=since, timeout=seconds) or []
        return self._events

    def seen(self, kind: str, **facts: Fact) -> list[dict[str, Any]]:
        """Return the events so far of *kind* whose data have these *facts*; a fact may be a function of the value."""
        return [event for event in self.events() if event["type"] == kind and _has(event["data"], facts)]

    def wait(self, kind: str, n: int = 1, **facts: Fact) -> dict[str, Any]:
        """Return the *n*-th such event; wait until it comes."""
        deadline = clock.monotonic() + DEADLINE_S
        while len(found := self.seen(kind, **facts)) < n:
            if clock.monotonic() > deadline:
                raise AssertionError(f"{self.name}: no {kind} {facts} ({len(found)} of {n}):\n{self.told()}")
            self.events(ASK_S)
        return found[n - 1]

    def told(self) -> str:
        """Return the events of files and connections, for people."""
        lines = []
        for event in self._events:
            data = event["data"] if isinstance(event["data"], dict) else {}
            if event["type"] in TOLD:
                what = data.get("item") or data.get("filenames") or data.get("error") or ""
                lines.append(f"{event['time'][11:23]} {self.name} {event['type']} {what}")
        return "\n".join(lines)

    def items(self) -> set[str]:
        """Return every name that this node ever put into its index, or began to fetch from another."""
        names: set[str] = set()
        for event in self.events():
            if event["type"] == "LocalIndexUpdated":
                names.update(event["data"]["filenames"])
            elif event["type"] in ("ItemStarted", "ItemFinished"):
                names.add(event["data"]["item"])
        return names


@contextmanager
def nodes(place: Path, folders: Mapping[str, Path]) -> Iterator[list[Node]]:
    """Run one node per folder, connected to each other, until the block ends; skip where there is no Syncthing."""
    if shutil.which("syncthing") is None:
        pytest.skip("syncthing is not installed")
    made = [_make(name, place / f"syncthing-{name}", folder) for name, folder in folders.items()]
    with ExitStack() as stack:
        for node in made:
            _configure(node, made)
            stack.enter_context(_running(node))
        for node in made:
            for other in made:
                if other is not node:
                    node.wait("DeviceConnected", id=other.device)
        yield made


def _make(name: str, home: Path, folder: Path) -> Node:
    """Make a node's keys and the ports of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".stfolder").mkdir(exist_ok=True)
    said = subprocess.run(
        ["syncthing", "generate", f"--home={home}", "--no-default-folder"],
        env=_environ(home),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    device = (said.stdout + said.stderr).rpartition("Device ID: ")[2].split()[0]
    return Node(name, home, folder, _free_port(), _free_port(), device)


def _configure(node: Node, every: list[Node]) -> None:
    devices = [
        f'<device id="{each.device}" name="{each.name}"><address>tcp://127.0.0.1:{each.port}</address></device>'
        for each in every
    ]
    text = CONFIG.format(
        folder=FOLDER,
        path=quoteattr(str(node.folder)),
        delay=WATCH_DELAY_S,
        members="".join(f'<device id="{each.device}"/>' for each in every),
        devices="".join(devices),
        gui=node.gui,
        key=KEY,
        port=node.port,
    )
    (node.home / "config.xml").write_text(text)


@contextmanager
def _running(node: Node) -> Iterator[None]:
    """Run *node*, from when it answers until the block ends."""
    process = subprocess.Popen(
        ["syncthing", "serve", f"--home={node.home}", "--no-browser", "--no-restart", "--no-upgrade"],
        env=_environ(node.home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    log: list[str] = []
    try:
        for line in process.stdout:
            log.append(line)
            if "GUI and API listening" in line:
                break
        else:
            raise AssertionError(f"Syncthing did not start: {log}")
        reader = threading.Thread(target=log.extend, args=(process.stdout,))  # or the pipe would fill
        reader.start()
        try:
            yield
        finally:
            process.terminate()
            reader.join(10)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _environ(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "STNOUPGRADE": "1", "STNORESTART": "1"}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
