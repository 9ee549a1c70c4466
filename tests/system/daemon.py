"""A running daemon and its log: what it did is known from there, so that no test sleeps and hopes."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from system.forkserver import Process

DEADLINE_S = 30.0
"""Seconds after which a wait gives up: the thing did not happen. A busy machine is slow; a fault takes for ever."""
SHOWN_LINES = 40
"""Of a log, where a test fails."""

Fact = object | Callable[[Any], bool]


class Daemon:
    """A running daemon and its log."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._lines: list[dict[str, Any]] = []
        self._noise: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="daemon-log")
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            with self._changed:
                try:
                    self._lines.append(json.loads(raw))
                except ValueError:
                    self._noise.append(raw)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events so far."""
        with self._changed:
            return list(self._lines)

    @property
    def said(self) -> str:
        """All that it wrote, as text."""
        with self._changed:
            return "\n".join([*map(json.dumps, self._lines), *self._noise])

    @property
    def tail(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self.said.splitlines()[-SHOWN_LINES:])

    @property
    def faults(self) -> list[object]:
        """What must never be in a log: faults of ours, and what is no event."""
        with self._changed:
            return [*(line for line in self._lines if line.get("event") == "run.internal_error"), *self._noise]

    def _faulty(self) -> bool:
        return any(line.get("event") == "run.internal_error" for line in self._lines)

    def seen(self, event: str, **facts: Fact) -> list[dict[str, Any]]:
        """Return the events so far of that name with these facts; a fact may be a function that says whether it is."""
        return [line for line in self.log if _is(line, event, facts)]

    def wait(self, event: str, n: int = 1, *, timeout: float = DEADLINE_S, **facts: Fact) -> dict[str, Any]:
        """Return the *n*-th such event; wait until it comes."""

        def there() -> bool:
            return self._ended or self._faulty() or sum(_is(line, event, facts) for line in self._lines) >= n

        with self._changed:
            self._changed.wait_for(there, timeout)
        found = self.seen(event, **facts)
        if len(found) < n:
            raise AssertionError(f"no {event} {facts} ({len(found)} of {n}) within {timeout:g} s in\n{self.tail}")
        return found[n - 1]

    def wait_for_lines(self, n: int, timeout: float = DEADLINE_S) -> None:
        """Wait until the log has *n* events, or the daemon has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._lines) >= n, timeout)

    def until_up(self) -> None:
        """Wait until it is ready, or idle (for another host, for better settings), or has ended."""
        with self._changed:
            up = ("ready", "host.standby", "settings.wrong")
            ready = self._changed.wait_for(
                lambda: self._ended or any(line.get("event") in up for line in self._lines), DEADLINE_S
            )
        assert ready, self.tail

    def answered(self, path: str, n: int = 1) -> None:
        """Wait until the *n*-th answer lies in *path*."""
        self.wait("answer.written", n, path=path)

    def hup(self) -> None:
        """Have it read its settings again, and wait until it has."""
        before = len(self.seen("reloaded")) + len(self.seen("reload.failed"))
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_any(("reloaded", "reload.failed"), before + 1)

    def wait_for_any(self, events: tuple[str, ...], n: int) -> None:
        """Wait until *n* events of these names are there."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: sum(line.get("event") in events for line in self._lines) >= n, DEADLINE_S
            )
        assert there, self.tail

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.ended()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, where it still runs; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended, and return its exit status."""
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def close(self) -> None:
        """End it for good."""
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        assert self.process.stderr is not None
        self.process.stderr.close()


def _is(line: Mapping[str, Any], event: str, facts: Mapping[str, Fact]) -> bool:
    if line.get("event") != event:
        return False
    return all(
        fact(line.get(key)) if callable(fact) else key in line and line[key] == fact for key, fact in facts.items()
    )
